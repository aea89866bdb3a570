//! The words both Switcher programs share.
//!
//! Vocabulary first ([`slot`], [`address`], [`host`], [`units`]), then the [`settings`] that the YAML
//! file is parsed into, the admin API's [`wire`] types, and [`durable`] file replacement.
//! Nothing here knows of sockets, threads or a runtime.

pub mod address;
pub mod durable;
pub mod host;
pub mod settings;
pub mod slot;
pub mod units;
pub mod wire;

pub use address::{ListenAddress, UpstreamAddress, UpstreamProtocol};
pub use host::{HostPattern, PathPrefix};
pub use slot::{AppName, Generation, PerSlot, Slot};
pub use units::{Bytes, Span};
