//! Release affinity: who began on a release stays there for a while after a switch, so that a visitor sees one version.
//!
//! A cookie names the release by a mark that only this proxy can make (`sticky`), so nobody asks for a slot that they never
//! were in: a mark is known of the live release, of the canary that goes on, until somebody loses a place there, and of the
//! release that was left, until its window is over or anything else is put into its slot. Who stays is in an epoch of its own, which is counted as previews
//! are, and drained when the window ends. Requests without the cookie, and applications without the key, pay one look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use switcher_config::settings::{AppSettings, ReleaseAffinity};
use switcher_config::wire::{AffinityStatus, Health};
use switcher_config::{AppName, Generation};

use crate::app::Live;
use crate::canary;
use crate::canary::choice::CanarySide;
use crate::control::{Control, epoch_of};
use crate::epoch::Epoch;
use crate::routing::{AppRouting, Left};
use crate::sticky::{self, Mark};
use crate::view::AppView;

/// How often it is looked whose window is over.
const TICK: Duration = Duration::from_millis(250);

/// In how many looks everybody has had a turn where there are very many applications.
const TURNS: usize = 4;

/// The releases that visitors may be in.
#[derive(Debug)]
pub struct Affinity {
    cookie: String,
    live: Mark,
    canary: Option<Marked>,
    stay: Option<Stay>,
}

/// The mark of a canary's clients.
#[derive(Debug, Clone, Copy)]
struct Marked {
    mark: Mark,
    /// Since when it is given. Who came before may have lost the place on that side meanwhile.
    from: Instant,
}

/// The release that was left.
#[derive(Clone)]
struct Stay {
    mark: Mark,
    epoch: Arc<Epoch>,
    until: Instant,
}

impl std::fmt::Debug for Stay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stay").field("slot", &self.epoch.slot).finish_non_exhaustive()
    }
}

impl Stay {
    fn serves(&self) -> bool {
        let able = |one: &crate::epoch::EpochUpstream| {
            one.upstream.weight() > 0 && one.upstream.health() == Health::Healthy
        };
        Instant::now() < self.until && self.epoch.upstreams.iter().any(able)
    }
}

impl Affinity {
    /// The epoch beside the live one that a visitor stays in; `None` for everybody who goes where all go.
    #[must_use]
    pub fn keeps<'a>(
        &'a self,
        headers: &HeaderMap,
        canary: Option<&'a CanarySide>,
    ) -> Option<&'a Arc<Epoch>> {
        let brought = sticky::brought(headers, &self.cookie)?;
        if let Some(side) = canary.filter(|_| self.canary.is_some_and(|known| known.mark == brought)) {
            return Some(&side.epoch);
        }
        self.stay.as_ref().filter(|stay| stay.mark == brought && stay.serves()).map(|stay| &stay.epoch)
    }

    /// The mark of the release that an epoch serves, as far as a visitor who came at `arrived` may come back to it.
    #[must_use]
    pub fn mark_of(&self, epoch: &Epoch, live: &Live, arrived: Instant) -> Option<Mark> {
        let is = |known: &Arc<Epoch>| std::ptr::eq(Arc::as_ptr(known), epoch);
        if is(&live.epoch) {
            return Some(self.live);
        }
        if live.canary.as_ref().is_some_and(|side| is(&side.epoch)) {
            return self.canary.filter(|known| arrived >= known.from).map(|known| known.mark);
        }
        self.stay.as_ref().filter(|stay| is(&stay.epoch)).map(|stay| stay.mark)
    }
}

/// The routing after a switch, with the time for which visitors of the release before may stay. Nobody stays where the
/// switch is forced or goes back: what is left then is left because it is bad.
#[must_use]
pub fn after_switch(
    before: &AppRouting,
    next: AppRouting,
    wished: Option<&ReleaseAffinity>,
    at_once: bool,
    now: Timestamp,
) -> AppRouting {
    let since = wished.map(|_| next.generation);
    let goes_back = at_once || before.left.as_ref().is_some_and(|left| left.until > now);
    let left = wished.filter(|_| !goes_back).and_then(|wished| {
        let length = SignedDuration::try_from(wished.window.0).ok()?;
        Some(Left { since: known_by(before), until: now.checked_add(length).ok()? })
    });
    AppRouting { since, left, ..next }
}

/// The routing as the settings want it kept: without what says something to nobody, so that an older version reads the file.
/// Where visitors are remembered from now on, the live release is known by the generation of now, and by none of a time
/// when another one was live.
#[must_use]
pub fn adopted(routing: AppRouting, wished: Option<&ReleaseAffinity>) -> AppRouting {
    let canary = canary::going(&routing).is_some();
    let (since, left) = match wished {
        Some(_) if canary => (routing.since, routing.left.clone()),
        Some(_) => (routing.since.or(Some(routing.generation)), routing.left.clone()),
        None => (routing.since.filter(|_| canary), None),
    };
    AppRouting { since, left, ..routing }
}

/// The generation that the live release is known by: that of the switch to it.
pub(crate) fn known_by(routing: &AppRouting) -> Generation {
    routing.since.unwrap_or(Generation::FIRST)
}

impl Control {
    /// The releases that visitors may be in by what `view` says; none where nobody wants to know. `before` gives its
    /// epoch on, so that who stays is not moved by other changes.
    pub(crate) fn affinity(
        &self,
        view: &mut AppView,
        settings: &AppSettings,
        before: Option<&Affinity>,
    ) -> Option<Arc<Affinity>> {
        let wished = settings.release_affinity.as_ref()?;
        let (name, routing) = (Arc::clone(&view.app.name), view.routing.clone());
        let mark = |slot, generation| self.watcher.marks().release(&name, slot, generation);
        let stay = open(&routing, Timestamp::now()).map(|(left, until)| {
            let (slot, until) = (routing.active.other(), Instant::now() + until);
            let mark = mark(slot, left.since);
            let known = before.and_then(|before| before.stay.as_ref()).filter(|stay| stay.mark == mark);
            let epoch = known.map(|stay| Arc::clone(&stay.epoch)).unwrap_or_else(|| {
                let upstreams = view.slots.get(slot);
                let (epoch, handle) =
                    epoch_of(slot, &view.app.metrics, &routing, upstreams, view.trust.clone());
                view.previews.open(handle);
                epoch
            });
            Stay { mark, epoch, until }
        });
        let canary = canary::going(&routing).map(|canary| {
            let mark = mark(canary.shown.slot, canary.marked());
            let known = before.and_then(|before| before.canary).filter(|known| known.mark == mark);
            known.unwrap_or_else(|| Marked { mark, from: Instant::now() })
        });
        let live = mark(routing.active, known_by(&routing));
        Some(Arc::new(Affinity { cookie: wished.cookie.clone(), live, canary, stay }))
    }

    /// Lets visitors follow what has changed. Who is inside a release that nobody may stay in any more is drained.
    pub(crate) fn affine(&self, view: &mut AppView) {
        let before = view.app.live();
        let settings = Arc::clone(&before.settings);
        if settings.release_affinity.is_none() && before.affinity.is_none() {
            return;
        }
        let affinity = self.affinity(view, &settings, before.affinity.as_deref());
        let ledger = |affinity: &Option<Arc<Affinity>>| {
            let stay = affinity.as_ref().and_then(|affinity| affinity.stay.as_ref());
            stay.map(|stay| Arc::clone(&stay.epoch.ledger))
        };
        let (old, new) = (ledger(&before.affinity), ledger(&affinity));
        let over = old.filter(|old| new.as_ref().is_none_or(|new| !Arc::ptr_eq(old, new)));
        drop(view.app.replace(Live { affinity, ..(*before).clone() }));
        drop(before);
        if let Some(ledger) = over {
            let drains = view.previews.leave_one(&ledger);
            self.drain_previews(drains, &settings);
        }
    }

    /// Ends the window of an application, if it is over.
    async fn close_window(&self, name: &AppName) {
        let _writer = self.writer.lock().await;
        let Ok((view, now)) = self.to_change(name) else { return };
        if is_over(&now) {
            let mut changed = (*now).clone();
            self.affine(&mut changed);
            tracing::info!(app = %name, "nobody stays on the release before any more");
            self.publish_app(&view, changed);
        }
    }
}

/// Looks for ever whose window is over.
pub async fn run(control: Arc<Control>) {
    for turn in (0..TURNS).cycle() {
        tokio::time::sleep(TICK).await;
        let view = control.view();
        for (name, _) in view.turn(turn, TURNS).filter(|(_, app)| is_over(app)) {
            control.close_window(name).await;
        }
    }
}

/// The release that visitors may stay in, and for how long yet.
fn open(routing: &AppRouting, now: Timestamp) -> Option<(&Left, Duration)> {
    let left = routing.left.as_ref()?;
    let rest = Duration::try_from(left.until.duration_since(now)).ok().filter(|rest| !rest.is_zero())?;
    let there = !routing.slots.get(routing.active.other()).upstreams.is_empty();
    there.then_some((left, rest))
}

/// Whether somebody may still enter a release whose window is over.
fn is_over(app: &AppView) -> bool {
    app.routing.left.is_some()
        && app.app.live().affinity.as_ref().and_then(|affinity| affinity.stay.as_ref()).is_some_and(|stay| {
            // Whichever clock says so first: that of the wall may be set back.
            open(&app.routing, Timestamp::now()).is_none() || stay.until <= Instant::now()
        })
}

/// Who stays on the release before; none where the configuration does not have it.
#[must_use]
pub fn status(app: &AppView) -> Option<AffinityStatus> {
    app.app.settings().release_affinity.as_ref()?;
    let stays_until = open(&app.routing, Timestamp::now()).map(|(left, _)| left.until);
    Some(AffinityStatus { stays_until })
}

#[cfg(test)]
mod tests {
    use switcher_config::wire::PromoteRequest;
    use switcher_config::{PerSlot, Slot, Span};

    use super::*;
    use crate::decide;
    use crate::routing::{SlotRouting, SlotSource};

    fn routing() -> AppRouting {
        let slot = |port: u16| SlotRouting {
            upstreams: vec![format!("127.0.0.1:{port}").parse().expect("an address")],
            release: None,
            source: SlotSource::Configured,
        };
        AppRouting::new(Slot::Blue, PerSlot { blue: slot(8001), green: slot(8002) })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn switched(before: &AppRouting, at_once: bool, now: Timestamp) -> AppRouting {
        let generation = before.generation.next();
        let next = AppRouting { active: before.active.other(), generation, ..before.clone() };
        after_switch(before, next, Some(&wished()), at_once, now)
    }

    fn wished() -> ReleaseAffinity {
        ReleaseAffinity { cookie: "at".to_owned(), window: Span::seconds(60) }
    }

    #[test]
    fn the_release_that_is_left_may_be_stayed_in_for_its_window_and_no_longer() {
        let next = switched(&routing(), false, at(100));
        assert_eq!(next.left, Some(Left { since: Generation::FIRST, until: at(160) }));
        assert_eq!(open(&next, at(159)).map(|(_, rest)| rest), Some(Duration::from_secs(1)));
        assert_eq!(open(&next, at(160)), None);
        let mut empty = next;
        empty.slots.blue.upstreams.clear();
        assert_eq!(open(&empty, at(101)), None, "nothing could answer there");
    }

    #[test]
    fn where_nobody_wished_it_what_is_saved_is_what_was_saved_before_there_was_affinity() {
        let before = r#"{"active":"green","generation":2,"gate":{"mode":"open"},"slots":{"blue":{"upstreams":["127.0.0.1:8001"],"release":null,"source":"configured"},"green":{"upstreams":["127.0.0.1:8002"],"release":null,"source":"configured"}}}"#;
        let request = PromoteRequest::of(Slot::Green);
        let next = decide::promote(&routing(), &request, Health::Healthy, None).expect("allowed");
        let saved = |wished| {
            let next = after_switch(&routing(), next.clone(), wished, false, at(100));
            serde_json::to_string(&next).expect("JSON")
        };
        assert_eq!(saved(None), before);
        assert_ne!(saved(Some(&wished())), before);
        // Nor is anything left of a time when it was wished.
        let used = switched(&routing(), false, at(100));
        assert!(used.since.is_some() && used.left.is_some());
        assert_eq!(serde_json::to_string(&adopted(used, None)).expect("JSON"), before);
    }

    #[test]
    fn a_release_that_was_live_while_nobody_was_remembered_is_known_by_a_generation_of_its_own() {
        let used = switched(&routing(), false, at(100));
        let forgot = adopted(used.clone(), None);
        let later = AppRouting { generation: forgot.generation.next(), ..forgot };
        let again = adopted(later.clone(), Some(&wished()));
        assert_eq!(again.since, Some(later.generation));
        assert_eq!(adopted(used.clone(), Some(&wished())), used);
        assert_eq!(adopted(again.clone(), Some(&wished())), again);
    }

    #[test]
    fn nobody_stays_on_what_is_left_because_it_is_bad() {
        assert_eq!(switched(&routing(), true, at(100)).left, None, "forced, or taken back");
        let first = switched(&routing(), false, at(100));
        assert_eq!(switched(&first, false, at(120)).left, None, "back within the window");
        let later = switched(&first, false, at(200));
        assert_eq!(later.left, Some(Left { since: Generation::FIRST.next(), until: at(260) }));
        let none = after_switch(&routing(), routing(), None, false, at(100));
        assert_eq!(none.left, None, "nobody wished it");
    }
}
