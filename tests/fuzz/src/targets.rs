//! The targets, by what is parsed.

mod configuration;
mod request;
mod state;

use crate::Target;

/// A target with a fault on purpose, for the control: only counters that work lead a fuzzer to it.
pub const PLANTED: Target = Target {
    name: "planted",
    run: |data| {
        let steps = data.iter().zip(b"switcher").take_while(|(byte, wanted)| byte == wanted).count();
        assert!(steps < 8, "the planted fault");
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
    Target { name: "routing", run: state::routing },
    Target { name: "deployments", run: state::deployments },
    Target { name: "receipts", run: state::receipts },
];
