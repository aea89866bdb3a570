//! The settings of CORS: which pages of other origins may read answers (Fetch standard, "CORS protocol").
//!
//! An origin here is one as browsers write it, so that to compare texts is to compare origins.

use std::fmt;

use crate::Span;

/// All there are, or those named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Those<T> {
    /// All (`"*"`).
    Any,
    /// These.
    These(Vec<T>),
}

/// Which pages of other origins may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Their origins.
    pub origins: Those<Origin>,
    /// The methods they may use. Default GET, HEAD and POST.
    pub methods: Those<String>,
    /// The headers they may send beside those that anybody may. Default none.
    pub headers: Those<String>,
    /// The headers of answers they may read beside those that anybody may. Default none.
    pub expose: Those<String>,
    /// Whether they may ask in the name of a user, with cookies and logins. Then origins and exposed headers are
    /// named. Default false.
    pub credentials: bool,
    /// How long a browser may remember what it was told. Default 10m.
    pub max_age: Span,
}

/// Where pages come from, as browsers write it: scheme, host, and the port where it is not the usual one, in lower case
/// (RFC 6454 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This one.
    Exact(String),
    /// Those whose host is one label below.
    Wildcard {
        /// What stands before the label: the scheme with `://`.
        before: String,
        /// What stands behind it: a dot, the parent and the port.
        after: String,
    },
}

impl Origin {
    /// Whether `origin`, the value of a request's header, is meant.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Wildcard { before, after } => {
                let label =
                    origin.strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(after.as_str()));
                let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                label.is_some_and(|label| !label.is_empty() && label.bytes().all(byte))
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Wildcard { before, after } => write!(f, "{before}*{after}"),
        }
    }
}
