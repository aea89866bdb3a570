//! Credentials in what is logged: which names announce one, and what is left of it.
//!
//! Pure. Names are compared without case, percent-encoding and the marks between words. What looks like a credential is
//! hidden rather than shown: a log is read by more people than a request. Called by `line` and for chosen headers.

use std::borrow::Cow;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Names that announce a credential by a part of them.
const PARTS: [&str; 8] =
    ["token", "secret", "passw", "passphrase", "signature", "apikey", "credential", "jsessionid"];

/// Names that announce a credential as a whole.
const WHOLE: [&str; 21] = [
    "key",
    "sig",
    "code",
    "pass",
    "pwd",
    "auth",
    "authorization",
    "authkey",
    "accesskey",
    "session",
    "sessionid",
    "sid",
    "phpsessid",
    "jwt",
    "hmac",
    "otp",
    "pin",
    "ticket",
    "assertion",
    "samlresponse",
    "cookie",
];

/// Which names announce a credential.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    query: Vec<String>,
    headers: Vec<String>,
}

impl Names {
    /// The usual names, and these.
    #[must_use]
    pub fn new(query: &[String], headers: &[String]) -> Self {
        let plain = |names: &[String]| names.iter().map(|name| plain(name)).collect();
        Self { query: plain(query), headers: plain(headers) }
    }

    /// Whether a query parameter of this name, as it was sent, holds a credential.
    #[must_use]
    pub fn hide_parameter(&self, name: &str) -> bool {
        let name = plain(name);
        announces(&name) || self.query.contains(&name)
    }

    /// Whether a header of this name holds a credential.
    #[must_use]
    pub fn hide_header(&self, name: &HeaderName) -> bool {
        let fixed = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].contains(name);
        let plain = plain(name.as_str());
        fixed || announces(&plain) || self.headers.contains(&plain)
    }

    /// A target or an address without its credentials: values of parameters, and the user before a host.
    #[must_use]
    pub fn address<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !text.bytes().any(|byte| matches!(byte, b'?' | b'&' | b';' | b'#' | b'@')) {
            return text.into();
        }
        let text = without_user(text);
        let mut out = String::with_capacity(text.len());
        let mut rest = &*text;
        // What stands before the first mark is no parameter.
        while let Some(mark) = rest.find(['?', '&', ';', '#']) {
            let (before, after) = rest.split_at(mark + 1);
            out.push_str(before);
            let end = after.find(['?', '&', ';', '#']).unwrap_or(after.len());
            match after[..end].split_once('=') {
                Some((name, value)) if !value.is_empty() && self.hide_parameter(name) => {
                    out.push_str(name);
                    out.push('=');
                    out.push_str(HIDDEN);
                }
                Some(_) | None => out.push_str(&after[..end]),
            }
            rest = &after[end..];
        }
        out.push_str(rest);
        out.into()
    }
}

/// What is left of a header whose value is a secret: the scheme of an authorization, and nothing else.
#[must_use]
pub fn left_of(name: &HeaderName, value: &str) -> String {
    let scheme = value.split_once(' ').map(|(scheme, _)| scheme);
    let known = scheme.filter(|scheme| scheme.len() <= 16 && scheme.bytes().all(|b| b.is_ascii_alphabetic()));
    match known.filter(|_| [AUTHORIZATION, PROXY_AUTHORIZATION].contains(name)) {
        Some(scheme) => format!("{scheme} {HIDDEN}"),
        None => HIDDEN.to_owned(),
    }
}

fn announces(plain: &str) -> bool {
    PARTS.iter().any(|part| plain.contains(part)) || WHOLE.contains(&plain)
}

/// A name as it is compared: decoded, lower case, letters and digits alone.
fn plain(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let decoded = match after {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    bytes.retain(u8::is_ascii_alphanumeric);
    bytes.make_ascii_lowercase();
    String::from_utf8(bytes).unwrap_or_default()
}

/// An address without the user and password before its host (RFC 3986 section 3.2.1).
fn without_user(text: &str) -> Cow<'_, str> {
    let Some(begin) = text.find("://").map(|at| at + 3) else { return text.into() };
    let end = text[begin..].find(['/', '?', '#', '\\']).map_or(text.len(), |at| begin + at);
    match text[begin..end].rfind('@') {
        Some(at) => format!("{}{HIDDEN}{}", &text[..begin], &text[begin + at..]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_names_that_announce_a_credential_are_hidden_and_nothing_else() {
        let names = Names::new(&["invite".to_owned()], &[]);
        for (sent, logged) in [
            ("/", "/"),
            ("/a?q=1&page=2", "/a?q=1&page=2"),
            ("/a?token=abc", "/a?token=***"),
            ("/a?q=1&access_token=abc&x=2", "/a?q=1&access_token=***&x=2"),
            ("/a?Api-Key=abc;code=9", "/a?Api-Key=***;code=***"),
            ("/a?%74oken=abc", "/a?%74oken=***"),
            ("/a?X-Amz-Signature=ab&X-Amz-Credential=cd", "/a?X-Amz-Signature=***&X-Amz-Credential=***"),
            ("/a?user[password]=x", "/a?user[password]=***"),
            ("/a?invite=7&monkey=8", "/a?invite=***&monkey=8"),
            ("/a;jsessionid=AB12?x=1", "/a;jsessionid=***?x=1"),
            ("/a?next=/b?token=abc", "/a?next=/b?token=***"),
            ("/a#access_token=abc", "/a#access_token=***"),
            ("/a?token", "/a?token"),
            ("/a?token=", "/a?token="),
            ("https://u:p@shop.test/a?key=1", "https://***@shop.test/a?key=***"),
            ("https://u:p@w@shop.test", "https://***@shop.test"),
            ("https://shop.test/@me", "https://shop.test/@me"),
            ("/a?=b&&=", "/a?=b&&="),
            ("/%zz?%=1&%7=2", "/%zz?%=1&%7=2"),
        ] {
            assert_eq!(names.address(sent), logged, "{sent}");
        }
    }

    #[test]
    fn headers_that_carry_credentials_are_never_shown() {
        let names = Names::new(&[], &["X-Tenant".to_owned()]);
        for (header, hidden) in [
            ("authorization", true),
            ("cookie", true),
            ("proxy-authorization", true),
            ("x-api-key", true),
            ("x-auth-token", true),
            ("x-tenant", true),
            ("referer", false),
            ("x-trace", false),
        ] {
            assert_eq!(names.hide_header(&HeaderName::from_static(header)), hidden, "{header}");
        }
        assert_eq!(left_of(&AUTHORIZATION, "Bearer abc"), "Bearer ***");
        assert_eq!(left_of(&AUTHORIZATION, "abc"), "***");
        assert_eq!(left_of(&COOKIE, "a b"), "***");
    }

    proptest::proptest! {
        #[test]
        fn a_hidden_value_is_in_no_output(before in "[/a-z?&=;%#@:.]{0,20}", value in "[A-Z0-9]{8,16}", after in "([&;#][a-z=]{0,8})?") {
            let sent = format!("{before}&access_token={value}{after}");
            let logged = Names::default().address(&sent).into_owned();
            proptest::prop_assert!(!logged.contains(&value), "{sent} {logged}");
        }
    }
}
