//! Readers of server-sent events: each event must be the next one, and the stream may end only at its
//! drain deadline.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::client::{Client, Open};
use super::link::{Link, Protocol, late, root_cause};
use super::tally::{Failure, Fault, Lane};

/// From one event to the next.
const EVERY_MILLIS: u64 = 100;
/// No event for this long means that the stream hangs.
const STALL: Duration = Duration::from_secs(5);

/// Why a stream was left.
pub(super) enum Ended {
    /// The load stopped.
    Stopped,
    /// The other side closed it at its drain deadline, as it should.
    Drained,
}

/// Reads event streams until the load stops.
pub(super) async fn run(client: Client) {
    while !client.stopped() {
        let begun = Instant::now();
        // A new link for each stream: the old connection may have ended with its stream.
        let outcome = read(&client, &mut client.link()).await;
        match outcome {
            Ok(Ended::Stopped) => return,
            Ok(Ended::Drained) => client.recorder.reconnected(Lane::Streams),
            Err(failure) => client.failed(Lane::Streams, begun, &failure).await,
        }
    }
}

async fn read(client: &Client, link: &mut Link) -> Result<Ended, Failure> {
    link.open().await?;
    let expected = client.expectation.begin();
    let path = format!("/sse?every={EVERY_MILLIS}");
    let sent = timeout(STALL, link.send(Method::GET, &path, || Empty::new().boxed_unsync())).await;
    let response = sent.map_err(|_| late(format!("{path}: no answer after {STALL:?}")))??;
    let open = client.open(expected, response.status(), response.headers())?;
    tokio::select! {
        ended = follow(client, &open, response.into_body()) => ended.map(|()| Ended::Drained),
        () = client.until_stopped() => Ok(Ended::Stopped),
    }
}

/// Follows a stream to its end, which must be a legitimate one.
async fn follow(client: &Client, open: &Open, mut body: Incoming) -> Result<(), Failure> {
    let mut events = Events::default();
    loop {
        let frame =
            timeout(STALL, body.frame()).await.map_err(|_| late(format!("no event for {STALL:?}")))?;
        match frame {
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(&[][..], |data| &data[..]);
                let complete = events.take(data, &open.version)?;
                (0..complete).for_each(|_| client.recorder.ok(Lane::Streams));
            }
            // An HTTP/2 stream is cut by RST_STREAM, which is as clean as that protocol allows.
            Some(Err(error)) => {
                let clean = client.protocol == Protocol::Http2 && is_reset(&error);
                return client.ended(open, clean, &format!("the stream broke off: {}", root_cause(&error)));
            }
            None => return client.ended(open, true, "the stream ended"),
        }
    }
}

/// Whether this one HTTP/2 stream was reset, as opposed to its whole connection.
fn is_reset(error: &hyper::Error) -> bool {
    root_cause(error).contains("stream error received")
}

/// The events seen so far: numbered from 1 without a gap, each naming the version.
#[derive(Debug, Default)]
struct Events {
    unfinished: String,
    last: u64,
}

impl Events {
    /// Takes bytes in; returns how many events they completed.
    fn take(&mut self, bytes: &[u8], version: &str) -> Result<u64, Failure> {
        self.unfinished.push_str(&String::from_utf8_lossy(bytes));
        let mut complete = 0;
        while let Some((event, rest)) = self.unfinished.split_once("\n\n") {
            let expected = format!("id: {}\ndata: {version}", self.last + 1);
            if event != expected {
                return Err(Failure::new(
                    Fault::Truncated,
                    format!("event {event:?} came instead of {expected:?}"),
                ));
            }
            self.last += 1;
            complete += 1;
            self.unfinished = rest.to_owned();
        }
        Ok(complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_may_come_in_any_pieces_but_none_may_be_missing() {
        let mut events = Events::default();
        assert_eq!(events.take(b"id: 1\nda", "v1"), Ok(0));
        assert_eq!(events.take(b"ta: v1\n\nid: 2\ndata: v1\n\n", "v1"), Ok(2));
        let lost = events.take(b"id: 4\ndata: v1\n\n", "v1").expect_err("event 3 is missing");
        assert_eq!(lost.fault, Fault::Truncated);
    }
}
