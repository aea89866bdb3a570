//! What may be asked for at all: the pure part of certificates on demand.
//!
//! Takes `now`, reads no clock, never waits. Anybody may send any name, millions of them, so everything here
//! has a fixed size.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How many refusals are remembered. With more strangers than that the oldest are forgotten, and asked about again.
const REFUSALS: usize = 10_000;

/// How many names may be asked about at once.
const UNDER_WAY: usize = 64;

/// Why a name gets no certificate now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be the name of a site.
    #[error("{name:?} is not the name of a site: {why}")]
    Name {
        /// The name, cut where it is endless.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The ask URL said no.
    #[error("the ask URL does not allow {name}: it answers {status}")]
    Denied {
        /// The name.
        name: String,
        /// The status of its answer.
        status: u16,
    },
    /// The ask URL did not say anything.
    #[error("the ask URL could not be asked about {name}: {why}; check `acme.on_demand.ask`")]
    Unasked {
        /// The name.
        name: String,
        /// What happened instead.
        why: String,
    },
    /// Enough were allowed for now.
    #[error(
        "{limit} certificates were allowed within {} s, which is the limit; \
         raise `acme.on_demand.limit` if {name} is not an attack",
        .window.as_secs()
    )]
    Limit {
        /// The name.
        name: String,
        /// How many may be.
        limit: u32,
        /// Within which time.
        window: Duration,
    },
    /// Too many are asked about at this moment.
    #[error("{UNDER_WAY} other names are being asked about at this moment; {name} has to come again")]
    Busy {
        /// The name.
        name: String,
    },
}

impl Refusal {
    /// How long it holds: an answer as long as `refusal`, an accident for a short while, what depends on others not
    /// at all.
    fn lasts(&self, refusal: Duration) -> Option<Duration> {
        match self {
            Self::Denied { .. } => Some(refusal),
            Self::Unasked { .. } => Some(refusal.min(MOMENT)),
            Self::Name { .. } | Self::Limit { .. } | Self::Busy { .. } => None,
        }
    }
}

/// How long a failure to ask is remembered, and that a name is allowed: long enough to spare a server in trouble,
/// short enough for a restart.
const MOMENT: Duration = Duration::from_secs(10);

/// What to do about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ask, and then say what came of it with [`Gate::answered`].
    Ask,
    /// It was allowed a moment ago: by the question that this visitor waited for.
    Allow,
    /// Somebody asks already; wait for them.
    Wait,
    /// Not now.
    Refuse(Refusal),
}

/// The limits and what is remembered.
#[derive(Debug)]
pub struct Gate {
    limit: u32,
    window: Duration,
    refusal: Duration,
    refused: HashMap<String, (Instant, Refusal)>,
    /// The refused ones from the oldest on, with the moment each was put in, so that a newer refusal of the same
    /// name is not taken for the old one.
    order: VecDeque<(Instant, String)>,
    under_way: Vec<String>,
    /// The names that were allowed in this window, from the oldest on. Never more than the limit.
    allowed: VecDeque<(Instant, String)>,
}

impl Gate {
    /// At most `limit` names within `window`; a refusal holds for `refusal`.
    #[must_use]
    pub fn new(limit: u32, window: Duration, refusal: Duration) -> Self {
        let (refused, order, under_way, allowed) = Default::default();
        Self { limit, window, refusal, refused, order, under_way, allowed }
    }

    /// What to do about this name, which is in lower case and valid. After [`Decision::Ask`] it is under way until
    /// [`Gate::answered`] or [`Gate::given_up`].
    pub fn decide(&mut self, name: &str, now: Instant) -> Decision {
        self.forget(now);
        if let Some((_, refusal)) = self.refused.get(name).filter(|(until, _)| *until > now) {
            return Decision::Refuse(refusal.clone());
        }
        if self.allowed_at(name).is_some_and(|at| now.duration_since(at) < MOMENT) {
            return Decision::Allow;
        }
        if self.under_way.iter().any(|other| other == name) {
            return Decision::Wait;
        }
        if let Some(refusal) = self.full(name) {
            return Decision::Refuse(refusal);
        }
        if self.under_way.len() >= UNDER_WAY {
            return Decision::Refuse(Refusal::Busy { name: name.to_owned() });
        }
        self.under_way.push(name.to_owned());
        Decision::Ask
    }

    /// What came of asking; the verdict that counts, as the limit may have been reached in between.
    ///
    /// # Errors
    /// When the name is refused.
    pub fn answered(&mut self, name: &str, answer: Result<(), Refusal>, now: Instant) -> Result<(), Refusal> {
        self.given_up(name);
        self.forget(now);
        let verdict = match answer {
            Ok(()) => self.full(name).map_or(Ok(()), Err),
            Err(refusal) => Err(refusal),
        };
        match &verdict {
            Ok(()) => {
                // A name that comes again takes no second place.
                self.allowed.retain(|(_, other)| other != name);
                self.allowed.push_back((now, name.to_owned()));
            }
            Err(refusal) => self.remember(name, refusal, now),
        }
        verdict
    }

    /// Nobody asks about it any more.
    pub fn given_up(&mut self, name: &str) {
        self.under_way.retain(|other| other != name);
    }

    fn allowed_at(&self, name: &str) -> Option<Instant> {
        self.allowed.iter().find(|(_, other)| other == name).map(|(at, _)| *at)
    }

    fn full(&self, name: &str) -> Option<Refusal> {
        let full = self.allowed.len() >= usize::try_from(self.limit).unwrap_or(usize::MAX)
            && self.allowed_at(name).is_none();
        full.then(|| Refusal::Limit { name: name.to_owned(), limit: self.limit, window: self.window })
    }

    fn remember(&mut self, name: &str, refusal: &Refusal, now: Instant) {
        let Some(lasts) = refusal.lasts(self.refusal) else { return };
        let until = now + lasts;
        self.refused.insert(name.to_owned(), (until, refusal.clone()));
        self.order.push_back((until, name.to_owned()));
        while self.order.len() > REFUSALS {
            self.drop_oldest();
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.drop_oldest();
        }
        while self.allowed.front().is_some_and(|(at, _)| now.duration_since(*at) >= self.window) {
            self.allowed.pop_front();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((until, name)) = self.order.pop_front() else { return };
        if self.refused.get(&name).is_some_and(|(newest, _)| *newest == until) {
            self.refused.remove(&name);
        }
    }
}

/// The name in lower case, when it can be the name of a site.
///
/// # Errors
/// When it cannot: an address, a single label, a wildcard, too long, or no DNS name at all.
pub fn valid(name: &str) -> Result<String, Refusal> {
    let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let why = if lower.is_empty() || lower.len() > 253 {
        "it is empty, or longer than 253 characters"
    } else if crate::lineage::is_address(&lower) {
        "it is an address"
    } else if !lower.contains('.') {
        "it has no dot"
    } else if !lower.split('.').all(is_label) {
        "a part of it has other characters than letters, digits and inner hyphens, or more than 63"
    } else if lower.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        "its last part is a number"
    } else {
        return Ok(lower);
    };
    Err(Refusal::Name { name: name.chars().take(64).collect(), why })
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn gate(limit: u32) -> Gate {
        Gate::new(limit, 60 * MINUTE, 5 * MINUTE)
    }

    fn denied(name: &str) -> Refusal {
        Refusal::Denied { name: name.to_owned(), status: 404 }
    }

    fn unasked(name: &str) -> Refusal {
        Refusal::Unasked { name: name.to_owned(), why: "no connection".to_owned() }
    }

    #[test]
    fn a_refusal_is_remembered_for_its_time_and_an_accident_for_a_shorter_one() {
        let (mut gate, start) = (gate(20), Instant::now());
        for (refusal, lasts) in [(denied("a.example"), 5 * MINUTE), (unasked("a.example"), MOMENT)] {
            assert_eq!(gate.decide("a.example", start), Decision::Ask);
            assert_eq!(gate.answered("a.example", Err(refusal.clone()), start), Err(refusal.clone()));
            let just_before = start + lasts - Duration::from_millis(1);
            assert_eq!(gate.decide("a.example", just_before), Decision::Refuse(refusal));
            assert_eq!(gate.decide("a.example", start + lasts), Decision::Ask);
            gate.given_up("a.example");
            gate = Gate::new(20, 60 * MINUTE, 5 * MINUTE);
        }
    }

    #[test]
    fn a_name_is_asked_about_by_one_at_a_time() {
        let (mut gate, now) = (gate(20), Instant::now());
        assert_eq!(gate.decide("a.example", now), Decision::Ask);
        assert_eq!(gate.decide("a.example", now), Decision::Wait);
        assert_eq!(gate.decide("b.example", now), Decision::Ask);
        gate.given_up("a.example");
        assert_eq!(gate.decide("a.example", now), Decision::Ask);
        for n in gate.under_way.len()..UNDER_WAY {
            assert_eq!(gate.decide(&format!("{n}.example"), now), Decision::Ask);
        }
        let busy = Refusal::Busy { name: "z.example".to_owned() };
        assert_eq!(gate.decide("z.example", now), Decision::Refuse(busy));
    }

    #[test]
    fn the_limit_counts_what_was_allowed_within_the_window() {
        let (mut gate, start) = (gate(2), Instant::now());
        for name in ["a.example", "b.example", "late.example"] {
            assert_eq!(gate.decide(name, start), Decision::Ask);
        }
        for name in ["a.example", "b.example"] {
            assert_eq!(gate.answered(name, Ok(()), start), Ok(()));
        }
        // It was asked about before the limit was reached, and answered after.
        let full = |name: &str| Refusal::Limit { name: name.to_owned(), limit: 2, window: 60 * MINUTE };
        assert_eq!(gate.answered("late.example", Ok(()), start), Err(full("late.example")));
        assert_eq!(gate.decide("c.example", start + 59 * MINUTE), Decision::Refuse(full("c.example")));
        assert_eq!(gate.decide("c.example", start + 60 * MINUTE), Decision::Ask, "the window has passed");
    }

    #[test]
    fn an_allowed_name_is_asked_about_again_later_and_takes_no_second_place() {
        let (mut gate, start) = (gate(1), Instant::now());
        assert_eq!(gate.decide("a.example", start), Decision::Ask);
        assert_eq!(gate.answered("a.example", Ok(()), start), Ok(()));
        assert_eq!(gate.decide("a.example", start + MOMENT / 2), Decision::Allow);
        let later = start + MOMENT;
        assert_eq!(gate.decide("a.example", later), Decision::Ask);
        assert_eq!(
            gate.answered("a.example", Ok(()), later),
            Ok(()),
            "the limit of one is kept all the same"
        );
        assert_eq!(gate.allowed.len(), 1);
        let again = later + MOMENT;
        assert_eq!(gate.decide("a.example", again), Decision::Ask);
        let refusal = denied("a.example");
        assert_eq!(gate.answered("a.example", Err(refusal.clone()), again), Err(refusal.clone()));
        assert_eq!(gate.decide("a.example", again), Decision::Refuse(refusal), "it was withdrawn");
    }

    #[test]
    fn memory_stays_flat_however_many_names_come() {
        let (mut gate, start) = (gate(20), Instant::now());
        for n in 0..REFUSALS + 500 {
            let name = format!("{n}.example");
            assert_eq!(gate.decide(&name, start), Decision::Ask);
            gate.answered(&name, Err(denied(&name)), start).expect_err("denied");
        }
        assert_eq!((gate.refused.len(), gate.order.len()), (REFUSALS, REFUSALS));
        assert_eq!(gate.decide("0.example", start), Decision::Ask, "the oldest is forgotten");
        assert_eq!(gate.decide("9999.example", start), Decision::Refuse(denied("9999.example")));
        gate.forget(start + 5 * MINUTE);
        assert!(gate.refused.is_empty() && gate.order.is_empty());
    }

    #[test]
    fn only_names_of_sites_are_asked_about() {
        for (name, lower) in [
            ("Shop.Example.com", "shop.example.com"),
            ("shop.example.com.", "shop.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(valid(name).as_deref(), Ok(lower));
        }
        let long = format!("{}.example", "a".repeat(64));
        let endless = "a.".repeat(200) + "example";
        for name in [
            "",
            ".",
            "localhost",
            "192.0.2.1",
            "2001:db8::1",
            "*.example.com",
            "a..example",
            "-a.example",
            "a-.example",
            "a_b.example",
            "a b.example",
            "ä.example",
            "a.example/..",
            "a.999",
            &long,
            &endless,
        ] {
            let refusal = valid(name).expect_err(name);
            assert!(refusal.to_string().len() < 300, "{refusal}");
        }
    }
}
