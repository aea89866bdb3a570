//! The page that is asked whether a customer's name may have a certificate: the test says which.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::http1::Http1;

/// A running page. It ends when dropped.
pub struct Ask {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    allowed: BTreeSet<String>,
    asked: Vec<String>,
}

impl Ask {
    /// Starts one that allows these names.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn allowing(names: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let allowed = names.iter().map(ToString::to_string).collect();
        let shared = Arc::new(Mutex::new(Shared { allowed, asked: Vec::new() }));
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/ask", self.address)
    }

    /// The names it was asked about, in order.
    ///
    /// # Panics
    /// When an answer panicked.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.shared.lock().expect("what is shared").asked.clone()
    }

    /// How often it was asked about a name.
    #[must_use]
    pub fn times(&self, name: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == name).count()
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut wire = Http1::over(stream);
            while let Some(head) = wire.forever_head().await {
                let name = head.target().rsplit("domain=").next().unwrap_or_default().to_owned();
                let allowed = {
                    let mut shared = shared.lock().expect("what is shared");
                    shared.asked.push(name.clone());
                    shared.allowed.contains(&name)
                };
                let line = if allowed { "200 OK" } else { "403 Forbidden" };
                let answer = format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n");
                if wire.try_send(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}
