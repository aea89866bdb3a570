//! The settings both programs run on: what the YAML file says, as real types.
//!
//! The parser is the only constructor. Everything here is already checked; defaults are filled in.

mod access_log;
mod acme;
mod balance;
mod cache;
mod canary;
mod compress;
mod cors;
mod deploy;
mod limits;
mod listen;
mod matching;
mod middleware;
mod mirror;
mod pages;
mod raw_tcp;
mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::values::UNNAMED;
use crate::{AppName, Bytes, HostPattern, ListenAddress, PathPrefix, PerSlot, Slot, Span, WeightedAddress};

pub use access_log::{AccessLog, LogField, LogFormat};
pub use acme::{
    AcmeSettings, ChallengeChoice, Directory, DnsProvider, DnsSettings, ExternalAccount, Group, Handshakes,
    Hsts, KeyChoice, OnDemand, Retry, TlsVersion,
};

pub use balance::{Balance, HashBy, Outliers, Queue, Retries, RetryOn};
pub use cache::{Cache, Cached};
pub use canary::CanarySettings;
pub use compress::{Coding, Compress};
pub use cors::{Cors, Origin, Those};
pub use limits::{Http2Limits, Limits};
pub use listen::{Listener, ProxyProtocol, SentProxyProtocol, SocketMode, TcpOptions};

pub use deploy::{
    ContainerLimits, DeploySettings, HealthcheckChoice, Hook, Hooks, MigrateSettings, NotifyEvent,
    NotifySettings, NotifyTarget, OnUnverified, Retain, RuntimeKind, SmokeTest, SnapshotSettings,
    SwitcherSettings, VerifySettings, WatchSettings, Webhook, Workers,
};

pub use matching::{Matching, Wanted};
pub use middleware::{
    BasicAuth, Breaker, Buffer, CLIENT_IP, Files, FixedAnswer, ForwardAuth, HeaderRules, InFlight,
    Middleware, Missing, Own, PathMiddleware, PathTimeouts, RateLimit, Redirect, Replace, Rewrite,
};
pub use mirror::{AssetFallback, AssetPattern, Mirror, ReleaseAffinity, SafeMethod};
pub use pages::{ErrorPage, ErrorPagesFor};
pub use raw_tcp::{RawTcp, RawTls};
pub use traces::Traces;

/// Everything the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The `proxy` section: listeners and process-wide rules.
    pub proxy: ProxySettings,
    /// The `acme` section: certificates for applications with `tls: auto`.
    pub acme: Option<AcmeSettings>,
    /// The `switcher` section: the deployer.
    pub switcher: SwitcherSettings,
    /// The `apps` section, by name.
    pub apps: BTreeMap<AppName, AppSettings>,
}

impl Settings {
    /// The addresses of applications of raw TCP.
    #[must_use]
    pub fn raw_addresses(&self) -> BTreeSet<SocketAddr> {
        let all = self.apps.values().filter_map(|app| app.tcp.as_ref());
        all.flat_map(|tcp| tcp.listen.iter().map(|address| address.0)).collect()
    }

    /// The part that the proxy serves by: without what only the deployer needs, so that a change of that is none for
    /// the proxy, and none of it is kept in the exposed process. `folder` is that of the configuration file.
    #[must_use]
    pub fn for_proxy(mut self, folder: &Path) -> Self {
        self.switcher.notify.clear();
        self.proxy.middleware.within(folder);
        if let Some(token) = &mut self.proxy.dashboard_token {
            *token = folder.join(&token);
        }
        if let Some(token) = self.proxy.traces.as_mut().and_then(|traces| traces.token_file.as_mut()) {
            *token = folder.join(&token);
        }
        for page in &mut self.proxy.error_pages {
            page.file = folder.join(&page.file);
        }
        for app in self.apps.values_mut() {
            app.deploy = None;
            app.middleware.within(folder);
            for path in &mut app.paths {
                path.middleware.within(folder);
            }
            for page in &mut app.error_pages {
                page.file = folder.join(&page.file);
            }
            if let Some(page) = &mut app.maintenance.page {
                *page = folder.join(&page);
            }
            if let Some(preview) = &mut app.preview {
                preview.token_file = folder.join(&preview.token_file);
            }
        }
        self
    }
}

/// The `proxy` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Plain listeners. Default `0.0.0.0:80`; an empty list means none.
    pub http: Vec<Listener>,
    /// TLS listeners. Default none.
    pub https: Vec<TlsListener>,
    /// Options of TCP connections.
    pub tcp: TcpOptions,
    /// Limits on TLS handshakes.
    pub handshakes: Handshakes,
    /// What one client may ask of the proxy.
    pub limits: Limits,
    /// The admin API's unix socket. Default `/run/switcher/admin.sock`.
    pub admin: PathBuf,
    /// The read-only TCP listener for status, metrics, health and readiness. Default none.
    pub status: Option<ListenAddress>,
    /// The file with the token that lets people act from the dashboard. Relative to the configuration file's folder, and
    /// in [`Settings::for_proxy`] no longer. Default none: the dashboard only shows.
    pub dashboard_token: Option<PathBuf>,
    /// Where `routing.json` and certificates are kept. Default `/var/lib/switcher`.
    pub data_dir: PathBuf,
    /// Worker threads; 0 means one for each core. Default 0.
    pub threads: u16,
    /// How long SIGTERM waits for what is in flight. Default 30s.
    pub shutdown_timeout: Span,
    /// Addresses whose `X-Forwarded-*`, `Forwarded` and `client_ip_header` are believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// A header in which a trusted proxy names the client, such as `CF-Connecting-IP`. Default none.
    pub client_ip_header: Option<String>,
    /// The access log. Default: JSON on standard output.
    pub access_log: AccessLog,
    /// The answer header that names the slot. Default `X-Switcher-Slot`; `off` is `None`.
    pub slot_header: Option<String>,
    /// The answer header that names the release. Default `X-Switcher-Release`; `off` is `None`.
    pub release_header: Option<String>,
    /// Pages for the proxy's own answers where no application has one, for the fewest statuses first. Default none.
    pub error_pages: Vec<ErrorPage>,
    /// What is done with the requests of every application that does not say otherwise. Default nothing.
    pub middleware: Middleware,
    /// How much the response cache holds. Default 64MiB.
    pub cache: Cache,
    /// Spans of requests, sent to a collector. Default none.
    pub traces: Option<Traces>,
}

/// A TLS listener and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListener {
    /// Where it listens, and what comes before the handshake.
    pub listener: Listener,
    /// The lowest version. Default 1.2.
    pub min_version: TlsVersion,
    /// Cipher suites by rustls's names for them (`TLS13_…` for version 1.3, else IANA's), the preferred one first. Default: all that rustls holds safe.
    pub ciphers: Option<Vec<String>>,
}

/// One application: which requests it takes and where its two slots are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSettings {
    /// Hosts; empty means every host. Default empty.
    pub hosts: Vec<HostPattern>,
    /// Path prefix. Default `/`.
    pub path: PathPrefix,
    /// Where it listens when it is one of raw TCP, which knows no requests. Default: it is served by HTTP.
    pub tcp: Option<RawTcp>,
    /// The names of the listeners it is served at; empty means those without a name. Default empty.
    pub listeners: Vec<String>,
    /// What else a request must show. Default nothing.
    pub matching: Matching,
    /// Of several applications that take a request, the one with the highest gets it. Default 0.
    pub priority: i32,
    /// Where its certificate comes from. Default `auto`.
    pub tls: Tls,
    /// Whether plain HTTP answers 308 to https (unless `tls` is `off` or there is no TLS listener). Default true.
    pub redirect: bool,
    /// The one host that requests for any other of its hosts are sent on to (308). Default none.
    pub canonical_host: Option<String>,
    /// Strict Transport Security. Default off.
    pub hsts: Hsts,
    /// Roots in PEM that a client's certificate must come from; without them none is asked for. Default none.
    pub client_ca: Option<PathBuf>,
    /// Fixed upstream addresses of the slots; `None` when they are registered at run time.
    pub slots: PerSlot<Option<Vec<WeightedAddress>>>,
    /// The slot that is live before the first switch. Default blue.
    pub initial: Slot,
    /// How a slot's next upstream is chosen. Default round robin.
    pub balance: Balance,
    /// Over how long the share of a recovered upstream grows to its weight. Default 0s: at once.
    pub slow_start: Span,
    /// How many requests each upstream is given at once. Default: any number.
    pub max_in_flight: Option<u32>,
    /// Who waits when every upstream has as many as it may.
    pub queue: Queue,
    /// When an upstream that answers badly is left out for a while. Default: never.
    pub outliers: Option<Outliers>,
    /// When a request is tried on another upstream. Default: while no upstream takes the connection.
    pub retries: Option<Retries>,
    /// How upstreams are probed.
    pub health: Health,
    /// How long what is in flight may go on after a switch.
    pub drain: Drain,
    /// Limits on waiting for upstreams.
    pub timeouts: Timeouts,
    /// Bounds of the queue that holds requests while the app is paused.
    pub pause: Pause,
    /// Pages by status, for the fewest statuses first. Default none.
    pub error_pages: Vec<ErrorPage>,
    /// Whose answers they replace. Default the proxy's own.
    pub error_pages_for: ErrorPagesFor,
    /// What is served while the app is stopped.
    pub maintenance: Maintenance,
    /// What is done with its requests, below what the whole proxy says. Default nothing.
    pub middleware: Middleware,
    /// What is done with those of some paths. Default nothing.
    pub paths: Vec<PathMiddleware>,
    /// Copies of requests to the slot that is not live. Default: none.
    pub mirror: Option<Mirror>,
    /// Which requests that a slot answers 404 are asked of the other one. Default: none.
    pub asset_fallback: Option<AssetFallback>,
    /// For how long visitors stay on the release that a switch has left. Default: they move at once.
    pub release_affinity: Option<ReleaseAffinity>,
    /// Who is let into the slot that is not live. Default: nobody.
    pub preview: Option<Preview>,
    /// How `https://` upstreams are verified.
    pub upstream_tls: UpstreamTls,
    /// How upstreams are told the client's address before the first request of a connection. Default off.
    pub upstream_proxy_protocol: SentProxyProtocol,
    /// Whether switches are judged on live traffic (`deploy.bake`): then what the live slot answers is counted.
    pub is_judged: bool,
    /// How new versions get into its slots. Default: they are put there by other means.
    pub deploy: Option<DeploySettings>,
}

impl AppSettings {
    /// Whether its clients are shown a certificate by the proxy: not where their TLS goes through, or is not looked for.
    #[must_use]
    pub fn ends_tls(&self) -> bool {
        self.tcp.as_ref().is_none_or(|tcp| tcp.tls == RawTls::Terminate)
    }

    /// The names of the listeners it is served at; `None` stands for those without one.
    pub fn served_at(&self) -> impl Iterator<Item = Option<&str>> {
        let named = self.listeners.iter().map(|name| Some(name.as_str()).filter(|name| *name != UNNAMED));
        self.listeners.is_empty().then_some(None).into_iter().chain(named)
    }

    /// Whether it is served by HTTP at a listener of this name, or at those without one.
    #[must_use]
    pub fn is_served_at(&self, listener: Option<&str>) -> bool {
        self.tcp.is_none() && self.served_at().any(|served| served == listener)
    }
}

/// Where an application's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// By ACME; until the first is there, a self-signed placeholder answers.
    Auto,
    /// By ACME at the first handshake, for names that `acme.on_demand.ask` allows.
    OnDemand,
    /// By the proxy's own authority.
    Internal,
    /// No TLS: the app is served on plain HTTP and never redirected.
    Off,
    /// From files in PEM, picked up again when they change.
    Files {
        /// The certificate chain, leaf first.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
        /// A stapled OCSP response in DER, picked up again as well. Default none.
        ocsp: Option<PathBuf>,
    },
}

/// How upstreams are probed, for ever, in both slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The readiness check: whether the upstream may get traffic.
    pub ready: Check,
    /// A liveness check beside it (`live:` with the same keys as the check itself). Default none.
    pub live: Option<Check>,
    /// From the start of one probe to the next, with a jitter of a tenth. Default 1s.
    pub interval: Span,
    /// How long one probe may take. Default 2s.
    pub timeout: Span,
    /// Successes in a row that make an upstream healthy. Default 2.
    pub rise: u16,
    /// Failures in a row that make an upstream unhealthy. Default 3.
    pub fall: u16,
}

/// One kind of probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A GET whose status and body are judged (`protocol: http`).
    Http {
        /// The path and query asked for. Default `/health`.
        path: String,
        /// The `Host` sent. Default: the upstream's address.
        host: Option<String>,
        /// The lowest and highest status that is a success. Default 200-299.
        status: (u16, u16),
        /// A text the body must contain. Default none.
        body: Option<String>,
    },
    /// A TCP connection that opens (`protocol: tcp`).
    Tcp,
    /// The gRPC health protocol, over HTTP/2 (`protocol: grpc`).
    Grpc {
        /// The service asked for; empty means the server as a whole.
        service: String,
    },
}

/// How long each kind of exchange may go on after its slot went standby. Then it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Ordinary requests and downloads. Default 30s.
    pub requests: Span,
    /// Requests whose body is long or of unknown length. Default 10m.
    pub uploads: Span,
    /// Server-sent events, gRPC and other endless answers. Default 30s.
    pub streams: Span,
    /// WebSockets. Default 30s.
    pub websockets: Span,
    /// Connections of an application of raw TCP. Default 10m.
    pub connections: Span,
    /// The longest window over which closing is spread, so that clients do not come back as a herd. Default 5s.
    pub spread: Span,
}

/// Limits on waiting for upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To open a connection, TLS included. Default 5s.
    pub connect: Span,
    /// From the whole request sent to the head of the answer. Default 60s.
    pub response: Span,
    /// Between two reads or writes of a body. Streams and WebSockets are exempt. Default 60s.
    pub idle: Span,
    /// How long an idle upstream connection is kept for reuse; below every common backend's own limit. Default 1s500ms.
    pub pool: Span,
}

/// Bounds of the queue that holds requests while the app is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long a request is held at most. Default 30s.
    pub max: Span,
    /// How many requests are held at most. Default 1000.
    pub requests: u32,
    /// How much memory their heads may take. Default 16MiB.
    pub memory: Bytes,
}

/// What is served while the app is stopped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Maintenance {
    /// The request header that lets the operator through. Default `X-Switcher-Bypass`.
    pub bypass_header: String,
    /// The value it must carry; without one nobody gets through. A secret. Default none.
    pub bypass_token: Option<String>,
    /// The page that is served, a file as in [`ErrorPage`]. Default: one of the proxy's own.
    pub page: Option<PathBuf>,
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintenance")
            .field("bypass_header", &self.bypass_header)
            .field("bypass_token", &self.bypass_token.as_ref().map(|_| "***"))
            .field("page", &self.page)
            .finish()
    }
}

/// Who is let into the slot that is not live: whoever has the token, or a pass that was made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The request header that carries the token. Default `X-Switcher-Preview`.
    pub header: String,
    /// The cookie that carries a pass. Default `switcher_preview`.
    pub cookie: String,
    /// The file with the token, at least 16 characters. Relative to the configuration file's folder, and in
    /// [`Settings::for_proxy`] no longer.
    pub token_file: PathBuf,
}

/// How `https://` upstreams are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Whether the certificate is verified at all. Default true.
    pub verify: bool,
    /// The name asked for and verified. Default: the upstream's host.
    pub server_name: Option<String>,
    /// Trusted roots in PEM, instead of the system's. Default none.
    pub ca_file: Option<PathBuf>,
}
