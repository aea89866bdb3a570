//! Which upstream of an epoch a request goes to.
//!
//! A request never goes twice to an upstream that it has tried, but for one stale connection of the pool, and never to one
//! of weight 0. Upstreams that are not usable come last: when none is usable one is tried all the same, for a refused try
//! tells more than a refusal.
//!
//! A decision is a function of an [`Ask`] and of what the epoch counts; it takes `now`, waits for nothing and locks nothing.
//! With one upstream, which is most of the time, there is nothing to choose.

pub mod hash;
pub mod room;
pub mod turns;

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderMap;
use switcher_config::settings::{AppSettings, Balance, HashBy};

use crate::epoch::{Epoch, EpochUpstream};
use crate::forwarded::Client;
use crate::sticky::{self, Mark};
use crate::tick::{Tick, millis};

use turns::{Turn, WHOLE, stride};

/// The upstreams a request has tried, as a set of indices. More than 64 upstreams share the last bit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried(u64);

impl Tried {
    /// Notes one more.
    pub fn insert(&mut self, index: usize) {
        self.0 |= Self::bit(index);
    }

    /// Forgets one.
    pub fn remove(&mut self, index: usize) {
        self.0 &= !Self::bit(index);
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

/// By what one request is given its upstream. Made once a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rule {
    /// In turn, by weight.
    #[default]
    Turns,
    /// The one with the fewest requests in flight for its weight; among equals in turn.
    LeastInFlight,
    /// The best draw for this value.
    Hash(u64),
    /// The one with this mark, and in turn without it.
    Sticky(Option<Mark>),
}

impl Rule {
    /// The rule for a request. A request without the value to hash by takes turns.
    #[must_use]
    pub fn of(balance: &Balance, client: &Client, headers: &HeaderMap, path: &str) -> Self {
        let by = match balance {
            Balance::RoundRobin => return Self::Turns,
            Balance::LeastInFlight => return Self::LeastInFlight,
            Balance::Sticky(name) => return Self::Sticky(sticky::brought(headers, name)),
            Balance::Hash(by) => by,
        };
        let value = match by {
            HashBy::Client => match client.ip {
                std::net::IpAddr::V4(ip) => Some(hash::of(&ip.octets())),
                std::net::IpAddr::V6(ip) => Some(hash::of(&ip.octets())),
            },
            HashBy::Header(name) => headers.get(name.as_str()).map(|value| hash::of(value.as_bytes())),
            HashBy::Cookie(name) => sticky::cookie(headers, name).map(hash::of),
            HashBy::Path => Some(hash::of(path.as_bytes())),
        };
        value.map_or(Self::Turns, Self::Hash)
    }
}

impl Rule {
    /// The mark of the upstream that knows the visitor.
    const fn mark(self) -> Option<Mark> {
        match self {
            Self::Sticky(mark) => mark,
            Self::Turns | Self::LeastInFlight | Self::Hash(_) => None,
        }
    }
}

/// How far an upstream has grown that is fresh: from a tenth of its weight to all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    now: Tick,
    over: Duration,
}

impl Growth {
    /// `None` when upstreams get all of their weight at once.
    #[must_use]
    pub fn of(settings: &AppSettings) -> Option<Self> {
        let over = settings.slow_start.0;
        (!over.is_zero()).then(|| Self { now: Tick::now(), over })
    }

    /// What is left of a share for an upstream that is well since `risen`. Shares are compared with each other only,
    /// so upstreams that are all as fresh, as after a switch, get what they would get anyway.
    #[must_use]
    pub fn share(self, whole: u64, risen: Tick) -> u64 {
        let (age, over) = (self.now.since(risen), millis(self.over).max(1));
        if age >= over {
            return whole;
        }
        // A tenth of an unit at least, so the share is never nothing.
        (u128::from(whole) * u128::from(age) / u128::from(over)).try_into().unwrap_or(whole).max(whole / 10)
    }
}

/// What one request asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// Its rule.
    pub rule: Rule,
    /// Where it was.
    pub tried: Tried,
    /// How fresh upstreams grow.
    pub growth: Option<Growth>,
    /// Now, where outliers are left out.
    pub outliers: Option<Tick>,
}

/// What came of looking for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// One with this upstream, which the caller gives back by [`Epoch::leave`].
    At(usize),
    /// Everybody who may be taken has as many requests as it may.
    Full,
    /// There is nobody left to take.
    Nobody,
}

/// Takes a place with the next upstream that has fewer than `max` requests.
#[must_use]
pub fn claim(epoch: &Epoch, ask: Ask, max: usize) -> Claim {
    let usable = |one: &EpochUpstream| ask.usable(one);
    let any = |_: &EpochUpstream| true;
    for may in [&usable as &dyn Fn(&EpochUpstream) -> bool, &any] {
        let mut may_be = candidates(epoch, ask, may).peekable();
        if may_be.peek().is_none() {
            continue;
        }
        // A visitor waits for the upstream that knows it.
        let home = ask.rule.mark().and_then(|mark| may_be.find(|(_, one)| one.upstream.mark() == Some(mark)));
        let home = home.map(|(index, _)| index);
        let room = |one: &EpochUpstream| may(one) && one.in_flight.load(Ordering::SeqCst) < max;
        loop {
            let index = match home {
                Some(index) => Some(index).filter(|index| epoch.upstreams.get(*index).is_some_and(room)),
                None => best(epoch, ask, &room),
            };
            let Some(index) = index else { return Claim::Full };
            if epoch.upstreams.get(index).is_some_and(|one| one.enter_below(max)) {
                return Claim::At(index);
            }
        }
    }
    Claim::Nobody
}

/// The next upstream and its index; `None` when every one has been tried or there is none.
#[must_use]
pub fn choose(epoch: &Epoch, ask: Ask) -> Option<(usize, &EpochUpstream)> {
    let all = &epoch.upstreams;
    if let [only] = &**all {
        return (!ask.tried.contains(0) && only.upstream.weight() > 0).then_some((0, only));
    }
    let usable = |one: &EpochUpstream| ask.usable(one);
    let index = best(epoch, ask, &usable).or_else(|| best(epoch, ask, &|_| true))?;
    all.get(index).map(|chosen| (index, chosen))
}

impl Ask {
    /// The same, asked now.
    fn at(mut self, now: Tick) -> Self {
        self.outliers = self.outliers.map(|_| now);
        self.growth = self.growth.map(|growth| Growth { now, ..growth });
        self
    }

    /// Whether any upstream will do: when there is no room for this one, there is none for any other.
    const fn is_plain(&self) -> bool {
        self.tried.0 == 0 && self.rule.mark().is_none()
    }

    /// Whether an upstream is thought well.
    fn usable(&self, one: &EpochUpstream) -> bool {
        one.upstream.usable() && self.outliers.is_none_or(|now| !one.upstream.is_out(now))
    }
}

/// Those that may be taken at all.
fn candidates<'a>(
    epoch: &'a Epoch,
    ask: Ask,
    may: &'a dyn Fn(&EpochUpstream) -> bool,
) -> impl Iterator<Item = (usize, &'a EpochUpstream)> {
    let all = epoch.upstreams.iter().enumerate();
    all.filter(move |(index, one)| !ask.tried.contains(*index) && one.upstream.weight() > 0 && may(one))
}

/// The best of those that may be taken.
fn best(epoch: &Epoch, ask: Ask, may: &dyn Fn(&EpochUpstream) -> bool) -> Option<usize> {
    let candidates = || candidates(epoch, ask, may);
    match ask.rule {
        Rule::Turns | Rule::Sticky(None) => in_turn(epoch, ask, candidates, |_, _| 0),
        Rule::LeastInFlight => in_turn(epoch, ask, candidates, |one, stride| {
            (one.in_flight.load(Ordering::Relaxed) as u64 + 1).saturating_mul(stride)
        }),
        Rule::Hash(value) => candidates()
            .map(|(index, one)| (hash::draw(value, one.hash, one.upstream.weight()), index))
            .min_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, index)| index),
        Rule::Sticky(mark) => {
            let known = candidates().find(|(_, one)| one.upstream.mark() == mark).map(|(index, _)| index);
            known.or_else(|| in_turn(epoch, ask, candidates, |_, _| 0))
        }
    }
}

/// The one with the least load, and among equals the one whose turn it is. Takes the turn.
fn in_turn<'a, I: Iterator<Item = (usize, &'a EpochUpstream)>>(
    epoch: &'a Epoch,
    ask: Ask,
    candidates: impl Fn() -> I,
    load: impl Fn(&EpochUpstream, u64) -> u64,
) -> Option<usize> {
    loop {
        let turn = |(index, one): (usize, &'a EpochUpstream)| {
            let whole = u64::from(one.upstream.weight()) * WHOLE;
            let share = ask.growth.map_or(whole, |growth| growth.share(whole, one.upstream.risen()));
            let stride = stride(share)?;
            Some((load(one, stride), epoch.line.turn(&one.place, stride), index, one))
        };
        let key = |(load, turn, ..): &(u64, Turn, usize, &EpochUpstream)| (*load, turn.ahead);
        let (_, turn, index, one) = candidates().filter_map(turn).min_by_key(key)?;
        if epoch.line.take(&one.place, turn) {
            return Some(index);
        }
    }
}

#[cfg(test)]
mod tests;
