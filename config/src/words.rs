//! The keys that take one word out of a few: how each is read, shown and described.
//!
//! A bare `off` is a word, also after a YAML 1.1 tool has rewritten it to `false`. Used by the declarations
//! in [`crate::keys`].

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Slot;
use crate::node::{Node, Value as Written, Veil};
use crate::reader::{Reader, list, meant, shown};
use crate::section::{Setting, Shown};
use crate::settings::{AccessLog, Balance, Tls};
use crate::values::or_name;

/// A word out of a few.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

fn read_choice<T: Choice>(node: &Node, reader: &mut Reader) -> Option<T> {
    let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
    let text = reader.text(node, &format!("`{}`", words[0]))?;
    // A YAML 1.1 tool that rewrites the file turns a bare `off` into `false`.
    let text = if text == "false" && words.contains(&"off") { "off" } else { text };
    let found = T::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let close = meant(text, &words).filter(|_| node.veil == Veil::Open);
        let hint = close.map_or(String::new(), |word| format!("did you mean `{word}`?"));
        reader.wrong(node, format!("{} is none of {}", shown(node, text), list(&words)), hint);
    }
    found
}

fn show_choice<T: Choice>(value: T) -> Shown {
    let word = T::WORDS.iter().find(|(_, v)| *v == value).map_or("", |(word, _)| *word);
    Shown::Text(word.to_owned())
}

fn choice_schema<T: Choice>() -> Value {
    let mut words: Vec<Value> = T::WORDS.iter().map(|(word, _)| (*word).into()).collect();
    if words.contains(&"off".into()) {
        words.push(false.into());
    }
    or_name(json!({"enum": words}))
}

macro_rules! choice {
    ($type:ty { $($word:literal => $value:expr),+ $(,)? }) => {
        impl Choice for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),+];
        }

        impl Setting for $type {
            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                read_choice(node, reader)
            }

            fn show(&self) -> Shown {
                show_choice(*self)
            }

            fn schema() -> Value {
                choice_schema::<Self>()
            }
        }
    };
}

choice!(AccessLog { "json" => AccessLog::Json, "text" => AccessLog::Text, "off" => AccessLog::Off });
choice!(Balance { "round_robin" => Balance::RoundRobin, "least_in_flight" => Balance::LeastInFlight });
choice!(Slot { "blue" => Slot::Blue, "green" => Slot::Green });

/// How an upstream is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Tcp,
    Grpc,
}
choice!(Protocol { "http" => Protocol::Http, "tcp" => Protocol::Tcp, "grpc" => Protocol::Grpc });

/// The forms of `tls` that are one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TlsWord {
    Auto,
    OnDemand,
    Internal,
    Off,
}
choice!(TlsWord { "auto" => TlsWord::Auto, "on_demand" => TlsWord::OnDemand, "internal" => TlsWord::Internal, "off" => TlsWord::Off });

const TLS_FILES: &[&str] = &["certificate", "key"];

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
        reader.section(node, TLS_FILES)?;
        let mut file = |key: &str| match node.get(key) {
            Some(file) => reader.under(key, |reader| PathBuf::read(file, reader)),
            None => {
                let hint = "write `tls: {certificate: FILE, key: FILE}`, both in PEM";
                reader.wrong(node, format!("the key `{key}` is missing"), hint);
                None
            }
        };
        let (certificate, key) = (file("certificate"), file("key"));
        Some(Self::Files { certificate: certificate?, key: key?, ocsp: None })
    }

    fn show(&self) -> Shown {
        match self {
            Self::Auto => TlsWord::Auto.show(),
            Self::OnDemand => TlsWord::OnDemand.show(),
            Self::Internal => TlsWord::Internal.show(),
            Self::Off => TlsWord::Off.show(),
            Self::Files { certificate, key, ocsp: _ } => {
                Shown::Section(vec![("certificate".into(), certificate.show()), ("key".into(), key.show())])
            }
        }
    }

    fn schema() -> Value {
        let file = PathBuf::schema();
        json!({"anyOf": [TlsWord::schema(), {
            "type": "object",
            "additionalProperties": false,
            "required": TLS_FILES,
            "properties": {"certificate": file, "key": file},
        }]})
    }
}
