//! Raw TCP: an upstream that says its name and then says again what it hears, and a client that speaks with it in lines.
//!
//! Probes of health open a connection and say nothing, so only connections that said something are counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream,
};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;
use crate::port::Port;
use crate::until::{PATIENCE, within};

/// An upstream. It ends when dropped, with all its connections.
pub struct Echo {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
    server: JoinHandle<()>,
    _port: Port,
}

impl Echo {
    /// One that says `name` first.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(name: &str) -> Self {
        Self::serve(name, None).await
    }

    /// One that ends TLS itself, with this certificate.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn secure(name: &str, certificate: &Certificate) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der.clone()], certificate.key())
            .expect("a certificate and its key");
        Self::serve(name, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(name: &str, tls: Option<TlsAcceptor>) -> Self {
        let (listener, port) = Port::listen().await;
        let address = port.address();
        let (heard, name) = (Arc::<AtomicUsize>::default(), format!("{name}\n"));
        let counts = Arc::clone(&heard);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (name, counts, tls) = (name.clone(), Arc::clone(&counts), tls.clone());
                connections.spawn(async move {
                    // Whoever leaves early leaves.
                    let _ = match tls {
                        None => speak(stream, &name, &counts).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => speak(stream, &name, &counts).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { address, heard, server, _port: port }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have said something.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Says the name, says again what it hears, and when the other side has said all, how much that was.
async fn speak(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    name: &str,
    heard: &AtomicUsize,
) -> io::Result<()> {
    stream.write_all(name.as_bytes()).await?;
    stream.flush().await?;
    let (mut piece, mut all) = (vec![0; 1 << 16], 0);
    loop {
        let count = stream.read(&mut piece).await?;
        if all == 0 && count > 0 {
            heard.fetch_add(1, Ordering::SeqCst);
        }
        all += count;
        if count == 0 {
            stream.write_all(format!("heard {all}\n").as_bytes()).await?;
            return stream.shutdown().await;
        }
        stream.write_all(&piece[..count]).await?;
        stream.flush().await?;
    }
}

/// A client's side.
pub struct Line<S> {
    stream: BufStream<S>,
}

impl Line<TcpStream> {
    /// Connects.
    ///
    /// # Panics
    /// When nobody takes the connection.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream =
            within(PATIENCE, "a connection", TcpStream::connect(address)).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Speaks over a connection.
    pub fn over(stream: S) -> Self {
        Self { stream: BufStream::new(stream) }
    }

    /// Says something.
    ///
    /// # Panics
    /// When it cannot be said.
    pub async fn say(&mut self, text: &str) {
        let say = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        within(PATIENCE, "the other side to take it", say).await.expect("taken");
    }

    /// The next line without its end; `None` when the other side has said all.
    ///
    /// # Errors
    /// When the connection breaks.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn try_line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let count = within(PATIENCE, "a line", self.stream.read_line(&mut line)).await?;
        Ok((count > 0).then(|| line.trim_end().to_owned()))
    }

    /// The next line without its end.
    ///
    /// # Panics
    /// When none comes.
    pub async fn line(&mut self) -> String {
        self.try_line().await.expect("a line").expect("a line and no end")
    }

    /// Says a line and returns what comes back.
    ///
    /// # Panics
    /// When nothing does.
    pub async fn ask(&mut self, text: &str) -> String {
        self.say(&format!("{text}\n")).await;
        self.line().await
    }

    /// Waits for the end, whether in order or not.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn ended(&mut self) {
        let last = self.try_line().await;
        assert!(!matches!(last, Ok(Some(_))), "{last:?}");
    }

    /// Says that all is said, and still listens.
    ///
    /// # Panics
    /// When that cannot be said.
    pub async fn finish(&mut self) {
        within(PATIENCE, "the end to be said", self.stream.shutdown()).await.expect("said");
    }

    /// The connection itself.
    pub fn into_inner(self) -> S {
        self.stream.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_says_its_name_then_what_it_hears_then_how_much_that_was() {
        let echo = Echo::start("blue").await;
        let mut line = Line::connect(echo.address()).await;
        assert_eq!(line.line().await, "blue");
        assert_eq!(echo.connections(), 0, "nothing was said yet");
        assert_eq!(line.ask("one").await, "one");
        line.finish().await;
        assert_eq!(line.line().await, "heard 4");
        line.ended().await;
        assert_eq!(echo.connections(), 1);
    }
}
