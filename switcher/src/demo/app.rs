//! The tiny application that the demo and the drain gate switch between.
//!
//! HTTP/1.1 and HTTP/2 (prior knowledge) on one loopback port. Every answer carries [`VERSION_HEADER`],
//! which is how a client knows who answered. Run as the hidden command `switcher demo-app`; tests
//! call [`serve`] in their own process.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use self::answer::App;

mod answer;
mod echo;

/// The answer header that names the version which answered.
pub const VERSION_HEADER: &str = "x-app-version";

/// The line printed once the app listens begins with this; the address follows.
pub const LISTENING: &str = "listening ";

/// The options of `switcher demo-app`.
#[derive(Debug, Clone, clap::Args)]
pub struct AppArgs {
    /// The version that every answer names.
    #[arg(long)]
    pub version: String,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Answer every request, also the health check, with 500.
    #[arg(long)]
    pub broken: bool,
    /// How long an idle keep-alive connection is kept, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    pub keep_alive_ms: u64,
}

/// Runs the app until SIGTERM. Returns the exit code.
#[must_use]
pub fn run(args: AppArgs) -> u8 {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(run_until_terminated(args)));
    match served {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("switcher demo-app: {error}");
            1
        }
    }
}

async fn run_until_terminated(args: AppArgs) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    writeln!(io::stdout(), "{LISTENING}{address}")?;
    tokio::select! {
        never = serve(listener, args) => never,
        _ = terminated.recv() => Ok(()),
    }
}

/// Accepts and serves connections for ever.
///
/// # Errors
/// Never for a single connection; only when the listener itself fails.
pub async fn serve(listener: TcpListener, args: AppArgs) -> io::Result<()> {
    let keep_alive = Duration::from_millis(args.keep_alive_ms);
    let app = Arc::new(App::new(args.version, args.broken));
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve_connection(stream, Arc::clone(&app), keep_alive));
    }
}

async fn serve_connection(stream: TcpStream, app: Arc<App>, keep_alive: Duration) {
    // Small answers must not wait for Nagle's algorithm; if this fails they are only slower.
    let _ = stream.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new());
    // hyper runs this timer also between two requests, so it is the keep-alive limit too.
    server.http1().timer(TokioTimer::new()).header_read_timeout(keep_alive);
    server.http2().timer(TokioTimer::new());
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, std::convert::Infallible>(app.answer(request).await) }
    });
    // A connection that ends badly is the client's to count; the app has nobody to tell.
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests;
