//! The `proxy.limits` section: what one client may ask of the proxy.

use crate::{Bytes, Span};

/// What one client may ask of the proxy, over all applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there may be. Default: what the limit on file descriptors allows.
    pub connections: Option<u32>,
    /// How many of them may come from one address (of IPv6: one /64), unless it is a trusted proxy's. Default: a
    /// quarter of all.
    pub connections_per_address: Option<u32>,
    /// After how many requests a connection is closed. Default 10000.
    pub requests_per_connection: u32,
    /// The largest head of a request. Default 32KiB.
    pub header_size: Bytes,
    /// The most headers of a request. Default 100.
    pub header_count: u16,
    /// The longest target of a request. Default 8KiB.
    pub target_length: Bytes,
    /// How long a head may take from its first byte, and a new connection to send that. Default 10s.
    pub header_timeout: Span,
    /// How long a connection may wait for its next request. Default 60s.
    pub idle_timeout: Span,
    /// How many bytes of a request's body must come in each second, on the average. Default 240B; 0 for none.
    pub body_rate: Bytes,
    /// From when on that is asked: how long a body may take before. Default 10s.
    pub body_grace: Span,
    /// What HTTP/2 adds.
    pub http2: Http2Limits,
}

/// What one client may ask of a connection of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams at once. Default 128.
    pub streams: u32,
    /// How many streams a client may reset before it is closed for resetting most of them. Default 200.
    pub resets: u32,
    /// Bytes of a body that may be on the way for one stream. Default 64KiB.
    pub window: Bytes,
    /// Bytes of bodies that may be on the way for all streams. Default 1MiB.
    pub connection_window: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        crate::keys::ProxyLimitKeys::default().into()
    }
}
