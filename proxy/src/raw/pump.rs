//! Bytes in both directions until both have ended.
//!
//! What one side sends is not read faster than the other takes it, and neither direction waits for the other. The end of one
//! is told to the other side and nothing else is: a side that has said all may still listen. No memory is held while
//! nothing is on its way: bytes are read onto the thread's stack, and kept only where they are not taken at once.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once, in bytes.
const READ: usize = 16 * 1024;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client to the upstream.
    There,
    /// From the upstream to the client.
    Back,
}

/// Whoever follows what happens.
pub(super) trait Follow {
    /// So many bytes came.
    fn moved(&mut self, way: Way, bytes: usize);
    /// One direction is over and the other is not.
    fn half_over(&mut self);
    /// Whether the proxy closes the connection: then nothing of the client is waited for.
    fn is_cut(&self) -> bool;
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Both sides have said all, or the proxy closed it.
    Orderly,
    /// The client broke it.
    Client(io::Error),
    /// The upstream broke it.
    Upstream(io::Error),
}

/// Carries bytes to the end. `begun` are the first ones of the client.
pub(super) async fn pump(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    upstream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    begun: Vec<u8>,
    follow: &mut impl Follow,
) -> Ended {
    if !begun.is_empty() {
        follow.moved(Way::There, begun.len());
    }
    let (mut there, mut back) = (Flow::beginning_with(begun), Flow::default());
    let mut halved = false;
    poll_fn(|cx| {
        let sent = there.poll(cx, &mut *client, &mut *upstream, |bytes| follow.moved(Way::There, bytes));
        let got = back.poll(cx, &mut *upstream, &mut *client, |bytes| follow.moved(Way::Back, bytes));
        let over = there.is_over() && back.is_over();
        if there.is_over() != back.is_over() && !std::mem::replace(&mut halved, true) {
            follow.half_over();
        }
        match (sent, got) {
            (_, Poll::Ready(Err(error))) => Poll::Ready(Ended::Upstream(error)),
            (Poll::Ready(Err(error)), _) => Poll::Ready(Ended::Client(error)),
            (_, _) if over || back.is_over() && follow.is_cut() => Poll::Ready(Ended::Orderly),
            (_, _) => Poll::Pending,
        }
    })
    .await
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    /// What was read and is not taken yet; memory only while there is something.
    pending: Vec<u8>,
    /// How much of it is taken.
    sent: usize,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// The one side has said all; the other is told.
    Ending,
    Over,
}

impl Flow {
    fn beginning_with(pending: Vec<u8>) -> Self {
        Self { pending, ..Self::default() }
    }

    fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Moves what can be moved. An error is that of reading; a side that takes nothing any more may still have something
    /// to say, so that only ends this direction.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        mut moved: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            if ready!(self.poll_pending(cx, to)).is_err() {
                self.give_up();
            }
            match self.stage {
                Stage::Over => return Poll::Ready(Ok(())),
                Stage::Ending => {
                    // An error means that the other side is gone, which is an end as well.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.stage = Stage::Over;
                }
                Stage::Open => {
                    let mut space = [MaybeUninit::<u8>::uninit(); READ];
                    let mut buf = ReadBuf::uninit(&mut space);
                    match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                        Poll::Pending => {
                            // Nothing is added for now, so what a layer between has collected has to go.
                            if ready!(Pin::new(&mut *to).poll_flush(cx)).is_err() {
                                self.give_up();
                                continue;
                            }
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                            return Poll::Ready(Err(error));
                        }
                        // TLS that ends without a goodbye ends.
                        Poll::Ready(_) if buf.filled().is_empty() => self.stage = Stage::Ending,
                        Poll::Ready(_) => {
                            moved(buf.filled().len());
                            self.send(cx, to, buf.filled());
                        }
                    }
                }
            }
        }
    }

    /// Hands bytes on, and keeps what is not taken.
    fn send(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
        let taken = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(Ok(taken)) if taken > 0 => taken,
            Poll::Ready(_) => return self.give_up(),
            Poll::Pending => 0,
        };
        self.pending.extend_from_slice(&bytes[taken..]);
    }

    /// Sends what was kept, and gives the memory back.
    fn poll_pending(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            match ready!(Pin::new(&mut *to).poll_write(cx, &self.pending[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        (self.pending, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// The other side takes nothing any more.
    fn give_up(&mut self) {
        (self.pending, self.sent, self.stage) = (Vec::new(), 0, Stage::Over);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    #[derive(Default)]
    struct Count {
        there: usize,
        back: usize,
        halves: usize,
        cut: bool,
    }

    impl Follow for Count {
        fn moved(&mut self, way: Way, bytes: usize) {
            match way {
                Way::There => self.there += bytes,
                Way::Back => self.back += bytes,
            }
        }

        fn half_over(&mut self) {
            self.halves += 1;
        }

        fn is_cut(&self) -> bool {
            self.cut
        }
    }

    /// A client, an upstream, and what carries bytes between them with little room on the way.
    fn between(
        begun: &'static [u8],
        cut: bool,
    ) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<(Ended, Count)>) {
        let (client, mut near) = duplex(64);
        let (upstream, mut far) = duplex(64);
        let carried = tokio::spawn(async move {
            let mut count = Count { cut, ..Count::default() };
            let ended = pump(&mut near, &mut far, begun.to_vec(), &mut count).await;
            (ended, count)
        });
        (client, upstream, carried)
    }

    #[tokio::test]
    async fn a_side_that_has_said_all_still_hears_the_other() {
        let (mut client, mut upstream, carried) = between(b"first ", false);
        client.write_all(b"words").await.expect("taken");
        client.shutdown().await.expect("said");
        let mut heard = String::new();
        upstream.read_to_string(&mut heard).await.expect("an end");
        assert_eq!(heard, "first words");
        upstream.write_all(b"an answer").await.expect("taken");
        drop(upstream);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an end");
        assert_eq!(answer, "an answer");
        let (ended, count) = carried.await.expect("no panic");
        assert!(matches!(ended, Ended::Orderly));
        assert_eq!((count.there, count.back, count.halves), (11, 9, 1));
    }

    #[tokio::test]
    async fn much_goes_both_ways_at_once_in_order() {
        let (client, upstream, carried) = between(b"", false);
        let all: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
        let speak = |side: DuplexStream| {
            let all = all.clone();
            async move {
                let (mut reads, mut writes) = tokio::io::split(side);
                let mut heard = Vec::new();
                let say = async {
                    writes.write_all(&all).await.expect("taken");
                    writes.shutdown().await.expect("said");
                };
                let (read, ()) = tokio::join!(reads.read_to_end(&mut heard), say);
                read.expect("an end");
                heard
            }
        };
        let (one, other) = tokio::join!(speak(client), speak(upstream));
        assert!(one == all && other == all);
        let (_, count) = carried.await.expect("no panic");
        assert_eq!((count.there, count.back), (all.len(), all.len()));
    }

    #[tokio::test]
    async fn who_does_not_listen_holds_the_other_up_and_costs_little() {
        let (mut client, upstream, carried) = between(b"", false);
        let mut taken = 0;
        let mut flood = Box::pin(async {
            loop {
                taken += client.write(&[7; 1000]).await.expect("a side");
            }
        });
        // Nobody reads, so there comes a time when nothing is taken.
        for _ in 0..1000 {
            assert!(futures::poll!(&mut flood).is_pending());
            tokio::task::yield_now().await;
        }
        drop(flood);
        assert!(taken <= READ + 2 * 64 + 1000, "{taken}");
        drop((client, upstream));
        carried.await.expect("no panic");
    }

    #[tokio::test]
    async fn once_it_is_cut_the_upstreams_end_is_the_end() {
        let (mut client, upstream, carried) = between(b"", true);
        drop(upstream);
        let (ended, _) = carried.await.expect("no panic");
        assert!(matches!(ended, Ended::Orderly));
        assert_eq!(client.read(&mut [0; 1]).await.expect("an end"), 0);
    }
}
