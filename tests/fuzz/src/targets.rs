//! The targets, by what is parsed.

mod configuration;
mod request;
mod state;

use crate::Target;

/// A target with a fault on purpose, for the control: only counters that work lead a fuzzer to it.
pub const PLANTED: Target = Target {
    name: "planted",
    run: |data| {
        // Each step is a branch of its own, so that getting one further is seen.
        let is = |at: usize, byte: u8| data.get(at) == Some(&byte);
        let reached = is(0, b'g') && is(1, b'r') && is(2, b'e') && is(3, b'e') && is(4, b'n');
        assert!(!reached, "the planted fault");
    },
};

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "configuration", run: configuration::file },
    Target { name: "words", run: configuration::words },
    Target { name: "head", run: request::head },
    Target { name: "chunks", run: request::chunks },
    Target { name: "route", run: request::route },
    Target { name: "forwarded", run: request::forwarded },
    Target { name: "websocket", run: request::websocket },
    Target { name: "proxy_protocol", run: request::proxy_protocol },
    Target { name: "routing", run: state::routing },
    Target { name: "deployments", run: state::deployments },
    Target { name: "receipts", run: state::receipts },
];
