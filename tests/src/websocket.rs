//! A WebSocket client.

use std::net::SocketAddr;

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

use crate::http1::{Http1, Stream};
use crate::until::{PATIENCE, within};

/// An open WebSocket.
pub struct WebSocket {
    stream: WebSocketStream<Stream>,
}

/// How a WebSocket ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// With a close frame: its code and reason.
    Closed(u16, String),
    /// With a close frame that says nothing.
    ClosedSilently,
    /// Without a close frame.
    Broken(String),
}

impl WebSocket {
    /// Opens one in clear text.
    ///
    /// # Panics
    /// When the upgrade is refused.
    pub async fn connect(address: SocketAddr, path: &str) -> Self {
        Self::over(Http1::connect(address).await, path).await
    }

    /// Opens one over a fresh connection.
    ///
    /// # Panics
    /// When the upgrade is refused.
    pub async fn over(wire: Http1, path: &str) -> Self {
        Self::with(wire, path, &[]).await
    }

    /// Opens one over a fresh connection, with these headers beside its own.
    ///
    /// # Panics
    /// When the upgrade is refused.
    pub async fn with(wire: Http1, path: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("ws://shop.test{path}").into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        let upgrade = tokio_tungstenite::client_async(request, wire.into_stream());
        let (stream, _) = within(PATIENCE, "a WebSocket", upgrade).await.expect("an upgrade");
        Self { stream }
    }

    /// Sends a text.
    ///
    /// # Panics
    /// When the other side is gone.
    pub async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("sent");
    }

    /// The next text.
    ///
    /// # Panics
    /// When the WebSocket ends first.
    pub async fn text(&mut self) -> String {
        match within(PATIENCE, "a WebSocket message", self.stream.next()).await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => panic!("a text was due and this came: {other:?}"),
        }
    }

    /// Sends a text and reads the answer to it.
    ///
    /// # Panics
    /// When the WebSocket ends first.
    pub async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.text().await
    }

    /// Waits for its end; messages that still arrive are thrown away.
    pub async fn goodbye(mut self) -> Goodbye {
        loop {
            match within(PATIENCE, "the end of a WebSocket", self.stream.next()).await {
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return Goodbye::Closed(code.into(), reason.to_string());
                }
                Some(Ok(Message::Close(None))) | Some(Err(Error::ConnectionClosed)) => {
                    return Goodbye::ClosedSilently;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Goodbye::Broken(error.to_string()),
                None => return Goodbye::Broken("the end without a close frame".to_owned()),
            }
        }
    }

    /// Closes it from this side.
    pub async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }
}
