//! Where the Docker Engine is: on this machine, behind TCP, or on a server reached by `ssh`.
//!
//! Parsed once, from `--host`, the configuration or `$DOCKER_HOST`; `docker` connects to what is found here. A server
//! behind `ssh` has its proxy there too, so one [`Tunnel`] carries both sockets; `reach` opens it for a command.

mod reach;
mod tunnel;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) use reach::Remote;
pub use tunnel::{Tunnel, TunnelError};

/// Where Docker listens unless somebody says otherwise.
pub const LOCAL_SOCKET: &str = "/var/run/docker.sock";

/// The address of a Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAddress {
    /// A unix socket on this machine.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(TcpHost),
    /// The engine of a server, by way of its SSH service.
    Ssh(SshHost),
}

/// An engine behind TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpHost {
    /// Name or address, without brackets.
    pub host: String,
    /// The port. Default: Docker's own, 2375 without TLS and 2376 with it.
    pub port: Option<u16>,
    /// The folder with `ca.pem`, `cert.pem` and `key.pem`; none speaks plain HTTP.
    pub certificates: Option<PathBuf>,
}

/// A server as `ssh` knows it. Everything else (keys, jump hosts, known hosts) is in its own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// The user; none leaves it to the configuration of `ssh`.
    pub user: Option<String>,
    /// Name, address or the alias of the configuration of `ssh`.
    pub host: String,
    /// The port; none leaves it to the configuration of `ssh`.
    pub port: Option<u16>,
    /// The engine's socket on the server. Default `/var/run/docker.sock`.
    pub socket: PathBuf,
}

impl HostAddress {
    /// The local socket of Docker.
    #[must_use]
    pub fn local() -> Self {
        Self::Unix(PathBuf::from(LOCAL_SOCKET))
    }

    /// Whether the engine shares this machine's disks.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// The same engine, spoken to by TLS with the certificates of a folder, when it is reached by TCP.
    #[must_use]
    pub fn with_certificates(self, folder: PathBuf) -> Self {
        match self {
            Self::Tcp(tcp) => Self::Tcp(TcpHost { certificates: Some(folder), ..tcp }),
            Self::Unix(_) | Self::Ssh(_) => self,
        }
    }
}

impl TcpHost {
    /// `host:port`, with brackets where they are due.
    #[must_use]
    pub fn authority(&self) -> String {
        let own = if self.certificates.is_some() { 2376 } else { 2375 };
        authority(&self.host, self.port.unwrap_or(own))
    }

    /// Whether nobody but this machine hears what is said.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(tcp) => write!(f, "tcp://{}", tcp.authority()),
            Self::Ssh(ssh) if ssh.socket.as_os_str() == LOCAL_SOCKET => write!(f, "ssh://{ssh}"),
            Self::Ssh(ssh) => write!(f, "ssh://{ssh}{}", ssh.socket.display()),
        }
    }
}

/// As `ssh` is told it: `[user@]host[:port]`.
impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) => f.write_str(&authority(&self.host, port)),
            None if self.host.contains(':') => write!(f, "[{}]", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// A text that names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no address of a Docker Engine: {problem}; write unix:///var/run/docker.sock, tcp://HOST:2376 or \
     ssh://USER@HOST"
)]
pub struct InvalidHost {
    /// What was given, without a password that stood in it.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl FromStr for HostAddress {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |problem| InvalidHost { text: without_password(text), problem };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(invalid("the scheme is missing"));
        };
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(invalid("the path of the socket does not begin with `/`")),
            "tcp" | "http" | "https" => tcp(scheme, rest).map(Self::Tcp).map_err(invalid),
            "ssh" => ssh(rest).map(Self::Ssh).map_err(invalid),
            _ => Err(invalid("the scheme is none of unix, tcp and ssh")),
        }
    }
}

fn tcp(scheme: &str, rest: &str) -> Result<TcpHost, &'static str> {
    let (host, port) = host_and_port(bare(rest)?)?;
    if host.contains('@') {
        return Err("an engine behind TCP knows no users");
    }
    if scheme == "https" {
        return Err("TLS is asked for by $DOCKER_TLS_VERIFY or $DOCKER_CERT_PATH, and the scheme stays tcp");
    }
    Ok(TcpHost { host, port, certificates: None })
}

fn ssh(rest: &str) -> Result<SshHost, &'static str> {
    let (rest, socket) = match rest.split_once('/') {
        Some((rest, "")) => (rest, LOCAL_SOCKET.to_owned()),
        Some((rest, socket)) => (rest, format!("/{socket}")),
        None => (rest, LOCAL_SOCKET.to_owned()),
    };
    let (user, at) = match rest.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            return Err("a password does not belong into it; `ssh` uses its keys");
        }
        Some((user, at)) => (Some(user), at),
        None => (None, rest),
    };
    let (host, port) = host_and_port(at)?;
    let option_like = |word: &str| word.is_empty() || word.starts_with('-');
    if option_like(&host) || user.is_some_and(option_like) {
        return Err("user and host may not begin with `-`");
    }
    Ok(SshHost { user: user.map(str::to_owned), host, port, socket: PathBuf::from(socket) })
}

/// Without the slash at the end that people add.
fn bare(rest: &str) -> Result<&str, &'static str> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) { Err("there is a path after the host") } else { Ok(rest) }
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let number = |port: &str| port.parse().map_err(|_| "the port is no number from 1 to 65535");
    let (host, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => {
            let port = port.strip_prefix(':').ok_or("the port is not set apart by `:`")?;
            (host, Some(number(port)?))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(number(port)?)),
            None => (text, None),
        },
    };
    let plain = !host.is_empty() && !host.chars().any(|c| c.is_whitespace() || c.is_control());
    if plain && port != Some(0) { Ok((host.to_owned(), port)) } else { Err("the host is missing") }
}

/// The text as it may be shown: whatever stands between the user and the `@` is left out.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:***@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
