//! The PROXY protocol: whom a balancer in front speaks for, and whom upstreams behind are told of.

mod balancers;
mod upstream;

use std::net::SocketAddr;

use switcher_tests::http1::{Ending, request};
use switcher_tests::port::Port;
use switcher_tests::tls::Hello;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Proxy, Setup};

/// A listener of the plain kind in which the client is named, and the usual one.
struct Named {
    proxy: Proxy,
    at: Port,
    app: App,
}

impl Named {
    /// Trusts 127.0.0.1 and nobody else.
    async fn start(mode: &str) -> Self {
        Self::with(mode, |setup| setup).await
    }

    async fn with(mode: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let (app, at) = (App::start("blue").await, Port::reserve());
        let listeners = format!("[{{listen: \"{}\", proxy_protocol: {mode}}}]", at.address());
        let setup =
            Setup::one(app.upstream()).proxy("http", &listeners).proxy("trusted_proxies", "[127.0.0.1/32]");
        let proxy = more(setup).start_healthy().await;
        Self { proxy, at, app }
    }

    async fn closed(&self) -> u64 {
        self.proxy.metric("switcher_limits_total{limit=\"proxy_protocol\"}").await
    }

    async fn sees_closed(&self, count: u64) {
        self.proxy.wait_limit("proxy_protocol", count).await;
    }

    fn forwarded_for(&self) -> String {
        self.app.last().header("x-forwarded-for").expect("the client").to_owned()
    }
}

fn ask(path: &str) -> Vec<u8> {
    request("GET", path, &[], b"")
}

/// A connection from an address of loopback that is not the usual one.
async fn from(source: &str, to: SocketAddr) -> Http1 {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(source.parse().expect("an address")).expect("an address of loopback");
    Http1::over(socket.connect(to).await.expect("a connection"))
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(source: [u8; 4]) -> Vec<u8> {
    [V2, &[0x21, 0x11, 0, 12], &source, &[198, 51, 100, 1], &[0x12, 0x34, 1, 187]].concat()
}

#[tokio::test]
async fn the_named_client_is_the_client() {
    let named = Named::start("require").await;
    let v1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 80\r\n".to_vec();
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 80\r\n".to_vec();
    for (at, (header, client)) in
        [(v1, "203.0.113.7"), (v2([203, 0, 113, 8]), "203.0.113.8"), (six, "2001:db8::7")]
            .into_iter()
            .enumerate()
    {
        let mut wire = Http1::connect(named.at.address()).await;
        // Header and request in one piece, and then another request on the same connection.
        let path = format!("/named-{at}");
        assert_eq!(wire.exchange(&[&header[..], &ask(&path)].concat()).await.text(), "blue");
        assert_eq!(named.forwarded_for(), client);
        assert_eq!(wire.exchange(&ask("/again")).await.text(), "blue");
        assert_eq!(named.forwarded_for(), client);
        assert_eq!(named.proxy.record_of(&path).await["client"], client);
    }
    assert_eq!(named.closed().await, 0);
}

#[tokio::test]
async fn a_named_client_is_not_trusted_for_being_named_by_somebody_trusted() {
    let named = Named::start("require").await;
    let mut wire = Http1::connect(named.at.address()).await;
    let request = request("GET", "/", &[("X-Forwarded-For", "192.0.2.99")], b"");
    wire.exchange(&[&v2([203, 0, 113, 7])[..], &request].concat()).await;
    assert_eq!(named.forwarded_for(), "203.0.113.7");
}

#[tokio::test]
async fn a_balancer_that_speaks_for_itself_is_the_client() {
    let named = Named::start("require").await;
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), [V2, &[0x20, 0, 0, 0]].concat()] {
        let mut wire = Http1::connect(named.at.address()).await;
        assert_eq!(wire.exchange(&[&header[..], &ask("/")].concat()).await.text(), "blue");
        assert_eq!(named.forwarded_for(), "127.0.0.1");
    }
}

#[tokio::test]
async fn who_is_not_trusted_is_closed_where_a_header_is_required() {
    let named = Named::start("require").await;
    let mut wire = from("127.0.0.2:0", named.at.address()).await;
    let _ = wire.try_send(&[&v2([203, 0, 113, 7])[..], &ask("/")].concat()).await;
    wire.ending().await;
    named.sees_closed(1).await;
    assert_eq!(named.app.hits(), 0);
}

#[tokio::test]
async fn who_is_not_trusted_is_read_as_plain_where_a_header_is_accepted() {
    let named = Named::start("accept").await;
    let mut wire = from("127.0.0.2:0", named.at.address()).await;
    assert_eq!(wire.exchange(&ask("/")).await.text(), "blue");
    assert_eq!(named.forwarded_for(), "127.0.0.2");
    // Its header is no request.
    let mut wire = from("127.0.0.2:0", named.at.address()).await;
    assert_eq!(wire.exchange(b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 80\r\n\r\n").await.status, 400);
    // The trusted may name a client, or not.
    let mut wire = Http1::connect(named.at.address()).await;
    assert_eq!(wire.exchange(&[&v2([203, 0, 113, 7])[..], &ask("/")].concat()).await.text(), "blue");
    assert_eq!(named.forwarded_for(), "203.0.113.7");
    let mut wire = Http1::connect(named.at.address()).await;
    // The first byte could be a header's.
    wire.send(b"P").await;
    assert_eq!(wire.exchange(&request("POST", "/count", &[], b"12345")[1..]).await.json()["bytes"], 5);
    assert_eq!(named.closed().await, 0);
}

#[tokio::test]
async fn what_is_no_header_is_closed_unanswered() {
    let named = Named::start("require").await;
    let wrong: [Vec<u8>; 5] = [
        ask("/"),
        b"PROXY TCP4 203.0.113.7 nowhere 40000 80\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
        [V2, &[0x21, 0x11, 0xff, 0xff]].concat(),
        [V2, &[0x31, 0x11, 0, 12]].concat(),
        b"\x16\x03\x01\x02\x00".to_vec(),
    ];
    for (at, bytes) in (1..).zip(wrong) {
        let mut wire = Http1::connect(named.at.address()).await;
        wire.send(&bytes).await;
        wire.ending().await;
        named.sees_closed(at).await;
    }
    assert_eq!(named.app.hits(), 0);
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_must_come_in_time() {
    let named = Named::with("require", |setup| setup.proxy("limits", "{header_timeout: 3s}")).await;
    let mut wire = Http1::connect(named.at.address()).await;
    for byte in v2([203, 0, 113, 7]) {
        wire.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.exchange(&ask("/")).await.text(), "blue");
    assert_eq!(named.forwarded_for(), "203.0.113.7");
    // Half of one is waited for as long as a head is.
    let mut wire = Http1::connect(named.at.address()).await;
    wire.send(b"PROXY TCP4 203").await;
    assert_eq!(wire.ending().await, Ending::Closed);
    named.sees_closed(1).await;
}

#[tokio::test]
async fn tls_and_websockets_begin_behind_the_header() {
    let at = Port::reserve();
    let listener = format!("[{{listen: \"{}\", proxy_protocol: require}}]", at.address());
    let named = Named::with("require", |setup| setup.proxy("https", &listener)).await;
    let relay = announcing(at.address(), v2([203, 0, 113, 7])).await;
    let mut wire = Hello::to("shop.test").http1(relay).await;
    assert_eq!(wire.exchange(&ask("/over-tls")).await.text(), "blue");
    assert_eq!(named.forwarded_for(), "203.0.113.7");
    assert_eq!(named.proxy.record_of("/over-tls").await["client"], "203.0.113.7");
    let mut socket = WebSocket::over(Hello::to("shop.test").http1(relay).await, "/socket").await;
    assert_eq!(socket.text().await, "blue");
    assert_eq!(socket.ask(&"long ".repeat(50_000)).await, "long ".repeat(50_000));
    let plain = announcing(named.at.address(), v2([203, 0, 113, 9])).await;
    let mut socket = WebSocket::connect(plain, "/socket").await;
    assert_eq!(socket.text().await, "blue");
    assert_eq!(named.forwarded_for(), "203.0.113.9");
}

/// A relay whose connections begin with these bytes.
async fn announcing(to: SocketAddr, header: Vec<u8>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let header = header.clone();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(to).await.expect("the proxy");
                tokio::io::AsyncWriteExt::write_all(&mut server, &header).await.expect("room");
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn the_limit_for_one_address_is_that_of_the_named_client() {
    let named = Named::with("require", |setup| setup.proxy("limits", "{connections_per_address: 2}")).await;
    let mut kept = Vec::new();
    for client in [7, 7, 8] {
        let mut wire = Http1::connect(named.at.address()).await;
        assert_eq!(wire.exchange(&[&v2([203, 0, 113, client])[..], &ask("/")].concat()).await.status, 200);
        kept.push(wire);
    }
    let mut third = Http1::connect(named.at.address()).await;
    let _ = third.try_send(&[&v2([203, 0, 113, 7])[..], &ask("/")].concat()).await;
    third.ending().await;
    assert_eq!(named.app.hits(), 3);
}

#[tokio::test]
async fn the_proxys_own_smoke_tests_come_in_where_a_header_is_required() {
    let (app, at) = (App::start("blue").await, Port::reserve());
    let green = App::start("green").await;
    let listener = format!("[{{listen: \"{}\", proxy_protocol: require}}]", at.address());
    let proxy = Setup::two(&app, &green)
        .shop("tls", "off")
        .proxy("http", &listener)
        .proxy("trusted_proxies", "[192.0.2.0/24]")
        .start_healthy()
        .await;
    let asks = r#"{"slot": "green", "asks": [{"path": "/smoked", "timeout": "5s"}]}"#;
    let answer = proxy.admin().call("POST", "/v1/apps/shop/smoke", asks).await;
    assert_eq!(answer.json()["answers"][0]["status"], 200, "{}", answer.text());
    // Nobody else of this machine does.
    let mut wire = Http1::connect(at.address()).await;
    let _ = wire.try_send(&[&v2([203, 0, 113, 7])[..], &ask("/")].concat()).await;
    wire.ending().await;
    assert_eq!((app.hits(), green.hits()), (0, 1));
}
