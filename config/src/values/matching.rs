//! The values of matching: methods, and what headers and parameters must be.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{leaf, or_name, text_schema};
use crate::keys::FitsKeys;
use crate::node::{Node, Value as Written};
use crate::problem::quoted;
use crate::reader::Reader;
use crate::request::is_token;
use crate::section::{Setting, Shown};
use crate::settings::Wanted;
use crate::values::Pattern;

/// The name of a method (RFC 9110 section 9.1): a token, and those that are known are in capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MethodName(pub(crate) String);

impl FromStr for MethodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_token(text) && !text.bytes().any(|b| b.is_ascii_lowercase()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no method; they are written in capitals, for example `GET`"))
        }
    }
}
leaf!(MethodName, "GET", |v| Shown::Text(v.0.clone()), text_schema("GET"));

/// Which of several applications comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priority(pub(crate) i32);

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("{text:?} is no whole number; the highest comes first, and 0 is usual"))
    }
}
leaf!(Priority, "10", |v| Shown::Bare(v.0.into()), or_name(json!({"type": "integer"})));

/// What headers must be. Their values are never shown: one may be a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WantedHeaders(pub(crate) Vec<(String, Wanted)>);

/// What parameters of a query must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WantedParameters(pub(crate) Vec<(String, Wanted)>);

fn wanted(
    node: &Node,
    reader: &mut Reader,
    example: &str,
    objection: fn(&str) -> Option<&'static str>,
) -> Option<Vec<(String, Wanted)>> {
    if !matches!(node.value, Written::Mapping(_)) && !node.is_null() {
        let message = format!("this takes names with what they must be, and it is {}", node.kind());
        reader.wrong(node, message, format!("write for example `{{{example}}}`"));
        return None;
    }
    let read: Vec<Option<(String, Wanted)>> = node
        .entries()
        .iter()
        .map(|(key, value)| {
            reader.under(&key.text, |reader| {
                if let Some(why) = objection(&key.text) {
                    let hint = format!("write for example `{example}`");
                    reader.wrong_key(key, format!("{} {why}", quoted(&key.text)), hint);
                    return None;
                }
                let wanted = if matches!(value.value, Written::Mapping(_)) {
                    Wanted::Pattern(FitsKeys::read(value, reader)?.pattern.0)
                } else {
                    Wanted::Text(reader.text(value, &format!("`{example}`"))?.to_owned())
                };
                Some((key.text.clone(), wanted))
            })
        })
        .collect();
    read.into_iter().collect()
}

fn wanted_schema() -> Value {
    let value = json!({"anyOf": [{"type": ["string", "number", "boolean"]}, FitsKeys::schema()]});
    json!({"type": ["object", "null"], "additionalProperties": value})
}

fn fits(pattern: &str) -> Shown {
    FitsKeys { pattern: Pattern(pattern.to_owned()) }.show()
}

impl Setting for WantedHeaders {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let objection = |name: &str| (!is_token(name)).then_some("is no name of a header");
        wanted(node, reader, "X-Beta: \"1\"", objection).map(Self)
    }

    fn show(&self) -> Shown {
        let shown = |wanted: &Wanted| match wanted {
            Wanted::Text(_) => Shown::Secret,
            Wanted::Pattern(pattern) => fits(pattern),
        };
        Shown::Section(self.0.iter().map(|(name, wanted)| (name.clone(), shown(wanted))).collect())
    }

    fn schema() -> Value {
        wanted_schema()
    }
}

impl Setting for WantedParameters {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let objection = |name: &str| name.is_empty().then_some("is no name of a parameter");
        wanted(node, reader, "version: v2", objection).map(Self)
    }

    fn show(&self) -> Shown {
        let shown = |wanted: &Wanted| match wanted {
            Wanted::Text(text) => Shown::Text(text.clone()),
            Wanted::Pattern(pattern) => fits(pattern),
        };
        Shown::Section(self.0.iter().map(|(name, wanted)| (name.clone(), shown(wanted))).collect())
    }

    fn schema() -> Value {
        wanted_schema()
    }
}
