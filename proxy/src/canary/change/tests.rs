//! What a canary may become, and every refusal with its sentence.

use switcher_config::wire::CanaryThen;
use switcher_config::wire::Fence;
use switcher_config::{Generation, PerSlot, Slot, Span};

use super::*;
use crate::routing::{SlotRouting, SlotSource};

fn now() -> AppRouting {
    let slot = |port: u16| SlotRouting {
        upstreams: vec![format!("127.0.0.1:{port}").parse().expect("an address")],
        release: None,
        source: SlotSource::Configured,
    };
    AppRouting::new(Slot::Blue, PerSlot { blue: slot(8001), green: slot(8002) })
}

fn share(text: &str) -> Share {
    text.parse().expect("a share")
}

fn ask(text: &str) -> CanaryRequest {
    CanaryRequest { share: Some(share(text)), ..CanaryRequest::of(Slot::Green) }
}

fn steps(shares: &[&str], every: u64) -> CanaryRequest {
    let shares = shares.iter().map(|text| share(text)).collect();
    let steps = CanarySteps { shares, every: Span::seconds(every), then: CanaryThen::Hold };
    CanaryRequest { steps: Some(steps), ..CanaryRequest::of(Slot::Green) }
}

fn moment(salt: u64) -> Moment<'static> {
    Moment { health: Health::Healthy, reason: None, salt, at: Timestamp::UNIX_EPOCH }
}

fn going_on(request: &CanaryRequest) -> AppRouting {
    canary(&now(), request, moment(1)).expect("allowed")
}

fn shown(routing: &AppRouting) -> &Canary {
    &going(routing).expect("one goes on").shown
}

#[test]
fn a_share_that_is_changed_keeps_everything_else_so_that_no_client_changes_sides() {
    let header = vec!["X-Beta=1".parse().expect("a header")];
    let first = CanaryRequest { headers: Some(header.clone()), ..ask("5%") };
    let begun = going_on(&first);
    let moved = canary(&begun, &ask("10%"), moment(2)).expect("allowed");
    assert_eq!(moved.canary.as_ref().map(|c| c.salt), begun.canary.as_ref().map(|c| c.salt));
    assert_eq!((shown(&moved).rules.share, &shown(&moved).rules.headers), (share("10%"), &header));
    assert_eq!(moved.generation, begun.generation.next());
    assert_eq!(shown(&moved).generation, begun.generation, "its drain is found by the first");
    let again = abort(&moved, &CanaryAbortRequest::default(), Timestamp::UNIX_EPOCH).expect("allowed");
    let other = canary(&again, &ask("10%"), moment(3)).expect("allowed");
    assert_eq!(other.canary.as_ref().map(|c| c.salt), Some(3), "another canary picks others");
    assert!(shown(&other).rules.headers.is_empty());
}

#[test]
fn its_clients_are_known_anew_when_somebody_loses_a_place_and_only_then() {
    let header = vec!["X-Beta=1".parse().expect("a header")];
    let begun = going_on(&CanaryRequest { headers: Some(header.clone()), ..ask("10%") });
    let marked = |routing: &AppRouting| going(routing).expect("one goes on").marked();
    assert_eq!(marked(&begun), begun.generation);
    let change = |request: &CanaryRequest| canary(&begun, request, moment(2)).expect("allowed");
    let more = ["X-Beta=1", "X-Beta=2"].map(|rule| rule.parse().expect("a header")).to_vec();
    for grows in
        [ask("10%"), ask("20%"), CanaryRequest { headers: Some(more), ..ask("10%") }, steps(&["25%"], 60)]
    {
        assert_eq!(marked(&change(&grows)), begun.generation, "{grows:?}");
    }
    assert_eq!(marked(&raised(&begun, share("25%"), Timestamp::UNIX_EPOCH)), begun.generation);
    let by = "header X-User".parse().ok();
    for narrows in [
        ask("9.99%"),
        CanaryRequest { headers: Some(Vec::new()), ..ask("20%") },
        CanaryRequest { by, ..ask("10%") },
        steps(&["5%", "25%"], 60),
    ] {
        let next = change(&narrows);
        assert_eq!(marked(&next), next.generation, "{narrows:?}");
        let grown = canary(&next, &ask("50%"), moment(2)).expect("allowed");
        assert_eq!(marked(&grown), next.generation, "it stays what it was until the next one loses a place");
        assert_eq!(shown(&grown).generation, begun.generation, "its drain is found by the first");
    }
}

#[test]
fn steps_follow_each_other_and_a_share_by_hand_ends_them() {
    let begun = going_on(&steps(&["5%", "25%", "50%"], 60));
    assert_eq!(shown(&begun).rules.share, share("5%"));
    let next = raised(&begun, share("25%"), Timestamp::UNIX_EPOCH);
    let left = &shown(&next).steps.as_ref().expect("steps").left;
    assert_eq!((shown(&next).rules.share, left.as_slice()), (share("25%"), &[share("50%")][..]));
    assert_eq!(next.generation, begun.generation.next());
    let by_hand = canary(&next, &ask("30%"), moment(2)).expect("allowed");
    assert_eq!(shown(&by_hand).steps, None);
}

#[test]
fn every_refusal_says_what_is_live() {
    let mut empty = now();
    empty.slots.green.upstreams.clear();
    let ill = Moment { health: Health::Unhealthy, reason: Some("503"), ..moment(1) };
    let live = CanaryRequest { slot: Slot::Blue, ..ask("5%") };
    let stale = CanaryRequest { expected_generation: Some(Generation::FIRST.next()), ..ask("5%") };
    let both = CanaryRequest { share: Some(share("5%")), ..steps(&["5%"], 60) };
    let many = vec!["X-Beta=1".parse().expect("a header"); RULES + 1];
    let many = CanaryRequest { headers: Some(many), ..ask("5%") };
    use RefusalReason::{AlreadyActive, BadRequest, GenerationMoved, NoUpstreams, Unhealthy};
    for (routing, request, moment, reason, words) in [
        (now(), live, moment(1), AlreadyActive, "blue is live already"),
        (empty, ask("5%"), moment(1), NoUpstreams, "green has no upstreams"),
        (now(), ask("5%"), ill, Unhealthy, "green is not healthy (503)"),
        (
            now(),
            stale,
            moment(1),
            GenerationMoved,
            "generation 2 was expected, but it is 1: somebody else is acting",
        ),
        (
            now(),
            ask("0%"),
            moment(1),
            BadRequest,
            "a canary with 0% of the clients and no header, cookie or network gets nobody",
        ),
        (now(), both, moment(1), BadRequest, "a canary has either a share or steps"),
        (
            now(),
            steps(&["25%", "5%"], 60),
            moment(1),
            BadRequest,
            "each step of a canary is a larger share than the one before",
        ),
        (now(), steps(&["5%"], 0), moment(1), BadRequest, "a step of a canary takes a second or more"),
        (now(), steps(&[], 60), moment(1), BadRequest, "the steps of a canary are at least one share"),
        (now(), many, moment(1), BadRequest, "a canary looks for at most 16 headers and 16 cookies"),
    ] {
        let denied = canary(&routing, &request, moment).expect_err(words);
        assert_eq!(denied.reason, reason);
        assert_eq!(denied.message, format!("{words}; blue is live, generation 1, nothing was changed"));
    }
    let none = abort(&now(), &CanaryAbortRequest::default(), Timestamp::UNIX_EPOCH).expect_err("none");
    assert_eq!(none.reason, RefusalReason::UnknownCanary);
}

#[test]
fn an_ill_slot_gets_fewer_clients_but_no_more() {
    let begun = going_on(&ask("10%"));
    let ill = Moment { health: Health::Unhealthy, ..moment(2) };
    assert!(canary(&begun, &ask("20%"), ill).is_err());
    assert!(canary(&begun, &ask("5%"), ill).is_ok());
    assert!(canary(&begun, &CanaryRequest { force: true, ..ask("20%") }, ill).is_ok());
}

#[test]
fn who_lost_the_lease_moves_no_canary() {
    let fence = |number, holder: &str| Some(Fence { number, holder: holder.to_owned() });
    let begun = going_on(&CanaryRequest { fence: fence(2, "bob"), ..ask("10%") });
    assert_eq!(begun.fence, fence(2, "bob"));
    let late = canary(&begun, &CanaryRequest { fence: fence(1, "ann"), ..ask("20%") }, moment(2));
    assert_eq!(late.expect_err("refused").reason, RefusalReason::StaleFence);
    let late = CanaryAbortRequest { fence: fence(1, "ann"), ..CanaryAbortRequest::default() };
    let late = abort(&begun, &late, Timestamp::UNIX_EPOCH);
    assert_eq!(late.expect_err("refused").reason, RefusalReason::StaleFence);
}
