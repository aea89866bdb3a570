//! Certificate authorities for tests, and the clients that judge what the proxy shows.
//!
//! [`Pebble`] is a real authority and checks every challenge; [`FakeCa`] believes everything, counts everything
//! and misbehaves as a test wants. [`Strict`] and [`Load`] verify chain, name and dates as a browser does.

pub mod ask;
pub mod authority;
pub mod fake;
pub mod gate;
pub mod load;
pub mod pebble;
pub mod strict;

pub use ask::Ask;
pub use authority::Authority;
pub use fake::{Behaviour, FakeCa, Kind, Trouble};
pub use load::{Judged, Load};
pub use pebble::Pebble;
pub use strict::{Leaf, Strict, Verified};
