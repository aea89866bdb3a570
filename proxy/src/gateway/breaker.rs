//! The circuit breaker on the request path: who passes, and how it went.
//!
//! It is asked once a request has its lease, so that what it refuses counts as its slot's and is seen by whoever judges a
//! switch. Previews and smoke tests pass it by.

use jiff::Timestamp;
use switcher_config::wire::Event;

use crate::answer::Reason;
use crate::epoch::Pass;
use crate::middleware::{Turned, Went};
use crate::tick::Tick;

use super::context::Context;

/// Why a request does not pass, when it does not.
pub(super) fn trips(ctx: &mut Context) -> Option<Reason> {
    let breaker = ctx.chain.as_ref()?.breaker.as_ref().filter(|_| !ctx.previews)?;
    let epoch = ctx.pass.as_ref().map(Pass::epoch)?;
    match breaker.enter(epoch.slot, epoch.pool, Tick::now()) {
        Ok(watch) => {
            ctx.watch = Some(watch);
            None
        }
        Err(retry_after) => {
            epoch.metrics.breaker_refused();
            Some(Reason::Broken { retry_after })
        }
    }
}

/// Tells how a request went, where anybody watches; what is told first counts.
pub(super) fn tell(ctx: &mut Context, went: Went) {
    let Some(turned) = ctx.watch.as_mut().and_then(|watch| watch.tell(went, Tick::now())) else { return };
    let (Some(app), Some(epoch)) = (&ctx.app, ctx.pass.as_ref().map(Pass::epoch)) else { return };
    let at = Timestamp::now();
    let until = match turned {
        Turned::Open(lasts) => {
            epoch.metrics.breaker_opened();
            Some(at.checked_add(lasts).unwrap_or(Timestamp::MAX))
        }
        Turned::Closed => None,
    };
    // Nobody listening is fine.
    let _ = ctx.shared.events.send(Event::Breaker { at, app: (*app.name).clone(), slot: epoch.slot, until });
}
