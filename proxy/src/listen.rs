//! Listening sockets: bound once at start or taken over from the process before, then accepted from.
//!
//! The sockets are ours, not Pingora's, so that a failure to bind can say what to do about it and an
//! upgrade can pass them on without one connection refused.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use switcher_config::ListenAddress;
use switcher_config::settings::ProxySettings;

use crate::edge::socket::Socket;
use crate::edge::{Edge, Secure};
use crate::metrics::Limit;
use crate::smoke::{Secret, Smoker};

/// Connections the kernel holds for us while we are busy. It caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How many bytes the kernel holds for a client beyond what is on the way to it: enough to keep a fast one busy, and
/// so little that slow ones take no megabytes each.
const UNSENT: u32 = 128 * 1024;

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
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // `[::]` takes IPv4 too, unless an IPv4 listener of its own is configured on the port.
            let own_v4 = every.iter().any(|a| a.is_ipv4() && a.port() == address.port());
            socket.set_only_v6(own_v4)?;
        }
        // Its connections get this from it.
        socket.set_tcp_notsent_lowat(UNSENT)?;
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

/// Accepts connections until shutdown, as long as there is room for them. On a TLS listener each begins with a
/// handshake.
pub async fn accept(listener: TcpListener, tls: Option<Secure>, edge: Edge) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut shutdown = edge.shutdown.clone();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down) => return Ok(()),
            accepted = async {
                let accepted = listener.accept().await;
                // Nobody has to leave before somebody is there.
                edge.crowd.room().await;
                accepted
            } => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                // An error would only cost latency.
                let _ = stream.set_nodelay(true);
                tokio::spawn(edge.clone().serve(Socket::Tcp(stream), peer, tls.clone()));
            }
            // The client gave up between its SYN and our accept.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections; idle ones are closed to make room");
                }
                edge.limits.acted(Limit::Descriptors);
                edge.crowd.make_room().await;
            }
        }
    }
}
