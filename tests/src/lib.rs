//! The harness: an ephemeral real proxy, the real command line, scripted upstreams and clients of every kind.
//!
//! Its invariants: every listener binds a port of its own, every wait has a deadline and says what it waited
//! for, and everything a test starts ends with the test. Called by the end-to-end tests and by the benches.

pub mod acme;
pub mod admin;
pub mod app;
pub mod certificate;
pub mod cgroup;
pub mod daemon;
pub mod dns;
pub mod echo;
pub mod engine;
#[cfg(test)]
mod fences;
pub mod foreign;
pub mod frames;
pub mod http1;
pub mod http2;
pub mod image;
#[cfg(test)]
mod links;
pub mod metrics;
pub mod output;
pub mod part;
pub mod pattern;
pub mod port;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod registry;
pub mod relay;
pub mod setup;
pub mod site;
pub mod sse;
pub mod ssh;
pub mod switcher;
pub mod tls;
pub mod until;
pub mod websocket;

pub use acme::{FakeCa, Pebble};
pub use admin::Admin;
pub use app::{App, Manner};
pub use dns::Bind;
pub use echo::{Echo, Line};
pub use engine::Engine;
pub use http1::{Answer, Http1};
pub use http2::Http2;
pub use image::Image;
pub use part::skip_or_fail;
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use raw::Raw;
pub use registry::Registry;
pub use setup::Setup;
pub use site::Site;
pub use ssh::SshServer;
pub use switcher::Switcher;
pub use until::{PATIENCE, until, until_seen, until_some, within};
