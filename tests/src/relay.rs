//! A relay between the command line and a proxy's admin socket, which can do what networks do: lose a question,
//! lose an answer, or let somebody else act in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::http1::{Answer, Framing, Http1};

/// What happens to the first request that changes something; all others pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mischief {
    /// It never reaches the proxy, and its connection breaks.
    LoseQuestion,
    /// It reaches the proxy, and its answer is lost.
    LoseAnswer,
    /// Before it reaches the proxy somebody else calls: method, path, body.
    Before(&'static str, &'static str, &'static str),
    /// It reaches the proxy, then somebody else calls, and the answer is lost.
    LoseAnswerAfter(&'static str, &'static str, &'static str),
}

/// A running relay. It ends when dropped.
pub struct Relay {
    socket: PathBuf,
    changes: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay to a proxy, with its socket in a folder.
    ///
    /// # Panics
    /// When no socket can be had.
    #[must_use]
    pub fn start(folder: &Path, admin: Admin, mischief: Mischief) -> Self {
        let socket = folder.join("relay.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let changes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&changes);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (admin, mischief, counter) = (admin.clone(), mischief.clone(), Arc::clone(&counter));
                tokio::spawn(async move { converse(Http1::over(stream), &admin, &mischief, &counter).await });
            }
        });
        Self { socket, changes, server }
    }

    /// Its socket, for `--admin`.
    ///
    /// # Panics
    /// Never: the path was made here.
    #[must_use]
    pub fn socket(&self) -> &str {
        self.socket.to_str().expect("a path of text")
    }

    /// How many requests to change something came.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn converse(mut wire: Http1, admin: &Admin, mischief: &Mischief, changes: &AtomicUsize) {
    while let Some(head) = wire.forever_head().await {
        let framing = head.request_framing();
        let body = if framing == Framing::Nothing {
            Vec::new()
        } else {
            wire.try_body(framing).await.unwrap_or_default()
        };
        let body = String::from_utf8_lossy(&body).into_owned();
        let first = head.method() != "GET" && changes.fetch_add(1, Ordering::SeqCst) == 0;
        let forward = || admin.call(head.method(), head.target(), &body);
        let answer = match mischief {
            Mischief::LoseQuestion if first => None,
            Mischief::LoseAnswer if first => {
                forward().await;
                None
            }
            Mischief::LoseAnswerAfter(method, path, other) if first => {
                forward().await;
                admin.call(method, path, other).await;
                None
            }
            Mischief::Before(method, path, other) if first => {
                admin.call(method, path, other).await;
                Some(forward().await)
            }
            Mischief::LoseQuestion
            | Mischief::LoseAnswer
            | Mischief::LoseAnswerAfter(..)
            | Mischief::Before(..) => Some(forward().await),
        };
        let Some(answer) = answer else { return };
        if wire.try_send(&bytes(&answer)).await.is_err() {
            return;
        }
    }
}

fn bytes(answer: &Answer) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {} Relayed\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        answer.status,
        answer.body.len()
    );
    [head.as_bytes(), &answer.body].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// An admin API that writes down what reaches it and answers `{}`.
    fn scribe(folder: &Path) -> (Admin, Arc<Mutex<Vec<String>>>) {
        let socket = folder.join("admin.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let written = Arc::new(Mutex::new(Vec::new()));
        let pen = Arc::clone(&written);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut wire = Http1::over(stream);
                while let Some(head) = wire.forever_head().await {
                    let _ = wire.try_body(head.request_framing()).await;
                    pen.lock().expect("the pen").push(format!("{} {}", head.method(), head.target()));
                    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
                }
            }
        });
        (Admin::at(&socket), written)
    }

    #[tokio::test]
    async fn mischief_comes_once_and_only_to_changes() {
        for (mischief, first_fails, reached) in [
            (Mischief::LoseQuestion, true, &["GET /s", "POST /p"][..]),
            (Mischief::LoseAnswer, true, &["GET /s", "POST /p", "POST /p"]),
            (Mischief::Before("POST", "/o", "{}"), false, &["GET /s", "POST /o", "POST /p", "POST /p"]),
            (
                Mischief::LoseAnswerAfter("POST", "/o", "{}"),
                true,
                &["GET /s", "POST /p", "POST /o", "POST /p"],
            ),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let (admin, written) = scribe(folder.path());
            let relay = Relay::start(folder.path(), admin, mischief.clone());
            let client = Admin::at(Path::new(relay.socket()));
            assert_eq!(client.get("/s").await.text(), "{}");
            assert_eq!(client.try_call("POST", "/p", "{}").await.is_err(), first_fails, "{mischief:?}");
            assert_eq!(client.call("POST", "/p", "{}").await.status, 200);
            assert_eq!(
                (written.lock().expect("the pen").as_slice(), relay.changes()),
                (&reached.iter().map(ToString::to_string).collect::<Vec<_>>()[..], 2)
            );
        }
    }
}
