//! The one writer of the routing: every switch, registration, pause and reload goes through here.
//!
//! Invariant, in this order: decide, save, swap in memory, answer. The disk is never behind the
//! memory, and what cannot be saved does not happen. Mutations run in tasks of their own, so that a
//! caller who hangs up in the middle interrupts nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use switcher_config::settings::{AppSettings, Settings};
use switcher_config::wire::{
    Changed, Claim, DrainReceipt, Event, Kind, PauseRequest, PromoteRequest, RefusalReason, RegisterRequest,
    StopRequest, Switched,
};
use switcher_config::{AppName, PerSlot, Slot};
use tokio::sync::{Mutex, broadcast};

use crate::affinity::after_switch;
use crate::app::{App, Gate, Live};
use crate::bake;
use crate::canary;
use crate::decide::{self, Denied};
use crate::drain::{Drain, Policy};
use crate::epoch::{Epoch, EpochHandle, NewEpoch, Trust};
use crate::fence::{self, Held};
use crate::metrics::{AppMetrics, Metrics};
use crate::route::Table;
use crate::routing::{AppRouting, Routing, RoutingFile, SavedGate};
use crate::sticky::Marks;
use crate::view::{AppView, View};
use crate::watched::{Watched, Watcher, slot_health};

/// How many drains that ended are remembered for an application.
const REMEMBERED_DRAINS: usize = 32;

/// How many events a slow reader may lag behind.
const EVENT_BUFFER: usize = 1024;

/// The routing's owner.
pub struct Control {
    pub(crate) file: RoutingFile,
    pub(crate) view: ArcSwap<View>,
    /// Whoever changes something holds it. In it are the claims of leases.
    pub(crate) writer: Mutex<BTreeMap<AppName, Held>>,
    pub(crate) router: Arc<ArcSwap<Table<Arc<App>>>>,
    pub(crate) watcher: Watcher,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) metrics: Arc<Metrics>,
    frozen: AtomicBool,
}

impl Control {
    /// An owner of nothing yet; [`Control::apply`] fills it.
    #[must_use]
    pub fn new(
        file: RoutingFile,
        remembered: Routing,
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (events, _) = broadcast::channel(EVENT_BUFFER);
        let marks = Marks::in_folder(file.path().parent().unwrap_or(Path::new(".")));
        let view = View { apps: BTreeMap::new(), asleep: remembered.apps, settings, orphans: Vec::new() };
        Self {
            file,
            view: ArcSwap::from_pointee(view),
            writer: Mutex::default(),
            router: Arc::default(),
            watcher: Watcher::new(events.clone(), marks),
            events,
            metrics,
            frozen: AtomicBool::new(false),
        }
    }

    /// The routing as it is now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The table that requests are looked up in.
    #[must_use]
    pub fn router(&self) -> Arc<ArcSwap<Table<Arc<App>>>> {
        Arc::clone(&self.router)
    }

    /// Everything that happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Refuses every mutation from now on (or no longer): another process is about to own the routing.
    /// Waits for the one that is under way.
    pub async fn freeze(&self, frozen: bool) {
        let _writer = self.writer.lock().await;
        self.frozen.store(frozen, Ordering::Release);
    }

    /// Makes a slot live. Traffic has moved when this returns; the drain goes on by itself.
    ///
    /// # Errors
    /// When it is refused, or could not be saved; nothing was changed then.
    pub async fn promote(
        self: &Arc<Self>,
        app: AppName,
        request: PromoteRequest,
    ) -> Result<Switched, Denied> {
        let control = Arc::clone(self);
        run(async move {
            let _writer = control.writer.lock().await;
            let (view, now) = control.to_change(&app)?;
            let upstreams = now.slots.get(request.slot);
            let (health, reason) = slot_health(upstreams);
            let next = decide::promote(&now.routing_now(), &request, health, reason.as_deref())?;
            let settings = now.app.settings();
            let (wished, at) = (settings.release_affinity.as_ref(), Timestamp::now());
            let next = after_switch(&now.routing, next, wished, request.at_once || request.force, at);
            let left = canary::promoted(bake::superseded(next, Timestamp::now()), Timestamp::now());
            let next = match request.bake {
                Some(limits) => {
                    bake::begin(left.clone(), now.routing.active, limits, now.lately(), Timestamp::now())
                }
                None => left.clone(),
            };
            control.save(&view, &app, &next).await?;
            let policy = Policy::new(&now.app.settings().drain, request.drain.map(|d| d.0));
            let switched = control.switch(&view, &now, next.clone(), policy);
            control.tell_bake(&now, &left);
            control.tell_canary_end(&now, &left);
            if bake::going(&next).is_some() {
                control.tell_bake(&now, &next);
            }
            Ok(switched)
        })
        .await
    }

    /// Registers the addresses of a slot. Those of a standby begin unproven, also when they are the same as before:
    /// another version may answer there now. Those of the live slot are new ones of the same release; requests that
    /// are inside finish where they are.
    ///
    /// # Errors
    /// When it is refused, or could not be saved; nothing was changed then.
    pub async fn register(
        self: &Arc<Self>,
        app: AppName,
        slot: Slot,
        request: RegisterRequest,
    ) -> Result<Changed, Denied> {
        let control = Arc::clone(self);
        run(async move {
            let _writer = control.writer.lock().await;
            let (view, now) = control.to_change(&app)?;
            let next = decide::register(&now.routing_now(), slot, &request)?;
            let next = bake::superseded(next, Timestamp::now());
            control.save(&view, &app, &next).await?;
            control.tell_bake(&now, &next);
            let live = slot == next.active;
            let settings = now.app.settings();
            let mut changed = AppView { routing: next, ..(*now).clone() };
            let addresses = &changed.routing.slots.get(slot).upstreams;
            let known = if live { now.slots.get(slot).as_slice() } else { &[] };
            let watched = control.watcher.watch(&app, slot, addresses, &settings, known);
            *changed.slots.get_mut(slot) = watched;
            let previewed = changed.previews.leave(slot);
            control.drain_previews(previewed, &settings);
            if live {
                let gate = live_gate(&changed.routing.gate);
                changed = control.next_epoch(changed, gate, settings);
                tracing::info!(%app, %slot, generation = %changed.routing.generation, "the live release has moved");
            } else {
                let standby = begin_standby(&mut changed);
                let now = changed.app.live();
                drop(changed.app.replace(Live { standby, ..(*now).clone() }));
                drop(now);
                control.affine(&mut changed);
            }
            Ok(control.publish_app(&view, changed))
        })
        .await
    }

    /// Takes note of a lease: from now on, older ones change nothing, and for its time nobody of another place gets one.
    ///
    /// # Errors
    /// When it is refused, or could not be saved; nothing was changed then.
    pub async fn claim(self: &Arc<Self>, app: AppName, claim: Claim) -> Result<Changed, Denied> {
        let control = Arc::clone(self);
        run(async move {
            let mut writer = control.writer.lock().await;
            let (view, now) = control.to_change(&app)?;
            let held = fence::exclude(writer.get(&app), &claim, Instant::now())?;
            let next = decide::claim(&now.routing, &claim.fence())?;
            if next != now.routing {
                control.save(&view, &app, &next).await?;
            }
            match held {
                Some(held) => drop(writer.insert(app, held)),
                None => drop(writer.remove(&app)),
            }
            Ok(control.publish_app(&view, AppView { routing: next, ..(*now).clone() }))
        })
        .await
    }

    /// Holds new requests in the queue.
    ///
    /// # Errors
    /// When it is refused, or could not be saved; nothing was changed then.
    pub async fn pause(self: &Arc<Self>, app: AppName, request: PauseRequest) -> Result<Changed, Denied> {
        self.set_gate(app, move |now| {
            let max = request.max.unwrap_or_else(|| now.app.settings().pause.max);
            SavedGate::Paused { max }
        })
        .await
    }

    /// Serves again.
    ///
    /// # Errors
    /// When it is refused, or could not be saved; nothing was changed then.
    pub async fn resume(self: &Arc<Self>, app: AppName) -> Result<Changed, Denied> {
        self.set_gate(app, |_| SavedGate::Open).await
    }

    /// Serves the maintenance page.
    ///
    /// # Errors
    /// When it is refused, or could not be saved; nothing was changed then.
    pub async fn stop(self: &Arc<Self>, app: AppName, request: StopRequest) -> Result<Changed, Denied> {
        self.set_gate(app, move |_| SavedGate::Stopped { message: request.message }).await
    }

    async fn set_gate(
        self: &Arc<Self>,
        app: AppName,
        gate: impl FnOnce(&AppView) -> SavedGate + Send + 'static,
    ) -> Result<Changed, Denied> {
        let control = Arc::clone(self);
        run(async move {
            let _writer = control.writer.lock().await;
            let (view, now) = control.to_change(&app)?;
            let next = AppRouting { gate: gate(&now), ..now.routing.clone() };
            control.save(&view, &app, &next).await?;
            let live = Live { gate: live_gate(&next.gate), ..(*now.app.live()).clone() };
            drop(now.app.replace(live));
            let changed = AppView { routing: next, ..(*now).clone() };
            let mode = changed.mode();
            let answer = control.publish_app(&view, changed);
            control.announce(Event::Mode { at: Timestamp::now(), app, mode });
            Ok(answer)
        })
        .await
    }

    /// The application as it is now, unless nothing may be changed.
    pub(crate) fn to_change(&self, app: &AppName) -> Result<(Arc<View>, Arc<AppView>), Denied> {
        self.refuse_frozen()?;
        let view = self.view.load_full();
        let Some(now) = view.apps.get(app).cloned() else {
            let known: Vec<&str> = view.apps.keys().map(AppName::as_str).collect();
            let message =
                format!("there is no app {app:?}; there is {}", known.join(", "), app = app.as_str());
            return Err(Denied { reason: RefusalReason::UnknownApp, message });
        };
        Ok((view, now))
    }

    pub(crate) fn refuse_frozen(&self) -> Result<(), Denied> {
        if self.frozen.load(Ordering::Acquire) {
            let message = "this process is handing over or shutting down; ask again in a moment".to_owned();
            return Err(Denied { reason: RefusalReason::ShuttingDown, message });
        }
        Ok(())
    }

    pub(crate) async fn save(&self, view: &View, app: &AppName, next: &AppRouting) -> Result<(), Denied> {
        let mut routing = view.routing();
        routing.apps.insert(app.clone(), next.clone());
        self.save_all(routing).await
    }

    /// Writes the state, away from the runtime's threads: a sync can take long.
    pub(crate) async fn save_all(&self, routing: Routing) -> Result<(), Denied> {
        let file = self.file.clone();
        let outcome = tokio::task::spawn_blocking(move || file.save(&routing)).await;
        let why = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if error.is_full() => format!("the disk is full: {error}"),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::error!(%why, "the routing state could not be saved");
        let message = format!("the change could not be saved, so it was not made: {why}");
        Err(Denied { reason: RefusalReason::NotSaved, message })
    }

    /// The switch itself. What it does is on disk already.
    pub(crate) fn switch(
        self: &Arc<Self>,
        view: &View,
        now: &AppView,
        next: AppRouting,
        policy: Policy,
    ) -> Switched {
        let mut changed = AppView { routing: next, ..now.clone() };
        let slot = changed.routing.active;
        let (epoch, handle) = begin_epoch(&changed, slot);
        // Who previewed the slot that is left, or stayed there when it was left before, goes with it.
        let inside = changed.previews.leave(now.routing.active);
        let standby = begin_standby(&mut changed);
        let before = now.app.live();
        let affinity = self.affinity(&mut changed, &before.settings, None);
        let live = Live { epoch, standby, canary: None, affinity, ..(*before).clone() };
        drop(before);
        // Who is inside a canary is in the slot that becomes live, and stays there.
        changed.canaries.keep();
        if is_counted(&live.settings, &changed.routing) {
            handle.count();
        }
        let left = std::mem::replace(&mut changed.live, handle);
        let switched_at = Timestamp::now();
        let began = Instant::now();
        left.ledger.retire();
        let old = now.app.replace(live);
        let took = began.elapsed();
        drop(old);
        let switched = Switched {
            generation: changed.routing.generation,
            from: left.slot,
            to: slot,
            drained_generation: left.generation,
            switched_at,
            switch_micros: took.as_secs_f64() * 1e6,
        };
        now.app.metrics.switched(slot);
        self.drain_with_canaries(&mut changed, left, policy);
        self.drain_previews(inside, &now.app.settings());
        self.publish_app(view, changed);
        tracing::info!(app = %now.app.name, from = %switched.from, to = %slot, generation = %switched.generation, "traffic moved");
        self.announce(Event::Switched {
            at: switched_at,
            app: AppName::clone(&now.app.name),
            switched: switched.clone(),
        });
        switched
    }

    /// Begins a new epoch of the live slot over what `changed` says, and drains the one before.
    pub(crate) fn next_epoch(
        self: &Arc<Self>,
        mut changed: AppView,
        gate: Gate,
        settings: Arc<AppSettings>,
    ) -> AppView {
        let (epoch, handle) = begin_epoch(&changed, changed.routing.active);
        if is_counted(&settings, &changed.routing) {
            handle.count();
        }
        let policy = Policy::new(&settings.drain, None);
        let left = std::mem::replace(&mut changed.live, handle);
        left.ledger.retire();
        let now = changed.app.live();
        drop(changed.app.replace(Live { gate, settings, epoch, ..(*now).clone() }));
        drop(now);
        self.drain_with_canaries(&mut changed, left, policy);
        changed
    }

    /// Begins to drain the live epoch that was left, and what was inside as a canary before its slot became live.
    fn drain_with_canaries(self: &Arc<Self>, view: &mut AppView, left: EpochHandle, policy: Policy) {
        for canary in view.canaries.left(left.slot) {
            canary.ledger.retire();
            self.drain(view, canary, policy);
        }
        self.drain(view, left, policy);
    }

    /// Begins to drain an epoch that was left.
    pub(crate) fn drain(self: &Arc<Self>, view: &mut AppView, left: EpochHandle, policy: Policy) {
        let drain = Arc::new(Drain::new(left));
        view.drains.push(Arc::clone(&drain));
        let over = view.drains.iter().filter(|d| d.is_over()).count();
        let mut surplus = over.saturating_sub(REMEMBERED_DRAINS);
        view.drains.retain(|d| {
            let forget = surplus > 0 && d.is_over();
            surplus -= usize::from(forget);
            !forget
        });
        // The task must not hold the application: it would keep alive the epoch it waits for.
        let (control, app, metrics) =
            (Arc::clone(self), AppName::clone(&view.app.name), view.app.metrics.clone());
        tokio::spawn(async move {
            drain.run(policy).await;
            let receipt = drain.receipt();
            count(&metrics, &receipt);
            tracing::info!(%app, slot = %receipt.slot, generation = %receipt.generation, seconds = receipt.seconds, "drained");
            control.announce(Event::Drained { at: Timestamp::now(), app, receipt });
        });
    }

    /// Drains what previewed a slot whose addresses were replaced. It is no part of a switch, so nobody is told.
    pub(crate) fn drain_previews(&self, left: Vec<Arc<Drain>>, settings: &AppSettings) {
        let policy = Policy::new(&settings.drain, None);
        for drain in left {
            tokio::spawn(async move { drain.run(policy).await });
        }
    }

    /// Makes the application as it is now visible to everybody who asks for it.
    pub(crate) fn publish_app(&self, view: &View, changed: AppView) -> Changed {
        let answer = Changed { generation: changed.routing.generation, mode: changed.mode() };
        let mut apps = view.apps.clone();
        apps.insert(AppName::clone(&changed.app.name), Arc::new(changed));
        self.view.store(Arc::new(View {
            apps,
            asleep: view.asleep.clone(),
            settings: Arc::clone(&view.settings),
            orphans: view.orphans.clone(),
        }));
        answer
    }

    pub(crate) fn announce(&self, event: Event) {
        // An error only means that nobody listens.
        let _ = self.events.send(event);
    }
}

/// Adds a finished drain to the counters.
fn count(metrics: &AppMetrics, receipt: &DrainReceipt) {
    let slot = metrics.slots.get(receipt.slot);
    for kind in Kind::ALL {
        slot.drained(kind, *receipt.finished.get(kind), receipt.cut.get(kind).len() as u64);
    }
}

/// Whether what the live slot answers is counted: somebody judges it, or will judge the next one by it.
pub(crate) fn is_counted(settings: &AppSettings, routing: &AppRouting) -> bool {
    settings.is_judged || bake::going(routing).is_some() || canary::going(routing).is_some()
}

/// A new epoch of a slot over its upstreams, as they are in `view`.
fn begin_epoch(view: &AppView, slot: Slot) -> (Arc<Epoch>, EpochHandle) {
    epoch_of(slot, &view.app.metrics, &view.routing, view.slots.get(slot), view.trust.clone())
}

/// A new epoch for previews of the standby slot.
pub(crate) fn begin_standby(view: &mut AppView) -> Arc<Epoch> {
    let (epoch, handle) = begin_epoch(view, view.routing.active.other());
    view.previews.open(handle);
    epoch
}

/// A new epoch of a slot over these upstreams.
pub(crate) fn epoch_of(
    slot: Slot,
    metrics: &AppMetrics,
    routing: &AppRouting,
    upstreams: &[Arc<Watched>],
    trust: Trust,
) -> (Arc<Epoch>, EpochHandle) {
    Epoch::begin(NewEpoch {
        generation: routing.generation,
        slot,
        release: routing.slots.get(slot).release.clone(),
        upstreams: upstreams.iter().map(|w| Arc::clone(w.upstream())).collect(),
        metrics: metrics.slots.get(slot).clone(),
        trust,
    })
}

/// The gate as requests meet it.
pub(crate) fn live_gate(saved: &SavedGate) -> Gate {
    match saved {
        SavedGate::Open => Gate::Open,
        SavedGate::Paused { max } => Gate::Paused(max.0),
        SavedGate::Stopped { message } => Gate::Stopped(message.as_deref().map(Arc::from)),
    }
}

/// Runs a mutation to its end even when the caller goes away.
pub(crate) async fn run<T: Send + 'static>(
    mutation: impl Future<Output = Result<T, Denied>> + Send + 'static,
) -> Result<T, Denied> {
    match tokio::spawn(mutation).await {
        Ok(result) => result,
        Err(panic) => {
            let message = format!("the change failed in an unexpected way: {panic}");
            Err(Denied { reason: RefusalReason::NotSaved, message })
        }
    }
}

/// Both slots' upstreams, probed from now on; those that were probed before keep their history.
pub(crate) fn watch_slots(
    watcher: &Watcher,
    app: &AppName,
    routing: &AppRouting,
    settings: &AppSettings,
    before: Option<&PerSlot<Vec<Arc<Watched>>>>,
) -> PerSlot<Vec<Arc<Watched>>> {
    routing.slots.map(|slot, target| {
        let known = before.map_or(&[][..], |b| b.get(slot).as_slice());
        watcher.watch(app, slot, &target.upstreams, settings, known)
    })
}
