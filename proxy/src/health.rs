//! Health: every upstream of both slots is probed for ever.
//!
//! [`observe`] is the pure rise-and-fall core, [`probe`] makes one probe over a connection of [`dial`],
//! [`prober`] repeats it. What was found stands in [`crate::upstream::Upstream`]. Invariant: unknown is not
//! healthy, and "not healthy" always comes with its reason. The composition root starts a [`Prober`] for each upstream;
//! the control plane asks [`slot_health`] before a switch.

pub mod dial;
pub mod grpc;
pub mod observe;
pub mod probe;
pub mod prober;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use switcher_config::wire::Health;

pub use dial::Dialer;
pub use prober::Prober;

use crate::upstream::Upstream;

/// The health of a slot as a whole, and why it is not healthy.
///
/// Healthy when every upstream is, unhealthy when one is, else unknown; a slot without upstreams is unknown.
#[must_use]
pub fn slot_health(upstreams: &[Arc<Upstream>]) -> (Health, Option<String>) {
    if upstreams.is_empty() {
        return (Health::Unknown, Some("no addresses are registered".into()));
    }
    let first = |wanted| {
        let upstream = upstreams.iter().find(|upstream| upstream.health() == wanted)?;
        let reason = upstream.reason().unwrap_or_else(|| "its health just changed".into());
        Some((wanted, Some(format!("{}: {reason}", upstream.address()))))
    };
    first(Health::Unhealthy).or_else(|| first(Health::Unknown)).unwrap_or((Health::Healthy, None))
}
