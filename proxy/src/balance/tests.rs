//! What choosing promises, over epochs that nobody serves.

use std::collections::BTreeMap;

use switcher_config::Weight;

use super::*;
use crate::testing::epoch;

fn weighted(weights: &[u16]) -> std::sync::Arc<Epoch> {
    let epoch = epoch(weights.len() as u16);
    for (upstream, weight) in epoch.upstreams.iter().zip(weights) {
        upstream.upstream.set_weight(Weight::try_from(*weight).expect("a weight"));
    }
    epoch
}

fn ask(rule: Rule) -> Ask {
    Ask { rule, ..Ask::default() }
}

fn chosen(epoch: &Epoch, ask: Ask) -> Option<usize> {
    choose(epoch, ask).map(|(index, _)| index)
}

fn order(epoch: &Epoch, ask: Ask, count: usize) -> Vec<usize> {
    (0..count).filter_map(|_| chosen(epoch, ask)).collect()
}

fn counts(order: &[usize], upstreams: usize) -> Vec<usize> {
    (0..upstreams).map(|index| order.iter().filter(|chosen| **chosen == index).count()).collect()
}

#[test]
fn round_robin_takes_turns_and_never_repeats_a_tried_one() {
    let epoch = epoch(3);
    assert_eq!(order(&epoch, Ask::default(), 6), [0, 1, 2, 0, 1, 2]);
    let mut tried = Tried::default();
    for _ in 0..3 {
        let index = chosen(&epoch, Ask { tried, ..Ask::default() }).expect("one is left");
        assert!(!tried.contains(index));
        tried.insert(index);
    }
    assert!(choose(&epoch, Ask { tried, ..Ask::default() }).is_none());
}

#[test]
fn weights_are_kept_exactly_in_every_round_and_spread_evenly() {
    for weights in [&[1, 3][..], &[5, 1, 1], &[1, 2, 3, 4], &[100, 99, 1], &[7, 0, 3]] {
        let (epoch, round) = (weighted(weights), weights.iter().map(|w| usize::from(*w)).sum());
        for _ in 0..20 {
            let order = order(&epoch, Ask::default(), round);
            let wanted: Vec<usize> = weights.iter().map(|w| usize::from(*w)).collect();
            assert_eq!(counts(&order, weights.len()), wanted, "{weights:?}");
        }
    }
    let order = order(&weighted(&[5, 1, 1]), Ask::default(), 7);
    assert!(order.windows(4).all(|four| four != [0, 0, 0, 0]), "{order:?}");
}

#[test]
fn weights_are_kept_by_threads_that_choose_at_once() {
    let epoch = weighted(&[1, 2, 5]);
    let orders: Vec<Vec<usize>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| order(&epoch, Ask::default(), 2000))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an order")).collect()
    });
    let counts = counts(&orders.concat(), 3);
    for (count, fair) in counts.iter().zip([1000_usize, 2000, 5000]) {
        assert!(count.abs_diff(fair) <= 50, "{counts:?}");
    }
}

#[test]
fn who_was_out_makes_up_for_nothing() {
    let epoch = epoch(2);
    epoch.upstreams[0].upstream.suspect("connection refused");
    assert_eq!(counts(&order(&epoch, Ask::default(), 1000), 2), [0, 1000]);
    // Weight 0 and back stands for any other way to be out.
    let epoch = weighted(&[0, 1]);
    assert_eq!(counts(&order(&epoch, Ask::default(), 1000), 2), [0, 1000]);
    epoch.upstreams[0].upstream.set_weight(Weight::ONE);
    let counts = counts(&order(&epoch, Ask::default(), 10), 2);
    assert!(counts[0].abs_diff(counts[1]) <= 2, "{counts:?}");
}

#[test]
fn the_least_loaded_for_its_weight_is_preferred() {
    let epoch = weighted(&[1, 1, 1]);
    for (upstream, load) in epoch.upstreams.iter().zip([5, 1, 3]) {
        upstream.in_flight.store(load, Ordering::Relaxed);
    }
    assert_eq!(chosen(&epoch, ask(Rule::LeastInFlight)), Some(1));
    epoch.upstreams[0].upstream.set_weight(Weight::try_from(10).expect("a weight"));
    assert_eq!(chosen(&epoch, ask(Rule::LeastInFlight)), Some(0));
}

#[test]
fn a_suspect_comes_last_but_is_tried_when_nothing_else_is_left() {
    let epoch = epoch(2);
    epoch.upstreams[0].upstream.suspect("connection refused");
    for rule in [Rule::Turns, Rule::LeastInFlight, Rule::Hash(1), Rule::Hash(2), Rule::Hash(3)] {
        assert_eq!(order(&epoch, ask(rule), 4), [1; 4], "{rule:?}");
    }
    epoch.upstreams[1].upstream.suspect("connection refused");
    assert!(choose(&epoch, Ask::default()).is_some());
}

#[test]
fn nothing_goes_to_an_upstream_of_weight_0_not_even_in_need() {
    for rule in [Rule::Turns, Rule::LeastInFlight, Rule::Hash(7), Rule::Sticky(Some(Mark(9)))] {
        let epoch = weighted(&[0, 1]);
        epoch.upstreams[0].upstream.set_mark(|| Mark(9));
        epoch.upstreams[1].upstream.suspect("connection refused");
        assert_eq!(order(&epoch, ask(rule), 4), [1; 4], "{rule:?}");
        assert_eq!(chosen(&weighted(&[0]), ask(rule)), None);
    }
}

#[test]
fn a_value_stays_with_its_upstream_while_that_is_usable_and_returns_to_it() {
    let epoch = epoch(5);
    let homes: BTreeMap<u64, usize> =
        (0..500).filter_map(|v| Some((v, chosen(&epoch, ask(Rule::Hash(v)))?))).collect();
    let lost = homes[&0];
    let mut tried = Tried::default();
    tried.insert(lost);
    for (value, home) in &homes {
        let now = chosen(&epoch, Ask { rule: Rule::Hash(*value), tried, ..Ask::default() });
        assert_eq!(now == Some(*home), *home != lost, "{value}");
        assert_eq!(chosen(&epoch, ask(Rule::Hash(*value))), Some(*home));
    }
}

#[test]
fn a_mark_leads_to_its_upstream_and_a_strange_or_useless_one_to_any() {
    let epoch = epoch(3);
    for (index, upstream) in epoch.upstreams.iter().enumerate() {
        upstream.upstream.set_mark(|| Mark(index as u64));
    }
    assert_eq!(order(&epoch, ask(Rule::Sticky(Some(Mark(2)))), 5), [2; 5]);
    assert_eq!(order(&epoch, ask(Rule::Sticky(Some(Mark(99)))), 3), [0, 1, 2]);
    assert_eq!(order(&epoch, ask(Rule::Sticky(None)), 3), [0, 1, 2]);
    epoch.upstreams[2].upstream.suspect("connection refused");
    assert!(order(&epoch, ask(Rule::Sticky(Some(Mark(2)))), 4).iter().all(|index| *index != 2));
}

#[test]
fn a_fresh_upstream_grows_from_a_tenth_of_its_weight_to_all_of_it() {
    let growth = |now| Growth { now: Tick(now), over: Duration::from_secs(30) };
    for (now, share) in
        [(1000, 100), (4000, 100), (16_000, 500), (30_999, 999), (31_000, 1000), (99_000, 1000)]
    {
        assert_eq!(growth(now).share(1000, Tick(1000)), share, "at {now}");
    }
    assert_eq!(growth(500).share(1000, Tick(1000)), 100, "a clock read a moment before");
    assert!(stride(growth(0).share(WHOLE, Tick(0))).is_some());
}

#[test]
fn growth_is_seen_in_the_turns_and_nobody_starves_when_all_are_fresh() {
    let epoch = epoch(2);
    let [old, fresh] = [0, 1].map(|index| epoch.upstreams[index].upstream.risen());
    let at = |age: u64| Growth { now: Tick(old.0.max(fresh.0) + age), over: Duration::from_secs(30) };
    let both = Ask { growth: Some(at(0)), ..Ask::default() };
    assert_eq!(counts(&order(&epoch, both, 100), 2), [50, 50]);
    // The first has been there for longer than it takes to grow; the second rises 15 s before now.
    let epoch = crate::testing::epoch(2);
    let now = Tick(epoch.upstreams[0].upstream.risen().0 + 60_000);
    epoch.upstreams[1].upstream.rise(Tick(now.0 - 15_000));
    let half = Ask { growth: Some(Growth { now, over: Duration::from_secs(30) }), ..Ask::default() };
    assert_eq!(counts(&order(&epoch, half, 300), 2), [200, 100]);
}
