//! Carries a bake out: looks at the figures, and has `control` end it by a verdict.
//!
//! Going back is the promote of anybody: decided, saved, swapped, drained. The outcome is saved in the same write, so a
//! proxy that dies has either both or neither.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switcher_config::wire::{Bake, BakeFigures, BakeOutcome, BakeResult, Event, Health, PromoteRequest};
use switcher_config::{AppName, Generation, OnInconclusive};

use super::judge::{Evidence, Verdict, judge};
use super::{going, superseded};
use crate::control::{Control, run as run_mutation};
use crate::decide::{self, Denied};
use crate::drain::Policy;
use crate::routing::AppRouting;
use crate::view::AppView;
use crate::watched::slot_health;

/// How often the figures are looked at.
const TICK: Duration = Duration::from_millis(250);

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

/// Looks for ever.
pub async fn run(control: Arc<Control>) {
    loop {
        tokio::time::sleep(TICK).await;
        let (view, now) = (control.view(), Instant::now());
        for (name, app) in &view.apps {
            if let Some(tally) = app.live.tally.get() {
                tally.remember(now);
            }
            let Some((bake, end)) = look(app) else { continue };
            if let Err(denied) = control.end_bake(name.clone(), bake, end).await {
                tracing::error!(app = %name, %denied, "the end of a bake could not be saved");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// How the bake of an application ends now, if it does.
fn look(app: &AppView) -> Option<(Bake, End)> {
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
        over: Timestamp::now() >= bake.ends_at,
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

    /// The routing with the bake's figures of now, for a change that may end it.
    pub(crate) fn routing_now(&self) -> AppRouting {
        AppRouting { bake: self.bake(), ..self.routing.clone() }
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
                Some(Ok(next)) => (Some(next), None),
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
        slot: bake.from,
        expected_generation: Some(bake.generation),
        force: false,
        drain: None,
        fence: None,
        bake: None,
    };
    decide::promote(&now.routing, &request, health, reason.as_deref())
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
