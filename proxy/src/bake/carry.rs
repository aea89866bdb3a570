//! Carries a bake out: looks at the figures, and has `control` end it by a verdict.
//!
//! Going back is the promote of anybody: decided, saved, swapped, drained. The outcome is saved in the same write, so a
//! proxy that dies has either both or neither.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switcher_config::wire::{Bake, BakeFigures, BakeOutcome, BakeResult, Event, Health, PromoteRequest};
use switcher_config::{AppName, Generation, OnInconclusive};

use super::judge::{Evidence, Verdict, judge};
use super::{going, superseded};
use crate::affinity::after_switch;
use crate::canary::promoted;
use crate::control::{Control, run as run_mutation};
use crate::decide::{self, Denied};
use crate::drain::Policy;
use crate::routing::AppRouting;
use crate::view::AppView;
use crate::watched::slot_health;

/// How often the figures are looked at.
const TICK: Duration = Duration::from_millis(250);

/// In how many looks everybody has had a turn where there are very many applications.
const TURNS: usize = 4;

/// How long after an end that could not be saved it is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// How a bake is to end.
#[derive(Debug)]
struct End {
    result: BakeResult,
    reasons: Vec<String>,
    /// Whether traffic is to go back.
    back: bool,
}

/// When the bakes that go on are over, by the clock that only counts: the other one may be set meanwhile.
#[derive(Debug, Default)]
struct Ends(HashMap<AppName, (Timestamp, Instant)>);

impl Ends {
    /// Whether a bake is over. What is left of it is reckoned when it is first seen, which is at once, or after the
    /// proxy was started again.
    fn is_over(&mut self, app: &AppName, bake: &Bake, wall: Timestamp, now: Instant) -> bool {
        let known = self.0.get(app).filter(|(ends_at, _)| *ends_at == bake.ends_at);
        let end = if let Some((_, end)) = known {
            *end
        } else {
            let left = Duration::try_from(bake.ends_at.duration_since(wall)).unwrap_or_default();
            let end = now + left.min(bake.limits.window.0);
            self.0.insert(app.clone(), (bake.ends_at, end));
            end
        };
        now >= end
    }
}

/// Looks for ever.
pub async fn run(control: Arc<Control>) {
    let mut ends = Ends::default();
    for turn in (0..TURNS).cycle() {
        tokio::time::sleep(TICK).await;
        let (view, now) = (control.view(), Instant::now());
        for (name, app) in view.turn(turn, TURNS) {
            if let Some(tally) = app.live.tally.get() {
                tally.remember(now);
            }
            let over = |bake: &Bake| ends.is_over(name, bake, Timestamp::now(), now);
            let Some((bake, end)) = look(app, over) else { continue };
            if let Err(denied) = control.end_bake(name.clone(), bake, end).await {
                tracing::error!(app = %name, %denied, "the end of a bake could not be saved");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// How the bake of an application ends now, if it does.
fn look(app: &AppView, over: impl FnOnce(&Bake) -> bool) -> Option<(Bake, End)> {
    let bake = app.bake().filter(|bake| bake.outcome.is_none())?;
    if bake.generation != app.routing.generation {
        return Some((bake, End { result: BakeResult::Superseded, reasons: Vec::new(), back: false }));
    }
    let watched = app.slots.get(bake.to);
    let all_ill = !watched.is_empty() && watched.iter().all(|w| w.upstream().health() == Health::Unhealthy);
    let illness = all_ill.then(|| slot_health(watched).1.unwrap_or_default());
    let verdict = judge(&Evidence {
        limits: &bake.limits,
        baseline: &bake.baseline,
        seen: &bake.seen,
        over: over(&bake),
        illness: illness.as_deref(),
    });
    let end = match verdict {
        Verdict::Going => return None,
        Verdict::Passed { notes } => End { result: BakeResult::Passed, reasons: notes, back: false },
        Verdict::Worse { reasons } => End { result: BakeResult::Worse, reasons, back: true },
        Verdict::Inconclusive { reasons } => {
            let back = bake.limits.on_inconclusive == OnInconclusive::Rollback;
            End { result: BakeResult::Inconclusive, reasons, back }
        }
    };
    Some((bake, end))
}

impl AppView {
    /// The last bake, with the figures of now while it goes on.
    #[must_use]
    pub fn bake(&self) -> Option<Bake> {
        let mut bake = self.routing.bake.clone()?;
        if bake.outcome.is_none() && bake.generation == self.routing.generation {
            let age = Timestamp::now().duration_since(bake.began_at);
            let age = Duration::try_from(age).unwrap_or_default();
            let tally = self.live.tally.get();
            let seen = tally.map(|tally| tally.so_far(&self.live.ledger, age, Instant::now()));
            bake.seen = seen.unwrap_or_default();
        }
        Some(bake)
    }

    /// What the live slot did in its last minutes.
    pub(crate) fn lately(&self) -> BakeFigures {
        self.live.tally.get().map(|tally| tally.lately(Instant::now())).unwrap_or_default()
    }

    /// The routing with the figures of now of bake and canary, for a change that may end them.
    pub(crate) fn routing_now(&self) -> AppRouting {
        let mut routing = AppRouting { bake: self.bake(), ..self.routing.clone() };
        if let (Some(saved), Some(shown)) = (&mut routing.canary, self.canary()) {
            saved.shown = shown;
        }
        routing
    }
}

impl Control {
    /// Ends a bake, and takes traffic back if that is how it ends. Nothing happens when it has ended meanwhile.
    async fn end_bake(self: &Arc<Self>, app: AppName, seen: Bake, end: End) -> Result<(), Denied> {
        let control = Arc::clone(self);
        run_mutation(async move {
            let _writer = control.writer.lock().await;
            let (view, now) = control.to_change(&app)?;
            let at = Timestamp::now();
            let same = |bake: &&Bake| bake.generation == seen.generation;
            if going(&now.routing).filter(same).is_none() {
                return Ok(());
            }
            if now.routing.generation != seen.generation {
                let next = superseded(now.routing.clone(), at);
                control.save(&view, &app, &next).await?;
                control.tell_bake(&now, &next);
                control.publish_app(&view, AppView { routing: next, ..(*now).clone() });
                return Ok(());
            }
            let back = if end.back { Some(back(&now, &seen)) } else { None };
            let (moved, stays) = match back {
                Some(Ok(next)) => (Some(promoted(next, at)), None),
                Some(Err(denied)) => (None, Some(denied.message)),
                None => (None, None),
            };
            let rolled_back = moved.as_ref().map(|next| next.generation);
            let ended = ended(seen, &end, at, rolled_back, stays);
            let next = AppRouting { bake: Some(ended), ..moved.unwrap_or_else(|| now.routing.clone()) };
            control.save(&view, &app, &next).await?;
            log(&app, &next);
            if rolled_back.is_some() {
                let policy = Policy::new(&now.app.settings().drain, None);
                control.switch(&view, &now, next.clone(), policy);
            } else {
                control.publish_app(&view, AppView { routing: next.clone(), ..(*now).clone() });
            }
            control.tell_bake(&now, &next);
            Ok(())
        })
        .await
    }

    /// Tells everybody of a bake that began or ended with a change.
    pub(crate) fn tell_bake(&self, before: &AppView, next: &AppRouting) {
        let Some(bake) = next.bake.as_ref().filter(|_| before.routing.bake != next.bake) else { return };
        if let Some(outcome) = &bake.outcome {
            before.app.metrics.baked(outcome.result, outcome.rolled_back.is_some());
        }
        let app = AppName::clone(&before.app.name);
        self.announce(Event::Bake { at: Timestamp::now(), app, bake: bake.clone() });
    }
}

/// The routing after going back, or why there is none: the slot before is gone or ill.
fn back(now: &AppView, bake: &Bake) -> Result<AppRouting, Denied> {
    let (health, reason) = slot_health(now.slots.get(bake.from));
    let request = PromoteRequest {
        expected_generation: Some(bake.generation),
        at_once: true,
        ..PromoteRequest::of(bake.from)
    };
    let next = decide::promote(&now.routing, &request, health, reason.as_deref())?;
    let settings = now.app.settings();
    Ok(after_switch(&now.routing, next, settings.release_affinity.as_ref(), true, Timestamp::now()))
}

fn ended(
    bake: Bake,
    end: &End,
    at: Timestamp,
    rolled_back: Option<Generation>,
    stays: Option<String>,
) -> Bake {
    let (result, reasons) = (end.result, end.reasons.clone());
    Bake { outcome: Some(BakeOutcome { at, result, reasons, rolled_back, stays }), ..bake }
}

fn log(app: &AppName, next: &AppRouting) {
    let Some(bake) = &next.bake else { return };
    let Some(outcome) = &bake.outcome else { return };
    let (result, reasons) = (outcome.result.as_str(), &outcome.reasons);
    match (&outcome.rolled_back, &outcome.stays) {
        (Some(generation), _) => {
            tracing::warn!(%app, to = %bake.from, %generation, result, ?reasons, "the bake ended: traffic goes back");
        }
        (None, Some(why)) => {
            tracing::error!(%app, slot = %bake.to, why, result, ?reasons, "the bake ended: traffic should go back and cannot");
        }
        (None, None) => tracing::info!(%app, slot = %bake.to, result, ?reasons, "the bake ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bake::begin;
    use crate::routing::{SlotRouting, SlotSource};
    use switcher_config::{BakeLimits, PerSlot, Slot, Span};

    #[test]
    fn a_bake_takes_its_window_however_the_clock_is_set() {
        let (wall, now, app) = (Timestamp::now(), Instant::now(), "shop".parse().expect("a name"));
        let limits = BakeLimits { window: Span::seconds(60), ..BakeLimits::default() };
        let bake_at = |wall| {
            let slot =
                || SlotRouting { upstreams: Vec::new(), release: None, source: SlotSource::Configured };
            let next = AppRouting::new(Slot::Green, PerSlot { blue: slot(), green: slot() });
            begin(next, Slot::Blue, limits.clone(), BakeFigures::default(), wall).bake.expect("a bake")
        };
        let later = |seconds| now + Duration::from_secs(seconds);
        let day = jiff::SignedDuration::from_hours(24);
        let bake = bake_at(wall);
        let mut ends = Ends::default();
        assert!(!ends.is_over(&app, &bake, wall, now));
        assert!(!ends.is_over(&app, &bake, wall + day, later(59)), "set forward, it goes on");
        assert!(ends.is_over(&app, &bake, wall - day, later(60)), "set back, it ends");
        let next = bake_at(wall + day);
        assert!(!ends.is_over(&app, &next, wall + day, later(61)), "the next one has its own window");
        let mut restarted = Ends::default();
        assert!(restarted.is_over(&app, &bake, wall + day, now), "it ended while nobody looked");
        let mut restarted = Ends::default();
        assert!(!restarted.is_over(&app, &bake, wall - day, now));
        assert!(restarted.is_over(&app, &bake, wall - day, later(60)), "never longer than its window");
    }
}
