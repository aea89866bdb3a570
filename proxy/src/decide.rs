//! May this change happen? Pure decisions over the routing state: no clock, no socket, no file.

use switcher_config::wire::{Fence, Health, PromoteRequest, RefusalReason, RegisterRequest};
use switcher_config::{Generation, Slot, WeightedAddress};

use crate::canary;
use crate::fence::admit;
use crate::routing::{AppRouting, SlotSource};

/// A refusal: the case, and a sentence that says what is live now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// The case.
    pub reason: RefusalReason,
    /// A sentence for people.
    pub message: String,
}

impl Denied {
    pub(crate) fn new(reason: RefusalReason, now: &AppRouting, what: &str) -> Self {
        let message =
            format!("{what}; {} is live, generation {}, nothing was changed", now.active, now.generation);
        Self { reason, message }
    }
}

/// The lease that is remembered after a change under `asked`. It is looked at before everything else: whoever
/// has lost the lease is told so, and not what else is wrong.
pub(crate) fn fenced(now: &AppRouting, asked: Option<&Fence>) -> Result<Option<Fence>, Denied> {
    let Some(asked) = asked else { return Ok(now.fence.clone()) };
    let admitted = admit(now.fence.as_ref(), asked);
    admitted.map(Some).map_err(|denied| Denied::new(denied.reason, now, &denied.message))
}

pub(crate) fn same_generation(now: &AppRouting, expected: Option<Generation>) -> Result<(), Denied> {
    match expected {
        Some(expected) if expected != now.generation => {
            let what = format!(
                "generation {expected} was expected, but it is {}: somebody else is acting",
                now.generation
            );
            Err(Denied::new(RefusalReason::GenerationMoved, now, &what))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a slot is one that traffic can be sent to beside the live one.
pub(crate) fn standby(now: &AppRouting, slot: Slot) -> Result<(), Denied> {
    if slot == now.active {
        return Err(Denied::new(RefusalReason::AlreadyActive, now, &format!("{slot} is live already")));
    }
    if now.slots.get(slot).upstreams.is_empty() {
        let what = format!("{slot} has no upstreams");
        return Err(Denied::new(RefusalReason::NoUpstreams, now, &what));
    }
    Ok(())
}

/// Whether a slot is known to be healthy.
pub(crate) fn healthy(
    now: &AppRouting,
    slot: Slot,
    health: Health,
    reason: Option<&str>,
) -> Result<(), Denied> {
    if health == Health::Healthy {
        return Ok(());
    }
    let state = if health == Health::Unknown { "not known to be healthy" } else { "not healthy" };
    let why = reason.map(|r| format!(" ({r})")).unwrap_or_default();
    Err(Denied::new(RefusalReason::Unhealthy, now, &format!("{slot} is {state}{why}")))
}

/// The routing after a promote, or why there is none.
///
/// # Errors
/// When the lease was lost, the generation moved, the slot is live already, has no upstreams, or is not healthy and not forced.
pub fn promote(
    now: &AppRouting,
    request: &PromoteRequest,
    health: Health,
    reason: Option<&str>,
) -> Result<AppRouting, Denied> {
    let fence = fenced(now, request.fence.as_ref())?;
    same_generation(now, request.expected_generation)?;
    let slot = request.slot;
    standby(now, slot)?;
    if !request.force {
        healthy(now, slot, health, reason)?;
    }
    let generation = now.generation.next();
    Ok(AppRouting { active: slot, generation, fence, since: None, left: None, ..now.clone() })
}

/// The routing after a lease was shown. Nothing but the lease changes, so the generation stays.
///
/// # Errors
/// When the lease was lost already.
pub fn claim(now: &AppRouting, asked: &Fence) -> Result<AppRouting, Denied> {
    Ok(AppRouting { fence: fenced(now, Some(asked))?, ..now.clone() })
}

/// Whether the live slot's addresses may be registered over: by new addresses of what runs there, and of nothing
/// else, for traffic goes to another release by a promote alone.
fn moved(now: &AppRouting, request: &RegisterRequest) -> Result<(), Denied> {
    let (slot, runs) = (now.active, &now.slots.get(now.active).release);
    let named = |release: &Option<String>| release.clone().unwrap_or_else(|| "no named release".to_owned());
    if !request.moved {
        let what =
            format!("{slot} is live, and the addresses of a live slot are not changed under its traffic");
        return Err(Denied::new(RefusalReason::SlotIsLive, now, &what));
    }
    // A slot that serves nothing may be given anything: a proxy that lost its memory is told what runs there.
    let serves = !now.slots.get(now.active).upstreams.is_empty();
    if request.release != *runs && serves {
        let what = format!(
            "{slot} is live and runs {}, so its addresses cannot become those of {}",
            named(runs),
            named(&request.release)
        );
        return Err(Denied::new(RefusalReason::SlotIsLive, now, &what));
    }
    if request.upstreams.is_empty() {
        let what = format!("{slot} is live, so it cannot be left without upstreams");
        return Err(Denied::new(RefusalReason::NoUpstreams, now, &what));
    }
    Ok(())
}

/// The routing after a registration, or why there is none.
///
/// # Errors
/// When the lease was lost, the generation moved, the slot is live and runs something else, or the
/// request makes no sense.
pub fn register(now: &AppRouting, slot: Slot, request: &RegisterRequest) -> Result<AppRouting, Denied> {
    let fence = fenced(now, request.fence.as_ref())?;
    same_generation(now, request.expected_generation)?;
    if slot == now.active {
        moved(now, request)?;
    } else if let Some(canary) = canary::going(now) {
        let what = format!(
            "a canary goes on in {slot}, with {} of the clients: promote it or abort it first",
            canary.shown.rules.share
        );
        return Err(Denied::new(RefusalReason::CanaryGoesOn, now, &what));
    }
    let bad = |what: &str| Denied::new(RefusalReason::BadRequest, now, what);
    let repeated = |(n, upstream): (usize, &WeightedAddress)| {
        request.upstreams[..n].iter().any(|before| before.address == upstream.address)
    };
    if request.upstreams.iter().enumerate().any(repeated) {
        return Err(bad("an upstream is named twice"));
    }
    let nothing = |upstream: &WeightedAddress| upstream.weight.is_some_and(|weight| weight.get() == 0);
    if !request.upstreams.is_empty() && request.upstreams.iter().all(nothing) {
        return Err(bad("every upstream has the weight 0, so none would get a request"));
    }
    // The release becomes the value of an answer header (RFC 9110 section 5.5).
    let printable = |release: &String| !release.is_empty() && release.bytes().all(|b| b.is_ascii_graphic());
    if !request.release.as_ref().is_none_or(printable) {
        return Err(bad("a release is a word of printable ASCII characters"));
    }
    let mut next = AppRouting { generation: now.generation.next(), fence, ..now.clone() };
    if slot != now.active {
        next.left = None;
    }
    let target = next.slots.get_mut(slot);
    target.upstreams.clone_from(&request.upstreams);
    target.release.clone_from(&request.release);
    target.source = SlotSource::Registered;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::SlotRouting;
    use switcher_config::PerSlot;

    fn now() -> AppRouting {
        let slot = |port: u16| SlotRouting {
            upstreams: vec![format!("127.0.0.1:{port}").parse().expect("an address")],
            release: None,
            source: SlotSource::Configured,
        };
        AppRouting::new(Slot::Blue, PerSlot { blue: slot(8001), green: slot(8002) })
    }

    #[test]
    fn a_healthy_standby_becomes_live_one_generation_later() {
        let next = promote(&now(), &PromoteRequest::of(Slot::Green), Health::Healthy, None).expect("allowed");
        assert_eq!((next.active, next.generation), (Slot::Green, Generation::FIRST.next()));
        assert_eq!(next.slots, now().slots);
    }

    #[test]
    fn every_refusal_says_what_is_live() {
        let mut empty = now();
        empty.slots.green.upstreams.clear();
        let stale = PromoteRequest {
            expected_generation: Some(Generation::FIRST.next()),
            ..PromoteRequest::of(Slot::Green)
        };
        for (routing, request, health, reason, words) in [
            (
                now(),
                PromoteRequest::of(Slot::Green),
                Health::Unknown,
                RefusalReason::Unhealthy,
                "green is not known to be healthy (503)",
            ),
            (
                now(),
                PromoteRequest::of(Slot::Green),
                Health::Unhealthy,
                RefusalReason::Unhealthy,
                "green is not healthy (503)",
            ),
            (
                now(),
                PromoteRequest::of(Slot::Blue),
                Health::Healthy,
                RefusalReason::AlreadyActive,
                "blue is live already",
            ),
            (
                empty,
                PromoteRequest::of(Slot::Green),
                Health::Healthy,
                RefusalReason::NoUpstreams,
                "green has no upstreams",
            ),
            (
                now(),
                stale,
                Health::Healthy,
                RefusalReason::GenerationMoved,
                "generation 2 was expected, but it is 1: somebody else is acting",
            ),
        ] {
            let denied = promote(&routing, &request, health, Some("503")).expect_err("refused");
            assert_eq!(denied.reason, reason);
            assert_eq!(denied.message, format!("{words}; blue is live, generation 1, nothing was changed"));
        }
    }

    #[test]
    fn force_overrides_health_and_nothing_else() {
        let forced = |slot| PromoteRequest { force: true, ..PromoteRequest::of(slot) };
        assert!(promote(&now(), &forced(Slot::Green), Health::Unhealthy, None).is_ok());
        assert!(promote(&now(), &forced(Slot::Blue), Health::Healthy, None).is_err());
    }

    fn addresses(release: &str) -> RegisterRequest {
        RegisterRequest {
            upstreams: vec!["127.0.0.1:9000".parse().expect("an address")],
            release: Some(release.to_owned()),
            expected_generation: None,
            moved: false,
            fence: None,
        }
    }

    #[test]
    fn only_a_standby_is_registered_over() {
        let request = addresses("v3");
        let next = register(&now(), Slot::Green, &request).expect("allowed");
        assert_eq!(next.slots.green.upstreams, request.upstreams);
        assert_eq!(next.slots.green.source, SlotSource::Registered);
        assert_eq!(next.slots.blue, now().slots.blue);
        let denied = register(&now(), Slot::Blue, &request).expect_err("blue is live");
        assert_eq!(denied.reason, RefusalReason::SlotIsLive);
    }

    #[test]
    fn the_live_release_may_move_and_no_other_may_come_by_moving() {
        let mut now = now();
        now.slots.blue.release = Some("v3".to_owned());
        let moved = RegisterRequest { moved: true, ..addresses("v3") };
        let mut empty = now.clone();
        empty.slots.blue = SlotRouting { upstreams: Vec::new(), release: None, ..empty.slots.blue };
        let told = register(&empty, Slot::Blue, &moved).expect("nothing is served");
        assert_eq!(told.slots.blue.release.as_deref(), Some("v3"));
        let next = register(&now, Slot::Blue, &moved).expect("allowed");
        assert_eq!((next.active, next.generation), (Slot::Blue, now.generation.next()));
        assert_eq!(next.slots.blue.upstreams, moved.upstreams);
        assert_eq!(next.slots.green, now.slots.green);
        let nowhere = RegisterRequest { upstreams: Vec::new(), ..moved.clone() };
        let nameless = RegisterRequest { release: None, ..moved.clone() };
        for (request, reason, words) in [
            (
                RegisterRequest { moved: true, ..addresses("v4") },
                RefusalReason::SlotIsLive,
                "blue is live and runs v3, so its addresses cannot become those of v4",
            ),
            (
                nameless,
                RefusalReason::SlotIsLive,
                "blue is live and runs v3, so its addresses cannot become those of no named release",
            ),
            (nowhere, RefusalReason::NoUpstreams, "blue is live, so it cannot be left without upstreams"),
        ] {
            let denied = register(&now, Slot::Blue, &request).expect_err("refused");
            assert_eq!(denied.reason, reason);
            assert_eq!(denied.message, format!("{words}; blue is live, generation 1, nothing was changed"));
        }
    }

    fn lease(number: u64, holder: &str) -> Option<Fence> {
        Some(Fence { number, holder: holder.to_owned() })
    }

    #[test]
    fn every_change_remembers_its_lease_and_a_change_without_one_keeps_it() {
        let claimed = claim(&now(), &lease(1, "ann").expect("a lease")).expect("allowed");
        assert_eq!(claimed, AppRouting { fence: lease(1, "ann"), ..now() });
        let request = RegisterRequest { fence: lease(2, "bob"), ..addresses("v3") };
        let registered = register(&claimed, Slot::Green, &request).expect("allowed");
        assert_eq!(registered.fence, lease(2, "bob"));
        let request = PromoteRequest { fence: lease(3, "cy"), ..PromoteRequest::of(Slot::Green) };
        let promoted = promote(&registered, &request, Health::Healthy, None).expect("allowed");
        assert_eq!(promoted.fence, lease(3, "cy"));
        let by_hand =
            promote(&promoted, &PromoteRequest::of(Slot::Blue), Health::Healthy, None).expect("allowed");
        assert_eq!(by_hand.fence, lease(3, "cy"));
        let by_hand = register(&promoted, Slot::Blue, &addresses("v4")).expect("allowed");
        assert_eq!(by_hand.fence, lease(3, "cy"));
    }

    #[test]
    fn who_lost_the_lease_is_told_so_before_anything_else_that_is_wrong() {
        let now = AppRouting { fence: lease(2, "bob"), ..now() };
        let said =
            "lease 1 of ann was lost to lease 2 of bob; blue is live, generation 1, nothing was changed";
        let (fence, expected_generation) = (lease(1, "ann"), Some(Generation::FIRST.next()));
        let switch =
            PromoteRequest { fence: fence.clone(), expected_generation, ..PromoteRequest::of(Slot::Blue) };
        let addresses = RegisterRequest { fence: fence.clone(), expected_generation, ..addresses("v3") };
        for denied in [
            claim(&now, &fence.expect("a lease")).expect_err("refused"),
            promote(&now, &switch, Health::Unhealthy, None).expect_err("refused"),
            register(&now, Slot::Blue, &addresses).expect_err("refused"),
        ] {
            assert_eq!((denied.reason, denied.message.as_str()), (RefusalReason::StaleFence, said));
        }
    }
}
