//! What one client may ask of the proxy, as connections use it.

use std::time::Duration;

use switcher_config::settings::Limits as Settings;

use crate::hygiene::HeadLimits;

/// Descriptors that are kept for files, the admin API and upstreams' health.
const KEPT: u64 = 100;

/// Descriptors of a connection to an upstream.
const UPSTREAM: u64 = 1;

/// Descriptors of a connection of a client, with the one to an upstream that it may need.
const CLIENT: u64 = 1 + UPSTREAM;

/// The most connections kept idle for reuse, over all upstreams.
const POOL: u64 = 1024;

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bounds of a request's head.
    pub head: HeadLimits,
    /// How long a head may take from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle: Duration,
    /// How many requests a connection carries.
    pub requests_per_connection: u64,
    /// How fast bodies must move, those of requests and those of answers.
    pub pace: Pace,
    /// What HTTP/2 adds.
    pub http2: Http2Limits,
}

/// How fast bodies must move.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes a second; 0 asks for nothing.
    pub rate: u64,
    /// How long a body may take before that is asked.
    pub grace: Duration,
}

/// The limits of a connection of HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Http2Limits {
    /// Streams at once.
    pub streams: u32,
    /// Streams that the client may reset before it is looked at whether it does anything else.
    pub resets: u32,
    /// Bytes of a body that may be on the way for one stream.
    pub window: u32,
    /// Bytes of bodies that may be on the way for all streams.
    pub connection_window: u32,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        let bytes = |bytes: switcher_config::Bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX);
        let window = |bytes: switcher_config::Bytes| u32::try_from(bytes.0).unwrap_or(u32::MAX);
        Self {
            head: HeadLimits {
                size: bytes(settings.header_size),
                count: usize::from(settings.header_count),
                target: bytes(settings.target_length),
            },
            header_timeout: settings.header_timeout.0,
            idle: settings.idle_timeout.0,
            pace: Pace { rate: settings.body_rate.0, grace: settings.body_grace.0 },
            requests_per_connection: u64::from(settings.requests_per_connection),
            http2: Http2Limits {
                streams: settings.http2.streams,
                resets: settings.http2.resets,
                window: window(settings.http2.window),
                connection_window: window(settings.http2.connection_window),
            },
        }
    }
}

/// How the descriptors of the process are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Connections of clients.
    pub connections: u64,
    /// Connections from one address.
    pub per_address: u64,
    /// Requests of HTTP/2 at upstreams beyond the first of their connections.
    pub streams: u64,
    /// Connections to upstreams that are kept idle for reuse.
    pub pool: u64,
}

/// Shares out the limit on `descriptors`, so that a reserve is left: an eighth for idle connections to upstreams, and of
/// the rest a fifth for further requests of HTTP/2 and four for connections, with one to an upstream each. A lower limit on
/// connections may be configured and leaves more to HTTP/2; a higher one would promise what cannot be kept.
#[must_use]
pub fn shares(settings: &Settings, descriptors: u64) -> Shares {
    let free = descriptors.saturating_sub(KEPT);
    let pool = POOL.min(free / 8).max(1);
    let free = free.saturating_sub(pool);
    let possible = free / 5 * 4 / CLIENT;
    let connections = settings.connections.map_or(possible, |wanted| possible.min(wanted.into())).max(1);
    let per_address = settings.connections_per_address.map_or(connections / 4, u64::from).max(1);
    let streams = free.saturating_sub(connections * CLIENT) / UPSTREAM;
    Shares { connections, per_address, streams, pool }
}

/// How the descriptors of this process are shared out now. Says so when a configured limit is beyond them.
#[must_use]
pub fn shares_now(settings: &Settings) -> Shares {
    let descriptors = descriptors();
    let shares = shares(settings, descriptors);
    if let Some(wanted) = settings.connections.map(u64::from).filter(|wanted| *wanted > shares.connections) {
        tracing::warn!(
            "proxy.limits.connections is {wanted}, but {descriptors} file descriptors allow {}; raise the limit on \
             them (LimitNOFILE=, ulimit -n) and restart",
            shares.connections
        );
    }
    shares
}

/// How many descriptors this process may have open.
#[must_use]
pub fn descriptors() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(shares: Shares) -> u64 {
        shares.connections * CLIENT + shares.streams * UPSTREAM + shares.pool + KEPT
    }

    #[test]
    fn the_limit_on_connections_follows_that_on_descriptors_unless_it_is_said() {
        let mut settings = Settings::default();
        for descriptors in [200, 256, 1000, 1024, 4096, 65_536, 1_048_576] {
            let shares = shares(&settings, descriptors);
            assert!(needed(shares) <= descriptors, "{descriptors}: {shares:?}");
            assert!(needed(shares) + 20 > descriptors, "{descriptors} are used: {shares:?}");
            assert_eq!(shares.per_address, shares.connections / 4);
        }
        let few = shares(&settings, 10);
        assert_eq!((few.connections, few.per_address), (1, 1), "a proxy serves somebody");
        (settings.connections, settings.connections_per_address) = (Some(50), Some(60));
        let said = shares(&settings, 1024);
        assert_eq!((said.connections, said.per_address), (50, 60));
        assert!(said.streams > shares(&Settings::default(), 1024).streams, "what they leave is for HTTP/2");
        assert!(needed(said) <= 1024);
        settings.connections = Some(5000);
        assert_eq!(shares(&settings, 1024).connections, shares(&Settings::default(), 1024).connections);
    }
}
