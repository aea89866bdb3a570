//! Raw connections that are told apart by the name in their TLS, which goes through or ends here.

use std::net::SocketAddr;

use switcher_tests::certificate::{Certificate, ClientRoot, put};
use switcher_tests::http1::get;
use switcher_tests::port::Port;
use switcher_tests::tls::Hello;
use switcher_tests::{App, Echo, Line, PATIENCE, Proxy, Setup, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Two brokers with certificates of their own behind one address, and HTTP beside them.
struct Stage {
    certificates: [Certificate; 2],
    proxy: Proxy,
    port: Port,
    _upstreams: (Echo, Echo, App),
}

impl Stage {
    async fn passing_through() -> Self {
        let certificates = [Certificate::of(&["one.test"]), Certificate::of(&["any.two.test"])];
        let upstreams = (
            Echo::secure("one", &certificates[0]).await,
            Echo::secure("two", &certificates[1]).await,
            App::start("web").await,
        );
        let port = Port::reserve();
        let tcp = format!("{{listen: \"{}\", tls: passthrough}}", port.address());
        let proxy = Setup::raw(&[upstreams.0.address().to_string()], &[], &tcp)
            .shop("hosts", "[one.test]")
            .proxy("limits", "{header_timeout: 3s}")
            .another_raw("two", upstreams.1.address(), &tcp, &[("hosts", "[\"*.two.test\"]")])
            .another("web", upstreams.2.upstream(), &[("hosts", "[one.test]"), ("tls", "internal")])
            .start_healthy()
            .await;
        Self { certificates, proxy, port, _upstreams: upstreams }
    }

    async fn turned_away(&self) -> u64 {
        self.proxy.metric(r#"switcher_limits_total{limit="server_name"}"#).await
    }
}

/// What comes back for bytes, to the end.
async fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes).await.expect("taken");
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = within(PATIENCE, "an end", stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn the_name_decides_and_the_tls_is_the_upstreams_own() {
    let stage = Stage::passing_through().await;
    for (name, upstream, certificate) in [
        ("one.test", "one", 0),
        ("ONE.test", "one", 0),
        ("any.two.test", "two", 1),
        ("other.two.test", "two", 1),
    ] {
        let agreed = Hello::to(name).connect(stage.port.address()).await;
        assert_eq!(agreed.certificate, stage.certificates[certificate].der, "{name}");
        let mut line = Line::over(agreed.stream);
        assert_eq!(line.line().await, upstream, "{name}");
        assert_eq!(line.ask("secret").await, "secret");
        line.finish().await;
        assert_eq!(line.line().await, "heard 7");
    }
    let record = stage.proxy.record("a connection", |o| o["host"] == "any.two.test").await;
    assert_eq!((&record["app"], &record["tls"]), (&"two".into(), &true.into()), "{record}");
    // The same name by HTTP is served at the other listener alone.
    let mut web = Hello::to("one.test").http1(stage.proxy.https()).await;
    let asked = switcher_tests::http1::request("GET", "/", &[("Host", "one.test")], b"");
    assert_eq!(web.exchange(&asked).await.text(), "web");
    let (untold, plain) = (stage.turned_away().await, get(stage.proxy.http(), "/").await.status);
    assert_eq!((untold, plain), (0, 404));
}

/// Hands a client's first bytes on one by one, and all others as they come.
async fn drip(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut server = TcpStream::connect(to).await.expect("a connection");
        server.set_nodelay(true).expect("an option");
        let mut hello = vec![0; 4096];
        let count = client.read(&mut hello).await.expect("a hello");
        for byte in &hello[..count] {
            server.write_all(&[*byte]).await.expect("taken");
            // Each in a packet of its own.
            tokio::task::yield_now().await;
        }
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    address
}

#[tokio::test]
async fn a_hello_may_come_byte_by_byte() {
    let stage = Stage::passing_through().await;
    let agreed = Hello::to("one.test").connect(drip(stage.port.address()).await).await;
    let mut line = Line::over(agreed.stream);
    assert_eq!(line.line().await, "one");
}

#[tokio::test]
async fn who_names_nobody_known_or_speaks_no_tls_is_turned_away_and_counted() {
    let stage = Stage::passing_through().await;
    for name in ["stranger.test", "two.test"] {
        let error = Hello::to(name).try_connect(stage.port.address()).await.map(drop).expect_err("refused");
        assert!(error.to_string().contains("UnrecognisedName"), "{name}: {error}");
    }
    let none = Hello::to("127.0.0.1").try_connect(stage.port.address()).await.map(drop).expect_err("refused");
    assert!(none.to_string().contains("HandshakeFailure"), "{none}");
    stage.proxy.wait_limit("server_name", 3).await;
    assert_eq!(answer(stage.port.address(), b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").await, b"");
    // A hello of which no end comes, though it says so much of itself.
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &vec![0; 20_000]].concat();
    answer(stage.port.address(), &endless).await;
    stage.proxy.wait_limit("server_name", 5).await;
    assert_eq!(stage.proxy.admin().shop().await.slots.blue.in_flight.connections, 0);
}

#[tokio::test]
async fn a_hello_that_does_not_come_is_waited_for_so_long() {
    let stage = Stage::passing_through().await;
    assert_eq!(answer(stage.port.address(), &[22, 3, 1, 2]).await, b"");
    stage.proxy.wait_metric_at_least(r#"switcher_limits_total{limit="header_timeout"}"#, 1).await;
}

#[tokio::test]
async fn tls_may_end_here_whatever_is_spoken_below() {
    let (echo, port) = (Echo::start("plain").await, Port::reserve());
    let tcp = format!("{{listen: \"{}\", tls: terminate}}", port.address());
    let proxy = Setup::raw(&[echo.address().to_string()], &[], &tcp)
        .shop("hosts", "[redis.test]")
        .shop("tls", "internal")
        .start_healthy()
        .await;
    for alpn in [&["mqtt"][..], &["h2", "http/1.1"]] {
        let agreed = Hello::to("redis.test").alpn(alpn).connect(port.address()).await;
        assert_eq!(agreed.alpn, None, "nothing is chosen");
        let mut line = Line::over(agreed.stream);
        assert_eq!(line.line().await, "plain");
        let much = "x".repeat(1_000_000);
        assert!(line.ask(&much).await == much);
        line.finish().await;
        assert_eq!(line.line().await, "heard 1000001");
        line.ended().await;
    }
    Hello::to("stranger.test").try_connect(port.address()).await.map(drop).expect_err("refused");
    let record = proxy.record("a connection", |o| o["kind"] == "connections").await;
    assert_eq!((&record["host"], &record["tls"]), (&"redis.test".into(), &true.into()));
}

#[tokio::test]
async fn clients_may_have_to_show_a_certificate() {
    let (echo, port, root) = (Echo::start("plain").await, Port::reserve(), ClientRoot::new("ours"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.pem");
    put(&file, &root.pem);
    let tcp = format!("{{listen: \"{}\", tls: terminate}}", port.address());
    let _proxy = Setup::raw(&[echo.address().to_string()], &[], &tcp)
        .shop("hosts", "[redis.test]")
        .shop("tls", "internal")
        .shop("client_ca", &format!("\"{}\"", file.display()))
        .start_healthy()
        .await;
    let mut line =
        Line::over(Hello::to("redis.test").showing(&root.issue()).connect(port.address()).await.stream);
    assert_eq!(line.line().await, "plain");
    let stranger = ClientRoot::new("theirs").issue();
    for hello in [Hello::to("redis.test"), Hello::to("redis.test").showing(&stranger)] {
        // By TLS 1.3 the client learns of it with the first bytes it reads.
        if let Ok(agreed) = hello.try_connect(port.address()).await {
            Line::over(agreed.stream).ended().await;
        }
    }
    assert_eq!(echo.connections(), 0, "nobody else got through");
}
