//! The reply to a change was lost: did it happen? Read from the status, never guessed. Pure.

use switcher_config::wire::{AppStatus, CanaryResult, Mode, RegisterRequest};
use switcher_config::{Generation, Slot};

/// What the status says about a change whose reply was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aftermath {
    /// It happened.
    Happened,
    /// It did not happen: it may be asked for again, expecting the same generation.
    Unchanged,
    /// Somebody else acted: stop and say so.
    SomebodyElse,
}

/// After a switch to `slot` that expected a generation.
#[must_use]
pub fn of_switch(seen: &AppStatus, expected: Generation, slot: Slot) -> Aftermath {
    let arrived = seen.active == slot;
    if seen.generation == expected.next() && arrived {
        Aftermath::Happened
    } else if seen.generation == expected && !arrived {
        Aftermath::Unchanged
    } else {
        Aftermath::SomebodyElse
    }
}

/// After a change of mode; asking for it twice does no harm, so no generation is needed.
#[must_use]
pub fn of_mode(seen: &AppStatus, wanted: Mode) -> Aftermath {
    if seen.mode == wanted { Aftermath::Happened } else { Aftermath::Unchanged }
}

/// After a canary in `slot` was begun or moved, expecting a generation.
#[must_use]
pub fn of_canary(seen: &AppStatus, expected: Generation, slot: Slot) -> Aftermath {
    let going = seen.canary.as_ref().is_some_and(|canary| canary.outcome.is_none() && canary.slot == slot);
    if seen.generation == expected {
        Aftermath::Unchanged
    } else if seen.generation == expected.next() && going {
        Aftermath::Happened
    } else {
        Aftermath::SomebodyElse
    }
}

/// After a canary was ended, expecting a generation.
#[must_use]
pub fn of_canary_abort(seen: &AppStatus, expected: Generation) -> Aftermath {
    let outcome = seen.canary.as_ref().and_then(|canary| canary.outcome.as_ref());
    if seen.generation == expected {
        Aftermath::Unchanged
    } else if seen.generation == expected.next()
        && outcome.is_some_and(|outcome| outcome.result == CanaryResult::Aborted)
    {
        Aftermath::Happened
    } else {
        Aftermath::SomebodyElse
    }
}

/// After a registration in `slot` that expected a generation. The same addresses as before prove nothing: they were
/// registered anew because another container answers there, and only a new generation shows that the proxy knows.
#[must_use]
pub fn of_registration(
    seen: &AppStatus,
    expected: Generation,
    slot: Slot,
    request: &RegisterRequest,
) -> Aftermath {
    let found = seen.slots.get(slot);
    let same = found.release == request.release
        && found
            .upstreams
            .iter()
            .map(|upstream| &upstream.address)
            .eq(request.upstreams.iter().map(|upstream| &upstream.address));
    if same && seen.generation == expected.next() {
        Aftermath::Happened
    } else if seen.generation == expected {
        Aftermath::Unchanged
    } else {
        Aftermath::SomebodyElse
    }
}

#[cfg(test)]
mod tests {
    use switcher_config::PerSlot;
    use switcher_config::wire::{ByKind, Health, SlotStatus};

    use super::*;

    fn seen(active: Slot, generation: u64) -> AppStatus {
        let slot = SlotStatus {
            health: Health::Unknown,
            reason: None,
            release: None,
            upstreams: Vec::new(),
            in_flight: ByKind::default(),
        };
        AppStatus {
            active,
            generation: generation.to_string().parse().expect("a generation"),
            mode: Mode::Paused,
            held: 0,
            slots: PerSlot { blue: slot.clone(), green: slot },
            draining: Vec::new(),
            fence: None,
            bake: None,
            canary: None,
            release_affinity: None,
        }
    }

    fn seven() -> Generation {
        "7".parse().expect("a generation")
    }

    #[test]
    fn a_lost_switch_to_green_is_read_from_slot_and_generation() {
        for (active, generation, aftermath) in [
            (Slot::Green, 8, Aftermath::Happened),
            (Slot::Blue, 7, Aftermath::Unchanged),
            (Slot::Blue, 8, Aftermath::SomebodyElse),
            (Slot::Green, 9, Aftermath::SomebodyElse),
            (Slot::Blue, 9, Aftermath::SomebodyElse),
            (Slot::Green, 7, Aftermath::SomebodyElse),
            (Slot::Blue, 6, Aftermath::SomebodyElse),
        ] {
            assert_eq!(
                of_switch(&seen(active, generation), seven(), Slot::Green),
                aftermath,
                "{active} {generation}"
            );
        }
    }

    #[test]
    fn a_lost_canary_is_read_from_the_canary_and_the_generation() {
        let with = |generation, outcome: Option<&str>| {
            let outcome =
                outcome.map(|result| serde_json::json!({"at": "2026-11-21T14:00:00Z", "result": result}));
            let figures = serde_json::json!({"requests": 0, "errors": 0, "connect_errors": 0, "timed": 0, "seconds": 0});
            let canary = serde_json::json!({
                "slot": "green", "generation": 7, "share": "5%", "began_at": "2026-11-21T14:00:00Z",
                "share_since": "2026-11-21T14:00:00Z", "limits": switcher_config::BakeLimits::default(),
                "baseline": figures, "seen": figures, "outcome": outcome,
            });
            let canary = Some(serde_json::from_value(canary).expect("a canary"));
            AppStatus { canary, ..seen(Slot::Blue, generation) }
        };
        for (generation, outcome, begun, ended) in [
            (7, None, Aftermath::Unchanged, Aftermath::Unchanged),
            (8, None, Aftermath::Happened, Aftermath::SomebodyElse),
            (8, Some("aborted"), Aftermath::SomebodyElse, Aftermath::Happened),
            (8, Some("worse"), Aftermath::SomebodyElse, Aftermath::SomebodyElse),
            (9, None, Aftermath::SomebodyElse, Aftermath::SomebodyElse),
        ] {
            let seen = with(generation, outcome);
            assert_eq!(of_canary(&seen, seven(), Slot::Green), begun, "{generation} {outcome:?}");
            assert_eq!(of_canary_abort(&seen, seven()), ended, "{generation} {outcome:?}");
        }
    }

    #[test]
    fn a_lost_change_of_mode_is_read_from_the_mode() {
        assert_eq!(of_mode(&seen(Slot::Blue, 7), Mode::Paused), Aftermath::Happened);
        assert_eq!(of_mode(&seen(Slot::Blue, 7), Mode::Open), Aftermath::Unchanged);
    }

    #[test]
    fn a_lost_registration_is_read_from_the_addresses() {
        let request = |release: Option<&str>| RegisterRequest {
            upstreams: Vec::new(),
            release: release.map(ToOwned::to_owned),
            expected_generation: Some(seven()),
            moved: false,
            fence: None,
        };
        for (release, generation, aftermath) in [
            (None, 8, Aftermath::Happened),
            (None, 7, Aftermath::Unchanged),
            (None, 9, Aftermath::SomebodyElse),
            (Some("v2"), 7, Aftermath::Unchanged),
            (Some("v2"), 8, Aftermath::SomebodyElse),
        ] {
            let found = seen(Slot::Blue, generation);
            assert_eq!(of_registration(&found, seven(), Slot::Green, &request(release)), aftermath);
        }
    }
}
