//! The listeners of requests, the options of their sockets, and the PROXY protocol.

use crate::{ListenPlace, Span};

/// A listener and what comes in at it before the first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub listen: ListenPlace,
    /// What applications call it that are served there and not everywhere. Default none.
    pub name: Option<String>,
    /// Whether connections begin with the address of the client. Default off.
    pub proxy_protocol: ProxyProtocol,
    /// Who may open the socket. Default 0660; only for a unix socket.
    pub mode: SocketMode,
}

impl Listener {
    /// A listener with defaults.
    #[must_use]
    pub fn at(listen: impl Into<ListenPlace>) -> Self {
        Self {
            listen: listen.into(),
            name: None,
            proxy_protocol: ProxyProtocol::Off,
            mode: SocketMode::default(),
        }
    }
}

/// Whether a connection begins with a header of the PROXY protocol (proxy-protocol.txt of HAProxy).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None does: its bytes are no request.
    Off,
    /// Each does, and comes from one of `trusted_proxies` or by a unix socket; others are closed.
    Require,
    /// Those from `trusted_proxies` or by a unix socket may; all others are read as they are.
    Accept,
}

/// Which version of the PROXY protocol upstreams are told the client's address by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentProxyProtocol {
    /// None.
    Off,
    /// Version 1: one line of text.
    V1,
    /// Version 2: binary.
    V2,
}

/// The permissions of a unix socket: of read, write and execute for owner, group and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl Default for SocketMode {
    /// Whoever may open the socket speaks for clients, so only owner and group may.
    fn default() -> Self {
        Self(0o660)
    }
}

/// Options of TCP connections: keep-alive on both sides, the others of listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOptions {
    /// After how long without a byte the other end is asked whether it is still there; 0s for never. Default 60s.
    pub keepalive: Span,
    /// How often it is asked then. Default 10s.
    pub keepalive_interval: Span,
    /// After how many questions without an answer the connection is given up. Default 6.
    pub keepalive_probes: u16,
    /// Whether clients may send data with their first packet (RFC 7413). Default false.
    pub fast_open: bool,
    /// Whether other processes may listen on the same addresses. Default false.
    pub reuse_port: bool,
    /// How many connections the kernel holds until they are accepted. Default 4096.
    pub backlog: u32,
}

impl Default for TcpOptions {
    fn default() -> Self {
        crate::keys::TcpKeys::default().into()
    }
}
