//! Probes and probers against real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use switcher_config::settings::{self, Check, UpstreamTls};
use switcher_config::wire::{Event, Health, ProbeRecord};
use switcher_config::{Slot, Span};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use super::probe::probe;
use super::{Dialer, Prober};
use crate::upstream::{CheckName, Upstream};

const LIMIT: Duration = Duration::from_secs(20);

fn upstream(address: &str) -> (Arc<Upstream>, broadcast::Receiver<Event>) {
    let (events, heard) = broadcast::channel(64);
    (Arc::new(Upstream::new("shop".parse().unwrap(), Slot::Blue, address.parse().unwrap(), events)), heard)
}

fn http_check() -> Check {
    Check::Http { path: "/health?deep=1".into(), host: None, status: (200, 299), body: None }
}

fn tls(verify: bool) -> UpstreamTls {
    UpstreamTls { verify, server_name: None, ca_file: None }
}

async fn probed(address: &str, check: &Check) -> ProbeRecord {
    probed_over(tls(true), address, check).await
}

async fn probed_over(tls: UpstreamTls, address: &str, check: &Check) -> ProbeRecord {
    probe(&Dialer::new(tls), &upstream(address).0, CheckName::Ready, check, LIMIT).await
}

async fn failure(address: &str, check: &Check) -> String {
    let record = probed(address, check).await;
    assert!(!record.ok);
    record.error.unwrap()
}

/// A server that reads a head and sends fixed bytes, on every connection.
struct Scripted {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer.into()));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::clone(&answer), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(Self::serve(tcp, shared.clone()));
            }
        });
        Self { address, answer, heads }
    }

    async fn serve(mut tcp: TcpStream, (answer, heads): (Arc<Mutex<Vec<u8>>>, Arc<Mutex<Vec<String>>>)) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = tcp.read_u8().await else { return };
            head.push(byte);
        }
        heads.lock().push(String::from_utf8(head).unwrap());
        let answer = answer.lock().clone();
        let _ = tcp.write_all(&answer).await;
    }
}

fn plain(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_expected_answer_passes_and_is_kept() {
    let server = Scripted::start(plain("204 No Content", "")).await;
    let record = probed(&server.address.to_string(), &http_check()).await;
    assert_eq!((record.ok, record.status, record.error), (true, Some(204), None));
    *server.answer.lock() = plain("200 OK", "all is well\n").into();
    let record = probed(&server.address.to_string(), &http_check()).await;
    assert_eq!((record.ok, record.body.as_deref()), (true, Some("all is well")));
    assert!(record.latency_ms > 0.0);
    let head = server.heads.lock()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /health?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
}

#[tokio::test]
async fn the_host_of_a_check_is_sent() {
    let server = Scripted::start(plain("200 OK", "")).await;
    let check =
        Check::Http { path: "/".into(), host: Some("shop.example".into()), status: (200, 200), body: None };
    assert!(probed(&server.address.to_string(), &check).await.ok);
    assert!(server.heads.lock()[0].to_ascii_lowercase().contains("host: shop.example\r\n"));
}

#[tokio::test]
async fn an_unexpected_answer_says_what_it_was() {
    let server = Scripted::start(plain("503 Service Unavailable", "migrations\r\npending\u{1b}[31m")).await;
    let address = server.address.to_string();
    assert_eq!(
        failure(&address, &http_check()).await,
        "answered 503 where 200-299 is expected: \"migrations  pending [31m\""
    );
    *server.answer.lock() = plain("200 OK", "starting").into();
    let wants_ready =
        Check::Http { path: "/".into(), host: None, status: (200, 200), body: Some("ready".into()) };
    assert_eq!(failure(&address, &wants_ready).await, "the body does not contain \"ready\": \"starting\"");
    *server.answer.lock() = plain("200 OK", "is ready now").into();
    assert!(probed(&address, &wants_ready).await.ok);
}

#[tokio::test]
async fn every_way_to_fail_is_a_sentence() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    assert_eq!(failure(&gone, &http_check()).await, "connection refused");
    assert_eq!(failure(&gone, &Check::Tcp).await, "connection refused");
    let nameless = failure("no-such-name.invalid:80", &http_check()).await;
    assert!(nameless.starts_with("the name no-such-name.invalid does not resolve: "), "{nameless}");
    for broken in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "no HTTP at all\r\n\r\n"] {
        let server = Scripted::start(broken).await;
        let error = failure(&server.address.to_string(), &http_check()).await;
        assert!(error.starts_with("the connection broke before a whole answer: "), "{broken:?}: {error}");
    }
    let bad = Check::Http { path: "no path".into(), host: None, status: (200, 200), body: None };
    let server = Scripted::start(plain("200 OK", "")).await;
    let error = failure(&server.address.to_string(), &bad).await;
    assert!(error.starts_with("the check cannot ask for \"no path\""), "{error}");
}

#[tokio::test]
async fn a_silent_server_fails_at_the_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (upstream, _heard) = upstream(&silent.local_addr().unwrap().to_string());
    let limit = Duration::from_millis(50);
    let record = probe(&Dialer::new(tls(true)), &upstream, CheckName::Live, &http_check(), limit).await;
    assert_eq!(record.error.as_deref(), Some("no answer within 50ms"));
    assert_eq!((record.ok, record.check.as_str()), (false, "live"));
}

#[tokio::test]
async fn a_tcp_check_needs_a_connection_only() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let record = probed(&silent.local_addr().unwrap().to_string(), &Check::Tcp).await;
    assert_eq!((record.ok, record.status), (true, None));
}

#[tokio::test]
async fn a_body_without_end_is_read_in_part() {
    // The body never ends: only a probe that stops reading comes back before its limit.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while tcp.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let record = probed(&address, &http_check()).await;
    assert!(record.ok, "{:?}", record.error);
    assert_eq!(record.body.unwrap().chars().count(), 201, "200 characters and an ellipsis");
}

/// What the HTTP/2 server below answers: headers, body, trailers.
type Answer = fn(&Request<Bytes>) -> (Response<()>, &'static [u8], Option<HeaderMap>);

/// An HTTP/2 server over any stream.
async fn serve_http2(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, answer: Answer) {
    let service = service_fn(move |request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (response, body, trailers) = answer(&Request::from_parts(head, body));
        let frames: Vec<Result<_, Infallible>> =
            (!body.is_empty()).then(|| Ok(Frame::data(Bytes::from_static(body)))).into_iter().collect();
        let trailers = trailers.map(|trailers| Ok(Frame::trailers(trailers)));
        let body = http_body_util::StreamBody::new(futures::stream::iter(frames.into_iter().chain(trailers)));
        Ok::<_, Infallible>(response.map(|()| body))
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}

async fn http2_server(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve_http2(tcp, answer));
        }
    });
    address
}

#[tokio::test]
async fn an_h2c_upstream_is_probed_over_http2() {
    let address = http2_server(|request| {
        assert_eq!(request.uri().path_and_query().unwrap(), "/health?deep=1");
        (Response::new(()), b"fine", None)
    })
    .await;
    let record = probed(&format!("h2c://{address}"), &http_check()).await;
    assert_eq!((record.ok, record.body.as_deref()), (true, Some("fine")), "{:?}", record.error);
    assert!(!probed(&address.to_string(), &http_check()).await.ok, "HTTP/1.1 is not understood there");
}

fn grpc_status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(code))])
}

/// A health service that serves `shop` and not `cart`, and knows nothing else.
fn grpc_health(request: &Request<Bytes>) -> (Response<()>, &'static [u8], Option<HeaderMap>) {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    match &request.body()[..] {
        b"\0\0\0\0\x06\x0a\x04shop" => (Response::new(()), b"\0\0\0\0\x02\x08\x01", Some(grpc_status("0"))),
        b"\0\0\0\0\x06\x0a\x04cart" => (Response::new(()), b"\0\0\0\0\x02\x08\x02", Some(grpc_status("0"))),
        _ => {
            let mut trailers_only = Response::new(());
            *trailers_only.headers_mut() = grpc_status("5");
            (trailers_only, b"", None)
        }
    }
}

#[tokio::test]
async fn grpc_health_is_believed_when_it_says_serving() {
    let address = http2_server(grpc_health).await;
    let grpc = |service: &str| Check::Grpc { service: service.into() };
    for scheme in ["", "h2c://"] {
        let address = format!("{scheme}{address}");
        let record = probed(&address, &grpc("shop")).await;
        assert!(record.ok, "{:?}", record.error);
        assert_eq!(failure(&address, &grpc("cart")).await, "the health service says NOT_SERVING");
        let unknown = "the health service does not know the service \"none\"";
        assert_eq!(failure(&address, &grpc("none")).await, unknown);
    }
    let plain_http = http2_server(|_| (Response::new(()), b"hello", None)).await;
    let no_grpc = "the answer has no grpc-status; this is no gRPC server";
    assert_eq!(failure(&plain_http.to_string(), &grpc("shop")).await, no_grpc);
}

/// A TLS server for `localhost` that speaks HTTP/2, and the PEM of its certificate.
async fn tls_server() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    serve_http2(stream, |_| (Response::new(()), b"over TLS", None)).await;
                }
            });
        }
    });
    (address, made.cert.pem())
}

#[tokio::test]
async fn an_https_upstream_is_verified_as_the_settings_say() {
    let (address, pem) = tls_server().await;
    let mut ca = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut ca, pem.as_bytes()).unwrap();
    let ca_file = Some(ca.path().to_owned());
    let server_name = Some("localhost".to_owned());
    let https = format!("https://{address}");

    let verified = UpstreamTls { verify: true, server_name, ca_file: ca_file.clone() };
    let record = probed_over(verified, &https, &http_check()).await;
    assert_eq!((record.error, record.body.as_deref()), (None, Some("over TLS")));

    let wrong_name = UpstreamTls { verify: true, server_name: None, ca_file };
    let error = probed_over(wrong_name, &https, &http_check()).await.error.unwrap();
    assert!(error.starts_with("the TLS handshake failed: "), "{error}");

    let error = probed(&https, &http_check()).await.error.unwrap();
    assert!(error.starts_with("the TLS handshake failed: "), "the system does not know this root: {error}");

    assert!(probed_over(tls(false), &https, &http_check()).await.ok, "unverified");

    let missing = UpstreamTls { ca_file: Some("/nowhere/ca.pem".into()), ..tls(true) };
    let error = probed_over(missing, &https, &http_check()).await.error.unwrap();
    assert!(error.starts_with("ca_file /nowhere/ca.pem cannot be read: "), "{error}");
}

fn settings(interval: Span, rise: u16) -> Arc<settings::Health> {
    Arc::new(settings::Health {
        ready: http_check(),
        live: None,
        interval,
        timeout: Span(LIMIT),
        rise,
        fall: 2,
    })
}

/// The next change of health.
async fn next(heard: &mut broadcast::Receiver<Event>) -> (Health, Option<String>) {
    let event = tokio::time::timeout(LIMIT, heard.recv()).await.expect("health changes in time").unwrap();
    let Event::Health { health, reason, .. } = event else { panic!("only health is told here") };
    (health, reason)
}

#[tokio::test]
async fn a_prober_follows_its_upstream_up_and_down() {
    let server = Scripted::start(plain("200 OK", "")).await;
    let (upstream, mut heard) = upstream(&server.address.to_string());
    let dialer = Arc::new(Dialer::new(tls(true)));
    let _prober = Prober::start(Arc::clone(&upstream), settings(Span::millis(5), 2), dialer);
    assert_eq!(next(&mut heard).await, (Health::Healthy, None));
    *server.answer.lock() = plain("500 Oops", "").into();
    let reason = "ready check: answered 500 where 200-299 is expected";
    assert_eq!(next(&mut heard).await, (Health::Unhealthy, Some(reason.into())));
    assert!(!upstream.usable());
    *server.answer.lock() = plain("200 OK", "").into();
    assert_eq!(next(&mut heard).await, (Health::Healthy, None));
    assert!(upstream.usable());
}

#[tokio::test]
async fn a_suspicion_is_probed_at_once() {
    let server = Scripted::start(plain("200 OK", "")).await;
    let (upstream, mut heard) = upstream(&server.address.to_string());
    let dialer = Arc::new(Dialer::new(tls(true)));
    // With an hour between probes only a probe out of turn can lift the suspicion in time.
    let _prober = Prober::start(Arc::clone(&upstream), settings(Span::seconds(3600), 1), dialer);
    assert_eq!(next(&mut heard).await, (Health::Healthy, None));
    upstream.suspect("connection refused");
    assert_eq!(next(&mut heard).await.0, Health::Unhealthy);
    assert_eq!(next(&mut heard).await, (Health::Healthy, None));
}

#[tokio::test]
async fn readiness_and_liveness_are_probed_apart() {
    let server = Scripted::start(plain("200 OK", "")).await;
    let (upstream, mut heard) = upstream(&server.address.to_string());
    let mut both = (*settings(Span::millis(5), 1)).clone();
    both.live = Some(Check::Http { path: "/live".into(), host: None, status: (300, 399), body: None });
    let dialer = Arc::new(Dialer::new(tls(true)));
    let _prober = Prober::start(Arc::clone(&upstream), Arc::new(both), dialer);
    let reason = "live check: answered 200 where 300-399 is expected";
    assert_eq!(next(&mut heard).await, (Health::Unhealthy, Some(reason.into())));
    assert_eq!(upstream.status().live, Some(Health::Unhealthy));
    let checks = upstream.status().checks;
    assert!(checks.iter().any(|c| c.check == "ready" && c.ok), "{checks:?}");
    assert!(checks.iter().any(|c| c.check == "live" && !c.ok), "{checks:?}");
}

#[tokio::test]
async fn a_prober_that_is_dropped_ends() {
    let server = Scripted::start(plain("200 OK", "")).await;
    let (upstream, mut heard) = upstream(&server.address.to_string());
    let dialer = Arc::new(Dialer::new(tls(true)));
    let prober = Prober::start(Arc::clone(&upstream), settings(Span::millis(5), 1), dialer);
    assert_eq!(next(&mut heard).await, (Health::Healthy, None));
    let weak = Arc::downgrade(&upstream);
    drop((prober, upstream));
    // The task held the last reference; the channel closes when it is gone.
    let closed = async { while heard.recv().await.is_ok() {} };
    tokio::time::timeout(LIMIT, closed).await.expect("the task ends");
    assert!(weak.upgrade().is_none());
}
