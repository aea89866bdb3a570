//! The keys that take one word out of a few: how each is read, shown and described.
//!
//! A bare `off` is a word, also after a YAML 1.1 tool has rewritten it to `false`. Used by the declarations
//! in [`crate::keys`].

use serde_json::{Value, json};

use crate::node::{Node, Veil};
use crate::reader::{Reader, list, meant, shown};
use crate::request::Method;
use crate::section::Shown;
use crate::settings::{
    ChallengeChoice, ErrorPagesFor, Group, KeyChoice, NotifyEvent, OnUnverified, ProxyProtocol, RawTls,
    RetryOn, RuntimeKind, SentProxyProtocol, TlsVersion, Workers,
};
use crate::values::or_name;
use crate::{OnInconclusive, Slot};

/// A word out of a few.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
    /// What else the key takes that is no word; empty for nothing.
    const OR_ELSE: &'static str = "";
}

pub(crate) fn read_choice<T: Choice>(node: &Node, reader: &mut Reader) -> Option<T> {
    let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
    let text = reader.text(node, &format!("`{}`", words[0]))?;
    // A YAML 1.1 tool that rewrites the file turns a bare `off` into `false`.
    let text = if text == "false" && words.contains(&"off") { "off" } else { text };
    let found = T::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let close = meant(text, &words).filter(|_| node.veil == Veil::Open);
        let hint = close.map_or_else(|| T::OR_ELSE.to_owned(), |word| format!("did you mean `{word}`?"));
        reader.wrong(node, format!("{} is none of {}", shown(node, text), list(&words)), hint);
    }
    found
}

pub(crate) fn show_choice<T: Choice>(value: T) -> Shown {
    let word = T::WORDS.iter().find(|(_, v)| *v == value).map_or("", |(word, _)| *word);
    Shown::Text(word.to_owned())
}

pub(crate) fn choice_schema<T: Choice>() -> Value {
    let mut words: Vec<Value> = T::WORDS.iter().map(|(word, _)| (*word).into()).collect();
    if words.contains(&"off".into()) {
        words.push(false.into());
    }
    // A bare 1.2 or 502 is a number to an editor.
    let number = |word: &str| {
        let whole = word.parse::<u64>().ok().map(Value::from);
        whole.or_else(|| word.parse::<f64>().ok().map(Value::from))
    };
    words.extend(T::WORDS.iter().filter_map(|(word, _)| number(word)));
    or_name(json!({"enum": words}))
}

macro_rules! choice {
    ($type:ty { $($word:literal => $value:expr),+ $(,)? } $(or_else $else:literal)?) => {
        impl $crate::words::Choice for $type {
            $(const OR_ELSE: &'static str = $else;)?
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),+];
        }

        impl $crate::section::Setting for $type {
            fn read(node: &$crate::node::Node, reader: &mut $crate::reader::Reader) -> Option<Self> {
                $crate::words::read_choice(node, reader)
            }

            fn show(&self) -> $crate::section::Shown {
                $crate::words::show_choice(*self)
            }

            fn schema() -> serde_json::Value {
                $crate::words::choice_schema::<Self>()
            }
        }
    };
}
pub(crate) use choice;

choice!(ErrorPagesFor { "proxy" => ErrorPagesFor::Proxy, "all" => ErrorPagesFor::All });
choice!(ProxyProtocol {
    "off" => ProxyProtocol::Off,
    "require" => ProxyProtocol::Require,
    "accept" => ProxyProtocol::Accept,
});
choice!(RawTls {
    "off" => RawTls::Off,
    "passthrough" => RawTls::Passthrough,
    "terminate" => RawTls::Terminate,
});
choice!(SentProxyProtocol {
    "off" => SentProxyProtocol::Off,
    "v1" => SentProxyProtocol::V1,
    "v2" => SentProxyProtocol::V2,
});
choice!(Slot { "blue" => Slot::Blue, "green" => Slot::Green });

/// How an upstream is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Tcp,
    Grpc,
}
choice!(Protocol { "http" => Protocol::Http, "tcp" => Protocol::Tcp, "grpc" => Protocol::Grpc });

choice!(RetryOn {
    "connect" => RetryOn::Connect,
    "reset" => RetryOn::Reset,
    "502" => RetryOn::BadGateway,
    "503" => RetryOn::Unavailable,
    "504" => RetryOn::GatewayTimeout,
});
choice!(ChallengeChoice {
    "auto" => ChallengeChoice::Auto,
    "http-01" => ChallengeChoice::Http01,
    "tls-alpn-01" => ChallengeChoice::TlsAlpn01,
    "dns-01" => ChallengeChoice::Dns01,
});
choice!(KeyChoice { "ecdsa" => KeyChoice::Ecdsa, "rsa" => KeyChoice::Rsa, "both" => KeyChoice::Both });
choice!(Group { "app" => Group::App, "host" => Group::Host });
choice!(TlsVersion { "1.2" => TlsVersion::Tls12, "1.3" => TlsVersion::Tls13 });
choice!(RuntimeKind { "docker" => RuntimeKind::Docker, "static" => RuntimeKind::Static });
choice!(OnInconclusive { "keep" => OnInconclusive::Keep, "rollback" => OnInconclusive::Rollback });
choice!(NotifyEvent {
    "deployed" => NotifyEvent::Deployed,
    "failed" => NotifyEvent::Failed,
    "rolled_back" => NotifyEvent::RolledBack,
    "attention" => NotifyEvent::Attention,
});
choice!(Method {
    "GET" => Method::Get,
    "HEAD" => Method::Head,
    "POST" => Method::Post,
    "PUT" => Method::Put,
    "PATCH" => Method::Patch,
    "DELETE" => Method::Delete,
    "OPTIONS" => Method::Options,
});
choice!(OnUnverified { "rollback" => OnUnverified::Rollback, "keep" => OnUnverified::Keep });
choice!(Workers { "overlap" => Workers::Overlap, "stop_old_first" => Workers::StopOldFirst });
