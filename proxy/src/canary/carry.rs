//! Carries canaries out: begins, changes and ends them for whoever asks, and looks what comes next by itself.
//!
//! As every change: decided, saved, swapped in memory, answered. The epoch stays the same while clients come and go by other
//! rules; when the canary ends it is drained as any epoch that is left, with a receipt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switcher_config::wire::{
    Canary, CanaryAbortRequest, CanaryChanged, CanaryRequest, CanaryResult, Event, Health, PromoteRequest,
};
use switcher_config::{AppName, Generation, Share};

use super::change::{self, Moment};
use super::choice::{CanarySide, Choice};
use super::epochs::{Open, Window};
use super::step::{Next, STRETCH, Seen, Standing, next};
use super::{ended, going, promoted};
use crate::affinity::after_switch;
use crate::app::Live;
use crate::bake;
use crate::control::{Control, epoch_of, run as run_mutation};
use crate::decide::{self, Denied};
use crate::drain::Policy;
use crate::epoch::Epoch;
use crate::routing::AppRouting;
use crate::view::{AppView, View};
use crate::watched::{Watched, slot_health};

/// How often the figures are looked at.
const TICK: Duration = Duration::from_millis(250);

/// In how many looks everybody has had a turn where there are very many applications.
const TURNS: usize = 4;

/// How long after a change that could not be made it is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is remembered of a canary from one look to the next.
struct Watch {
    /// To which time of its share it belongs.
    share: Instant,
    /// The stretch that goes on.
    lately: Window,
    /// Whether it was told that it waits.
    told: bool,
    /// When something may be tried again that could not be done.
    not_before: Instant,
}

impl Watch {
    fn new(open: &Open, now: Instant) -> Self {
        Self { share: open.since.began, lately: open.since.clone(), told: false, not_before: now }
    }
}

/// Looks for ever.
pub async fn run(control: Arc<Control>) {
    let mut watches: HashMap<AppName, Watch> = HashMap::new();
    for turn in (0..TURNS).cycle() {
        tokio::time::sleep(TICK).await;
        // Whoever has handed over leaves canaries to its successor.
        if control.refuse_frozen().is_err() {
            continue;
        }
        let (view, now) = (control.view(), Instant::now());
        watches.retain(|name, _| view.apps.get(name).is_some_and(|app| app.canaries.now().is_some()));
        for (name, app) in view.turn(turn, TURNS) {
            let Some(open) = app.canaries.now() else { continue };
            let watch = watches.entry(name.clone()).or_insert_with(|| Watch::new(open, now));
            if watch.share != open.since.began {
                *watch = Watch::new(open, now);
            }
            if now < watch.not_before {
                continue;
            }
            let Some(next) = look(app, watch, now) else { continue };
            if let Err(denied) = control.go_on(app, next, watch).await {
                tracing::warn!(app = %name, %denied, "a canary cannot go on as it should");
                watch.not_before = Instant::now() + AGAIN;
            }
        }
    }
}

/// What comes next for the canary of an application, if one goes on.
fn look(app: &AppView, watch: &mut Watch, now: Instant) -> Option<Next> {
    let canary = &going(&app.routing)?.shown;
    let open = app.canaries.now()?;
    let (live, there) = watch.lately.figures(&app.live, &open.epoch, now);
    let least = u64::from(canary.limits.min_requests) * u64::from(STRETCH);
    let long = now.saturating_duration_since(watch.lately.began) >= canary.limits.window.0;
    let over = long && there.requests >= least;
    let next = app.standing(canary, open, now, Seen { live: &live, canary: &there, over });
    if over {
        watch.lately = Window::new(&app.live, &open.epoch, now);
    }
    Some(next)
}

impl AppView {
    /// What comes next, by the figures of now.
    fn standing(&self, canary: &Canary, open: &Open, now: Instant, lately: Seen<'_>) -> Next {
        let watched = self.slots.get(canary.slot);
        let ill = |watched: &[Arc<Watched>]| {
            !watched.is_empty() && watched.iter().all(|w| w.upstream().health() == Health::Unhealthy)
        };
        let (health, reason) = slot_health(watched);
        let reason = reason.unwrap_or_else(|| "it has not been probed often enough".to_owned());
        let (live, there) = open.since.figures(&self.live, &open.epoch, now);
        let age = open.before + now.saturating_duration_since(open.since.began);
        let over = canary.steps.as_ref().is_some_and(|steps| age >= steps.every.0);
        next(&Standing {
            limits: &canary.limits,
            share: Seen { live: &live, canary: &there, over },
            lately,
            illness: ill(watched).then_some(&reason),
            unwell: (health != Health::Healthy).then_some(&reason),
            steps: canary.steps.as_ref(),
        })
    }

    /// The last canary, with the figures of now while it goes on.
    #[must_use]
    pub fn canary(&self) -> Option<Canary> {
        let mut canary = self.routing.canary.as_ref()?.shown.clone();
        if let (None, Some(open)) = (&canary.outcome, self.canaries.now()) {
            let now = Instant::now();
            (canary.baseline, canary.seen) = open.since.figures(&self.live, &open.epoch, now);
            let seen = Seen { live: &canary.baseline, canary: &canary.seen, over: false };
            let (waits, passed) = match self.standing(&canary, open, now, seen) {
                Next::Wait(why) => (Some(why), false),
                Next::Passed => (None, true),
                Next::Stay | Next::Raise(_) | Next::Promote | Next::End(..) => (None, false),
            };
            if let Some(steps) = &mut canary.steps {
                (steps.waits, steps.passed) = (waits, passed);
            }
        }
        Some(canary)
    }
}

impl Control {
    /// Begins a canary, or changes the one that goes on. The next request follows it.
    ///
    /// # Errors
    /// When it is refused, or could not be saved; nothing was changed then.
    pub async fn canary(
        self: &Arc<Self>,
        app: AppName,
        request: CanaryRequest,
    ) -> Result<CanaryChanged, Denied> {
        let control = Arc::clone(self);
        run_mutation(async move {
            let _writer = control.writer.lock().await;
            let (view, now) = control.to_change(&app)?;
            let (health, reason) = slot_health(now.slots.get(request.slot));
            let (reason, at) = (reason.as_deref(), Timestamp::now());
            let moment = Moment { health, reason, salt: salt(), at };
            let next = bake::superseded(change::canary(&now.routing_now(), &request, moment)?, at);
            control.save(&view, &app, &next).await?;
            control.tell_bake(&now, &next);
            control.move_canary(&view, &now, next)
        })
        .await
    }

    /// Ends the canary that goes on. Nobody enters it any more when this answers; the drain goes on by itself.
    ///
    /// # Errors
    /// When none goes on, it is refused, or could not be saved; nothing was changed then.
    pub async fn abort_canary(
        self: &Arc<Self>,
        app: AppName,
        request: CanaryAbortRequest,
    ) -> Result<CanaryChanged, Denied> {
        let control = Arc::clone(self);
        run_mutation(async move {
            let _writer = control.writer.lock().await;
            let (view, now) = control.to_change(&app)?;
            let at = Timestamp::now();
            let next = bake::superseded(change::abort(&now.routing_now(), &request, at)?, at);
            control.save(&view, &app, &next).await?;
            control.tell_bake(&now, &next);
            let policy = Policy::new(&now.app.settings().drain, request.drain.map(|drain| drain.0));
            control.end_canary(&view, &now, next, policy)
        })
        .await
    }

    /// Does what comes next by itself. Nothing happens when somebody has changed something meanwhile.
    async fn go_on(self: &Arc<Self>, seen: &AppView, next: Next, watch: &mut Watch) -> Result<(), Denied> {
        match next {
            Next::Stay | Next::Passed => Ok(()),
            Next::Wait(why) => {
                if !std::mem::replace(&mut watch.told, true) {
                    tracing::info!(app = %seen.app.name, why, "the canary waits");
                    self.tell_canary(seen, seen.canary());
                }
                Ok(())
            }
            Next::Raise(share) => self.raise_canary(seen, share).await,
            Next::Promote => self.promote_canary(seen).await,
            Next::End(result, reasons) => self.end_canary_by_itself(seen, result, reasons).await,
        }
    }

    async fn raise_canary(self: &Arc<Self>, seen: &AppView, share: Share) -> Result<(), Denied> {
        self.unless_moved(seen, move |control, view, now| async move {
            let next = change::raised(&now.routing, share, Timestamp::now());
            control.save(&view, &now.app.name, &next).await?;
            control.move_canary(&view, &now, next).map(drop)
        })
        .await
    }

    async fn promote_canary(self: &Arc<Self>, seen: &AppView) -> Result<(), Denied> {
        self.unless_moved(seen, move |control, view, now| async move {
            let routing = now.routing_now();
            let Some(slot) = going(&routing).map(|canary| canary.shown.slot) else { return Ok(()) };
            let (health, reason) = slot_health(now.slots.get(slot));
            let request = PromoteRequest::of(slot);
            let next = decide::promote(&routing, &request, health, reason.as_deref())?;
            let settings = now.app.settings();
            let at = Timestamp::now();
            let next = after_switch(&routing, next, settings.release_affinity.as_ref(), false, at);
            let next = promoted(next, at);
            control.save(&view, &now.app.name, &next).await?;
            let policy = Policy::new(&now.app.settings().drain, None);
            control.switch(&view, &now, next.clone(), policy);
            control.tell_canary_end(&now, &next);
            Ok(())
        })
        .await
    }

    async fn end_canary_by_itself(
        self: &Arc<Self>,
        seen: &AppView,
        result: CanaryResult,
        reasons: Vec<String>,
    ) -> Result<(), Denied> {
        self.unless_moved(seen, move |control, view, now| async move {
            let routing = now.routing_now();
            let next = AppRouting { generation: routing.generation.next(), ..routing };
            let next = ended(next, result, reasons, Timestamp::now());
            control.save(&view, &now.app.name, &next).await?;
            let policy = Policy::new(&now.app.settings().drain, None);
            control.end_canary(&view, &now, next, policy).map(drop)
        })
        .await
    }

    /// Runs a change unless the routing is no longer what was seen.
    async fn unless_moved<F: Future<Output = Result<(), Denied>> + Send + 'static>(
        self: &Arc<Self>,
        seen: &AppView,
        change: impl FnOnce(Arc<Self>, Arc<View>, Arc<AppView>) -> F + Send + 'static,
    ) -> Result<(), Denied> {
        let control = Arc::clone(self);
        let (app, generation) = (AppName::clone(&seen.app.name), seen.routing.generation);
        run_mutation(async move {
            let _writer = control.writer.lock().await;
            let (view, now) = control.to_change(&app)?;
            if now.routing.generation != generation || going(&now.routing).is_none() {
                return Ok(());
            }
            change(Arc::clone(&control), view, now).await
        })
        .await
    }

    /// Lets clients enter by the rules of `next`, which is on disk already.
    fn move_canary(
        self: &Arc<Self>,
        view: &View,
        now: &AppView,
        next: AppRouting,
    ) -> Result<CanaryChanged, Denied> {
        let mut changed = AppView { routing: next, ..now.clone() };
        let before = now.app.live();
        let epoch = before.canary.as_ref().map(|side| Arc::clone(&side.epoch));
        let canary = open(&mut changed, epoch, Duration::ZERO);
        changed.live.count();
        drop(now.app.replace(Live { canary, ..(*before).clone() }));
        drop(before);
        self.affine(&mut changed);
        tracing::info!(app = %now.app.name, generation = %changed.routing.generation,
            share = %going(&changed.routing).map(|c| c.shown.rules.share).unwrap_or_default(), "the canary has moved");
        self.tell_canary(now, changed.canary());
        self.answer(view, changed, None)
    }

    /// Lets nobody enter any more, and drains who is inside. What `next` says is on disk already.
    fn end_canary(
        self: &Arc<Self>,
        view: &View,
        now: &AppView,
        next: AppRouting,
        policy: Policy,
    ) -> Result<CanaryChanged, Denied> {
        let mut changed = AppView { routing: next, ..now.clone() };
        let drained = self.leave_canary(&mut changed, policy);
        if let Some(outcome) =
            changed.routing.canary.as_ref().and_then(|canary| canary.shown.outcome.as_ref())
        {
            let (result, reasons) = (outcome.result.as_str(), &outcome.reasons);
            tracing::warn!(app = %now.app.name, result, ?reasons, "the canary ended");
        }
        self.tell_canary(now, changed.canary());
        self.answer(view, changed, drained)
    }

    fn answer(
        &self,
        view: &View,
        changed: AppView,
        drained_generation: Option<Generation>,
    ) -> Result<CanaryChanged, Denied> {
        let (canary, routing) = (changed.canary(), changed.routing.clone());
        let generation = self.publish_app(view, changed).generation;
        let canary = canary.ok_or_else(|| change::none_goes_on(&routing))?;
        Ok(CanaryChanged { generation, canary, drained_generation })
    }

    /// Swaps the canary's side away and begins its drain; answers the generation that the drain is found by.
    pub(crate) fn leave_canary(
        self: &Arc<Self>,
        changed: &mut AppView,
        policy: Policy,
    ) -> Option<Generation> {
        let left = changed.canaries.close()?;
        let before = changed.app.live();
        left.ledger.retire();
        drop(changed.app.replace(Live { canary: None, ..(*before).clone() }));
        drop(before);
        let generation = left.generation;
        self.affine(changed);
        self.drain(changed, left, policy);
        Some(generation)
    }

    /// Tells everybody of a canary that ended with a change of something else.
    pub(crate) fn tell_canary_end(&self, before: &AppView, next: &AppRouting) {
        if going(&before.routing).is_some() && going(next).is_none() {
            self.tell_canary(before, next.canary.as_ref().map(|canary| canary.shown.clone()));
        }
    }

    /// Tells everybody how a canary stands, and counts how it ended.
    pub(crate) fn tell_canary(&self, app: &AppView, canary: Option<Canary>) {
        let Some(canary) = canary else { return };
        if let Some(outcome) = &canary.outcome {
            app.app.metrics.canary_ended(outcome.result);
        }
        let name = AppName::clone(&app.app.name);
        self.announce(Event::Canary { at: Timestamp::now(), app: name, canary });
    }
}

/// The side of the canary that goes on, over the epoch that it has or a new one; none when none does.
pub(crate) fn open(
    view: &mut AppView,
    epoch: Option<Arc<Epoch>>,
    before: Duration,
) -> Option<Arc<CanarySide>> {
    let saved = going(&view.routing)?;
    let choice = Choice::of(saved);
    let known = epoch.zip(view.canaries.now().map(|open| open.epoch.clone()));
    let (epoch, handle) = known.unwrap_or_else(|| {
        let (slot, generation) = (saved.shown.slot, saved.shown.generation);
        // Its drain is found by the generation that it began with, also after a restart.
        let routing = AppRouting { generation, ..view.routing.clone() };
        epoch_of(slot, &view.app.metrics, &routing, view.slots.get(slot), view.trust.clone())
    });
    handle.count();
    view.live.count();
    let since = Window::new(&view.live, &handle, Instant::now());
    view.canaries.open(Open { epoch: handle, since, before });
    Some(Arc::new(CanarySide { epoch, choice }))
}

/// How long a canary had its share before this process began; never more than a step takes.
pub(crate) fn age(routing: &AppRouting, now: Timestamp) -> Duration {
    let Some(canary) = going(routing) else { return Duration::ZERO };
    let age = Duration::try_from(now.duration_since(canary.shown.share_since)).unwrap_or_default();
    canary.shown.steps.as_ref().map_or(Duration::ZERO, |steps| age.min(steps.every.0))
}

/// A number that nobody can tell.
fn salt() -> u64 {
    let mut bytes = [0; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::warn!("the system gives no random numbers; the same clients as before get the canary");
    }
    u64::from_ne_bytes(bytes)
}
