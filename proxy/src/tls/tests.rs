//! The front over real sockets: refusals byte by byte, hellos in pieces, first handshakes, turns, reloads.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use switcher_certs::store::Wanted;
use switcher_config::Span;
use switcher_config::settings::{AppSettings, Handshakes};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use super::*;
use crate::metrics::Metrics;
use crate::testing::{app_settings, settings};

const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A front with its store, for the apps `shop` (shop.test, auto) and `customers` (*.customers.test, on demand).
struct Stage {
    front: Arc<Front>,
    store: Arc<Store>,
    settings: Settings,
    metrics: Metrics,
}

fn wanted(name: &str) -> Wanted {
    Wanted { names: vec![name.to_owned()], source: switcher_certs::Source::Placeholder { why: None } }
}

fn app(host: &str, tls: Source) -> AppSettings {
    let hosts = vec![host.parse().expect("a host")];
    AppSettings { hosts, tls, ..app_settings("127.0.0.1:1", "127.0.0.1:2") }
}

impl Stage {
    fn new(
        handshakes: Handshakes,
        hook: impl FnOnce(&Arc<Store>) -> Option<Arc<dyn AtFirstHandshake>>,
    ) -> Self {
        let apps = vec![
            ("shop", app("shop.test", Source::Auto)),
            ("customers", app("*.customers.test", Source::OnDemand)),
        ];
        let mut settings = settings(apps);
        settings.proxy.handshakes = handshakes;
        let store = Arc::new(Store::new(vec![wanted("shop.test")]).expect("a store"));
        let metrics = Metrics::new("test").expect("metrics");
        let hook = hook(&store);
        let front = Front::new(&store, &settings, ClientCas::default(), metrics.tls().clone(), hook);
        Self { front: Arc::new(front.expect("a front")), store, settings, metrics }
    }

    fn usual() -> Self {
        Self::new(Handshakes { timeout: Span::seconds(30), limit: 1024 }, |_| None)
    }

    /// A client's end of a connection whose other end shakes hands now.
    async fn connect(&self) -> (TcpStream, tokio::task::JoinHandle<Result<Shaken, NotServed>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, (server, _)) = (client.expect("connected"), accepted.expect("accepted"));
        client.set_nodelay(true).expect("a socket");
        let front = Arc::clone(&self.front);
        (client, tokio::spawn(async move { front.shake(Entrance::Requests(0), Socket::Tcp(server)).await }))
    }

    /// A whole handshake for a name; the client's half of it, if it succeeded for both.
    async fn shake(
        &self,
        client: &ClientConfig,
        name: &str,
    ) -> Result<(tokio_rustls::client::TlsStream<TcpStream>, Shaken), NotServed> {
        let (socket, server) = self.connect().await;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = TlsConnector::from(Arc::new(client.clone()));
        let (client, server) = tokio::join!(connector.connect(name, socket), server);
        let shaken = server.expect("no panic")?;
        Ok((client.expect("both agree"), shaken))
    }

    fn count(&self, result: &str) -> String {
        let start = format!("switcher_tls_handshakes_total{{result=\"{result}\"}} ");
        let text = self.metrics.encode().expect("text");
        text.lines().find_map(|line| line.strip_prefix(&start)).expect("the family").to_owned()
    }
}

fn client(alpn: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(16);
    config
}

/// A client that has said its hello in memory.
fn hello(config: &ClientConfig, name: &str) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config.clone()), name).expect("a client");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("a hello");
    (connection, bytes)
}

/// Everything the server says until it closes.
async fn everything(socket: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    socket.read_to_end(&mut said).await.expect("closed cleanly");
    said
}

/// The same hello in records of at most `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let (head, message) = hello.split_at(5);
    let mut records = Vec::new();
    for piece in message.chunks(size) {
        records.extend_from_slice(&head[..3]);
        records.extend_from_slice(&(piece.len() as u16).to_be_bytes());
        records.extend_from_slice(piece);
    }
    records
}

#[tokio::test]
async fn an_unknown_name_gets_the_alert_for_it_and_a_clean_end() {
    let stage = Stage::usual();
    for name in ["stranger.test", "a.customers.test"] {
        let (mut socket, server) = stage.connect().await;
        socket.write_all(&hello(&client(&[]), name).1).await.expect("sent");
        assert_eq!(everything(&mut socket).await, UNRECOGNIZED_NAME, "{name}");
        assert!(matches!(server.await.expect("no panic"), Err(NotServed::Refused(Some(_)))));
    }
    assert_eq!(stage.count("refused"), "2");
    assert!(stage.shake(&client(&[]), "shop.test").await.is_ok());
    assert_eq!(stage.count("ok"), "1");
}

#[tokio::test]
async fn a_hello_may_come_byte_by_byte_and_in_many_records() {
    let stage = Stage::usual();
    let config = client(&["h2"]);
    let (_, whole) = hello(&config, "shop.test");
    assert!(whole.len() > 1400, "a post-quantum hello is larger than a segment: {}", whole.len());
    for records in [usize::MAX, 100, 1] {
        let (mut socket, server) = stage.connect().await;
        let (mut connection, bytes) = hello(&config, "shop.test");
        let bytes = if records == usize::MAX { bytes } else { in_records(&bytes, records) };
        for byte in bytes {
            socket.write_all(&[byte]).await.expect("sent");
        }
        while connection.is_handshaking() {
            let mut buffer = vec![0; 4096];
            let read = socket.read(&mut buffer).await.expect("read");
            assert!(read > 0, "the server closed on a hello in records of {records}");
            connection.read_tls(&mut &buffer[..read]).expect("memory");
            connection.process_new_packets().expect("understood");
            let mut answer = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut answer).expect("memory");
            }
            socket.write_all(&answer).await.expect("sent");
        }
        let shaken = server.await.expect("no panic").expect("served");
        assert_eq!(shaken.tls.sni.as_deref(), Some("shop.test"));
    }
}

#[tokio::test]
async fn what_is_no_tls_fails_and_holds_nothing_up() {
    let stage = Stage::usual();
    let (mut socket, server) = stage.connect().await;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.expect("sent");
    let _ = socket.read_to_end(&mut Vec::new()).await;
    assert!(matches!(server.await.expect("no panic"), Err(NotServed::Failed(_))));
    let (socket, server) = stage.connect().await;
    drop(socket);
    assert!(matches!(server.await.expect("no panic"), Err(NotServed::Failed(_))));
    assert_eq!(stage.count("failed"), "2");
}

/// Grants names that begin with `good`, when it is let.
struct Fake {
    store: Arc<Store>,
    asked: Arc<AtomicUsize>,
    go_on: Arc<Notify>,
}

impl AtFirstHandshake for Fake {
    fn obtain<'a>(&'a self, server_name: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.go_on.notified().await;
            let good = server_name.starts_with("good");
            if good {
                self.store.replace_wanted(vec![wanted("shop.test"), wanted(server_name)]).expect("served");
            }
            good
        })
    }
}

#[tokio::test]
async fn a_name_is_obtained_at_its_first_handshake_only_where_that_is_configured() {
    let (asked, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let fake = |store: &Arc<Store>| -> Option<Arc<dyn AtFirstHandshake>> {
        Some(Arc::new(Fake {
            store: Arc::clone(store),
            asked: Arc::clone(&asked),
            go_on: Arc::clone(&go_on),
        }))
    };
    let stage = Stage::new(Handshakes { timeout: Span::millis(300), limit: 1 }, fake);
    let config = client(&[]);
    let refused = stage.shake(&config, "stranger.test").await.map(drop);
    assert!(matches!(refused, Err(NotServed::Refused(_))), "{refused:?}");
    assert!(stage.shake(&config, "shop.test").await.is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 0, "neither is routed to an application on demand");

    // While a certificate is obtained, an ordinary handshake's time passes, and others have their turns.
    let first = stage.shake(&config, "GOOD.customers.test");
    let meanwhile = async {
        let (silent, server) = stage.connect().await;
        assert!(matches!(server.await.expect("no panic"), Err(NotServed::Timeout)));
        drop(silent);
        assert!(stage.shake(&config, "shop.test").await.is_ok());
        go_on.notify_one();
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    let (_, shaken) = first.expect("served in the end");
    assert_eq!(shaken.tls.sni.as_deref(), Some("good.customers.test"));
    assert!(stage.shake(&config, "good.customers.test").await.is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 1, "nobody asks for what is there");

    go_on.notify_one();
    let refused = stage.shake(&config, "bad.customers.test").await.map(drop);
    assert!(matches!(refused, Err(NotServed::Refused(_))), "{refused:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_handshake_without_a_turn_gives_up_and_silent_clients_take_none() {
    let stage = Stage::new(Handshakes { timeout: Span::millis(500), limit: 1 }, |_| None);
    let config = client(&[]);
    let (silent, _waiting) = stage.connect().await;
    assert!(stage.shake(&config, "shop.test").await.is_ok(), "one that says nothing takes no turn");
    drop(silent);

    let stage = Stage::new(Handshakes { timeout: Span::seconds(30), limit: 1 }, |_| None);
    let (mut stalled, server) = stage.connect().await;
    stalled.write_all(&hello(&config, "shop.test").1).await.expect("sent");
    assert!(stalled.read(&mut [0; 1]).await.expect("read") > 0, "it has its turn now");
    let mut impatient = stage.settings.clone();
    impatient.proxy.handshakes.timeout = Span::millis(200);
    stage.front.replace(&impatient, ClientCas::default()).expect("replaced");
    let (mut other, waiting) = stage.connect().await;
    other.write_all(&hello(&config, "shop.test").1).await.expect("sent");
    assert!(matches!(waiting.await.expect("no panic"), Err(NotServed::Limited)));
    assert_eq!(stage.count("limited"), "1");
    stage.front.replace(&stage.settings, ClientCas::default()).expect("replaced");
    drop(stalled);
    assert!(server.await.expect("no panic").is_err());
    assert!(stage.shake(&config, "shop.test").await.is_ok(), "the turn was given back");
}

#[tokio::test]
async fn a_silent_client_is_given_up_in_time() {
    let stage = Stage::new(Handshakes { timeout: Span::millis(50), limit: 8 }, |_| None);
    let (mut socket, server) = stage.connect().await;
    assert!(matches!(server.await.expect("no panic"), Err(NotServed::Timeout)));
    assert_eq!(everything(&mut socket).await, b"");
    let (mut socket, server) = stage.connect().await;
    let (_, bytes) = hello(&client(&[]), "shop.test");
    socket.write_all(&bytes[..bytes.len() / 2]).await.expect("half a hello");
    assert!(matches!(server.await.expect("no panic"), Err(NotServed::Timeout)));
    assert_eq!(stage.count("timeout"), "2");
}

#[tokio::test]
async fn an_authority_sees_the_challenge_and_nothing_else() {
    let stage = Stage::usual();
    let validator = client(&["acme-tls/1"]);
    let (mut socket, server) = stage.connect().await;
    socket.write_all(&hello(&validator, "shop.test").1).await.expect("sent");
    assert_eq!(everything(&mut socket).await, UNRECOGNIZED_NAME, "nobody posted one");
    assert!(server.await.expect("no panic").is_err());

    let key = stage.store.resolver().find(Some("shop.test")).expect("a certificate");
    let _posted = stage.store.challenges().post_tls_alpn("shop.test".to_owned(), &key);
    let (socket, server) = stage.connect().await;
    let name = ServerName::try_from("shop.test").expect("a name");
    let mut seen = TlsConnector::from(Arc::new(validator)).connect(name, socket).await.expect("shown");
    assert_eq!(seen.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    assert_eq!(seen.read(&mut [0; 1]).await.expect("a clean end"), 0);
    assert!(matches!(server.await.expect("no panic"), Err(NotServed::Challenge(_))));
    assert_eq!(stage.count("challenge"), "1");

    let (_, shaken) =
        stage.shake(&client(&["acme-tls/1", "h2"]), "shop.test").await.expect("an ordinary client");
    assert_eq!(shaken.stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn clients_resume_after_a_reload() {
    let stage = Stage::usual();
    let config = client(&[]);
    let resumed = async || {
        let (mut client, shaken) = stage.shake(&config, "shop.test").await.expect("served");
        // The tickets come behind the handshake, before the end.
        drop(shaken);
        let _ = client.read(&mut [0; 1]).await;
        client.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    };
    assert!(!resumed().await);
    let mut other = stage.settings.clone();
    other.proxy.handshakes.limit = 7;
    stage.front.replace(&other, ClientCas::default()).expect("replaced");
    assert!(resumed().await);
    let text = stage.metrics.encode().expect("text");
    for line in [
        "switcher_tls_sessions_total{kind=\"full\"} 1",
        "switcher_tls_sessions_total{kind=\"resumed\"} 1",
        "switcher_tls_handshakes_in_flight 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
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
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
