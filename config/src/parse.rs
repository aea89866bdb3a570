//! The sections of the file turned into the settings both programs run on, and back for `show`.
//!
//! Nothing can fail here: what could be wrong was told when the sections were read.

mod acme;
mod balance;
mod canary;
mod deploy;
mod limits;
mod matching;
mod middleware;
mod mirror;
mod raw_tcp;

use crate::PerSlot;
use crate::keys::{
    AppKeys, Apps, CheckKeys, DashboardKeys, DrainKeys, HandshakeKeys, HeaderKeys, HealthKeys,
    MaintenanceKeys, PauseKeys, PreviewKeys, ProxyKeys, RootKeys, SlotKeys, TimeoutKeys, UpstreamTlsKeys,
};
use crate::settings::{
    AppSettings, Check, Drain, Handshakes, Health, Maintenance, Pause, Preview, ProxySettings, RawTcp,
    RawTls, Settings, Timeouts, Tls, UpstreamTls,
};
use crate::values::{
    Authority, Count, Header, HeaderOrOff, Limit, ListenerName, Maybe, OneHost, Positive, Priority,
    ProbePath, Secret, SecretFile, ServerName, StatusPages, StatusRange, Text,
};
use crate::words::Protocol;

impl From<RootKeys> for Settings {
    fn from(keys: RootKeys) -> Self {
        let Apps(apps) = keys.apps;
        Self {
            proxy: keys.proxy.into(),
            acme: keys.acme.map(Into::into),
            switcher: keys.switcher.into(),
            apps: apps.into_iter().map(|(name, app)| (name, app.into())).collect(),
        }
    }
}

impl From<Settings> for RootKeys {
    fn from(settings: Settings) -> Self {
        Self {
            proxy: settings.proxy.into(),
            acme: settings.acme.map(Into::into),
            switcher: settings.switcher.into(),
            apps: Apps(settings.apps.into_iter().map(|(name, app)| (name, app.into())).collect()),
        }
    }
}

impl From<ProxyKeys> for ProxySettings {
    fn from(keys: ProxyKeys) -> Self {
        Self {
            http: keys.http,
            https: keys.https,
            tcp: keys.tcp.into(),
            handshakes: Handshakes { timeout: keys.handshakes.timeout.0, limit: keys.handshakes.limit.0 },
            limits: keys.limits.into(),
            admin: keys.admin,
            status: keys.status,
            dashboard_token: keys.dashboard.map(|dashboard| dashboard.token_file.0),
            data_dir: keys.data_dir,
            threads: keys.threads,
            shutdown_timeout: keys.shutdown_timeout,
            trusted_proxies: keys.trusted_proxies,
            client_ip_header: keys.client_ip_header.map(|header| header.0),
            access_log: keys.access_log,
            slot_header: keys.headers.slot.0,
            release_header: keys.headers.release.0,
            error_pages: keys.error_pages.0,
            middleware: keys.middleware.into(),
            cache: keys.cache.into(),
            traces: keys.traces.map(Into::into),
        }
    }
}

impl From<ProxySettings> for ProxyKeys {
    fn from(proxy: ProxySettings) -> Self {
        Self {
            http: proxy.http,
            https: proxy.https,
            tcp: proxy.tcp.into(),
            handshakes: HandshakeKeys {
                timeout: Positive(proxy.handshakes.timeout),
                limit: Limit(proxy.handshakes.limit),
            },
            limits: proxy.limits.into(),
            admin: proxy.admin,
            status: proxy.status,
            dashboard: proxy.dashboard_token.map(|file| DashboardKeys { token_file: SecretFile(file) }),
            data_dir: proxy.data_dir,
            threads: proxy.threads,
            shutdown_timeout: proxy.shutdown_timeout,
            trusted_proxies: proxy.trusted_proxies,
            client_ip_header: proxy.client_ip_header.map(Header),
            access_log: proxy.access_log,
            headers: HeaderKeys {
                slot: HeaderOrOff(proxy.slot_header),
                release: HeaderOrOff(proxy.release_header),
            },
            error_pages: StatusPages(proxy.error_pages),
            middleware: proxy.middleware.into(),
            cache: proxy.cache.into(),
            traces: proxy.traces.map(Into::into),
        }
    }
}

impl From<AppKeys> for AppSettings {
    fn from(keys: AppKeys) -> Self {
        let tcp: Option<RawTcp> = keys.tcp.map(Into::into);
        let shows_none = tcp.as_ref().is_some_and(|tcp| tcp.tls != RawTls::Terminate);
        let protocol = if tcp.is_some() { Protocol::Tcp } else { Protocol::Http };
        Self {
            hosts: keys.hosts,
            path: keys.path,
            tcp,
            listeners: keys.listeners.into_iter().map(|name| name.0).collect(),
            matching: keys.r#match.into(),
            priority: keys.priority.0,
            tls: if shows_none { Tls::Off } else { keys.tls },
            redirect: keys.redirect,
            canonical_host: keys.canonical_host.map(|host| host.0),
            hsts: keys.hsts,
            client_ca: keys.client_ca,
            slots: PerSlot { blue: keys.slots.blue, green: keys.slots.green },
            initial: keys.initial,
            balance: keys.balance,
            slow_start: keys.slow_start,
            max_in_flight: keys.max_in_flight.map(|limit| limit.0),
            queue: keys.queue.into(),
            outliers: keys.outliers.map(Into::into),
            retries: keys.retries.map(Into::into),
            health: keys.health.of(protocol),
            drain: keys.drain.into(),
            timeouts: keys.timeouts.into(),
            pause: keys.pause.into(),
            error_pages: keys.error_pages.0,
            error_pages_for: keys.error_pages_for,
            maintenance: keys.maintenance.into(),
            middleware: keys.middleware.into(),
            paths: keys.paths.into(),
            mirror: keys.mirror.map(Into::into),
            asset_fallback: keys.asset_fallback.map(Into::into),
            release_affinity: keys.release_affinity.map(Into::into),
            preview: keys.preview.map(Into::into),
            upstream_tls: keys.upstream_tls.into(),
            upstream_proxy_protocol: keys.upstream_proxy_protocol,
            is_judged: keys.deploy.as_ref().is_some_and(|deploy| deploy.bake.is_some()),
            deploy: keys.deploy.map(Into::into),
        }
    }
}

impl From<AppSettings> for AppKeys {
    fn from(app: AppSettings) -> Self {
        Self {
            hosts: app.hosts,
            path: app.path,
            tcp: app.tcp.map(Into::into),
            listeners: app.listeners.into_iter().map(ListenerName).collect(),
            r#match: app.matching.into(),
            priority: Priority(app.priority),
            tls: app.tls,
            redirect: app.redirect,
            canonical_host: app.canonical_host.map(OneHost),
            hsts: app.hsts,
            client_ca: app.client_ca,
            slots: SlotKeys { blue: app.slots.blue, green: app.slots.green },
            initial: app.initial,
            balance: app.balance,
            slow_start: app.slow_start,
            max_in_flight: app.max_in_flight.map(Limit),
            queue: app.queue.into(),
            outliers: app.outliers.map(Into::into),
            retries: app.retries.map(Into::into),
            health: app.health.into(),
            drain: app.drain.into(),
            timeouts: app.timeouts.into(),
            pause: app.pause.into(),
            error_pages: StatusPages(app.error_pages),
            error_pages_for: app.error_pages_for,
            maintenance: app.maintenance.into(),
            middleware: app.middleware.into(),
            paths: app.paths.into(),
            mirror: app.mirror.map(Into::into),
            asset_fallback: app.asset_fallback.map(Into::into),
            release_affinity: app.release_affinity.map(Into::into),
            preview: app.preview.map(Into::into),
            upstream_tls: app.upstream_tls.into(),
            upstream_proxy_protocol: app.upstream_proxy_protocol,
            deploy: app.deploy.map(Into::into),
        }
    }
}

impl CheckKeys {
    /// The check, of this protocol unless it names one.
    fn of(self, protocol: Protocol) -> Check {
        let keys = self;
        match keys.protocol.0.unwrap_or(protocol) {
            Protocol::Http => Check::Http {
                path: keys.path.0.map_or_else(|| "/health".into(), |path| path.0),
                host: keys.host.0.map(|host| host.0),
                status: keys.status.0.map_or((200, 299), |range| (range.0, range.1)),
                body: keys.body.0.map(|body| body.0),
            },
            Protocol::Tcp => Check::Tcp,
            Protocol::Grpc => Check::Grpc { service: keys.service.0.map_or_else(String::new, |text| text.0) },
        }
    }
}

impl From<Check> for CheckKeys {
    fn from(check: Check) -> Self {
        let none = Self::default();
        match check {
            Check::Http { path, host, status, body } => Self {
                protocol: Maybe(Some(Protocol::Http)),
                path: Maybe(Some(ProbePath(path))),
                host: Maybe(host.map(Authority)),
                status: Maybe(Some(StatusRange(status.0, status.1))),
                body: Maybe(body.map(Text)),
                service: none.service,
            },
            Check::Tcp => Self { protocol: Maybe(Some(Protocol::Tcp)), ..none },
            Check::Grpc { service } => {
                let service = Maybe(Some(service).filter(|name| !name.is_empty()).map(Text));
                Self { protocol: Maybe(Some(Protocol::Grpc)), service, ..none }
            }
        }
    }
}

impl HealthKeys {
    /// The checks, of this protocol where they name none.
    fn of(self, usual: Protocol) -> Health {
        let Self { protocol, path, host, status, body, service, interval, timeout, rise, fall, live } = self;
        Health {
            ready: CheckKeys { protocol, path, host, status, body, service }.of(usual),
            live: live.map(|live| live.of(usual)),
            interval: interval.0,
            timeout: timeout.0,
            rise: rise.0,
            fall: fall.0,
        }
    }
}

impl From<Health> for HealthKeys {
    fn from(health: Health) -> Self {
        let CheckKeys { protocol, path, host, status, body, service } = health.ready.into();
        Self {
            protocol,
            path,
            host,
            status,
            body,
            service,
            interval: Positive(health.interval),
            timeout: Positive(health.timeout),
            rise: Count(health.rise),
            fall: Count(health.fall),
            live: health.live.map(CheckKeys::from),
        }
    }
}

impl From<DrainKeys> for Drain {
    fn from(keys: DrainKeys) -> Self {
        let DrainKeys { requests, uploads, streams, websockets, connections, spread } = keys;
        Self { requests, uploads, streams, websockets, connections, spread }
    }
}

impl From<Drain> for DrainKeys {
    fn from(drain: Drain) -> Self {
        let Drain { requests, uploads, streams, websockets, connections, spread } = drain;
        Self { requests, uploads, streams, websockets, connections, spread }
    }
}

impl From<TimeoutKeys> for Timeouts {
    fn from(keys: TimeoutKeys) -> Self {
        let TimeoutKeys { connect, response, idle, pool } = keys;
        Self { connect: connect.0, response: response.0, idle: idle.0, pool }
    }
}

impl From<Timeouts> for TimeoutKeys {
    fn from(timeouts: Timeouts) -> Self {
        let Timeouts { connect, response, idle, pool } = timeouts;
        Self { connect: Positive(connect), response: Positive(response), idle: Positive(idle), pool }
    }
}

impl From<PauseKeys> for Pause {
    fn from(PauseKeys { max, requests, memory }: PauseKeys) -> Self {
        Self { max, requests, memory }
    }
}

impl From<Pause> for PauseKeys {
    fn from(Pause { max, requests, memory }: Pause) -> Self {
        Self { max, requests, memory }
    }
}

impl From<MaintenanceKeys> for Maintenance {
    fn from(keys: MaintenanceKeys) -> Self {
        let MaintenanceKeys { bypass_header, bypass_token, page } = keys;
        Self { bypass_header: bypass_header.0, bypass_token: bypass_token.map(|token| token.0), page }
    }
}

impl From<Maintenance> for MaintenanceKeys {
    fn from(maintenance: Maintenance) -> Self {
        Self {
            bypass_header: Header(maintenance.bypass_header),
            bypass_token: maintenance.bypass_token.map(Secret),
            page: maintenance.page,
        }
    }
}

impl From<PreviewKeys> for Preview {
    fn from(keys: PreviewKeys) -> Self {
        Self { header: keys.header.0, cookie: keys.cookie.0, token_file: keys.token_file.0 }
    }
}

impl From<Preview> for PreviewKeys {
    fn from(preview: Preview) -> Self {
        Self {
            header: Header(preview.header),
            cookie: Header(preview.cookie),
            token_file: SecretFile(preview.token_file),
        }
    }
}

impl From<UpstreamTlsKeys> for UpstreamTls {
    fn from(keys: UpstreamTlsKeys) -> Self {
        Self { verify: keys.verify, server_name: keys.server_name.map(|name| name.0), ca_file: keys.ca_file }
    }
}

impl From<UpstreamTls> for UpstreamTlsKeys {
    fn from(tls: UpstreamTls) -> Self {
        Self { verify: tls.verify, server_name: tls.server_name.map(ServerName), ca_file: tls.ca_file }
    }
}
