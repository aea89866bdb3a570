//! Listening sockets: bound once at start or taken over from the process before, then accepted from.
//!
//! The sockets are ours, not Pingora's, so that a failure to bind can say what to do about it and an
//! upgrade can pass them on without one connection refused.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp as _;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{ALPN, GetSocketDigest as _, SocketDigest, Ssl as _, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use socket2::{Domain, Protocol, Socket, Type};
use switcher_config::ListenAddress;
use switcher_config::settings::ProxySettings;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::connection::{Connection, Facts};
use crate::gateway::Gateway;
use crate::smoke::{Secret, Smoker};
use crate::tls::Front;

/// Connections the kernel holds for us while we are busy. It caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long a client may take for the rest of the first bytes of a plain connection, which decide on HTTP/2.
const PREFACE: Duration = Duration::from_secs(10);

/// How long a plain connection may stay silent before its first request.
const FIRST_BYTES: Duration = Duration::from_secs(60);

/// How long handshakes that are under way may go on when the process ends.
const LAST_HANDSHAKES: Duration = Duration::from_secs(10);

/// How long a connection that ends with the process is read to its end.
const LINGER: Duration = Duration::from_millis(500);

/// How long to wait when the process has no file descriptors left.
const BREATHE: Duration = Duration::from_millis(100);

/// The first bytes of HTTP/2 in clear text with prior knowledge (RFC 9113 section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Every socket the proxy listens on.
#[derive(Debug)]
pub struct Listeners {
    /// Plain HTTP.
    pub http: Vec<TcpListener>,
    /// TLS.
    pub https: Vec<TcpListener>,
    /// The admin API.
    pub admin: UnixListener,
    /// The read-only TCP listener.
    pub status: Option<TcpListener>,
}

/// A socket that could not be listened on, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {what}: {why}. {remedy}")]
pub struct CannotListen {
    what: String,
    why: String,
    remedy: String,
}

/// Sockets by the name under which they are handed over: `tcp ADDRESS` or `unix PATH`.
pub type Inherited = HashMap<String, OwnedFd>;

impl Listeners {
    /// Asks the first listener of each kind, for smoke tests.
    #[must_use]
    pub fn smoker(&self, secret: Secret) -> Smoker {
        let first = |all: &[TcpListener]| all.first().and_then(|listener| listener.local_addr().ok());
        Smoker::new(secret, first(&self.http), first(&self.https))
    }

    /// Opens every socket of the settings, taking those that were handed over.
    ///
    /// # Errors
    /// Names the socket and the remedy.
    pub fn open(settings: &ProxySettings, inherited: &mut Inherited) -> Result<Self, CannotListen> {
        let every: Vec<SocketAddr> = settings
            .http
            .iter()
            .chain(settings.https.iter().map(|tls| &tls.listen))
            .chain(&settings.status)
            .map(|a| a.0)
            .collect();
        let mut tcp = |address: SocketAddr| match inherited.remove(&tcp_name(address)) {
            Some(fd) => Ok(TcpListener::from(fd)),
            None => bind_tcp(address, &every),
        };
        let mut all =
            |addresses: &[ListenAddress]| addresses.iter().map(|a| tcp(a.0)).collect::<Result<Vec<_>, _>>();
        let secure: Vec<ListenAddress> = settings.https.iter().map(|tls| tls.listen).collect();
        let (http, https) = (all(&settings.http)?, all(&secure)?);
        let status = settings.status.map(|a| tcp(a.0)).transpose()?;
        let admin = match inherited.remove(&unix_name(&settings.admin)) {
            Some(fd) => UnixListener::from(fd),
            None => bind_admin(&settings.admin)?,
        };
        Ok(Self { http, https, admin, status })
    }

    /// Duplicates of all of them with their names, to hand over.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn to_hand_over(&self, settings: &ProxySettings) -> io::Result<Vec<(String, OwnedFd)>> {
        let mut named = Vec::new();
        let secure = settings.https.iter().map(|tls| &tls.listen);
        let tcp = self.http.iter().zip(&settings.http).chain(self.https.iter().zip(secure));
        for (listener, address) in tcp.chain(self.status.iter().zip(&settings.status)) {
            named.push((tcp_name(address.0), listener.try_clone()?.into()));
        }
        named.push((unix_name(&settings.admin), self.admin.try_clone()?.into()));
        Ok(named)
    }
}

fn tcp_name(address: SocketAddr) -> String {
    format!("tcp {address}")
}

fn unix_name(path: &Path) -> String {
    format!("unix {}", path.display())
}

fn bind_tcp(address: SocketAddr, every: &[SocketAddr]) -> Result<TcpListener, CannotListen> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // `[::]` takes IPv4 too, unless an IPv4 listener of its own is configured on the port.
            let own_v4 = every.iter().any(|a| a.is_ipv4() && a.port() == address.port());
            socket.set_only_v6(own_v4)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    bound().map_err(|error| {
        let (why, remedy) = diagnose(address, &error);
        CannotListen { what: address.to_string(), why, remedy }
    })
}

/// Why an address cannot be bound, and what to do about it.
fn diagnose(address: SocketAddr, error: &io::Error) -> (String, String) {
    let port = address.port();
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        let remedy =
            format!("See which one with `ss -ltnp 'sport = :{port}'` and stop it, or choose another port");
        (format!("port {port} is taken by another process"), remedy)
    } else if kind == io::ErrorKind::PermissionDenied {
        let remedy = "Run `setcap cap_net_bind_service=+ep` on switcher-proxy, set AmbientCapabilities=CAP_NET_BIND_SERVICE in its systemd unit, or choose a port above 1023";
        (format!("port {port} is privileged"), remedy.to_owned())
    } else if kind == io::ErrorKind::AddrNotAvailable {
        let remedy = "Use one of `ip address`, or 0.0.0.0 or [::] for all of them";
        (format!("this machine has no address {}", address.ip()), remedy.to_owned())
    } else {
        (error.to_string(), "Look at the address and at the limits of the process".to_owned())
    }
}

/// Binds the admin socket with mode 0600: who may open the file may switch.
fn bind_admin(path: &Path) -> Result<UnixListener, CannotListen> {
    let failed = |why: String, remedy: String| CannotListen { what: path.display().to_string(), why, remedy };
    if UnixStream::connect(path).is_ok() {
        return Err(failed(
            "another switcher-proxy answers there".to_owned(),
            "Stop it first, or start this one with --upgrade and send the other SIGQUIT".to_owned(),
        ));
    }
    let bound = || -> io::Result<UnixListener> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let listener = bind_private(path)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bound().map_err(|error| {
        failed(error.to_string(), "Choose a path that this user may write to with `proxy.admin`".to_owned())
    })
}

/// Binds a unix socket that only this user may open, in the place of one that a dead process left.
///
/// # Errors
/// When something else stands there, or the folder is not ours to write.
pub(crate) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket stands there",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The file must not be open to others even for the moment between creation and chmod.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// What accept loops share.
#[derive(Clone)]
pub struct Acceptance {
    /// Pingora's HTTP proxy.
    pub proxy: Arc<HttpProxy<Gateway>>,
    /// Turns true when no more connections are to be accepted, and keep-alive ends.
    pub shutdown: ShutdownWatch,
    /// Held by every connection; when all are dropped, every connection has ended.
    pub alive: mpsc::Sender<Infallible>,
}

/// What makes a listener one of TLS.
#[derive(Clone)]
pub struct Secure {
    /// Shakes hands.
    pub front: Arc<Front>,
    /// The listener's place in the settings.
    pub listener: usize,
}

/// Accepts connections until shutdown. On a TLS listener each begins with a handshake.
pub async fn accept(listener: TcpListener, tls: Option<Secure>, acceptance: Acceptance) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut shutdown = acceptance.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, acceptance) = (tls.clone(), acceptance.clone());
                tokio::spawn(async move { serve(stream, peer, tls, acceptance).await });
            }
            // The client gave up between its SYN and our accept.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BREATHE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, peer: SocketAddr, tls: Option<Secure>, acceptance: Acceptance) {
    let socket = stream.as_raw_fd();
    // An error would only cost latency.
    let _ = stream.set_nodelay(true);
    let shutdown = acceptance.shutdown.clone();
    match tls {
        None => {
            let Some(h2c) = speaks_h2c(&stream, shutdown.clone()).await else { return };
            let facts = Facts { peer, socket, tls: None };
            let connection = Arc::new(Connection::new(acceptance.proxy, facts, h2c));
            drive(connection, Box::new(l4(stream)), h2c.then_some(socket), shutdown).await;
        }
        Some(secure) => {
            // In a box, so that the memory of the handshake is given back when it is done.
            let handshake = Box::pin(secure.front.shake(secure.listener, l4(stream)));
            let shaken = tokio::select! {
                shaken = handshake => shaken,
                () = too_late(shutdown.clone()) => return,
            };
            let shaken = match shaken {
                Ok(shaken) => shaken,
                Err(reason) => {
                    return tracing::debug!(%peer, %reason, "the TLS handshake brought no connection");
                }
            };
            let http2 = matches!(shaken.stream.selected_alpn_proto(), Some(ALPN::H2));
            let facts = Facts { peer, socket, tls: Some(shaken.tls) };
            let connection = Arc::new(Connection::new(acceptance.proxy, facts, false));
            drive(connection, Box::new(shaken.stream), http2.then_some(socket), shutdown).await;
        }
    }
}

/// Resolves when a handshake has had its time although the process ends: one may wait for its certificate.
async fn too_late(mut shutdown: ShutdownWatch) {
    // An error means that the process is past its end.
    let _ = shutdown.wait_for(|down| *down).await;
    tokio::time::sleep(LAST_HANDSHAKES).await;
}

/// Drives a connection to its end. One of HTTP/2 (then its socket is given) that ends with the process
/// is closed slowly: a client that has not read the final GOAWAY yet may still be sending a request. Were
/// the socket closed at once, the answer to that would be a reset, which can overtake the GOAWAY, and the
/// client would never learn that its request may be sent again (RFC 9113 section 6.8).
async fn drive(connection: Arc<Connection>, stream: Stream, http2: Option<RawFd>, shutdown: ShutdownWatch) {
    let serving = connection.process_new(stream, &shutdown);
    let Some(socket) = http2 else {
        serving.await;
        return;
    };
    tokio::pin!(serving);
    let mut ending = shutdown.clone();
    let duplicate = tokio::select! {
        biased;
        _ = ending.wait_for(|down| *down) => {
            // SAFETY: the connection is not served to its end, so its socket is open.
            unsafe { BorrowedFd::borrow_raw(socket) }.try_clone_to_owned()
        }
        _ = &mut serving => return,
    };
    serving.await;
    if let Ok(duplicate) = duplicate {
        // An error means that the client has closed, which is what is waited for.
        let _ = linger(duplicate).await;
    }
}

/// Ends our side of a connection and reads what still comes until the client has ended its own.
async fn linger(socket: OwnedFd) -> io::Result<()> {
    let socket = std::net::TcpStream::from(socket);
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut socket = TcpStream::from_std(socket)?;
    let mut sink = tokio::io::sink();
    let rest = tokio::io::copy(&mut socket, &mut sink);
    tokio::time::timeout(LINGER, rest).await.map_err(io::Error::from)?.map(drop)
}

/// Pingora's view of a connection. Without read buffer: an idle connection then costs a third of the memory.
fn l4(stream: TcpStream) -> L4Stream {
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    let mut stream = L4Stream::from(stream);
    stream.set_socket_digest(digest);
    stream
}

/// Whether a plain connection begins with HTTP/2's preface; `None` when it ends before it begins.
/// Only looked at, so that the bytes are still there for the protocol itself.
async fn speaks_h2c(stream: &TcpStream, mut shutdown: ShutdownWatch) -> Option<bool> {
    let look = async {
        let mut buffer = [0; H2_PREFACE.len()];
        let mut limit = FIRST_BYTES;
        loop {
            let seen = tokio::time::timeout(limit, stream.peek(&mut buffer)).await.ok()?.ok()?;
            if seen == 0 {
                return None;
            }
            if buffer[..seen] != H2_PREFACE[..seen] {
                return Some(false);
            }
            if seen == buffer.len() {
                return Some(true);
            }
            // Part of the preface: the kernel reports it again at once, so wait a moment for the rest.
            limit = PREFACE;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        found = tokio::time::timeout(FIRST_BYTES + PREFACE, look) => found.ok().flatten(),
        // Its first request may be on the way: HTTP/1.1 waits for it as long as idle connections may wait.
        _ = shutdown.wait_for(|down| *down) => Some(false),
    }
}
