//! What is counted of limits: how often each has acted.

use std::sync::Arc;

use http::StatusCode;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::hygiene::Violation;

/// A limit that can act on a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `proxy.limits.connections`: a new connection had to wait for an idle one to leave.
    Connections,
    /// `proxy.limits.connections_per_address`: a connection was closed unserved.
    ConnectionsPerAddress,
    /// `proxy.limits.requests_per_connection`: a connection was closed after its last request.
    RequestsPerConnection,
    /// The process has no descriptors left: a connection had to wait for an idle one to leave, or a request of HTTP/2
    /// for another one to end.
    Descriptors,
    /// Memory is short: a connection had to wait for an idle one to leave, or a request of HTTP/2 for another one to end.
    Memory,
    /// `proxy.limits.header_timeout`: a head did not come in time.
    HeaderTimeout,
    /// `proxy.limits.header_size` and `header_count`: a head was too large.
    HeaderSize,
    /// `proxy.limits.target_length`: a target was too long.
    TargetLength,
    /// `body_size` of middleware: a body was too large.
    BodySize,
    /// `proxy.limits.body_rate`: a body came too slowly.
    BodyRate,
    /// `proxy.limits.body_rate`: an answer was taken too slowly.
    AnswerRate,
    /// `proxy.limits.http2.resets`: a client that resets most of its streams was closed.
    Http2Resets,
    /// `rate_limit` of middleware: a request was answered 429.
    RateLimit,
    /// `in_flight` of middleware: a request was answered 429.
    InFlight,
    /// Memory for the bodies, of requests and of answers, that `buffer` of middleware takes in was spent: one was passed on
    /// as it came.
    Buffer,
    /// `proxy_protocol` of a listener: a connection without a good header was closed.
    ProxyProtocol,
    /// `hosts` of an application with `tcp`: a connection was closed that named none of them, or did not begin with TLS.
    ServerName,
}

impl Limit {
    /// The limit that a head breaks which is too large.
    pub(super) fn of(violation: Violation) -> Option<Self> {
        let status = violation.status();
        if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
            return Some(Self::HeaderSize);
        }
        (status == StatusCode::URI_TOO_LONG).then_some(Self::TargetLength)
    }

    const ALL: [(Self, &str); 17] = [
        (Self::Connections, "connections"),
        (Self::ConnectionsPerAddress, "connections_per_address"),
        (Self::RequestsPerConnection, "requests_per_connection"),
        (Self::Descriptors, "descriptors"),
        (Self::Memory, "memory"),
        (Self::HeaderTimeout, "header_timeout"),
        (Self::HeaderSize, "header_size"),
        (Self::TargetLength, "target_length"),
        (Self::BodySize, "body_size"),
        (Self::BodyRate, "body_rate"),
        (Self::AnswerRate, "answer_rate"),
        (Self::Http2Resets, "http2_resets"),
        (Self::RateLimit, "rate_limit"),
        (Self::InFlight, "in_flight"),
        (Self::Buffer, "buffer"),
        (Self::ProxyProtocol, "proxy_protocol"),
        (Self::ServerName, "server_name"),
    ];
}

/// How often each limit has acted.
#[derive(Debug, Clone)]
pub struct LimitMetrics(
    /// In the order of [`Limit::ALL`], which is that of the declaration.
    Arc<[IntCounter; Limit::ALL.len()]>,
);

impl LimitMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new("switcher_limits_total", "Times that a limit acted on a client, by limit.");
        let family = IntCounterVec::new(options, &["limit"])?;
        registry.register(Box::new(family.clone()))?;
        Ok(Self(Arc::new(Limit::ALL.map(|(_, name)| family.with_label_values(&[name])))))
    }

    /// A limit has acted.
    pub fn acted(&self, limit: Limit) {
        self.0[limit as usize].inc();
    }

    /// How often a limit has acted.
    #[must_use]
    pub fn count(&self, limit: Limit) -> u64 {
        self.0[limit as usize].get()
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::new(&Registry::new()).expect("the family is well named")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_counter_of_its_own() {
        let metrics = LimitMetrics::for_tests();
        for (place, (limit, _)) in Limit::ALL.into_iter().enumerate() {
            for _ in 0..=place {
                metrics.acted(limit);
            }
        }
        for (place, (limit, _)) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(metrics.count(limit), place as u64 + 1, "{limit:?}");
        }
    }
}
