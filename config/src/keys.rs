//! Every key of the configuration, declared once: name, type, default and what it does.
//!
//! The sections have the shape of the file. [`crate::parse`] turns them into [`crate::settings`] and back.

mod acme;
mod balance;
mod cache;
mod canary;
mod deploy;
mod limits;
mod matching;
mod middleware;
mod mirror;
mod raw_tcp;
mod tcp;
mod traces;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::node::{Node, Value as Written};
use crate::providers::OPTIONS;
use crate::reader::Reader;
use crate::section::{Setting, Shown, record, section};
use crate::settings::{
    AccessLog, Balance, ErrorPagesFor, Hsts, Listener, LogFormat, SentProxyProtocol, Tls, TlsListener,
};
use crate::values::{
    AccessLogKeys, Authority, Count, DnsKeys, Header, HeaderOrOff, HstsKeys, Limit, ListenerKeys,
    ListenerName, Maybe, OneHookKeys, OneHost, Paths, Positive, Priority, ProbePath, RedactKeys, Secret,
    SecretFile, ServerName, StatusPages, StatusRange, Text, TlsFileKeys, TlsListenerKeys,
};
use crate::words::Protocol;
use crate::{AppName, Bytes, HostPattern, ListenAddress, PathPrefix, Slot, Span, WeightedAddress};

pub(crate) use acme::{AcmeKeys, EabKeys, OnDemandKeys, RetryKeys};
pub(crate) use cache::CacheKeys;
pub(crate) use canary::CanaryKeys;
pub(crate) use limits::{Http2LimitKeys, ProxyLimitKeys};
pub(crate) use matching::{FitsKeys, MatchKeys};
pub(crate) use middleware::{
    BasicAuthKeys, BreakerKeys, BufferKeys, FilesKeys, FixedAnswerKeys, ForwardAuthKeys, InFlightKeys,
    MiddlewareKeys, PathTimeoutKeys, RateLimitKeys, RedirectKeys, ReplaceKeys, RequestHeaderKeys,
    ResponseHeaderKeys, RewriteKeys,
};
pub(crate) use mirror::{AssetFallbackKeys, MirrorKeys, ReleaseAffinityKeys};
pub(crate) use raw_tcp::RawTcpKeys;
pub(crate) use tcp::TcpKeys;
pub(crate) use traces::TracesKeys;

pub(crate) use balance::{OutlierKeys, QueueKeys, RetriesKeys};
pub(crate) use deploy::{
    BakeKeys, DeployKeys, HealthcheckKeys, HookKeys, LEAST_MEMORY, LimitKeys, MigrateKeys, NotifyKeys,
    RetainKeys, SmokeKeys, SnapshotKeys, SwitcherKeys, VerifyKeys, WatchKeys, WebhookKeys, keeps_names,
};

section! {
    /// The configuration of Switcher: one file, read by `switcher-proxy` and `switcher`.
    RootKeys {
        /// Listeners and process-wide rules.
        proxy: ProxyKeys = ProxyKeys::default();
        /// Certificates by ACME; `acme: {email: YOU@YOUR.DOMAIN}` is enough.
        acme: Option<AcmeKeys> = None;
        /// The deployer itself.
        switcher: SwitcherKeys = SwitcherKeys::default();
        /// The applications, by name. A name is a lower-case DNS label.
        apps: Apps = Apps::default();
    }
}

section! {
    /// Listeners and process-wide rules.
    ProxyKeys {
        /// Plain listeners: one address or unix socket, or a list of them and of sections; `[]` means none.
        http: Vec<Listener> = vec![Listener::at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)))];
        /// TLS listeners: one address or unix socket, or a list of them and of sections.
        https: Vec<TlsListener> = Vec::new();
        /// Options of TCP connections.
        tcp: TcpKeys = TcpKeys::default();
        /// Limits on TLS handshakes, over all listeners.
        handshakes: HandshakeKeys = HandshakeKeys::default();
        /// What one client may ask of the proxy, over all applications.
        limits: ProxyLimitKeys = ProxyLimitKeys::default();
        /// The unix socket of the admin API, made with mode 0600.
        admin: PathBuf = PathBuf::from("/run/switcher/admin.sock");
        /// A TCP listener that shows the dashboard, /status, /metrics, /health and /ready.
        status: Option<ListenAddress> = None;
        /// Lets whoever has the token promote and roll back from the dashboard on the status listener; without it, it only shows.
        dashboard: Option<DashboardKeys> = None;
        /// Where the routing state and the certificates are kept.
        data_dir: PathBuf = PathBuf::from("/var/lib/switcher");
        /// Worker threads; 0 means one a core.
        threads: u16 = 0;
        /// How long SIGTERM waits for what is in flight.
        shutdown_timeout: Span = Span::seconds(30);
        /// Networks whose X-Forwarded-*, Forwarded and client_ip_header are believed.
        trusted_proxies: Vec<IpNet> = Vec::new();
        /// A header in which a trusted proxy names the client, such as CF-Connecting-IP.
        client_ip_header: Option<Header> = None;
        /// The access log: `json`, `text` or `off`, or a section.
        access_log: AccessLog = AccessLog::of(LogFormat::Json);
        /// The headers that answers carry.
        headers: HeaderKeys = HeaderKeys::default();
        /// Pages for the proxy's own answers, by status, where no application has one: `{404: pages/nobody.html}`.
        error_pages: StatusPages = StatusPages::default();
        /// What is done with the requests of every application that does not say otherwise.
        middleware: MiddlewareKeys = MiddlewareKeys::default();
        /// How much the response cache holds, over all applications whose middleware says `cache: on`.
        cache: CacheKeys = CacheKeys::default();
        /// Spans of requests, sent to an OpenTelemetry collector; `traces: {otlp: http://127.0.0.1:4318}` is enough.
        traces: Option<TracesKeys> = None;
    }
}

record! {
    /// Who may promote and roll back from the dashboard.
    DashboardKeys, "write for example `dashboard: {token_file: dashboard.token}`" {
        /// The file with the token, at least 16 characters, mode 0600; relative to the configuration file's folder.
        token_file: SecretFile;
    }
}

section! {
    /// Limits on TLS handshakes.
    HandshakeKeys {
        /// How long one may take.
        timeout: Positive = Positive(Span::seconds(10));
        /// How many may be under way at once; further ones wait for their turn within their timeout.
        limit: Limit = Limit(1024);
    }
}

section! {
    /// The headers that answers carry.
    HeaderKeys {
        /// The header that names the slot, or `off`.
        slot: HeaderOrOff = HeaderOrOff(Some("X-Switcher-Slot".into()));
        /// The header that names the release, or `off`.
        release: HeaderOrOff = HeaderOrOff(Some("X-Switcher-Release".into()));
    }
}

section! {
    /// One application: which requests it takes and where its two slots are.
    AppKeys {
        /// Hosts, exact or with `*.` in front; without any, every host.
        hosts: Vec<HostPattern> = Vec::new();
        /// Path prefix.
        path: PathPrefix = PathPrefix::default();
        /// Makes it an application of raw TCP, with an address of its own: bytes are passed on as they come, and what is about requests has no place.
        tcp: Option<RawTcpKeys> = None;
        /// The listeners it is served at, by their names; `default` means those without one. Left out: those alone.
        listeners: Vec<ListenerName> = Vec::new();
        /// What a request must show besides its host and path. Of two that take the same host and path, the one that asks for more gets it.
        r#match: MatchKeys = MatchKeys::default();
        /// Of several that take a request, the one with the highest gets it, before hosts and paths are compared.
        priority: Priority = Priority(0);
        /// Where its certificate comes from: `auto`, `on_demand`, `internal`, `off` or files.
        tls: Tls = Tls::Auto;
        /// Whether plain HTTP answers 308 to https, unless `tls` is off.
        redirect: bool = true;
        /// The one of its hosts that requests for the others are sent on to (308).
        canonical_host: Option<OneHost> = None;
        /// Strict Transport Security: `off`, `ladder` (minutes at first, a year in the end) or a section.
        hsts: Hsts = Hsts::Off;
        /// Roots in PEM that a client's certificate must come from; without them none is asked for.
        client_ca: Option<PathBuf> = None;
        /// Fixed upstream addresses of the slots; left out when they are registered at run time.
        slots: SlotKeys = SlotKeys::default();
        /// The slot that is live before the first switch.
        initial: Slot = Slot::Blue;
        /// How the next upstream of a slot is chosen.
        balance: Balance = Balance::RoundRobin;
        /// Over how long the share of a recovered upstream grows to its weight; `0s`: it gets all of it at once.
        slow_start: Span = Span::seconds(0);
        /// How many requests each upstream is given at once; further ones wait in `queue`. Left out: any number.
        max_in_flight: Option<Limit> = None;
        /// Bounds of the queue for requests that no upstream has room for.
        queue: QueueKeys = QueueKeys::default();
        /// When an upstream that answers badly is left out for a while; left out: never.
        outliers: Option<OutlierKeys> = None;
        /// When a request is tried on another upstream; left out: while no upstream takes the connection.
        retries: Option<RetriesKeys> = None;
        /// How upstreams are probed, in both slots, for ever.
        health: HealthKeys = HealthKeys::default();
        /// How long what is in flight may go on after a switch.
        drain: DrainKeys = DrainKeys::default();
        /// Limits on waiting for upstreams.
        timeouts: TimeoutKeys = TimeoutKeys::default();
        /// Bounds of the queue that holds requests while the application is paused.
        pause: PauseKeys = PauseKeys::default();
        /// Pages by status, range or class, files relative to the configuration file's folder: `{502-504: pages/sorry.html}`.
        error_pages: StatusPages = StatusPages::default();
        /// Whose answers they replace: `proxy`, its own alone, or `all`, the application's too.
        error_pages_for: ErrorPagesFor = ErrorPagesFor::Proxy;
        /// What is served while the application is stopped.
        maintenance: MaintenanceKeys = MaintenanceKeys::default();
        /// What is done with requests on their way to an upstream and with their answers.
        middleware: MiddlewareKeys = MiddlewareKeys::default();
        /// What is done with those of some paths: `{/admin: {allow: [10.0.0.0/8]}}`. The longest path that fits counts; what it leaves out is as in `middleware`. `timeouts` may stand there too.
        paths: Paths = Paths::default();
        /// Copies of live requests to the slot that is not live, to compare the answers; left out: none.
        mirror: Option<MirrorKeys> = None;
        /// Assets that a slot answers 404 and the other one may have; left out: no other slot is asked. `{}` is enough for names with a hash in them.
        asset_fallback: Option<AssetFallbackKeys> = None;
        /// A visitor who began on a release stays there for a while after a switch; left out: everybody moves at once.
        release_affinity: Option<ReleaseAffinityKeys> = None;
        /// Who is let into the slot that is not live; left out: nobody.
        preview: Option<PreviewKeys> = None;
        /// How https:// upstreams are verified.
        upstream_tls: UpstreamTlsKeys = UpstreamTlsKeys::default();
        /// How upstreams are told the client's address before the first request of a connection: `off`, `v1` or `v2` of the PROXY protocol.
        upstream_proxy_protocol: SentProxyProtocol = SentProxyProtocol::Off;
        /// How new versions get into its slots; left out when they are put there by other means.
        deploy: Option<DeployKeys> = None;
    }
}

section! {
    /// Fixed upstream addresses of the slots.
    SlotKeys {
        /// The upstreams of the blue slot: ip:port, name:port or unix:/path, with h2c:// or https:// in front or without.
        blue: Option<Vec<WeightedAddress>> = None;
        /// The upstreams of the green slot.
        green: Option<Vec<WeightedAddress>> = None;
    }
}

/// Declares a section that holds the keys of a check, and more: `health` and `health.live` share them.
macro_rules! check_section {
    ($(#[doc = $about:literal])+ $name:ident { $($more:tt)* }) => {
        section! {
            $(#[doc = $about])+
            $name {
                /// What is spoken: `http`, `tcp` (a connection that opens) or `grpc` (its health protocol). Default `http`; of an application with `tcp`, `tcp`.
                protocol: Maybe<Protocol> = Maybe(None);
                /// http: the path and query asked for. Default `/health`.
                path: Maybe<ProbePath> = Maybe(None);
                /// http: the Host sent. Default: the upstream's address.
                host: Maybe<Authority> = Maybe(None);
                /// http: the status, or range of them, that is a success. Default `200-299`.
                status: Maybe<StatusRange> = Maybe(None);
                /// http: a text the body must contain.
                body: Maybe<Text> = Maybe(None);
                /// grpc: the service asked for. Default: the server as a whole.
                service: Maybe<Text> = Maybe(None);
                $($more)*
            }
        }
    };
}

check_section! {
    /// A second check beside the first: whether an upstream is alive.
    CheckKeys {}
}

check_section! {
    /// How upstreams are probed.
    HealthKeys {
        /// From the start of one probe to the next, with a jitter of a tenth.
        interval: Positive = Positive(Span::seconds(1));
        /// How long one probe may take.
        timeout: Positive = Positive(Span::seconds(2));
        /// Successes in a row that make an upstream healthy.
        rise: Count = Count(2);
        /// Failures in a row that make an upstream unhealthy.
        fall: Count = Count(3);
        /// A liveness check beside the readiness check.
        live: Option<CheckKeys> = None;
    }
}

section! {
    /// How long each kind of exchange may go on after its slot went standby.
    DrainKeys {
        /// Ordinary requests and downloads.
        requests: Span = Span::seconds(30);
        /// Requests whose body is long or of unknown length.
        uploads: Span = Span::seconds(600);
        /// Server-sent events, gRPC and other endless answers.
        streams: Span = Span::seconds(30);
        /// WebSockets.
        websockets: Span = Span::seconds(30);
        /// Connections of an application with `tcp`.
        connections: Span = Span::seconds(600);
        /// The longest window over which closing is spread.
        spread: Span = Span::seconds(5);
    }
}

section! {
    /// Limits on waiting for upstreams.
    TimeoutKeys {
        /// To open a connection, TLS included.
        connect: Positive = Positive(Span::seconds(5));
        /// From the whole request sent to the head of the answer.
        response: Positive = Positive(Span::seconds(60));
        /// Between two reads or writes of a body. Streams and WebSockets are exempt.
        idle: Positive = Positive(Span::seconds(60));
        /// How long an idle upstream connection is kept for reuse; `0` means never.
        pool: Span = Span::millis(1500);
    }
}

section! {
    /// Bounds of the queue that holds requests while the application is paused.
    PauseKeys {
        /// How long a request is held at most.
        max: Span = Span::seconds(30);
        /// How many requests are held at most.
        requests: u32 = 1000;
        /// How much memory their heads may take.
        memory: Bytes = Bytes(16 << 20);
    }
}

section! {
    /// What is served while the application is stopped.
    MaintenanceKeys {
        /// The request header that lets the operator through.
        bypass_header: Header = Header("X-Switcher-Bypass".into());
        /// The value it must carry, a secret; without one nobody gets through.
        bypass_token: Option<Secret> = None;
        /// The page that is served, a file relative to the configuration file's folder. Default: one of the proxy's own.
        page: Option<PathBuf> = None;
    }
}

record! {
    /// Who is let into the slot that is not live.
    PreviewKeys, "write for example `preview: {token_file: preview.token}`" {
        /// The request header that carries the token.
        header: Header = Header("X-Switcher-Preview".into());
        /// The cookie that carries a pass; `switcher preview` makes a link that sets it.
        cookie: Header = Header("switcher_preview".into());
        /// The file with the token, at least 16 characters, mode 0600; relative to the configuration file's folder.
        token_file: SecretFile;
    }
}

section! {
    /// How https:// upstreams are verified.
    UpstreamTlsKeys {
        /// Whether the certificate is verified at all.
        verify: bool = true;
        /// The name asked for and verified. Default: the upstream's host.
        server_name: Option<ServerName> = None;
        /// Trusted roots in PEM, instead of the system's.
        ca_file: Option<PathBuf> = None;
    }
}

/// The applications, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Apps(pub(crate) BTreeMap<AppName, AppKeys>);

impl Setting for Apps {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) && !node.is_null() {
            let message = format!("this takes the applications by name, and it is {}", node.kind());
            reader.wrong(
                node,
                message,
                "write each under its name, for example `shop: {hosts: [shop.example.com]}`",
            );
            return None;
        }
        let names: Vec<&str> = node.entries().iter().map(|(key, _)| key.text.as_str()).collect();
        let entries = reader.section(node, &names)?;
        let read: Vec<Option<(AppName, AppKeys)>> = entries
            .iter()
            .map(|(key, node)| {
                reader.under(&key.text, |reader| {
                    let name = key.text.parse::<AppName>();
                    if name.is_err() {
                        let message = format!("{} is no name of an application", crate::problem::quoted(&key.text));
                        let hint = "use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends";
                        reader.wrong_key(key, message, hint);
                    }
                    let keys = AppKeys::read(node, reader);
                    Some((name.ok()?, keys?))
                })
            })
            .collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }

    fn show(&self) -> Shown {
        Shown::Section(self.0.iter().map(|(name, app)| (name.to_string(), app.show())).collect())
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
            "additionalProperties": AppKeys::schema(),
        })
    }
}

/// The keys whose values are secrets. (A test compares this with the declarations.)
pub(crate) const SECRET_KEYS: &[&str] = &["bypass_token"];

/// Words that make a key look like a secret, wherever somebody has put it.
const SECRET_WORDS: &[&str] = &["token", "secret", "passw", "hmac", "private key"];

/// Keys that hold values of the user's making, secret or not, or that such a value is easily written to.
const VALUE_KEYS: &[&str] = &["env", "database_url", "required_env", "notify", "headers", "request_headers"];

/// Whether a key's value is a secret, or would be if the key were spelt right.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let meant = |known| crate::reader::meant(key, known).is_some();
    let misspelt = || (meant(SECRET_KEYS) || meant(VALUE_KEYS)) && section_of(key).is_none();
    looks_secret(key) || VALUE_KEYS.contains(&key) || misspelt()
}

/// Whether a line of text, which may be no YAML, begins what holds values of the user's making.
pub(crate) fn begins_values(line: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    VALUE_KEYS.iter().any(|key| {
        line.match_indices(key).any(|(place, _)| {
            let after = line[place + key.len()..].trim_start_matches(['"', '\'', ' ']);
            !line[..place].ends_with(inner) && after.starts_with(':')
        })
    })
}

/// Whether a line of text, which may be no YAML, may hold a secret.
pub(crate) fn looks_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| line.contains(word))
}

/// Whether a key that is none of its section's may hold a credential, because of where it stands.
pub(crate) fn is_stray_credential(section: &str, key: &str) -> bool {
    match section {
        "dns" => !DnsKeys::KEYS.contains(&key) && !OPTIONS.contains(&key),
        "eab" => !EabKeys::KEYS.contains(&key),
        _ => false,
    }
}

/// The section in which a key stands that was met elsewhere.
pub(crate) fn section_of(key: &str) -> Option<&'static str> {
    let sections: &[(&str, &[&str])] = &[
        ("the file's top level", RootKeys::KEYS),
        ("`proxy`", ProxyKeys::KEYS),
        ("`proxy.limits`", ProxyLimitKeys::KEYS),
        ("`proxy.limits.http2`", Http2LimitKeys::KEYS),
        ("`acme`", AcmeKeys::KEYS),
        ("an application", AppKeys::KEYS),
        ("`proxy.access_log`", AccessLogKeys::KEYS),
        ("`access_log.redact`", RedactKeys::KEYS),
        ("`health`", HealthKeys::KEYS),
        ("`drain`", DrainKeys::KEYS),
        ("`timeouts`", TimeoutKeys::KEYS),
        ("`maintenance`", MaintenanceKeys::KEYS),
        ("`preview`", PreviewKeys::KEYS),
        ("`mirror`", MirrorKeys::KEYS),
        ("`asset_fallback`", AssetFallbackKeys::KEYS),
        ("`release_affinity`", ReleaseAffinityKeys::KEYS),
        ("`proxy.dashboard`", DashboardKeys::KEYS),
        ("`proxy.traces`", TracesKeys::KEYS),
        ("`upstream_tls`", UpstreamTlsKeys::KEYS),
        ("`slots`", SlotKeys::KEYS),
        ("`queue`", QueueKeys::KEYS),
        ("`outliers`", OutlierKeys::KEYS),
        ("`retries`", RetriesKeys::KEYS),
        ("`proxy.tcp`", TcpKeys::KEYS),
        ("`tcp` of an application", RawTcpKeys::KEYS),
        ("`middleware`", MiddlewareKeys::KEYS),
        ("`rate_limit`", RateLimitKeys::KEYS),
        ("`basic_auth`", BasicAuthKeys::KEYS),
        ("`forward_auth`", ForwardAuthKeys::KEYS),
        ("`breaker`", BreakerKeys::KEYS),
        ("`rewrite`", RewriteKeys::KEYS),
        ("an item of `proxy.http`", ListenerKeys::KEYS),
        ("an item of `proxy.https`", TlsListenerKeys::KEYS),
        ("`tls`", TlsFileKeys::KEYS),
        ("`hsts`", HstsKeys::KEYS),
        ("`acme.eab`", EabKeys::KEYS),
        ("`acme.on_demand`", OnDemandKeys::KEYS),
        ("`acme.dns`", DnsKeys::KEYS),
        ("`acme.dns`", OPTIONS),
        ("`acme.retry`", RetryKeys::KEYS),
        ("`switcher`", SwitcherKeys::KEYS),
        ("`deploy`", DeployKeys::KEYS),
        ("`deploy.migrate`", MigrateKeys::KEYS),
        ("`deploy.smoke`", SmokeKeys::KEYS),
        ("`deploy.snapshot`", SnapshotKeys::KEYS),
        ("`switcher.notify`", NotifyKeys::KEYS),
        ("`deploy.verify`", VerifyKeys::KEYS),
        ("`deploy.bake`", BakeKeys::KEYS),
        ("`deploy.limits`", LimitKeys::KEYS),
        ("`deploy.healthcheck`", HealthcheckKeys::KEYS),
        ("`deploy.retain`", RetainKeys::KEYS),
        ("`deploy.watch`", WatchKeys::KEYS),
        ("`switcher.webhook`", WebhookKeys::KEYS),
        ("`deploy.hooks`", HookKeys::KEYS),
        ("a hook", OneHookKeys::KEYS),
    ];
    sections.iter().find(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name)
}
