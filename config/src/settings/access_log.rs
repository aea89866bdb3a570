//! How requests are logged: in which form, where to, which of them, and what of them.

use std::path::PathBuf;

use crate::{Share, Span};

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// The form of a line. Default `json`.
    pub format: LogFormat,
    /// The file it is appended to, opened again on SIGUSR1. Default: standard output.
    pub file: Option<PathBuf>,
    /// The share of requests that went well and were quick which is logged. Default 100 %.
    pub sample: Share,
    /// From how long on an answer is slow, and logged whatever the share. Default 1s.
    pub slow: Span,
    /// What a line holds, in this order; empty means everything. Default everything.
    pub fields: Vec<LogField>,
    /// Request headers that are logged as well. Default none.
    pub headers: Vec<String>,
    /// Further query parameters whose values are never logged. Default none beside those that credentials are sent in.
    pub redact_query: Vec<String>,
    /// Further headers whose values are never logged. Default none beside those that credentials are sent in.
    pub redact_headers: Vec<String>,
}

impl AccessLog {
    /// Everything of every request in this form, on standard output.
    #[must_use]
    pub const fn of(format: LogFormat) -> Self {
        Self {
            format,
            file: None,
            sample: Share::percent(100),
            slow: Span::seconds(1),
            fields: Vec::new(),
            headers: Vec::new(),
            redact_query: Vec::new(),
            redact_headers: Vec::new(),
        }
    }
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One line of text for people.
    Text,
    /// Nothing.
    Off,
}

/// Declares the fields with their words.
macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// A field of the access log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum LogField {
            $($(#[doc = $doc])+ $name,)+
        }

        impl LogField {
            /// Every field with its name, in the order of a whole line.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$name)),+];

            /// Its name.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

fields! {
    /// When the request arrived.
    Time = "time",
    /// Its id.
    RequestId = "request_id",
    /// The trace it belongs to, where requests are traced.
    TraceId = "trace_id",
    /// Its own span in that.
    SpanId = "span_id",
    /// The application.
    App = "app",
    /// The slot that served it.
    Slot = "slot",
    /// The generation that served it.
    Generation = "generation",
    /// The client's address.
    Client = "client",
    /// The protocol of the client's connection.
    Protocol = "protocol",
    /// Whether that connection is TLS.
    Tls = "tls",
    /// The method.
    Method = "method",
    /// The host asked for.
    Host = "host",
    /// Path and query.
    Path = "path",
    /// The status of the answer.
    Status = "status",
    /// The kind of exchange.
    Kind = "kind",
    /// The upstream that was asked last.
    Upstream = "upstream",
    /// How many upstreams were tried.
    Tries = "tries",
    /// Body bytes from the client.
    BytesIn = "bytes_in",
    /// Body bytes to the client.
    BytesOut = "bytes_out",
    /// From the head's arrival to the end.
    Duration = "duration_ms",
    /// To open the upstream connection.
    Connect = "connect_ms",
    /// To the upstream's first byte.
    FirstByte = "first_byte_ms",
    /// The client's name of itself.
    UserAgent = "user_agent",
    /// The page the client came from.
    Referer = "referer",
    /// What went wrong.
    Error = "error",
}
