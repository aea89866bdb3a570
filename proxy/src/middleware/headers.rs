//! Headers that are taken away, set and added.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use switcher_config::settings::{CLIENT_IP, HeaderRules};

/// What is changed: taken away first, then set, then added.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
}

/// What a header is given.
#[derive(Debug, Clone)]
enum Value {
    /// The same for everybody.
    Fixed(HeaderValue),
    /// The client's address.
    ClientIp,
}

impl Value {
    /// The value for a request of this client.
    fn of(&self, client: IpAddr) -> HeaderValue {
        match self {
            Self::Fixed(value) => value.clone(),
            // An address has no letter that a header may not have.
            Self::ClientIp => {
                HeaderValue::try_from(client.to_string()).unwrap_or(HeaderValue::from_static(""))
            }
        }
    }
}

impl Rules {
    /// Prepares what the settings say; their names and values have been checked.
    #[must_use]
    pub fn new(rules: &HeaderRules) -> Self {
        let name = |name: &String| name.parse::<HeaderName>().ok();
        let pairs = |list: &[(String, String)]| {
            list.iter()
                .filter_map(|(n, text)| {
                    let fixed = || HeaderValue::try_from(text).ok().map(Value::Fixed);
                    let value = if text == CLIENT_IP { Some(Value::ClientIp) } else { fixed() };
                    Some((name(n)?, value?))
                })
                .collect()
        };
        Self {
            remove: rules.remove.iter().filter_map(name).collect(),
            set: pairs(&rules.set),
            add: pairs(&rules.add),
        }
    }

    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Changes the headers of a request of this client.
    pub fn change(&self, headers: &mut HeaderMap, client: IpAddr) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.of(client));
        }
        for (name, value) in &self.add {
            headers.append(name, value.of(client));
        }
    }

    /// Changes the headers of an answer.
    ///
    /// # Errors
    /// When there are too many.
    pub fn change_answer(&self, answer: &mut ResponseHeader) -> Result<()> {
        for name in self.remove.iter().filter(|name| !frames(name)) {
            answer.remove_header(name);
        }
        // Answers are given nothing but what is the same for everybody.
        let fixed = |(name, value): &'_ (HeaderName, Value)| match value {
            Value::Fixed(value) => Some((name.clone(), value.clone())),
            Value::ClientIp => None,
        };
        for (name, value) in self.set.iter().filter_map(fixed) {
            answer.insert_header(name, value)?;
        }
        for (name, value) in self.add.iter().filter_map(fixed) {
            answer.append_header(name, value)?;
        }
        Ok(())
    }
}

/// What says where an answer ends cannot be taken from it.
fn frames(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE].contains(name)
}

/// Takes headers out of a request that only the proxy may write, also under names that some applications read as the same.
pub fn take_out(request: &mut HeaderMap, names: &[HeaderName]) {
    let reads_as = |name: &HeaderName, ours: &HeaderName| {
        let dash = |byte: u8| if byte == b'_' { b'-' } else { byte };
        let (name, ours) = (name.as_str(), ours.as_str());
        name.len() == ours.len() && name.bytes().map(dash).eq(ours.bytes().map(dash))
    };
    let spoofed = |name: &&HeaderName| names.iter().any(|ours| reads_as(name, ours));
    let names: Vec<_> = request.keys().filter(spoofed).cloned().collect();
    for name in names {
        request.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_taken_away_first_then_set_then_added() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let rules = Rules::new(&HeaderRules {
            remove: vec!["X-Gone".into(), "X-Added".into(), "Content-Length".into()],
            set: vec![pair("X-Set", "new"), pair("X-Real-IP", "{client_ip}")],
            add: vec![pair("X-Added", "one"), pair("X-Added", "two"), pair("X-Set", "beside")],
        });
        let mut answer = ResponseHeader::build(200, None).expect("a head");
        for (name, value) in [("x-gone", "1"), ("x-set", "old"), ("x-added", "old"), ("content-length", "3")]
        {
            answer.append_header(name, value).expect("a header");
        }
        rules.change_answer(&mut answer).expect("room");
        let all = |name| {
            answer.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect::<Vec<_>>()
        };
        assert_eq!(
            (all("x-gone").len(), all("x-set"), all("x-added")),
            (0, vec!["new", "beside"], vec!["one", "two"])
        );
        assert_eq!(all("content-length"), ["3"], "it says where the answer ends");
        let mut headers = HeaderMap::new();
        headers.insert("x-gone", HeaderValue::from_static("1"));
        headers.insert("x-real-ip", HeaderValue::from_static("forged"));
        rules.change(&mut headers, [192, 0, 2, 7].into());
        assert!(!headers.contains_key("x-gone") && headers["x-set"] == "new");
        assert_eq!(headers["x-real-ip"], "192.0.2.7");
        assert!(!answer.headers.contains_key("x-real-ip"), "it is the request's");
    }
}
