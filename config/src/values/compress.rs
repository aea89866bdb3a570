//! The values of `compress`: content codings with their levels, media types, and the short form `on`.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{leaf, text_schema};
use crate::Bytes;
use crate::node::{Node, Value as Written};
use crate::reader::Reader;
use crate::section::{Setting, Shown, section};
use crate::settings::{Coding, Compress};

/// The media types that are compressed when nobody says which: text, and what is written like it.
const TYPES: [&str; 20] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/x-ndjson",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/xml",
    "application/*+xml",
    "application/yaml",
    "application/graphql",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "font/collection",
    "image/svg+xml",
    "image/bmp",
    "image/x-icon",
    "image/vnd.microsoft.icon",
];

section! {
    /// Answers are compressed for clients that take it: by type and size, and never what is compressed already, a part of
    /// something, a stream of events or gRPC.
    CompressKeys {
        /// `zstd`, `br` and `gzip`, each with its level behind it or without. A client that takes several just as well gets the first.
        algorithms: Vec<Coding> = vec![Coding::Zstd(3), Coding::Brotli(4), Coding::Gzip(5)];
        /// Media types, with at most one `*` in each.
        types: Vec<MediaTypes> = TYPES.map(|text| MediaTypes(text.to_owned())).into();
        /// What is smaller is left as it is.
        min_size: Bytes = Bytes(1024);
    }
}

impl From<CompressKeys> for Compress {
    fn from(CompressKeys { algorithms, types, min_size }: CompressKeys) -> Self {
        Self { algorithms, types: types.into_iter().map(|types| types.0).collect(), min_size }
    }
}

impl From<Compress> for CompressKeys {
    fn from(Compress { algorithms, types, min_size }: Compress) -> Self {
        Self { algorithms, types: types.into_iter().map(MediaTypes).collect(), min_size }
    }
}

impl Setting for Compress {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            return reader.parsed(node, "`on`", on);
        }
        let compress = Self::from(CompressKeys::read(node, reader)?);
        let names: Vec<&str> = compress.algorithms.iter().map(|coding| coding.name()).collect();
        let again = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
        let (key, message, hint) = if let Some((_, name)) = again {
            ("algorithms", format!("`{name}` is written twice"), "write each once, the preferred one first")
        } else if names.is_empty() {
            let hint = "write for example `algorithms: [zstd, br, gzip]`, or `compress: off`";
            ("algorithms", "the list is empty, so nothing could be compressed".to_owned(), hint)
        } else if compress.types.is_empty() {
            let hint = "write for example `types: [text/*, application/json]`, or `compress: off`";
            ("types", "the list is empty, so nothing could be compressed".to_owned(), hint)
        } else {
            return Some(compress);
        };
        let written = node.get(key).unwrap_or(node);
        reader.under(key, |reader| reader.wrong(written, message, hint));
        None
    }

    fn show(&self) -> Shown {
        CompressKeys::from(self.clone()).show()
    }

    fn schema() -> Value {
        json!({"anyOf": [{"enum": ["on", true]}, CompressKeys::schema()]})
    }
}

/// The short form; `off` is read before.
fn on(text: &str) -> Result<Compress, String> {
    if matches!(text, "on" | "true") {
        return Ok(Compress::default());
    }
    Err(format!(
        "{text:?} does not say what is compressed; write `compress: on`, or for example `compress: {{types: [text/*], min_size: 1KiB}}`"
    ))
}

impl FromStr for Coding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, level) = text.split_once(' ').map_or((text, None), |(name, level)| (name, Some(level)));
        let (least, most, usual, coding): (u8, u8, u8, fn(u8) -> Self) = match name {
            "zstd" => (1, 12, 3, Self::Zstd),
            "br" | "brotli" => (0, 9, 4, Self::Brotli),
            "gzip" => (1, 9, 5, Self::Gzip),
            _ => {
                return Err(format!(
                    "{text:?} is none of `zstd`, `br` and `gzip`; write for example `gzip` or `gzip 6`"
                ));
            }
        };
        let Some(level) = level else { return Ok(coding(usual)) };
        let level = level.trim().parse().ok().filter(|level| (least..=most).contains(level));
        level.map(coding).ok_or_else(|| {
            format!("{text:?} has no level that is for `{name}`; it is from {least} to {most}")
        })
    }
}
leaf!(
    Coding,
    "gzip",
    |v| Shown::Text(format!("{} {}", v.name(), v.level())),
    json!({"type": "string", "pattern": "^(zstd|br|brotli|gzip)( +\\d+)?$|\\$\\{", "examples": ["gzip", "gzip 6"]})
);

/// One media type, or several by a `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaTypes(String);

impl FromStr for MediaTypes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+*/".contains(&b);
        let halves = text
            .split_once('/')
            .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty() && !rest.contains('/'));
        if halves && text.bytes().all(token) && text.matches('*').count() <= 1 {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(format!(
            "{text:?} is no media type; write for example `application/json`, `text/*` or `application/*+json`"
        ))
    }
}
leaf!(MediaTypes, "text/*", |v| Shown::Text(v.0.clone()), text_schema("text/*"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_read_with_their_level_or_without() {
        for (text, coding) in [
            ("zstd", Coding::Zstd(3)),
            ("br", Coding::Brotli(4)),
            ("brotli 9", Coding::Brotli(9)),
            ("gzip 1", Coding::Gzip(1)),
        ] {
            assert_eq!(text.parse(), Ok(coding), "{text}");
            assert_eq!(format!("{} {}", coding.name(), coding.level()).parse(), Ok(coding));
        }
        for bad in ["", "deflate", "gzip 0", "gzip 10", "br 10", "zstd 13", "gzip x", "gzip 1 2", "gzip -1"] {
            assert!(bad.parse::<Coding>().is_err(), "{bad}");
        }
    }

    #[test]
    fn media_types_have_one_slash_and_at_most_one_star() {
        for good in TYPES.into_iter().chain(["Text/HTML", "*/json"]) {
            assert!(good.parse::<MediaTypes>().is_ok(), "{good}");
        }
        for bad in ["", "text", "text/", "/html", "*/*", "text/html; charset=utf-8", "a/b/c", "text/h tml"] {
            assert!(bad.parse::<MediaTypes>().is_err(), "{bad}");
        }
    }
}
