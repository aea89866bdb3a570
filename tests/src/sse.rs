//! A reader of server-sent events that hands out each event as soon as it is there.

use std::io;

use crate::http1::{Framing, Head, Http1, request};

/// An open stream of events.
pub struct Events {
    /// The head of the answer.
    pub head: Head,
    wire: Http1,
    framing: Framing,
    text: String,
}

impl Events {
    /// Asks for a stream over a connection.
    ///
    /// # Panics
    /// When the answer is not 200.
    pub async fn open(mut wire: Http1, target: &str) -> Self {
        wire.send(&request("GET", target, &[("Accept", "text/event-stream")], b"")).await;
        let head = wire.head().await;
        assert_eq!(head.status(), 200, "{head:?}");
        Self { framing: head.answer_framing(), head, wire, text: String::new() }
    }

    /// The next event, as its lines without the empty one; `None` when the stream ended as its protocol allows.
    /// Comments (lines that begin with a colon) are passed over.
    ///
    /// # Errors
    /// `UnexpectedEof` when it was broken off.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                if !event.lines().all(|l| l.starts_with(':')) {
                    return Ok(Some(event));
                }
            }
            match self.wire.piece(&mut self.framing).await? {
                Some(piece) => self.text.push_str(&String::from_utf8_lossy(&piece)),
                None => return Ok(None),
            }
        }
    }

    /// The data of the next event.
    ///
    /// # Panics
    /// When the stream ends first.
    pub async fn data(&mut self) -> String {
        let event = self.next().await.expect("a whole stream").expect("an event before the end");
        let lines: Vec<&str> =
            event.lines().filter_map(|l| l.strip_prefix("data:")).map(str::trim_start).collect();
        lines.join("\n")
    }
}
