//! WebSocket clients: everything said must come back, and the socket may be closed only at its drain
//! deadline, with code 1012 (service restart).

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::client::{Client, Open};
use super::link::{Wire, dial, late};
use super::streams::Ended;
use super::tally::{Failure, Fault, Lane};

/// No echo for this long means that the socket hangs.
const STALL: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<Box<dyn Wire>>;

/// Holds conversations until the load stops.
pub(super) async fn run(client: Client) {
    while !client.stopped() {
        let begun = Instant::now();
        match converse(&client).await {
            Ok(Ended::Stopped) => return,
            Ok(Ended::Drained) => client.recorder.reconnected(Lane::Websockets),
            Err(failure) => client.failed(Lane::Websockets, begun, &failure).await,
        }
    }
}

async fn converse(client: &Client) -> Result<Ended, Failure> {
    let stream = timeout(STALL, dial(&client.target, client.protocol)).await;
    let stream = stream.map_err(|_| late(format!("not connected after {STALL:?}")))??;
    let expected = client.expectation.begin();
    let url = format!("ws://{}/ws", client.target.host);
    let opened = timeout(STALL, client_async(url, stream)).await;
    let (mut socket, response) =
        opened.map_err(|_| late(format!("no upgrade after {STALL:?}")))?.map_err(not_opened)?;
    let open = client.open(expected, response.status(), response.headers())?;
    for number in 1_u64.. {
        if client.stopped() {
            break;
        }
        if !echo(client, &open, &mut socket, &format!("message {number}")).await? {
            return Ok(Ended::Drained);
        }
        client.recorder.ok(Lane::Websockets);
        client.pause().await;
    }
    // The load is over: whether the goodbye still arrives is of no interest.
    let _ = timeout(STALL, socket.close(None)).await;
    Ok(Ended::Stopped)
}

fn not_opened(error: Error) -> Failure {
    if let Error::Http(response) = error {
        return Failure::new(Fault::BadStatus, format!("the upgrade was answered {}", response.status()));
    }
    Failure::new(Fault::Connection, format!("the WebSocket did not open: {error}"))
}

/// One message and its echo; false when the socket was closed legitimately instead.
async fn echo(client: &Client, open: &Open, socket: &mut Socket, text: &str) -> Result<bool, Failure> {
    // A failed send is told by the next read, which may find the close frame that explains it.
    let _ = timeout(STALL, socket.send(Message::text(text))).await;
    loop {
        let next = timeout(STALL, socket.next()).await;
        let answer = match next.map_err(|_| late(format!("no echo for {STALL:?}")))? {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                return client.ended(open, false, &format!("the socket broke: {error}")).map(|()| false);
            }
            None => return client.ended(open, false, "the socket ended without a close").map(|()| false),
        };
        match answer {
            Message::Text(back) if back.as_str() == text => return Ok(true),
            Message::Close(frame) => {
                let code = frame.map(|frame| frame.code);
                let clean = code == Some(CloseCode::Restart);
                return client.ended(open, clean, &format!("closed with {code:?}")).map(|()| false);
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(_) | Message::Binary(_) | Message::Frame(_) => {
                return Err(Failure::new(Fault::Truncated, format!("{answer:?} came back for {text:?}")));
            }
        }
    }
}
