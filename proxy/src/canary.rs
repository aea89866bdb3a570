//! The canary: a part of the clients is served by the other slot, and comes back by itself when that one is worse.
//!
//! [`choice`] says on which side a client is, [`epochs`] holds what is inside, [`step`] decides what comes next, [`carry`]
//! looks a few times a second and has `control` perform it; `change` begins, moves and ends one. Invariants: a canary is always in the
//! standby slot; it is saved with the routing, so that it outlives the process; and while only its share grows, no client
//! that is on its side leaves it.

pub mod carry;
mod change;
pub mod choice;
pub mod epochs;
pub mod step;

use jiff::Timestamp;
use switcher_config::wire::{Canary, CanaryOutcome, CanaryResult};

use crate::routing::{AppRouting, SavedCanary};

/// The canary that goes on, if one does.
#[must_use]
pub fn going(routing: &AppRouting) -> Option<&SavedCanary> {
    routing.canary.as_ref().filter(|canary| canary.shown.outcome.is_none())
}

/// The routing with its canary ended. One that has ended already keeps its outcome.
#[must_use]
pub fn ended(
    mut routing: AppRouting,
    result: CanaryResult,
    reasons: Vec<String>,
    now: Timestamp,
) -> AppRouting {
    if let Some(canary) = routing.canary.as_mut().filter(|canary| canary.shown.outcome.is_none()) {
        canary.shown.outcome = Some(CanaryOutcome { at: now, result, reasons });
    }
    routing
}

/// Ends the canary of a slot that has become live.
#[must_use]
pub fn promoted(routing: AppRouting, now: Timestamp) -> AppRouting {
    let became_live = going(&routing).is_some_and(|canary| canary.shown.slot == routing.active);
    if became_live { ended(routing, CanaryResult::Promoted, Vec::new(), now) } else { routing }
}

/// Begins a canary's share anew: what was seen belongs to the share before.
fn renewed(canary: Canary, now: Timestamp) -> Canary {
    Canary { share_since: now, baseline: Default::default(), seen: Default::default(), ..canary }
}
