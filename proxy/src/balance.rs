//! Which upstream of an epoch a request goes to.
//!
//! A request never goes twice to an upstream that it has tried. Upstreams that are not usable come
//! last: when none is usable one is tried all the same, for a refused try tells more than a refusal.

use std::sync::atomic::Ordering;

use switcher_config::settings::Balance;

use crate::epoch::{Epoch, EpochUpstream};

/// The upstreams a request has tried, as a set of indices. More than 64 upstreams share the last bit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried(u64);

impl Tried {
    /// Notes one more.
    pub fn insert(&mut self, index: usize) {
        self.0 |= Self::bit(index);
    }

    /// Whether it was tried.
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    fn bit(index: usize) -> u64 {
        1 << index.min(63)
    }
}

/// The next upstream and its index; `None` when every one has been tried or there is none.
#[must_use]
pub fn choose(epoch: &Epoch, balance: Balance, tried: Tried) -> Option<(usize, &EpochUpstream)> {
    let all = &epoch.upstreams;
    let start = match all.len() {
        0 => return None,
        1 => 0,
        n => epoch.turn.fetch_add(1, Ordering::Relaxed) % n,
    };
    let in_turn = || {
        (0..all.len())
            .map(|step| (start + step) % all.len())
            .filter(|index| !tried.contains(*index))
            .map(|index| (index, &all[index]))
    };
    let usable = || in_turn().filter(|(_, candidate)| candidate.upstream.usable());
    let chosen = match balance {
        Balance::RoundRobin => usable().next(),
        Balance::LeastInFlight => usable().min_by_key(|(_, c)| c.in_flight.load(Ordering::Relaxed)),
    };
    chosen.or_else(|| in_turn().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;

    #[test]
    fn round_robin_takes_turns_and_never_repeats_a_tried_one() {
        let epoch = epoch(3);
        let order: Vec<usize> = (0..6)
            .filter_map(|_| choose(&epoch, Balance::RoundRobin, Tried::default()).map(|(i, _)| i))
            .collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
        let mut tried = Tried::default();
        for _ in 0..3 {
            let (index, _) = choose(&epoch, Balance::RoundRobin, tried).expect("one is left");
            assert!(!tried.contains(index));
            tried.insert(index);
        }
        assert!(choose(&epoch, Balance::RoundRobin, tried).is_none());
    }

    #[test]
    fn the_least_loaded_is_preferred() {
        let epoch = epoch(3);
        for (upstream, load) in epoch.upstreams.iter().zip([5, 1, 3]) {
            upstream.in_flight.store(load, Ordering::Relaxed);
        }
        assert_eq!(choose(&epoch, Balance::LeastInFlight, Tried::default()).map(|(i, _)| i), Some(1));
    }

    #[test]
    fn a_suspect_comes_last_but_is_tried_when_nothing_else_is_left() {
        let epoch = epoch(2);
        epoch.upstreams[0].upstream.suspect("connection refused");
        for _ in 0..4 {
            assert_eq!(choose(&epoch, Balance::RoundRobin, Tried::default()).map(|(i, _)| i), Some(1));
        }
        epoch.upstreams[1].upstream.suspect("connection refused");
        assert!(choose(&epoch, Balance::RoundRobin, Tried::default()).is_some());
    }
}
