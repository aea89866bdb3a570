//! Answers that are ready for an authority that looks: tokens for http-01, certificates for tls-alpn-01.
//!
//! The order puts an answer in before it tells the authority to look, and its [`Posted`] takes it out again when
//! dropped, however the order ends. The proxy reads [`Challenges::http`] for requests and the resolver reads
//! [`Challenges::tls_alpn`] for handshakes; neither waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

/// The protocol by which a handshake says that it is a challenge (RFC 8737 section 6.2).
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// The path under which tokens are asked for (RFC 8555 section 8.3).
pub const HTTP_PATH: &str = "/.well-known/acme-challenge/";

/// Every answer that is ready.
#[derive(Default)]
pub struct Challenges {
    http: ArcSwap<HashMap<String, Arc<str>>>,
    tls_alpn: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
}

/// An answer that is ready as long as this lives.
#[must_use]
pub struct Posted {
    challenges: Arc<Challenges>,
    place: Place,
}

enum Place {
    Http(String),
    TlsAlpn(String),
}

impl Challenges {
    /// The answer to a token.
    #[must_use]
    pub fn http(&self, token: &str) -> Option<Arc<str>> {
        self.http.load().get(token).cloned()
    }

    /// The certificate for a challenge handshake. An IP address is asked for by its name in `in-addr.arpa` or
    /// `ip6.arpa` (RFC 8738 section 6).
    #[must_use]
    pub fn tls_alpn(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        self.tls_alpn.load().get(server_name.to_ascii_lowercase().as_str()).cloned()
    }

    /// Answers a token from now on.
    pub fn post_http(self: &Arc<Self>, token: String, answer: &str) -> Posted {
        self.http.rcu(|now| with(now, &token, &Arc::from(answer)));
        Posted { challenges: Arc::clone(self), place: Place::Http(token) }
    }

    /// Answers challenge handshakes for a server name from now on.
    pub fn post_tls_alpn(self: &Arc<Self>, server_name: String, answer: &Arc<CertifiedKey>) -> Posted {
        self.tls_alpn.rcu(|now| with(now, &server_name, answer));
        Posted { challenges: Arc::clone(self), place: Place::TlsAlpn(server_name) }
    }
}

fn with<V: Clone>(now: &HashMap<String, V>, key: &str, value: &V) -> HashMap<String, V> {
    let mut next = now.clone();
    next.insert(key.to_owned(), value.clone());
    next
}

fn without<V: Clone>(now: &HashMap<String, V>, key: &str) -> HashMap<String, V> {
    let mut next = now.clone();
    next.remove(key);
    next
}

impl Drop for Posted {
    fn drop(&mut self) {
        match &self.place {
            Place::Http(token) => drop(self.challenges.http.rcu(|now| without(now, token))),
            Place::TlsAlpn(name) => drop(self.challenges.tls_alpn.rcu(|now| without(now, name))),
        }
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges")
            .field("http", &self.http.load().len())
            .field("tls_alpn", &self.tls_alpn.load().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_there_as_long_as_its_order_holds_it() {
        let challenges = Arc::new(Challenges::default());
        let first = challenges.post_http("token-1".into(), "answer-1");
        let second = challenges.post_http("token-2".into(), "answer-2");
        assert_eq!(challenges.http("token-1").as_deref(), Some("answer-1"));
        drop(first);
        assert_eq!(challenges.http("token-1"), None);
        assert_eq!(challenges.http("token-2").as_deref(), Some("answer-2"));
        drop(second);
        assert_eq!(challenges.http("token-2"), None);
    }
}
