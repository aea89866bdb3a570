//! The keys of `proxy.tcp`.

use crate::Span;
use crate::section::section;
use crate::settings::TcpOptions;
use crate::values::{Limit, Probes};

section! {
    /// Options of TCP connections; keep-alive is for clients and upstreams, the others are for listeners.
    TcpKeys {
        /// After how long without a byte the other end is asked whether it is still there; `0s`: never.
        keepalive: Span = Span::seconds(60);
        /// How often it is asked then.
        keepalive_interval: Span = Span::seconds(10);
        /// After how many questions without an answer the connection is given up.
        keepalive_probes: Probes = Probes(6);
        /// Whether clients may send data with their first packet (TCP Fast Open).
        fast_open: bool = false;
        /// Whether other processes may listen on the same addresses (`SO_REUSEPORT`); the kernel spreads connections over them.
        reuse_port: bool = false;
        /// How many connections the kernel holds until they are accepted; `net.core.somaxconn` caps it.
        backlog: Limit = Limit(4096);
    }
}

impl From<TcpKeys> for TcpOptions {
    fn from(keys: TcpKeys) -> Self {
        let TcpKeys { keepalive, keepalive_interval, keepalive_probes, fast_open, reuse_port, backlog } =
            keys;
        Self {
            keepalive,
            keepalive_interval,
            keepalive_probes: keepalive_probes.0,
            fast_open,
            reuse_port,
            backlog: backlog.0,
        }
    }
}

impl From<TcpOptions> for TcpKeys {
    fn from(tcp: TcpOptions) -> Self {
        let TcpOptions { keepalive, keepalive_interval, keepalive_probes, fast_open, reuse_port, backlog } =
            tcp;
        Self {
            keepalive,
            keepalive_interval,
            keepalive_probes: Probes(keepalive_probes),
            fast_open,
            reuse_port,
            backlog: Limit(backlog),
        }
    }
}
