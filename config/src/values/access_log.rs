//! The access log: one word, or a section.
//!
//! Used by the declarations in [`crate::keys`].

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Header, Positive, Text};
use crate::Share;
use crate::Span;
use crate::node::{Node, Value as Written};
use crate::reader::Reader;
use crate::section::{Setting, Shown, section};
use crate::settings::{AccessLog, LogField, LogFormat};
use crate::words::choice;

choice!(LogFormat { "json" => LogFormat::Json, "text" => LogFormat::Text, "off" => LogFormat::Off }
    or_else "or write a section: `access_log: {format: json, file: /var/log/switcher/access.log}`");

impl crate::words::Choice for LogField {
    const WORDS: &'static [(&'static str, Self)] = Self::WORDS;
}

impl Setting for LogField {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        crate::words::read_choice(node, reader)
    }

    fn show(&self) -> Shown {
        crate::words::show_choice(*self)
    }

    fn schema() -> Value {
        crate::words::choice_schema::<Self>()
    }
}

section! {
    /// The access log.
    AccessLogKeys {
        /// The form of a line: `json`, `text` or `off`.
        format: LogFormat = LogFormat::Json;
        /// The file it is appended to, opened again on SIGUSR1. Default: standard output.
        file: Option<PathBuf> = None;
        /// The share of requests that went well and were quick which is logged; errors and slow ones always are.
        sample: Share = Share::percent(100);
        /// From how long on an answer is slow.
        slow: Positive = Positive(Span::seconds(1));
        /// What a line holds, in this order. Default: everything.
        fields: Vec<LogField> = Vec::new();
        /// Request headers that are logged as well.
        headers: Vec<Header> = Vec::new();
        /// What is never logged, beside what credentials are usually sent in.
        redact: RedactKeys = RedactKeys::default();
    }
}

section! {
    /// What is never logged, beside what credentials are usually sent in.
    RedactKeys {
        /// Query parameters, by name.
        query: Vec<Text> = Vec::new();
        /// Headers, by name.
        headers: Vec<Header> = Vec::new();
    }
}

impl Setting for AccessLog {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            return LogFormat::read(node, reader).map(Self::of);
        }
        let AccessLogKeys { format, file, sample, slow, fields, headers, redact } =
            AccessLogKeys::read(node, reader)?;
        let names = |headers: Vec<Header>| headers.into_iter().map(|header| header.0).collect();
        Some(Self {
            format,
            file,
            sample,
            slow: slow.0,
            fields,
            headers: names(headers),
            redact_query: redact.query.into_iter().map(|name| name.0).collect(),
            redact_headers: names(redact.headers),
        })
    }

    fn show(&self) -> Shown {
        if *self == Self::of(self.format) {
            return self.format.show();
        }
        let Self { format, file, sample, slow, fields, headers, redact_query, redact_headers } = self.clone();
        let names = |headers: Vec<String>| headers.into_iter().map(Header).collect();
        let redact = RedactKeys {
            query: redact_query.into_iter().map(Text).collect(),
            headers: names(redact_headers),
        };
        AccessLogKeys { format, file, sample, slow: Positive(slow), fields, headers: names(headers), redact }
            .show()
    }

    fn schema() -> Value {
        json!({"anyOf": [LogFormat::schema(), AccessLogKeys::schema()]})
    }
}
