//! The keys of `proxy.limits` turned into its settings, and back.

use crate::keys::{Http2LimitKeys, ProxyLimitKeys};
use crate::settings::{Http2Limits, Limits};
use crate::values::{HeadSize, HeaderCount, Limit, Positive, Window};

impl From<ProxyLimitKeys> for Limits {
    fn from(keys: ProxyLimitKeys) -> Self {
        Self {
            connections: keys.connections.map(|limit| limit.0),
            connections_per_address: keys.connections_per_address.map(|limit| limit.0),
            requests_per_connection: keys.requests_per_connection.0,
            header_size: keys.header_size.0,
            header_count: keys.header_count.0,
            target_length: keys.target_length.0,
            header_timeout: keys.header_timeout.0,
            idle_timeout: keys.idle_timeout.0,
            body_rate: keys.body_rate,
            body_grace: keys.body_grace.0,
            http2: Http2Limits {
                streams: keys.http2.streams.0,
                resets: keys.http2.resets.0,
                window: keys.http2.window.0,
                connection_window: keys.http2.connection_window.0,
            },
        }
    }
}

impl From<Limits> for ProxyLimitKeys {
    fn from(limits: Limits) -> Self {
        Self {
            connections: limits.connections.map(Limit),
            connections_per_address: limits.connections_per_address.map(Limit),
            requests_per_connection: Limit(limits.requests_per_connection),
            header_size: HeadSize(limits.header_size),
            header_count: HeaderCount(limits.header_count),
            target_length: HeadSize(limits.target_length),
            header_timeout: Positive(limits.header_timeout),
            idle_timeout: Positive(limits.idle_timeout),
            body_rate: limits.body_rate,
            body_grace: Positive(limits.body_grace),
            http2: Http2LimitKeys {
                streams: Limit(limits.http2.streams),
                resets: Limit(limits.http2.resets),
                window: Window(limits.http2.window),
                connection_window: Window(limits.http2.connection_window),
            },
        }
    }
}
