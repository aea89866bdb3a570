//! The kinds of values that keys take: how each is read, shown and described.
//!
//! The vocabulary's own types are read by their own `FromStr`; what only the file needs stands here, what only
//! certificates need below in `acme`, `dns` and `tls`, and what only the deployer needs in `deploy`, `container`,
//! `command` and `environment`. Used by the declarations in [`crate::keys`].

mod access_log;
mod acme;
mod balance;
mod cache;
mod canary;
mod command;
mod compress;
mod container;
mod cors;
mod deploy;
mod dns;
mod environment;
mod forward_auth;
mod limits;
mod listen;
mod matching;
mod middleware;
mod mirror;
mod pages;
mod tls;
mod web;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::address::is_dns_name;
use crate::node::{Node, Value as Written};
use crate::reader::Reader;
use crate::section::{Setting, Shown};
use crate::{Bytes, HostPattern, ListenAddress, PathPrefix, Span, UpstreamAddress};

pub(crate) use access_log::{AccessLogKeys, RedactKeys};
pub(crate) use acme::{Email, OneOrMore, Resolver, SecretFile, WebAddress, is_a_key, may_hold_a_secret};
pub(crate) use balance::CookieName;
pub(crate) use canary::CanarySteps;
pub(crate) use command::{Entrypoint, HealthcheckCommand, OneHookKeys, Words};
pub(crate) use compress::CompressKeys;
pub(crate) use container::{Cpus, ExtraHost, MemoryLimit, Volume};
pub(crate) use deploy::{
    BakeSpan, DockerHost, ImageName, LeaseSpan, LookSpan, Network, Platform, Port, Repository, SecretName,
    Tag, Unique, User, VariableName,
};
pub(crate) use dns::DnsKeys;
pub(crate) use environment::{DatabaseUrl, Environment, Headers, Labels};
pub(crate) use forward_auth::{AskedUrl, Copied};
pub(crate) use limits::{BufferSize, HeadSize, HeaderCount, Window};
pub(crate) use listen::{DEFAULT as UNNAMED, ListenerKeys, ListenerName, Probes};
pub(crate) use matching::{MethodName, Priority, WantedHeaders, WantedParameters};
pub(crate) use middleware::{
    AnswerStatus, ClearHeaders, HiddenHeaders, Line, NoFile, PathKeys, Paths, Pattern, RedirectStatus,
};
pub(crate) use mirror::AssetName;
pub(crate) use pages::StatusPages;
pub(crate) use tls::{HstsKeys, OneHost, TlsFileKeys, TlsListenerKeys};
pub(crate) use web::{HookUrl, PublicUrl};

/// A text that holds a name to replace: an editor must accept it wherever a value is expected.
pub(crate) fn or_name(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "string", "pattern": "\\$\\{"}]})
}

/// Declares a setting that is read from text: its type, an example, how it is shown, its JSON Schema.
macro_rules! leaf {
    ($type:ty, $example:literal, |$value:ident| $show:expr, $schema:expr) => {
        impl Setting for $type {
            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                reader.parsed(node, concat!("`", $example, "`"), <$type as FromStr>::from_str)
            }

            fn show(&self) -> Shown {
                let $value = self;
                $show
            }

            fn schema() -> Value {
                $schema
            }
        }
    };
}

use leaf;

/// A text with an example.
fn text_schema(example: &str) -> Value {
    json!({"type": "string", "examples": [example]})
}

/// A number that may be written bare.
fn number_schema(least: u32, most: u32) -> Value {
    or_name(json!({"type": "integer", "minimum": least, "maximum": most}))
}

const SPAN_PATTERN: &str = "^(0|(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?)$";

fn span_schema() -> Value {
    or_name(json!({"type": ["string", "integer"], "pattern": SPAN_PATTERN, "examples": ["1m30s"]}))
}

leaf!(ListenAddress, "0.0.0.0:80", |v| Shown::Text(v.to_string()), text_schema("0.0.0.0:80"));
leaf!(HostPattern, "shop.example.com", |v| Shown::Text(v.to_string()), text_schema("*.example.com"));
leaf!(PathPrefix, "/api", |v| Shown::Text(v.to_string()), text_schema("/api"));
leaf!(UpstreamAddress, "127.0.0.1:8001", |v| Shown::Text(v.to_string()), text_schema("127.0.0.1:8001"));
leaf!(Span, "30s", |v| Shown::Text(v.to_string()), span_schema());
leaf!(
    Bytes,
    "16MiB",
    |v| Shown::Text(v.to_string()),
    json!({"type": ["string", "integer"], "examples": ["16MiB"]})
);

/// A length of time above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positive(pub(crate) Span);

impl FromStr for Positive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span = text.parse().map_err(|error: crate::units::InvalidSpan| error.to_string())?;
        if span.0.is_zero() {
            Err(format!("{text:?} is too short; it must be above 0"))
        } else {
            Ok(Self(span))
        }
    }
}
leaf!(Positive, "30s", |v| Shown::Text(v.0.to_string()), span_schema());

fn whole<T: FromStr>(text: &str, least: u32, most: u32) -> Result<T, String> {
    let wrong = || format!("{text:?} is no whole number from {least} to {most}");
    let number: u32 = text.parse().map_err(|_| wrong())?;
    if number < least || number > most {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

impl Setting for u16 {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        reader.parsed(node, "`4`", |text| whole(text, 0, u32::from(Self::MAX)))
    }

    fn show(&self) -> Shown {
        Shown::Bare((*self).into())
    }

    fn schema() -> Value {
        number_schema(0, u32::from(Self::MAX))
    }
}

impl Setting for u32 {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        reader.parsed(node, "`1000`", |text| whole(text, 0, Self::MAX))
    }

    fn show(&self) -> Shown {
        Shown::Bare((*self).into())
    }

    fn schema() -> Value {
        number_schema(0, Self::MAX)
    }
}

/// How many in a row: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u16);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole(text, 1, 1000).map(Self)
    }
}
leaf!(Count, "2", |v| Shown::Bare(v.0.into()), number_schema(1, 1000));

impl Setting for bool {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        reader.parsed(node, "`true`", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(format!("{text:?} is neither `true` nor `false`")),
        })
    }

    fn show(&self) -> Shown {
        Shown::Bare((*self).into())
    }

    fn schema() -> Value {
        or_name(json!({"type": "boolean"}))
    }
}

impl Setting for PathBuf {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`/var/lib/switcher`")?;
        if text.is_empty() || text.contains(['\0', '\n']) {
            let message = "the path is empty, or holds a zero byte or a line break";
            reader.wrong(node, message, "name a file or folder, for example `/var/lib/switcher`");
            return None;
        }
        Some(Self::from(text))
    }

    fn show(&self) -> Shown {
        Shown::Text(self.to_string_lossy().into_owned())
    }

    fn schema() -> Value {
        json!({"type": "string", "minLength": 1})
    }
}

impl Setting for IpNet {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        reader.parsed(node, "`10.0.0.0/8`", |text| {
            let net = text.parse::<Self>().ok().or_else(|| text.parse::<IpAddr>().ok().map(Self::from));
            net.ok_or_else(|| {
                format!(
                    "{text:?} is no network; write for example `10.0.0.0/8`, `fd00::/8` or one IP address"
                )
            })
        })
    }

    fn show(&self) -> Shown {
        Shown::Text(self.to_string())
    }

    fn schema() -> Value {
        text_schema("10.0.0.0/8")
    }
}

/// The most of something at once: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) u32);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole(text, 1, u32::MAX).map(Self)
    }
}
leaf!(Limit, "20", |v| Shown::Bare(v.0.into()), number_schema(1, u32::MAX));

/// The name of a header (RFC 9110 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header(pub(crate) String);

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if !text.is_empty() && text.bytes().all(token) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no name of a header; use letters, digits and `-`, for example `X-Client-Ip`"
            ))
        }
    }
}
leaf!(Header, "X-Client-Ip", |v| Shown::Text(v.0.clone()), text_schema("X-Client-Ip"));

/// The name of a header, or `off`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderOrOff(pub(crate) Option<String>);

impl FromStr for HeaderOrOff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "off" | "false") {
            return Ok(Self(None));
        }
        text.parse().map(|Header(name)| Self(Some(name)))
    }
}
leaf!(
    HeaderOrOff,
    "X-Switcher-Slot",
    |v| Shown::Text(v.0.clone().unwrap_or_else(|| "off".into())),
    json!({"anyOf": [text_schema("X-Switcher-Slot"), {"const": false}]})
);

/// A text that is never shown. It travels in a header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Setting for Secret {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`${BYPASS_TOKEN}`")?;
        if text.is_empty() || text.trim() != text || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            reader.wrong(
                node,
                "the secret is empty, begins or ends with a blank, or holds more than printable ASCII",
                "make one with `openssl rand -hex 16`",
            );
            return None;
        }
        Some(Self(text.to_owned()))
    }

    fn show(&self) -> Shown {
        Shown::Secret
    }

    fn schema() -> Value {
        json!({"type": ["string", "number", "boolean"], "writeOnly": true, "examples": ["${BYPASS_TOKEN}"]})
    }
}

/// The path and query of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbePath(pub(crate) String);

impl FromStr for ProbePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no path to ask for; it begins with `/` and has no blank or `#`, for example `/health`"
            ))
        }
    }
}
leaf!(ProbePath, "/health", |v| Shown::Text(v.0.clone()), text_schema("/health"));

/// A host name or IP address, with a port or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority(pub(crate) String);

impl FromStr for Authority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |p: &str| p.parse::<u16>().is_ok();
        let host = text.rsplit_once(':').filter(|(_, p)| port(p)).map_or(text, |(host, _)| host);
        let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if v6.map_or_else(|| is_dns_name(host), |h| h.parse::<std::net::Ipv6Addr>().is_ok()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no host; write for example `shop.example.com`"))
        }
    }
}
leaf!(Authority, "shop.example.com", |v| Shown::Text(v.0.clone()), text_schema("shop.example.com"));

/// The name in an upstream's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerName(pub(crate) String);

impl FromStr for ServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_dns_name(text) || text.parse::<IpAddr>().is_ok() {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!(
                "{text:?} is no name of a server; write for example `app.internal`, without scheme and port"
            ))
        }
    }
}
leaf!(ServerName, "app.internal", |v| Shown::Text(v.0.clone()), text_schema("app.internal"));

/// The lowest and the highest status that is a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusRange(pub(crate) u16, pub(crate) u16);

impl FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (whole(low.trim(), 100, 599), whole(high.trim(), 100, 599)) {
            (Ok(low), Ok(high)) if low <= high => Ok(Self(low, high)),
            _ => Err(format!("{text:?} is no range of statuses; write for example `200-299` or `204`")),
        }
    }
}
leaf!(
    StatusRange,
    "200-299",
    |v| if v.0 == v.1 { Shown::Bare(v.0.into()) } else { Shown::Text(format!("{}-{}", v.0, v.1)) },
    or_name(
        json!({"type": ["string", "integer"], "pattern": "^\\d{3}( *- *\\d{3})?$", "minimum": 100, "maximum": 599})
    )
);

/// Any text that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err(format!("{text:?} is empty; leave the key out instead"))
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}
leaf!(Text, "ok", |v| Shown::Text(v.0.clone()), json!({"type": ["string", "number", "boolean"]}));

/// A value that may be missing; then its key is left out of `show`, because not every check has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T: Setting> Setting for Maybe<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        T::read(node, reader).map(Some).map(Self)
    }

    fn show(&self) -> Shown {
        self.0.as_ref().map_or(Shown::Absent, Setting::show)
    }

    fn schema() -> Value {
        T::schema()
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if node.is_null() { Some(None) } else { T::read(node, reader).map(Some) }
    }

    fn show(&self) -> Shown {
        self.as_ref().map_or(Shown::Null, Setting::show)
    }

    fn schema() -> Value {
        json!({"anyOf": [T::schema(), {"type": "null"}]})
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Written::Sequence(items) => {
                let read: Vec<Option<T>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| reader.under(&format!("[{index}]"), |reader| T::read(item, reader)))
                    .collect();
                read.into_iter().collect()
            }
            Written::Scalar { .. } | Written::Mapping(_) => Some(vec![T::read(node, reader)?]),
        }
    }

    fn show(&self) -> Shown {
        Shown::List(self.iter().map(Setting::show).collect())
    }

    fn schema() -> Value {
        json!({"anyOf": [T::schema(), {"type": "array", "items": T::schema()}]})
    }
}
