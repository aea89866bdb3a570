//! Values of `proxy.limits` and other bounds, within what the protocols and the parser allow.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{leaf, number_schema, whole};
use crate::Bytes;
use crate::node::Node;
use crate::reader::Reader;
use crate::section::{Setting, Shown};

fn size_between(text: &str, least: Bytes, most: Bytes) -> Result<Bytes, String> {
    let size: Bytes = text.parse().map_err(|error: crate::units::InvalidBytes| error.to_string())?;
    if size < least || size > most {
        return Err(format!("{text:?} is no size from {least} to {most}"));
    }
    Ok(size)
}

fn size_schema(example: &str) -> Value {
    json!({"type": ["string", "integer"], "examples": [example]})
}

/// The size of a request's head, or of a part of it. What is larger than this no parser takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadSize(pub(crate) Bytes);

impl FromStr for HeadSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        size_between(text, Bytes(1 << 10), Bytes(1 << 20)).map(Self)
    }
}
leaf!(HeadSize, "32KiB", |v| Shown::Text(v.0.to_string()), size_schema("32KiB"));

/// A window of HTTP/2's flow control (RFC 9113 section 6.9.1 allows up to 2 GiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window(pub(crate) Bytes);

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        size_between(text, Bytes(64 << 10), Bytes(1 << 30)).map(Self)
    }
}
leaf!(Window, "1MiB", |v| Shown::Text(v.0.to_string()), size_schema("1MiB"));

/// How much of one body is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BufferSize(pub(crate) Bytes);

impl FromStr for BufferSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        size_between(text, Bytes(1), Bytes(64 << 20)).map(Self)
    }
}
leaf!(BufferSize, "1MiB", |v| Shown::Text(v.0.to_string()), size_schema("1MiB"));

/// How many headers a request may have; the parser knows at most 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeaderCount(pub(crate) u16);

impl FromStr for HeaderCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole(text, 1, 256).map(Self)
    }
}
leaf!(HeaderCount, "100", |v| Shown::Bare(v.0.into()), number_schema(1, 256));
