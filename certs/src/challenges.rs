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
    /// For each server name what is posted; the last is shown.
    tls_alpn: ArcSwap<HashMap<String, Vec<Arc<CertifiedKey>>>>,
}

/// An answer that is ready as long as this lives.
#[must_use]
pub struct Posted {
    challenges: Arc<Challenges>,
    place: Place,
}

enum Place {
    Http(String),
    TlsAlpn(String, Arc<CertifiedKey>),
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
        self.tls_alpn.load().get(server_name.to_ascii_lowercase().as_str())?.last().cloned()
    }

    /// All that is posted for a server name, shown or not.
    pub(crate) fn posted_tls_alpn(&self, server_name: &str) -> Vec<Arc<CertifiedKey>> {
        self.tls_alpn.load().get(server_name).cloned().unwrap_or_default()
    }

    /// Answers a token from now on.
    pub fn post_http(self: &Arc<Self>, token: String, answer: &str) -> Posted {
        self.http.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.insert(token.clone(), answer.into());
            next
        });
        Posted { challenges: Arc::clone(self), place: Place::Http(token) }
    }

    /// Answers challenge handshakes for a server name from now on.
    pub fn post_tls_alpn(self: &Arc<Self>, server_name: String, answer: &Arc<CertifiedKey>) -> Posted {
        self.post_tls_alpn_as(server_name, answer, Vec::len)
    }

    /// Answers them as long as no order does: for somebody who only wants to see whether they come here.
    pub fn probe_tls_alpn(self: &Arc<Self>, server_name: String, answer: &Arc<CertifiedKey>) -> Posted {
        self.post_tls_alpn_as(server_name, answer, |_| 0)
    }

    fn post_tls_alpn_as(
        self: &Arc<Self>,
        server_name: String,
        answer: &Arc<CertifiedKey>,
        at: impl Fn(&Vec<Arc<CertifiedKey>>) -> usize,
    ) -> Posted {
        self.tls_alpn.rcu(|now| {
            let mut next = HashMap::clone(now);
            let posted = next.entry(server_name.clone()).or_default();
            posted.insert(at(posted), Arc::clone(answer));
            next
        });
        Posted { challenges: Arc::clone(self), place: Place::TlsAlpn(server_name, Arc::clone(answer)) }
    }

    /// Takes out one answer; others for the same server name stay.
    fn take_tls_alpn(&self, server_name: &str, answer: &Arc<CertifiedKey>) {
        self.tls_alpn.rcu(|now| {
            let mut next = HashMap::clone(now);
            if let Some(posted) = next.get_mut(server_name) {
                posted.retain(|one| !Arc::ptr_eq(one, answer));
                if posted.is_empty() {
                    next.remove(server_name);
                }
            }
            next
        });
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        match &self.place {
            Place::Http(token) => {
                self.challenges.http.rcu(|now| {
                    let mut next = HashMap::clone(now);
                    next.remove(token);
                    next
                });
            }
            Place::TlsAlpn(name, answer) => self.challenges.take_tls_alpn(name, answer),
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
    use crate::fixtures::ClientRoot;

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

    #[test]
    fn a_probe_takes_nothing_from_an_order() {
        let challenges = Arc::new(Challenges::default());
        let ca = ClientRoot::new("root");
        let [order, first, second] = [(); 3].map(|()| ca.issue("shop.test"));
        let shows = |key: &Arc<CertifiedKey>| {
            challenges.tls_alpn("Shop.test").is_some_and(|shown| Arc::ptr_eq(&shown, key))
        };
        let probing = challenges.probe_tls_alpn("shop.test".into(), &first);
        assert!(shows(&first));
        let ordering = challenges.post_tls_alpn("shop.test".into(), &order);
        let probing_too = challenges.probe_tls_alpn("shop.test".into(), &second);
        assert!(shows(&order), "whether they were there before it or come after it");
        assert_eq!(challenges.posted_tls_alpn("shop.test").len(), 3);
        drop(probing);
        assert!(shows(&order), "one that leaves takes only its own");
        drop(ordering);
        assert!(shows(&second));
        drop(probing_too);
        assert!(challenges.tls_alpn("shop.test").is_none());
    }
}
