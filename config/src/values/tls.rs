//! What TLS is made of in the file: where a certificate comes from, a listener's versions and cipher suites,
//! Strict Transport Security.
//!
//! Each may be one word or a section. Used by the declarations in [`crate::keys`].

use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Value, json};

use super::{ListenerName, OneOrMore, SecretFile, leaf, listen, or_name, span_schema, text_schema};
use crate::node::{Node, Value as Written, Veil};
use crate::reader::{Reader, list, meant, shown};
use crate::section::{Setting, Shown, record};
use crate::settings::{Hsts, Listener, ProxyProtocol, SocketMode, Tls, TlsListener, TlsVersion};
use crate::words::choice;
use crate::{HostPattern, ListenPlace, Span};

/// The forms of `tls` that are one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TlsWord {
    Auto,
    OnDemand,
    Internal,
    Off,
}
choice!(TlsWord {
    "auto" => TlsWord::Auto, "on_demand" => TlsWord::OnDemand, "internal" => TlsWord::Internal, "off" => TlsWord::Off
} or_else "or name your own files: `tls: {certificate: FILE, key: FILE}`");

record! {
    /// A certificate from files in PEM, read again when they change.
    TlsFileKeys, "write `tls: {certificate: FILE, key: FILE}`, both in PEM" {
        /// The certificate chain, leaf first.
        certificate: PathBuf;
        /// The private key.
        key: SecretFile;
        /// An OCSP response in DER that is stapled, read again as well.
        ocsp: Option<PathBuf> = None;
    }
}

impl Setting for Tls {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            return Some(match TlsWord::read(node, reader)? {
                TlsWord::Auto => Self::Auto,
                TlsWord::OnDemand => Self::OnDemand,
                TlsWord::Internal => Self::Internal,
                TlsWord::Off => Self::Off,
            });
        }
        let TlsFileKeys { certificate, key, ocsp } = TlsFileKeys::read(node, reader)?;
        Some(Self::Files { certificate, key: key.0, ocsp })
    }

    fn show(&self) -> Shown {
        match self.clone() {
            Self::Auto => TlsWord::Auto.show(),
            Self::OnDemand => TlsWord::OnDemand.show(),
            Self::Internal => TlsWord::Internal.show(),
            Self::Off => TlsWord::Off.show(),
            Self::Files { certificate, key, ocsp } => {
                TlsFileKeys { certificate, key: SecretFile(key), ocsp }.show()
            }
        }
    }

    fn schema() -> Value {
        json!({"anyOf": [TlsWord::schema(), TlsFileKeys::schema()]})
    }
}

/// A cipher suite, by its names: rustls's, the IANA registry's, OpenSSL's; and its version.
struct Suite {
    name: &'static str,
    iana: &'static str,
    openssl: &'static str,
    version: TlsVersion,
}

const fn tls13(name: &'static str, iana: &'static str) -> Suite {
    Suite { name, iana, openssl: iana, version: TlsVersion::Tls13 }
}

const fn tls12(name: &'static str, openssl: &'static str) -> Suite {
    Suite { name, iana: name, openssl, version: TlsVersion::Tls12 }
}

/// Every suite there is.
const SUITES: [Suite; 9] = [
    tls13("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    tls13("TLS13_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    tls13("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    tls12("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    tls12("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    tls12("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    tls12("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    tls12("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    tls12("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
];

/// A cipher suite by rustls's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cipher(pub(crate) String);

impl Setting for Cipher {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`TLS13_AES_256_GCM_SHA384`")?;
        if let Some(suite) = SUITES.iter().find(|suite| suite.name == text || suite.iana == text) {
            return Some(Self(suite.name.to_owned()));
        }
        let names = SUITES.map(|suite| suite.name);
        let openssl = SUITES.iter().find(|suite| suite.openssl == text).map(|suite| suite.name);
        // The names are upper case, and guessing compares in lower case.
        let lower = names.map(str::to_ascii_lowercase);
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let close = openssl.map(str::to_owned).or_else(|| meant(text, &lower).map(str::to_ascii_uppercase));
        let hint = match close.filter(|_| node.veil == Veil::Open) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the suites are {}", list(&names)),
        };
        reader.wrong(node, format!("{} is no cipher suite that is served", shown(node, text)), hint);
        None
    }

    fn show(&self) -> Shown {
        Shown::Text(self.0.clone())
    }

    fn schema() -> Value {
        let mut words: Vec<&str> = SUITES.iter().flat_map(|suite| [suite.name, suite.iana]).collect();
        words.dedup();
        or_name(json!({"enum": words}))
    }
}

record! {
    /// A TLS listener and what it speaks.
    TlsListenerKeys, "write for example `https: {listen: 0.0.0.0:443, min_version: \"1.3\"}`" {
        /// Where it listens: a TCP address, or `unix:/path`.
        listen: ListenPlace;
        /// What applications call it in `listeners` that are served there; those that name none are not.
        name: Option<ListenerName> = None;
        /// The lowest version of TLS: `1.2` or `1.3`.
        min_version: TlsVersion = TlsVersion::Tls12;
        /// Cipher suites, the preferred one first. Default: all that are safe.
        ciphers: Option<OneOrMore<Cipher>> = None;
        /// Whether connections begin with the client's address: `off`, `require` or `accept` (only from trusted_proxies).
        proxy_protocol: ProxyProtocol = ProxyProtocol::Off;
        /// Who may open a unix socket, in octal. Default 660: its owner and its group.
        mode: Option<SocketMode> = None;
    }
}

impl Setting for TlsListener {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            let listen = reader.parsed(node, "`0.0.0.0:443`", ListenPlace::from_str)?;
            return Some(Self {
                listener: Listener::at(listen),
                min_version: TlsVersion::Tls12,
                ciphers: None,
            });
        }
        let TlsListenerKeys { listen, name, min_version, ciphers, proxy_protocol, mode } =
            TlsListenerKeys::read(node, reader)?;
        let listener = listen::listener(listen, name, proxy_protocol, mode, node, reader);
        let ciphers: Option<Vec<String>> =
            ciphers.map(|list| list.0.into_iter().map(|name| name.0).collect());
        if let (Some(ciphers), Some(written)) = (&ciphers, node.get("ciphers")) {
            reader.under("ciphers", |reader| suites_for_all(min_version, ciphers, written, reader))?;
        }
        Some(Self { listener: listener?, min_version, ciphers })
    }

    fn show(&self) -> Shown {
        let Self { listener, min_version, ciphers } = self.clone();
        if min_version == TlsVersion::Tls12
            && ciphers.is_none()
            && listener == Listener::at(listener.listen.clone())
        {
            return listener.listen.show();
        }
        let ciphers = ciphers.map(|names| OneOrMore(names.into_iter().map(Cipher).collect()));
        let (mode, proxy_protocol) = (listen::mode_of(&listener), listener.proxy_protocol);
        let name = listener.name.map(ListenerName);
        TlsListenerKeys { listen: listener.listen, name, min_version, ciphers, proxy_protocol, mode }.show()
    }

    fn schema() -> Value {
        json!({"anyOf": [ListenPlace::schema(), TlsListenerKeys::schema()]})
    }
}

/// Every version that may be spoken needs a suite: one without would be switched off in silence.
fn suites_for_all(lowest: TlsVersion, ciphers: &[String], node: &Node, reader: &mut Reader) -> Option<()> {
    let has = |version| {
        SUITES.iter().any(|suite| suite.version == version && ciphers.iter().any(|c| c == suite.name))
    };
    if !has(TlsVersion::Tls13) {
        let message = "none of these suites is for TLS 1.3, so that version would be off";
        let hint =
            "add `TLS13_AES_256_GCM_SHA384`, `TLS13_AES_128_GCM_SHA256` and `TLS13_CHACHA20_POLY1305_SHA256`";
        reader.wrong(node, message, hint);
        return None;
    }
    if lowest == TlsVersion::Tls12 && !has(TlsVersion::Tls12) {
        let message = "all of these suites are for TLS 1.3, but `min_version` is 1.2";
        let hint = "write `min_version: \"1.3\"`, or add a suite for TLS 1.2 such as `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384`";
        reader.wrong(node, message, hint);
        return None;
    }
    Some(())
}

/// The forms of `hsts` that are one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HstsWord {
    Off,
    Ladder,
}
choice!(HstsWord { "off" => HstsWord::Off, "ladder" => HstsWord::Ladder }
    or_else "or write how long: `hsts: {max_age: 365d}`");

/// How long a browser is to remember something: whole seconds, and 0 makes it forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaxAge(Span);

impl FromStr for MaxAge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span = text.parse().map_err(|error: crate::units::InvalidSpan| error.to_string())?;
        match span.0.subsec_nanos() {
            0 => Ok(Self(span)),
            _ => Err(format!("{text:?} is no whole number of seconds; write for example `365d`")),
        }
    }
}
leaf!(MaxAge, "365d", |v| Shown::Text(v.0.to_string()), span_schema());

record! {
    /// Strict Transport Security that is always the same.
    HstsKeys, "write for example `hsts: {max_age: 365d}`, or `hsts: ladder` to begin with minutes" {
        /// How long a browser is to insist on https; `0` makes it forget.
        max_age: MaxAge;
        /// Whether for all subdomains as well.
        include_subdomains: bool = false;
        /// Whether browsers may build it in, which cannot be taken back for months.
        preload: bool = false;
    }
}

/// What browsers ask of whoever wants to be built in.
const PRELOAD_AGE: Span = Span::seconds(31_536_000);

impl Setting for Hsts {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            return Some(match HstsWord::read(node, reader)? {
                HstsWord::Off => Self::Off,
                HstsWord::Ladder => Self::Ladder,
            });
        }
        let HstsKeys { max_age: MaxAge(max_age), include_subdomains, preload } =
            HstsKeys::read(node, reader)?;
        let lacks = if !include_subdomains {
            "include_subdomains: true"
        } else if max_age < PRELOAD_AGE {
            "max_age: 365d"
        } else {
            ""
        };
        if let Some(written) = node.get("preload").filter(|_| preload && !lacks.is_empty()) {
            let message = "browsers build in only what holds for all subdomains and for a year or more";
            let hint = format!("write `{lacks}` beside it, or leave `preload` out");
            reader.under("preload", |reader| reader.wrong(written, message, hint));
            return None;
        }
        Some(Self::Fixed { max_age, include_subdomains, preload })
    }

    fn show(&self) -> Shown {
        match *self {
            Self::Off => HstsWord::Off.show(),
            Self::Ladder => HstsWord::Ladder.show(),
            Self::Fixed { max_age, include_subdomains, preload } => {
                HstsKeys { max_age: MaxAge(max_age), include_subdomains, preload }.show()
            }
        }
    }

    fn schema() -> Value {
        json!({"anyOf": [HstsWord::schema(), HstsKeys::schema()]})
    }
}

/// A host that requests for others are sent on to: one name, no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneHost(pub(crate) String);

impl FromStr for OneHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(HostPattern::Exact(name)) => Ok(Self(name)),
            Ok(HostPattern::Wildcard(_)) => Err(format!(
                "{text:?} is a wildcard, and requests can be sent on to one host only; write for example `www.example.com`"
            )),
            Err(_) => Err(format!(
                "{text:?} is no host; write a name without port or path, for example `www.example.com`"
            )),
        }
    }
}
leaf!(OneHost, "www.example.com", |v| Shown::Text(v.0.clone()), text_schema("www.example.com"));
