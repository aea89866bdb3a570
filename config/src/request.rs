//! What a request of ours carries beside its address: a method, and headers of the user's making.
//!
//! Invariant: a header has a name and a value that can stand in a request and none that frames it or that is ours, and its
//! value is never shown, because it may be a secret. Smoke tests and notifications carry them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How something is asked for. No body is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// To be read.
    #[default]
    Get,
    /// The same without a body in the answer.
    Head,
    /// To be done.
    Post,
    /// To be put in place.
    Put,
    /// To be changed in part.
    Patch,
    /// To be removed.
    Delete,
    /// To hear what may be asked.
    Options,
}

impl Method {
    /// As a request has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Whether it is the usual one, which need not be said.
    #[must_use]
    pub fn is_get(&self) -> bool {
        *self == Self::Get
    }
}

/// Whether a text is a token (RFC 9110 section 5.6.2), as names of methods and headers are.
#[must_use]
pub fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// Headers by their names in lower case.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
#[schema(value_type = BTreeMap<String, String>)]
pub struct RequestHeaders(BTreeMap<String, String>);

/// Never shows a value.
impl fmt::Debug for RequestHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, "***"))).finish()
    }
}

/// The headers that say where a request ends and who is asked: they follow from the rest of it.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-hub-signature-256",
];

impl RequestHeaders {
    /// Why a header cannot be sent, as the end of a sentence without its value; none when it can.
    #[must_use]
    pub fn objection(name: &str, value: &str) -> Option<&'static str> {
        let lower = name.to_ascii_lowercase();
        if !is_token(name) {
            Some("is no name of a header")
        } else if FRAMING.contains(&lower.as_str()) || lower.starts_with("x-switcher-") {
            Some("is a header that Switcher writes itself")
        } else if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            Some("has a value with something else than printable ASCII characters in it")
        } else {
            None
        }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with other values, such as those with their words filled in.
    ///
    /// # Errors
    /// A sentence that names the header whose new value cannot be sent.
    pub fn filled(&self, fill: impl Fn(&str) -> String) -> Result<Self, String> {
        self.0.iter().map(|(name, value)| (name.clone(), fill(value))).collect::<BTreeMap<_, _>>().try_into()
    }
}

impl TryFrom<BTreeMap<String, String>> for RequestHeaders {
    type Error = String;

    fn try_from(headers: BTreeMap<String, String>) -> Result<Self, String> {
        for (name, value) in &headers {
            if let Some(why) = Self::objection(name, value) {
                return Err(format!("{name:?} {why}"));
            }
        }
        Ok(Self(headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()))
    }
}

impl From<RequestHeaders> for BTreeMap<String, String> {
    fn from(headers: RequestHeaders) -> Self {
        headers.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &str, value: &str) -> Result<RequestHeaders, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())]).try_into()
    }

    #[test]
    fn a_header_that_could_break_a_request_is_refused_and_no_value_is_shown() {
        let good = headers("Authorization", "Bearer hunter2 {slot}").expect("good");
        assert_eq!(good.iter().collect::<Vec<_>>(), [("authorization", "Bearer hunter2 {slot}")]);
        assert_eq!(format!("{good:?}"), r#"{"authorization": "***"}"#);
        for (name, value, why) in [
            ("", "x", "no name"),
            ("two words", "x", "no name"),
            ("Host", "x", "writes itself"),
            ("Transfer-Encoding", "chunked", "writes itself"),
            ("X-Switcher-Smoke", "x", "writes itself"),
            ("x-hub-signature-256", "x", "writes itself"),
            ("accept", "hunter2\r\nHost: x", "printable"),
            ("accept", "hunter\u{e9}", "printable"),
        ] {
            let told = headers(name, value).expect_err("refused");
            assert!(told.contains(why) && !told.contains("hunter"), "{told}");
        }
        let broken = good.filled(|text| text.replace("{slot}", "\n")).expect_err("refused");
        assert!(broken.contains("authorization") && !broken.contains("hunter2"), "{broken}");
    }
}
