//! Upstreams that are told the client: what goes over the wire first, and that no connection serves two clients.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use switcher_tests::http2::{self, Http2};
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{V2, ask, from};
use crate::promote::lose_nothing;

/// Stands before an application: takes a header off each connection and keeps it.
struct Cloakroom {
    address: SocketAddr,
    headers: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Cloakroom {
    async fn before(app: &App) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, to) = (listener.local_addr().expect("its address"), app.address());
        let headers = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = Arc::clone(&headers);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let Some(header) = header(&mut client).await else { return };
                    kept.lock().expect("the headers").push(header);
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, headers }
    }

    /// The headers that name somebody.
    fn named(&self) -> Vec<Vec<u8>> {
        let kept = self.headers.lock().expect("the headers").clone();
        kept.into_iter().filter(|header| header.len() > 16).collect()
    }

    /// How many stand for nobody.
    fn nobodies(&self) -> usize {
        let named = self.named().len();
        self.headers.lock().expect("the headers").len() - named
    }
}

/// A header of either version, read to its last byte.
async fn header(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = vec![0; 12];
    client.read_exact(&mut header).await.ok()?;
    if header == V2 {
        let mut rest = [0; 4];
        client.read_exact(&mut rest).await.ok()?;
        header.extend_from_slice(&rest);
        let mut body = vec![0; usize::from(u16::from_be_bytes([rest[2], rest[3]]))];
        client.read_exact(&mut body).await.ok()?;
        header.extend_from_slice(&body);
        return Some(header);
    }
    assert!(header.starts_with(b"PROXY "), "no header: {:?}", String::from_utf8_lossy(&header));
    while !header.ends_with(b"\r\n") {
        header.push(client.read_u8().await.ok()?);
    }
    Some(header)
}

fn client_of(header: &[u8]) -> String {
    match std::str::from_utf8(header) {
        Ok(line) if line.starts_with("PROXY TCP4 ") => {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{}:{}", words[2], words[4])
        }
        _ => {
            let port = u16::from_be_bytes([header[24], header[25]]);
            format!("{}.{}.{}.{}:{port}", header[16], header[17], header[18], header[19])
        }
    }
}

#[tokio::test]
async fn a_connection_serves_the_client_that_it_names_and_no_other() {
    for version in ["v1", "v2"] {
        let app = App::start("blue").await;
        let room = Cloakroom::before(&app).await;
        let proxy = Setup::one(room.address)
            .shop("upstream_proxy_protocol", version)
            .shop("timeouts", "{pool: 20s}")
            .start_healthy()
            .await;
        assert!(room.nobodies() > 0, "probes speak for nobody");
        let mut clients = Vec::new();
        for source in ["127.0.0.51:0", "127.0.0.52:0", "127.0.0.51:0"] {
            let mut wire = from(source, proxy.http()).await;
            for _ in 0..3 {
                assert_eq!(wire.exchange(&ask("/")).await.text(), "blue");
            }
            clients.push(wire);
        }
        // Three connections of clients, three to the upstream: each is used again by its own client alone.
        let named: Vec<String> = room.named().iter().map(|header| client_of(header)).collect();
        assert_eq!(named.len(), 3, "{named:?}");
        for (name, source) in named.iter().zip(["127.0.0.51:", "127.0.0.52:", "127.0.0.51:"]) {
            assert!(name.starts_with(source), "{named:?}");
        }
        assert_ne!(named[0], named[2], "the port is told, too");
    }
}

#[tokio::test]
async fn streams_of_http2_and_websockets_are_told_as_well() {
    let app = App::h2c("blue").await;
    let room = Cloakroom::before(&app).await;
    let proxy = Setup::one(format!("h2c://{}", room.address))
        .shop("upstream_proxy_protocol", "v2")
        .start_healthy()
        .await;
    for _ in 0..2 {
        let client = Http2::tls(proxy.https(), "shop.test").await;
        for _ in 0..3 {
            assert_eq!(client.exchange(http2::get("/"), b"").await.text(), "blue");
        }
    }
    assert_eq!(room.named().len(), 2, "one connection a client's connection");
    let app = App::start("green").await;
    let room = Cloakroom::before(&app).await;
    let proxy = Setup::one(room.address).shop("upstream_proxy_protocol", "v1").start_healthy().await;
    let mut socket = WebSocket::over(from("127.0.0.61:0", proxy.http()).await, "/socket").await;
    assert_eq!(socket.text().await, "green");
    assert_eq!(socket.ask("hello").await, "hello");
    assert!(client_of(&room.named()[0]).starts_with("127.0.0.61:"));
}

#[tokio::test]
async fn a_promote_under_load_loses_nothing() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let rooms = [Cloakroom::before(&blue).await, Cloakroom::before(&green).await];
    let [b, g] = [&rooms[0], &rooms[1]].map(|room| room.address.to_string());
    let proxy = Setup::slots(&[b], &[g]).shop("upstream_proxy_protocol", "v2").start_healthy().await;
    lose_nothing(&proxy, || Http1::connect(proxy.http())).await;
    let mut wire = Http1::connect(proxy.http()).await;
    wire.send(&ask("/")).await;
    assert_eq!(wire.head().await.status(), 200);
}

#[tokio::test]
async fn the_key_follows_a_reload() {
    let app = App::start("blue").await;
    let room = Cloakroom::before(&app).await;
    let proxy = Setup::one(room.address).shop("upstream_proxy_protocol", "v1").start_healthy().await;
    let mut wire = Http1::connect(proxy.http()).await;
    assert_eq!(wire.exchange(&ask("/")).await.text(), "blue");
    let mut proxy = proxy;
    proxy.configure(proxy.setup().shop("upstream_proxy_protocol", "v2"));
    assert_eq!(proxy.admin().call("POST", "/v1/reload", "").await.status, 200);
    assert_eq!(wire.exchange(&ask("/")).await.text(), "blue");
    let named = room.named();
    assert!(named.first().is_some_and(|header| header.starts_with(b"PROXY TCP4")), "{named:?}");
    assert!(named.last().is_some_and(|header| header.starts_with(V2)), "{named:?}");
    let _ = wire.into_stream().shutdown().await;
}
