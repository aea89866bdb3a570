//! The values of CORS: origins as browsers write them, methods, and lists that may be `"*"`.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{Header, Positive, leaf, text_schema};
use crate::Span;
use crate::address::is_dns_name;
use crate::node::{Node, Value as Written};
use crate::reader::Reader;
use crate::section::{Setting, Shown, record};
use crate::settings::{Cors, Origin, Those};

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        parse(&lower).ok_or_else(|| {
            format!(
                "{text:?} is no origin; write for example `https://app.example.com` or `https://*.example.com`, without a path"
            )
        })
    }
}

fn parse(text: &str) -> Option<Origin> {
    let (scheme, rest) = text.split_once("://")?;
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(letter) {
        return None;
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().ok()?)),
        Some(_) | None => (rest, None),
    };
    // Browsers leave the usual port out.
    let usual = matches!((scheme, port), ("https", Some(443)) | ("http", Some(80)));
    let port = port.filter(|_| !usual).map(|port| format!(":{port}")).unwrap_or_default();
    if let Some(parent) = host.strip_prefix("*.") {
        let after = format!(".{parent}{port}");
        return is_dns_name(parent).then(|| Origin::Wildcard { before: format!("{scheme}://"), after });
    }
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match v6 {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_dns_name(host),
    };
    is_host.then(|| Origin::Exact(format!("{scheme}://{host}{port}")))
}
leaf!(
    Origin,
    "https://app.example.com",
    |v| Shown::Text(v.to_string()),
    text_schema("https://app.example.com")
);

/// A method, as requests write it (RFC 9110 section 9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MethodName(String);

impl FromStr for MethodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let capitals = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b"-_".contains(&b));
        // The Fetch standard forbids these to pages.
        if capitals && !matches!(text, "CONNECT" | "TRACE" | "TRACK") {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no method that a page can use; write it in capitals, for example `PUT`"))
        }
    }
}
leaf!(MethodName, "PUT", |v| Shown::Text(v.0.clone()), text_schema("PUT"));

impl<T: Setting> Setting for Those<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if let Written::Scalar { text, .. } = &node.value
            && text == "*"
        {
            return Some(Self::Any);
        }
        Vec::read(node, reader).map(Self::These)
    }

    fn show(&self) -> Shown {
        match self {
            Self::Any => Shown::Text("*".to_owned()),
            Self::These(list) => list.show(),
        }
    }

    fn schema() -> Value {
        json!({"anyOf": [{"const": "*"}, Vec::<T>::schema()]})
    }
}

impl<T> Those<T> {
    fn map<U>(self, change: impl FnMut(T) -> U) -> Those<U> {
        match self {
            Self::Any => Those::Any,
            Self::These(list) => Those::These(list.into_iter().map(change).collect()),
        }
    }
}

fn methods(names: &[&str]) -> Those<MethodName> {
    Those::These(names.iter().map(|name| MethodName((*name).to_owned())).collect())
}

record! {
    /// Which pages of other origins may read answers.
    CorsKeys, "write for example `cors: {origins: [https://app.example.com]}`" {
        /// Their origins: `https://app.example.com`, `https://*.example.com` for those one label below, or `"*"` for all.
        origins: Those<Origin>;
        /// The methods they may use, or `"*"`.
        methods: Those<MethodName> = methods(&["GET", "HEAD", "POST"]);
        /// The headers they may send beside those that anybody may, or `"*"`.
        headers: Those<Header> = Those::These(Vec::new());
        /// The headers of answers they may read beside those that anybody may, or `"*"`.
        expose: Those<Header> = Those::These(Vec::new());
        /// Whether they may ask in the name of a user, with cookies and logins.
        credentials: bool = false;
        /// How long a browser may remember what it was told.
        max_age: Positive = Positive(Span::seconds(600));
    }
}

impl Setting for Cors {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let keys = CorsKeys::read(node, reader)?;
        let all = [("origins", keys.origins == Those::Any), ("expose", keys.expose == Those::Any)];
        let named = all.into_iter().find(|(_, any)| keys.credentials && *any);
        if let Some((key, written)) = named.and_then(|(key, _)| Some((key, node.get(key)?))) {
            let message = "with `credentials: true` browsers believe no `*`";
            let hint = format!("name the {key}, or leave `credentials` out");
            reader.under(key, |reader| reader.wrong(written, message, hint));
            return None;
        }
        Some(Self {
            origins: keys.origins,
            methods: keys.methods.map(|method| method.0),
            headers: keys.headers.map(|header| header.0),
            expose: keys.expose.map(|header| header.0),
            credentials: keys.credentials,
            max_age: keys.max_age.0,
        })
    }

    fn show(&self) -> Shown {
        let keys = CorsKeys {
            origins: self.origins.clone(),
            methods: self.methods.clone().map(MethodName),
            headers: self.headers.clone().map(Header),
            expose: self.expose.clone().map(Header),
            credentials: self.credentials,
            max_age: Positive(self.max_age),
        };
        keys.show()
    }

    fn schema() -> Value {
        CorsKeys::schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_write() {
        for (text, shown) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:443", "http://app.example.com:443"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[::1]", "http://[::1]"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(
                text.parse::<Origin>().map(|origin| origin.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        for bad in [
            "*",
            "null",
            "app.example.com",
            "https://app.example.com/",
            "https://*.*.com",
            "https://*example.com",
            "https://*",
            "https://a:b",
            "https://u@a.example",
            "://a.example",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_is_one_label_and_nothing_that_only_looks_like_it() {
        let origin: Origin = "https://*.example.com".parse().expect("an origin");
        assert!(origin.matches("https://app.example.com"));
        for other in [
            "https://example.com",
            "https://.example.com",
            "https://a.b.example.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.test",
            "https://evil.test/.example.com",
            "https://evil.test#.example.com",
            "https://evilexample.com",
            "null",
        ] {
            assert!(!origin.matches(other), "{other}");
        }
    }
}
