//! What one client may ask of the proxy, as connections use it.

use std::time::Duration;

use switcher_config::settings::Limits as Settings;

use crate::hygiene::HeadLimits;

/// Descriptors that are kept for files, the admin API and upstreams' health when the limit on connections is left
/// to the proxy.
const KEPT: u64 = 100;

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

/// How many connections there may be in total and from one address. Left to the proxy, it is what the limit on
/// `descriptors` allows when each connection needs one to an upstream as well, and a quarter of that.
#[must_use]
pub fn connections(settings: &Settings, descriptors: u64) -> (u64, u64) {
    let total = settings.connections.map_or(descriptors.saturating_sub(KEPT) / 2, u64::from).max(1);
    let one = settings.connections_per_address.map_or(total / 4, u64::from).max(1);
    (total, one)
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

    #[test]
    fn the_limit_on_connections_follows_that_on_descriptors_unless_it_is_said() {
        let mut settings = Settings::default();
        assert_eq!(connections(&settings, 1024), (462, 115));
        assert_eq!(connections(&settings, 1_048_576), (524_238, 131_059));
        assert_eq!(connections(&settings, 10), (1, 1), "a proxy serves somebody");
        (settings.connections, settings.connections_per_address) = (Some(50), Some(60));
        assert_eq!(connections(&settings, 1024), (50, 60));
    }
}
