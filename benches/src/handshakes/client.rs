//! The load: clients that open a connection, shake hands, and end it.
//!
//! A few threads on one core, so that the next handshake is on its way while the server is at one. They do not
//! verify the server's signature: that costs them more than it costs the server to make it, and the load would
//! be measured instead of the server. A handshake counts when the server has closed the connection too, so
//! everything it does, the tickets it sends included, is paid for within the turn.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup,
    SignatureScheme,
};
use switcher::demo::trouble::Trouble;

/// Handshakes under way at once.
const AT_ONCE: usize = 6;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The load for one server.
#[derive(Debug)]
pub struct Load {
    address: SocketAddr,
    names: Vec<ServerName<'static>>,
    /// Throws tickets away.
    full: Arc<ClientConfig>,
    /// Keeps tickets and shows none.
    collecting: Arc<ClientConfig>,
    /// Keeps tickets and shows each once, as clients should (RFC 8446 appendix C.4).
    resumed: Arc<ClientConfig>,
}

impl Load {
    /// A load that asks for these names in turn, with one key exchange.
    ///
    /// # Panics
    /// When the crypto library has lost TLS 1.3.
    #[must_use]
    pub fn new(address: SocketAddr, names: Vec<ServerName<'static>>, group: NamedGroup) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups.retain(|g| g.name() == group);
        // The first choice of browsers; servers that leave the choice to the client take it.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let mut base = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the library speaks TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified))
            .with_no_client_auth();
        base.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stock = Arc::new(Mutex::default());
        // A ticket is only good for configurations that share a verifier, as clones do.
        let config = |keep, show| {
            let mut config = base.clone();
            let tickets = Tickets { group, keep, show, stock: Arc::clone(&stock) };
            config.resumption = Resumption::store(Arc::new(tickets));
            Arc::new(config)
        };
        let (full, collecting) = (config(false, false), config(true, false));
        Self { address, names, full, collecting, resumed: config(true, true) }
    }

    /// Takes a ticket for each handshake that may be under way.
    ///
    /// # Errors
    /// When a handshake fails.
    pub fn take_tickets(&self) -> Result<(), Trouble> {
        let take = || self.connect(&self.collecting, &self.names[0]).and_then(finish);
        (0..AT_ONCE).try_for_each(|_| take()).map_err(|error| self.trouble(error))
    }

    /// This many handshakes, all of that kind.
    ///
    /// # Errors
    /// With the first that failed or was of another kind.
    pub fn run(&self, handshakes: usize, kind: HandshakeKind) -> Result<(), Trouble> {
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= handshakes {
                    return Ok(());
                }
                self.shake(number, kind)?;
            }
        };
        let outcome = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or(Err(io::ErrorKind::Other.into())))
        });
        outcome.map_err(|error| self.trouble(error))
    }

    fn trouble(&self, error: io::Error) -> Trouble {
        Trouble::system(format!("shake hands with {}", self.address))(error)
    }

    fn shake(&self, number: usize, kind: HandshakeKind) -> io::Result<()> {
        let (config, name) = match kind {
            HandshakeKind::Resumed => (&self.resumed, &self.names[0]),
            HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest => {
                (&self.full, &self.names[number % self.names.len()])
            }
        };
        let (tls, tcp) = self.connect(config, name)?;
        let was = tls.handshake_kind();
        if was != Some(kind) {
            return Err(io::Error::other(format!("handshake {number} was {was:?} instead of {kind:?}")));
        }
        finish((tls, tcp))
    }

    /// Connects and shakes hands, up to the client's last message, which is still to be sent.
    fn connect(
        &self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> io::Result<(ClientConnection, TcpStream)> {
        let mut tcp = TcpStream::connect(self.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let mut tls = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
        loop {
            while tls.is_handshaking() && tls.wants_write() {
                tls.write_tls(&mut tcp)?;
            }
            if !tls.is_handshaking() {
                return Ok((tls, tcp));
            }
            if !receive(&mut tls, &mut tcp)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Sends the client's last message, waits for the server's first ticket, and ends: a client that is quicker to
/// leave makes some servers throw their tickets away. Returns when the server has closed too.
fn finish((mut tls, mut tcp): (ClientConnection, TcpStream)) -> io::Result<()> {
    send(&mut tls, &mut tcp)?;
    // Go sends it with its first flight, others when they have the client's last message.
    while tls.tls13_tickets_received() == 0 {
        if !receive(&mut tls, &mut tcp)? {
            return Err(io::Error::other("the server sent no ticket"));
        }
    }
    tls.send_close_notify();
    send(&mut tls, &mut tcp)?;
    tcp.shutdown(Shutdown::Write)?;
    loop {
        match receive(&mut tls, &mut tcp) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // A server that closes before it has read our end answers that with a reset.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn send(tls: &mut ClientConnection, tcp: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(tcp)?;
    }
    Ok(())
}

/// Reads and understands what has come. False at the end.
fn receive(tls: &mut ClientConnection, tcp: &mut TcpStream) -> io::Result<bool> {
    if tls.read_tls(tcp)? == 0 {
        return Ok(false);
    }
    tls.process_new_packets().map_err(io::Error::other)?;
    Ok(true)
}

/// Says that it wants tickets, as every browser does, so that servers send them.
struct Tickets {
    group: NamedGroup,
    keep: bool,
    show: bool,
    stock: Arc<Mutex<Vec<Tls13ClientSessionValue>>>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        Some(self.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        if self.keep {
            self.stock.lock().unwrap_or_else(PoisonError::into_inner).push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        // The newest: those of earlier turns grow old.
        self.show.then(|| self.stock.lock().unwrap_or_else(PoisonError::into_inner).pop()).flatten()
    }
}

/// Verifies nothing at all. For a load on loopback that measures the server, and for nothing else.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
