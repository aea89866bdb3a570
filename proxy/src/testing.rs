//! Small values that the unit tests of several files need.

use std::sync::Arc;

use switcher_config::settings::{
    AccessLog, AppSettings, Balance, Check, Drain, ErrorPagesFor, Handshakes, Health, Listener, LogFormat,
    Maintenance, Matching, Middleware, Pause, ProxySettings, Queue, SentProxyProtocol, Settings,
    SwitcherSettings, TcpOptions, Timeouts, Tls, TlsListener, TlsVersion, UpstreamTls,
};
use switcher_config::{AppName, Bytes, Generation, PathPrefix, PerSlot, Slot, Span};
use tokio::sync::broadcast;

use crate::epoch::{Epoch, EpochHandle, NewEpoch, Trust};
use crate::health::Dialer;
use crate::metrics::Metrics;
use crate::upstream::Upstream;

/// The times of drains as they are by default.
fn drain() -> Drain {
    Drain {
        requests: Span::seconds(30),
        uploads: Span::seconds(600),
        streams: Span::seconds(30),
        websockets: Span::seconds(30),
        connections: Span::seconds(600),
        spread: Span::seconds(5),
    }
}

/// The settings of an application with one fixed upstream in each slot.
pub(crate) fn app_settings(blue: &str, green: &str) -> AppSettings {
    let slot = |address: &str| Some(vec![address.parse().expect("an address")]);
    AppSettings {
        middleware: Middleware::default(),
        paths: Vec::new(),
        hosts: Vec::new(),
        path: PathPrefix::default(),
        tcp: None,
        listeners: Vec::new(),
        matching: Matching::default(),
        priority: 0,
        tls: Tls::Off,
        canonical_host: None,
        hsts: switcher_config::settings::Hsts::Off,
        client_ca: None,
        mirror: None,
        asset_fallback: None,
        release_affinity: None,
        preview: None,
        redirect: true,
        slots: PerSlot { blue: slot(blue), green: slot(green) },
        initial: Slot::Blue,
        balance: Balance::RoundRobin,
        slow_start: Span::seconds(0),
        max_in_flight: None,
        queue: Queue { requests: 1000, max: Span::seconds(10) },
        outliers: None,
        retries: None,
        health: Health {
            ready: Check::Tcp,
            live: None,
            interval: Span::seconds(1),
            timeout: Span::seconds(2),
            rise: 2,
            fall: 3,
        },
        drain: drain(),
        timeouts: Timeouts {
            connect: Span::seconds(5),
            response: Span::seconds(60),
            idle: Span::seconds(60),
            pool: Span::millis(1500),
        },
        pause: Pause { max: Span::seconds(30), requests: 1000, memory: Bytes(16 << 20) },
        error_pages: Vec::new(),
        error_pages_for: ErrorPagesFor::Proxy,
        maintenance: Maintenance {
            bypass_header: "X-Switcher-Bypass".to_owned(),
            bypass_token: None,
            page: None,
        },
        upstream_tls: UpstreamTls { verify: true, server_name: None, ca_file: None },
        upstream_proxy_protocol: SentProxyProtocol::Off,
        is_judged: false,
        deploy: None,
    }
}

/// Whole settings with these applications, one TLS listener and otherwise defaults.
pub(crate) fn settings(apps: Vec<(&str, AppSettings)>) -> Settings {
    let listener = Listener::at(std::net::SocketAddr::from(([127, 0, 0, 1], 443)));
    let proxy = ProxySettings {
        limits: switcher_config::settings::Limits::default(),
        http: Vec::new(),
        tcp: TcpOptions::default(),
        https: vec![TlsListener { listener, min_version: TlsVersion::Tls12, ciphers: None }],
        handshakes: Handshakes { timeout: Span::seconds(10), limit: 1024 },
        admin: "admin.sock".into(),
        status: None,
        dashboard_token: None,
        data_dir: "data".into(),
        threads: 0,
        shutdown_timeout: Span::seconds(30),
        trusted_proxies: Vec::new(),
        client_ip_header: None,
        access_log: AccessLog::of(LogFormat::Off),
        slot_header: None,
        release_header: None,
        error_pages: Vec::new(),
        middleware: Middleware::default(),
        cache: switcher_config::settings::Cache::default(),
        traces: None,
    };
    let named = |(name, app): (&str, AppSettings)| (name.parse().expect("a name"), app);
    let switcher = SwitcherSettings {
        state_dir: "/nowhere".into(),
        lease: Span::seconds(120),
        docker_host: None,
        notify: Vec::new(),
        webhook: None,
    };
    Settings { proxy, acme: None, switcher, apps: apps.into_iter().map(named).collect() }
}

/// An epoch over `count` upstreams that nobody probes.
pub(crate) fn epoch(count: u16) -> Arc<Epoch> {
    epoch_of(Slot::Blue, count).0
}

/// An epoch of that slot over one upstream, with its handle.
pub(crate) fn begin(slot: Slot) -> (Arc<Epoch>, EpochHandle) {
    epoch_of(slot, 1)
}

fn epoch_of(slot: Slot, count: u16) -> (Arc<Epoch>, EpochHandle) {
    let app: AppName = "shop".parse().expect("a name");
    let (events, _) = broadcast::channel(1);
    let upstream = |n: u16| {
        let address = format!("127.0.0.1:{}", 8000 + n).parse().expect("an address");
        Arc::new(Upstream::new(app.clone(), slot, address, events.clone()))
    };
    let tls = UpstreamTls { verify: true, server_name: None, ca_file: None };
    let metrics = Metrics::new("test").expect("metrics").app(&app).slots.blue;
    let new = NewEpoch {
        generation: Generation::FIRST,
        slot,
        release: None,
        upstreams: (0..count).map(upstream).collect(),
        metrics,
        trust: Trust {
            settings: tls.clone(),
            introduces: SentProxyProtocol::Off,
            pem: None,
            roots: None,
            dialer: Arc::new(Dialer::new(tls)),
        },
    };
    Epoch::begin(new)
}
