//! What a request must show besides its host and path before an application takes it. Pure.
//!
//! The patterns were checked by the parser; the router asks for each application that has conditions.

use http::{HeaderMap, HeaderName, Method};
use ipnet::IpNet;
use regex::Regex;
use switcher_config::settings::{Matching, Wanted as WantedText};

use crate::forwarded::Client;

/// What of a request is held against conditions.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// Its host, as [`crate::route::normalize_host`] gives it.
    pub host: &'r str,
    /// Its path.
    pub path: &'r str,
    /// Its query, still encoded.
    pub query: Option<&'r str>,
    /// Its method.
    pub method: &'r Method,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Who asks; none when the proxy itself does, which is everywhere.
    pub client: Option<&'r Client>,
}

/// Conditions that must all hold.
#[derive(Debug, Clone)]
pub struct Conditions {
    methods: Vec<Method>,
    headers: Vec<(HeaderName, Wanted)>,
    query: Vec<(String, Wanted)>,
    clients: Vec<IpNet>,
    host: Option<Regex>,
    path: Option<Regex>,
}

#[derive(Debug, Clone)]
enum Wanted {
    Text(String),
    Fits(Regex),
}

impl Wanted {
    fn of(wanted: &WantedText) -> Option<Self> {
        match wanted {
            WantedText::Text(text) => Some(Self::Text(text.clone())),
            WantedText::Pattern(pattern) => Regex::new(pattern).ok().map(Self::Fits),
        }
    }

    fn is(&self, value: &str) -> bool {
        match self {
            Self::Text(text) => text == value,
            Self::Fits(pattern) => pattern.is_match(value),
        }
    }
}

impl Conditions {
    /// Those of an application; none when it has none.
    #[must_use]
    pub fn of(matching: &Matching) -> Option<Self> {
        if *matching == Matching::default() {
            return None;
        }
        let pattern = |text: &Option<String>| text.as_deref().and_then(|text| Regex::new(text).ok());
        let method = |name: &String| Method::from_bytes(name.as_bytes()).ok();
        Some(Self {
            methods: matching.methods.iter().filter_map(method).collect(),
            headers: named(&matching.headers, |name| HeaderName::try_from(name).ok()),
            query: named(&matching.query, |name| Some(name.to_owned())),
            clients: matching.clients.clone(),
            host: pattern(&matching.host_pattern),
            path: pattern(&matching.path_pattern),
        })
    }

    /// How many there are: of two applications, the one that asks for more comes first.
    #[must_use]
    pub fn count(&self) -> usize {
        let several = [!self.methods.is_empty(), !self.clients.is_empty()].into_iter().map(usize::from);
        let patterns = [&self.host, &self.path].into_iter().map(|pattern| usize::from(pattern.is_some()));
        self.headers.len() + self.query.len() + several.chain(patterns).sum::<usize>()
    }

    /// Whether one of them is about the path.
    #[must_use]
    pub const fn ask_for_path(&self) -> bool {
        self.path.is_some()
    }

    /// Whether a request meets all of them.
    #[must_use]
    pub fn fit(&self, asked: &Asked<'_>) -> bool {
        let fits = |pattern: &Option<Regex>, text: &str| pattern.as_ref().is_none_or(|p| p.is_match(text));
        (self.methods.is_empty() || self.methods.contains(asked.method))
            && (self.clients.is_empty() || asked.client.is_none_or(|client| self.has_client(client)))
            && fits(&self.host, asked.host)
            && fits(&self.path, asked.path)
            && self.headers.iter().all(|(name, wanted)| has_header(asked.headers, name, wanted))
            && self.query.iter().all(|(name, wanted)| has_parameter(asked.query, name, wanted))
    }

    fn has_client(&self, client: &Client) -> bool {
        self.clients.iter().any(|net| net.contains(&client.ip))
    }
}

fn named<T>(wanted: &[(String, WantedText)], name: impl Fn(&str) -> Option<T>) -> Vec<(T, Wanted)> {
    wanted.iter().filter_map(|(key, wanted)| Some((name(key)?, Wanted::of(wanted)?))).collect()
}

fn has_header(headers: &HeaderMap, name: &HeaderName, wanted: &Wanted) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| wanted.is(value))
}

fn has_parameter(query: Option<&str>, name: &str, wanted: &Wanted) -> bool {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(key, value)| key == name && wanted.is(&value))
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn text(value: &str) -> WantedText {
        WantedText::Text(value.to_owned())
    }

    fn fits(matching: &Matching, method: &Method, uri: &str, headers: &[(&str, &str)], client: &str) -> bool {
        let uri: Uri = uri.parse().expect("a target");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        let client = Client { ip: client.parse().expect("an address"), trusted: false };
        Conditions::of(matching).expect("conditions").fit(&Asked {
            host: uri.host().unwrap_or("shop.test"),
            path: uri.path(),
            query: uri.query(),
            method,
            headers: &map,
            client: Some(&client),
        })
    }

    #[test]
    fn without_conditions_there_is_nothing_to_ask() {
        assert!(Conditions::of(&Matching::default()).is_none());
    }

    #[test]
    fn all_of_them_must_hold() {
        let matching = Matching {
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            headers: vec![("X-Beta".to_owned(), text("1"))],
            query: vec![("v".to_owned(), WantedText::Pattern("^2".to_owned()))],
            clients: vec!["10.0.0.0/8".parse().expect("a network")],
            host_pattern: None,
            path_pattern: Some("^/api/v[0-9]+/".to_owned()),
        };
        assert_eq!(Conditions::of(&matching).expect("conditions").count(), 5);
        let (get, target, beta, inside) = (Method::GET, "/api/v1/x?v=2", [("X-Beta", "1")], "10.1.2.3");
        assert!(fits(&matching, &get, target, &beta, inside));
        assert!(fits(&matching, &Method::HEAD, target, &beta, inside));
        for (method, target, headers, client) in [
            (&Method::POST, target, &beta[..], inside),
            (&get, "/api/vx/x?v=2", &beta, inside),
            (&get, "/api/v1/x", &beta, inside),
            (&get, "/api/v1/x?w=2", &beta, inside),
            (&get, "/api/v1/x?v=12", &beta, inside),
            (&get, target, &[], inside),
            (&get, target, &[("X-Beta", "10")], inside),
            (&get, target, &beta, "192.0.2.1"),
        ] {
            assert!(
                !fits(&matching, method, target, headers, client),
                "{method} {target} {headers:?} {client}"
            );
        }
    }

    #[test]
    fn any_line_of_a_header_and_any_value_of_a_parameter_will_do_as_it_is_meant() {
        let matching = Matching {
            headers: vec![("X-Group".to_owned(), text("b"))],
            query: vec![("name".to_owned(), text("a b&c"))],
            ..Matching::default()
        };
        let headers = [("X-Group", "a"), ("X-Group", "b")];
        assert!(fits(&matching, &Method::GET, "/?name=x&name=a+b%26c", &headers, "192.0.2.1"));
        assert!(!fits(
            &matching,
            &Method::GET,
            "/?name=a b&c".replace(' ', "%20").as_str(),
            &headers,
            "192.0.2.1"
        ));
    }

    #[test]
    fn a_pattern_that_fits_everything_asks_only_that_it_is_there() {
        let there = WantedText::Pattern(String::new());
        let matching = Matching { headers: vec![("X-Any".to_owned(), there)], ..Matching::default() };
        assert!(fits(&matching, &Method::GET, "/", &[("X-Any", "")], "192.0.2.1"));
        assert!(!fits(&matching, &Method::GET, "/", &[], "192.0.2.1"));
    }
}
