//! The clients that outlive a drain, one of each sort: how they come to a slot, how those of the old slot
//! end, and whether those of the new slot go on.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use h2::RecvStream;
use switcher_config::Slot;
use switcher_tests::http1::{Framing, Stream, request};
use switcher_tests::http2::{self, Http2, piece};
use switcher_tests::sse::Events;
use switcher_tests::tls::Hello;
use switcher_tests::websocket::{Goodbye, WebSocket};
use switcher_tests::{Admin, Http1, PATIENCE, Proxy, until, within};
use tokio::net::TcpSocket;

use super::judge::{End, Sort};

/// How long a body is watched that must go on. What was cut before shows at once.
const WATCH: Duration = Duration::from_millis(200);
/// So little that the client's own buffers take nothing off the proxy.
const DEAF_BUFFER: u32 = 4096;

/// One client in the midst of its exchange.
pub(super) struct Client {
    pub(super) sort: Sort,
    slot: Slot,
    exchange: Exchange,
}

enum Exchange {
    Socket(WebSocket),
    /// The head of the answer is there.
    Body(Body),
    /// The answer has not begun, or was not looked at.
    Head(Http1),
}

enum Body {
    Events(Events),
    Http1(Http1, Framing),
    Http2(RecvStream),
}

/// Opens one client of each sort; `slot` is live. All HTTP/2 streams share `http2`.
pub(super) async fn open_all(proxy: &Proxy, http2: &Http2, slot: Slot) -> Result<Vec<Client>, String> {
    let mut clients = Vec::new();
    for sort in Sort::ALL {
        let exchange = open(proxy, http2, sort, slot).await;
        let exchange = exchange.map_err(|why| format!("{} to {slot}: {why}", sort.title()))?;
        clients.push(Client { sort, slot, exchange });
    }
    Ok(clients)
}

async fn open(proxy: &Proxy, http2: &Http2, sort: Sort, slot: Slot) -> Result<Exchange, String> {
    let path = sort.path();
    match sort {
        Sort::Websocket => socket(WebSocket::connect(proxy.http(), path).await, slot).await,
        Sort::WebsocketTls => {
            let secure = Hello::to("shop.test").http1(proxy.https()).await;
            socket(WebSocket::over(secure, path).await, slot).await
        }
        Sort::Events => {
            let mut events = Events::open(Http1::connect(proxy.http()).await, path).await;
            served_by(events.head.get("x-switcher-slot"), slot)?;
            events.data().await;
            Ok(Exchange::Body(Body::Events(events)))
        }
        Sort::EventsHttp2 | Sort::DownloadHttp2 => stream(http2, path, slot).await,
        Sort::Download => {
            let mut wire = Http1::connect(proxy.http()).await;
            wire.send(&request("GET", path, &[], b"")).await;
            let head = wire.head().await;
            served_by(head.get("x-switcher-slot"), slot)?;
            Ok(Exchange::Body(Body::Http1(wire, head.answer_framing())))
        }
        Sort::Deaf => {
            let mut wire = Http1::over(deaf(proxy.http()).await.map_err(|error| error.to_string())?);
            wire.send(&request("GET", path, &[], b"")).await;
            Ok(Exchange::Head(wire))
        }
        Sort::Unanswered => {
            let mut wire = Http1::connect(proxy.http()).await;
            wire.send(&request("GET", path, &[], b"")).await;
            Ok(Exchange::Head(wire))
        }
    }
}

fn served_by(named: Option<&str>, slot: Slot) -> Result<(), String> {
    match named {
        Some(name) if name == slot.as_str() => Ok(()),
        other => Err(format!("answered by {other:?} with {slot} live")),
    }
}

async fn socket(mut socket: WebSocket, slot: Slot) -> Result<Exchange, String> {
    served_by(Some(&socket.text().await), slot)?;
    Ok(Exchange::Socket(socket))
}

async fn stream(http2: &Http2, path: &str, slot: Slot) -> Result<Exchange, String> {
    let (answer, _) = http2.open(http2::get(path), true).await.map_err(|error| error.to_string())?;
    let answer = within(PATIENCE, "the head", answer).await.map_err(|error| error.to_string())?;
    let named = answer.headers().get("x-switcher-slot").and_then(|name| name.to_str().ok());
    served_by(named, slot)?;
    let mut body = answer.into_body();
    piece(&mut body).await.map_err(|error| error.to_string())?;
    Ok(Exchange::Body(Body::Http2(body)))
}

async fn deaf(address: SocketAddr) -> io::Result<Stream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(DEAF_BUFFER)?;
    Ok(Box::new(socket.connect(address).await?))
}

impl Client {
    /// Waits for the end, reading as a client of its sort does.
    pub(super) async fn end(self, admin: Admin) -> End {
        match self.exchange {
            Exchange::Socket(socket) => match socket.goodbye().await {
                Goodbye::Closed(code, _) => End::CloseFrame(code),
                other @ (Goodbye::ClosedSilently | Goodbye::Broken(_)) => End::Other(format!("{other:?}")),
            },
            Exchange::Body(mut body) => loop {
                match body.next().await {
                    Ok(true) => {}
                    Ok(false) => return End::Whole,
                    Err(end) => return end,
                }
            },
            Exchange::Head(wire) if self.sort == Sort::Deaf => {
                until(PATIENCE, "the deaf client to be let go", || is_gone(&admin, self.slot)).await;
                drop(wire);
                End::LetGo
            }
            Exchange::Head(mut wire) => match wire.try_exchange(b"").await {
                Ok(answer) => End::Answered(answer.status),
                Err(_) => End::Broken,
            },
        }
    }

    /// Whether the exchange goes on as if there had been no drain; `slot`'s gate is open by now.
    pub(super) async fn goes_on(self) -> Result<(), String> {
        match self.exchange {
            Exchange::Socket(mut socket) => match socket.ask("still here?").await.as_str() {
                "still here?" => Ok(()),
                other => Err(format!("{other:?} came back")),
            },
            Exchange::Body(body) => body.goes_on().await,
            Exchange::Head(mut wire) if self.sort == Sort::Deaf => {
                let head = wire.head().await;
                served_by(head.get("x-switcher-slot"), self.slot)?;
                Body::Http1(wire, head.answer_framing()).goes_on().await
            }
            Exchange::Head(mut wire) => {
                let answer = wire.try_exchange(b"").await.map_err(|error| error.to_string())?;
                served_by(Some(&answer.text()), self.slot)
            }
        }
    }
}

async fn is_gone(admin: &Admin, slot: Slot) -> bool {
    let route = format!("GET {}", Sort::Deaf.path());
    let inside = admin.in_flight(slot).await;
    inside.is_ok_and(|list| list.exchanges.iter().all(|exchange| exchange.route != route))
}

impl Body {
    /// Takes the next piece; false at the body's own end.
    async fn next(&mut self) -> Result<bool, End> {
        match self {
            Self::Events(events) => match events.next().await {
                Ok(event) => Ok(event.is_some()),
                Err(_) => Err(End::Broken),
            },
            Self::Http1(wire, framing) => match wire.piece(framing).await {
                Ok(piece) => Ok(piece.is_some()),
                Err(_) => Err(End::Broken),
            },
            Self::Http2(stream) => match piece(stream).await {
                Ok(piece) => Ok(piece.is_some()),
                Err(error) if error.is_reset() => Err(End::Reset),
                Err(error) => Err(End::Other(error.to_string())),
            },
        }
    }

    /// Takes pieces for a while, and at least one: none may be the end.
    async fn goes_on(mut self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            match self.next().await {
                Ok(true) if begun.elapsed() < WATCH => {}
                Ok(true) => return Ok(()),
                Ok(false) => return Err("its body was ended".to_owned()),
                Err(end) => return Err(format!("it was cut: {end:?}")),
            }
        }
    }
}
