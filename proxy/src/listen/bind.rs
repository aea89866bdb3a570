//! Sockets that are bound for the first time, and why one cannot be.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use pingora_core::protocols::l4::ext::set_tcp_fastopen_backlog;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use switcher_config::SocketPath;
use switcher_config::settings::{SocketMode, TcpOptions};

/// How many bytes the kernel holds for a client beyond what is on the way to it: enough to keep a fast one busy, and
/// so little that slow ones take no megabytes each.
const UNSENT: u32 = 128 * 1024;

/// How many connections may be begun by a first packet with data and not be accepted yet.
const FAST_OPEN_QUEUE: usize = 256;

/// A socket that could not be listened on, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {what}: {why}. {remedy}")]
pub struct CannotListen {
    what: String,
    why: String,
    remedy: String,
}

impl CannotListen {
    /// The options of `proxy.tcp` could not be set.
    pub(super) fn for_options(address: SocketAddr, error: &io::Error) -> Self {
        Self {
            what: address.to_string(),
            why: format!("the options of proxy.tcp are not taken: {error}"),
            remedy: "Leave `proxy.tcp` out, or try its keys one by one".to_owned(),
        }
    }
}

/// Binds a TCP socket. `every` are all addresses that are listened on.
pub(super) fn tcp(
    address: SocketAddr,
    mut every: impl Iterator<Item = SocketAddr>,
    options: &TcpOptions,
) -> Result<TcpListener, CannotListen> {
    let mut bound = || -> io::Result<TcpListener> {
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            sockopt::set_socket_reuseport(&socket, true)?;
        }
        if address.is_ipv6() {
            // `[::]` takes IPv4 too, unless an IPv4 listener of its own is configured on the port.
            let own_v4 = every.any(|a| a.is_ipv4() && a.port() == address.port());
            socket.set_only_v6(own_v4)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    bound().map_err(|error| {
        let (why, remedy) = diagnose(address, &error);
        CannotListen { what: address.to_string(), why, remedy }
    })
}

/// Sets what the connections that are accepted inherit, also on a socket that was handed over.
pub(super) fn set_options(socket: &TcpListener, options: &TcpOptions) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT)?;
    let asks = !options.keepalive.0.is_zero();
    sockopt::set_socket_keepalive(socket, asks)?;
    if asks {
        sockopt::set_tcp_keepidle(socket, options.keepalive.0)?;
        sockopt::set_tcp_keepintvl(socket, options.keepalive_interval.0)?;
        sockopt::set_tcp_keepcnt(socket, u32::from(options.keepalive_probes))?;
    }
    if options.fast_open {
        set_tcp_fastopen_backlog(socket.as_raw_fd(), FAST_OPEN_QUEUE).map_err(io::Error::other)?;
    }
    Ok(())
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

/// Whether somebody listens on a unix socket. One whose queue is full is there, however long it takes to come round.
fn answers(path: &Path) -> bool {
    let connected = || -> io::Result<()> {
        let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    connected().map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |()| true)
}

/// Binds the admin socket with mode 0600: who may open the file may switch.
pub(super) fn admin(path: &Path) -> Result<UnixListener, CannotListen> {
    let failed = |why: String, remedy: String| CannotListen { what: path.display().to_string(), why, remedy };
    if answers(path) {
        return Err(failed(
            "another switcher-proxy answers there".to_owned(),
            "Stop it first, or start this one with --upgrade and send the other SIGQUIT".to_owned(),
        ));
    }
    in_its_folder(path).map_err(|error| {
        failed(error.to_string(), "Choose a path that this user may write to with `proxy.admin`".to_owned())
    })
}

/// Binds a unix socket for requests.
pub(super) fn unix(at: &SocketPath, mode: SocketMode) -> Result<UnixListener, CannotListen> {
    let path = at.as_path();
    let failed =
        |why: String, remedy: &str| CannotListen { what: at.to_string(), why, remedy: remedy.to_owned() };
    if answers(path) {
        let remedy = "Stop it first, or choose another path";
        return Err(failed("another process answers there".to_owned(), remedy));
    }
    let bound = || {
        let listener = in_its_folder(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.0))?;
        Ok(listener)
    };
    bound().map_err(|error: io::Error| {
        failed(error.to_string(), "Choose a path in a folder that this user may write to")
    })
}

fn in_its_folder(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let listener = bind_private(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_whose_queue_is_full_belongs_to_somebody_and_one_that_a_dead_process_left_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("full.sock");
        let busy = RawSocket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let address = SockAddr::unix(&path).expect("an address");
        busy.bind(&address).expect("bound");
        assert!(!answers(&path), "it does not listen yet");
        busy.listen(0).expect("listening");
        let mut waiting = Vec::new();
        loop {
            let client = RawSocket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            client.set_nonblocking(true).expect("an option");
            if client.connect(&address).is_err() {
                break;
            }
            waiting.push(client);
        }
        assert!(!waiting.is_empty());
        assert!(answers(&path), "nobody accepts, and yet it is somebody's");
        drop(busy);
        assert!(!answers(&path), "what is left is a file");
        assert!(!answers(&folder.path().join("nothing.sock")));
    }
}
