//! A load that judges certificates: connections that are kept, and new ones all the time, all by strict clients.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{CertificateError, ClientConfig};
use tokio::task::JoinSet;

use crate::acme::strict::{Strict, shake};
use crate::http1::{Http1, request};

/// The pause of a client between two requests: the load is to find gaps, not limits.
const PACE: Duration = Duration::from_millis(20);

/// What a load came to.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// Requests that got a whole answer with status 200.
    pub requests: u64,
    /// Handshakes that held.
    pub handshakes: u64,
    /// What failed beside certificates: the first of each kind of words.
    pub failures: Vec<String>,
    /// How often an expired certificate was shown.
    pub expired: u64,
    /// How often a certificate of nobody trusted was shown: a placeholder.
    pub untrusted: u64,
    /// How often a certificate for another name was shown.
    pub misnamed: u64,
    /// The serial numbers that were shown, by name.
    pub serials: BTreeMap<String, BTreeSet<String>>,
}

impl Judged {
    /// Nothing failed, and no certificate was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.expired + self.untrusted + self.misnamed == 0
    }

    /// How often a name's certificate was seen to change, over all names.
    #[must_use]
    pub fn renewals(&self) -> usize {
        self.serials.values().map(|serials| serials.len().saturating_sub(1)).sum()
    }

    fn fail(&mut self, error: &io::Error) {
        let certificate = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        match certificate {
            Some(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => self.expired += 1,
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => self.untrusted += 1,
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => self.misnamed += 1,
            _ => self.failures.push(error.to_string()),
        }
    }
}

/// A load under way. It ends when dropped.
pub struct Load {
    judged: Arc<Mutex<Judged>>,
    clients: JoinSet<()>,
}

impl Load {
    /// For each name, `kept` clients that stay on their connection, and one that opens a new one for each request.
    #[must_use]
    pub fn start(strict: &Strict, address: SocketAddr, names: &[&str], kept: usize) -> Self {
        let judged = Arc::new(Mutex::new(Judged::default()));
        let mut clients = JoinSet::new();
        for name in names {
            for stays in (0..=kept).map(|n| n > 0) {
                let client = Client {
                    config: strict.config(),
                    name: (*name).to_owned(),
                    address,
                    judged: Arc::clone(&judged),
                };
                clients.spawn(async move { client.run(stays).await });
            }
        }
        Self { judged, clients }
    }

    /// What it came to so far.
    ///
    /// # Panics
    /// When a client panicked.
    #[must_use]
    pub fn judged(&self) -> Judged {
        self.judged.lock().expect("the judgement").clone()
    }

    /// Ends it; requests under way are not counted.
    pub async fn stop(mut self) -> Judged {
        self.clients.shutdown().await;
        self.judged()
    }
}

struct Client {
    config: Arc<ClientConfig>,
    name: String,
    address: SocketAddr,
    judged: Arc<Mutex<Judged>>,
}

impl Client {
    async fn run(&self, stays: bool) {
        let mut pace = tokio::time::interval(PACE);
        let mut connection = None;
        loop {
            pace.tick().await;
            let outcome = self.once(&mut connection).await;
            if let Err(error) = outcome {
                self.judged.lock().expect("the judgement").fail(&error);
                connection = None;
            }
            if !stays {
                connection = None;
            }
        }
    }

    async fn once(&self, connection: &mut Option<Http1>) -> io::Result<()> {
        let mut client = match connection.take() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let answer = client.try_exchange(&request("GET", "/", &[("Host", &self.name)], b"")).await?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("status {}: {}", answer.status, answer.text())));
        }
        self.judged.lock().expect("the judgement").requests += 1;
        // A server may end a connection when it says so; the next request then takes a new one.
        if !answer.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")) {
            *connection = Some(client);
        }
        Ok(())
    }

    async fn connect(&self) -> io::Result<Http1> {
        let verified = shake(Arc::clone(&self.config), &self.name, self.address).await?;
        let mut judged = self.judged.lock().expect("the judgement");
        judged.handshakes += 1;
        judged.serials.entry(self.name.clone()).or_default().insert(verified.leaf.serial);
        Ok(Http1::over(verified.stream))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use jiff::{SignedDuration, Timestamp};
    use rustls::ServerConfig;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::acme::authority::{Authority, a_day, serving};
    use crate::until::{PATIENCE, until};

    /// A server whose certificate can be changed, and which answers every request with 200.
    struct Server {
        address: SocketAddr,
        shown: Arc<RwLock<Arc<ServerConfig>>>,
    }

    impl Server {
        async fn start(first: Arc<ServerConfig>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("its address");
            let shown = Arc::new(RwLock::new(first));
            let choose = Arc::clone(&shown);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let acceptor = TlsAcceptor::from(Arc::clone(&choose.read().expect("a choice")));
                    tokio::spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let mut wire = Http1::over(stream);
                        while wire.forever_head().await.is_some() {
                            let _ = wire.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                        }
                    });
                }
            });
            Self { address, shown }
        }

        fn show(&self, config: Arc<ServerConfig>) {
            *self.shown.write().expect("a choice") = config;
        }
    }

    #[tokio::test]
    async fn good_certificates_are_found_good_and_a_change_is_seen() {
        let authority = Authority::new("good");
        let server = Server::start(authority.server(&["shop.test"])).await;
        let load = Load::start(&Strict::trusting(&[authority.root()]), server.address, &["shop.test"], 2);
        until(PATIENCE, "some requests", || async { load.judged().requests > 10 }).await;
        server.show(authority.server(&["shop.test"]));
        until(PATIENCE, "the change to be seen", || async { load.judged().renewals() == 1 }).await;
        let judged = load.stop().await;
        assert!(judged.is_clean(), "{judged:?}");
    }

    /// The controls: each kind of wrong certificate is noticed as what it is.
    #[tokio::test]
    async fn expired_untrusted_and_misnamed_certificates_are_noticed() {
        let (authority, stranger) = (Authority::new("good"), Authority::new("stranger"));
        let server = Server::start(authority.server(&["shop.test"])).await;
        let load = Load::start(&Strict::trusting(&[authority.root()]), server.address, &["shop.test"], 1);
        until(PATIENCE, "some requests", || async { load.judged().requests > 10 }).await;
        assert!(load.judged().is_clean());
        let ended = (a_day().0, Timestamp::now() - SignedDuration::from_secs(1));
        server.show(serving(authority.keyed(&["shop.test"], ended)));
        until(PATIENCE, "the expired one to be noticed", || async { load.judged().expired > 0 }).await;
        server.show(stranger.server(&["shop.test"]));
        until(PATIENCE, "the stranger's to be noticed", || async { load.judged().untrusted > 0 }).await;
        let alone = crate::certificate::Certificate::of(&["shop.test"]);
        let before = load.judged().untrusted;
        server.show(serving((vec![alone.der.clone()], alone.key())));
        until(PATIENCE, "the self-signed one to be noticed", || async { load.judged().untrusted > before })
            .await;
        server.show(authority.server(&["other.test"]));
        until(PATIENCE, "the other name to be noticed", || async { load.judged().misnamed > 0 }).await;
        assert!(!load.stop().await.is_clean());
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_a_failure() {
        let authority = Authority::new("good");
        let refusing = crate::port::Refusing::start();
        let load = Load::start(&Strict::trusting(&[authority.root()]), refusing.address(), &["shop.test"], 0);
        until(PATIENCE, "a failure", || async { !load.judged().failures.is_empty() }).await;
    }
}
