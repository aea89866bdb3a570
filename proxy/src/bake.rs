//! The bake: after a switch the new slot is judged on live traffic, and traffic goes back when it is worse.
//!
//! [`tally`] counts what a slot answers, [`judge`] decides, [`carry`] looks a few times a second and has `control`
//! perform what was decided. Invariant: a bake belongs to the generation of its switch; once the generation has
//! moved, nothing is rolled back. It is saved with the routing, so that it outlives the process, and nobody has to wait
//! for it.

pub mod carry;
pub mod histogram;
pub mod judge;
pub mod tally;

use jiff::{SignedDuration, Timestamp};
use switcher_config::wire::{Bake, BakeFigures, BakeOutcome, BakeResult};
use switcher_config::{BakeLimits, Slot};

use crate::routing::AppRouting;

/// The routing after a switch, with the bake of that switch.
#[must_use]
pub fn begin(
    next: AppRouting,
    from: Slot,
    limits: BakeLimits,
    baseline: BakeFigures,
    now: Timestamp,
) -> AppRouting {
    let window = SignedDuration::try_from(limits.window.0).unwrap_or(SignedDuration::MAX);
    let bake = Bake {
        generation: next.generation,
        from,
        to: next.active,
        release: next.slots.get(next.active).release.clone(),
        began_at: now,
        ends_at: now.checked_add(window).unwrap_or(Timestamp::MAX),
        limits,
        baseline,
        seen: BakeFigures::default(),
        outcome: None,
    };
    AppRouting { bake: Some(bake), ..next }
}

/// The bake that goes on, if one does.
#[must_use]
pub fn going(routing: &AppRouting) -> Option<&Bake> {
    routing.bake.as_ref().filter(|bake| bake.outcome.is_none())
}

/// Ends the bake of a routing that has moved on from its switch.
#[must_use]
pub fn superseded(mut routing: AppRouting, now: Timestamp) -> AppRouting {
    let (active, generation) = (routing.active, routing.generation);
    if let Some(bake) = routing.bake.as_mut().filter(|b| b.outcome.is_none() && b.generation != generation) {
        let reason = format!("somebody changed it meanwhile: {active} is live, generation {generation}");
        bake.outcome = Some(BakeOutcome {
            at: now,
            result: BakeResult::Superseded,
            reasons: vec![reason],
            rolled_back: None,
            stays: None,
        });
    }
    routing
}
