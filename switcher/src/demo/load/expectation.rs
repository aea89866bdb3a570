//! Who may answer: the referee between the switches and the requests.
//!
//! The switching side announces a version before it promotes it and settles once the promote has
//! returned. A request notes where that history stands when it begins. From then on the settled
//! version and everything announced later may answer it; anything older is the wrong slot.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The history of switches, shared by the switching side and every client.
#[derive(Debug)]
pub struct Expectation(Mutex<History>);

/// The pure core: what was announced when, and how much of it is settled.
#[derive(Debug)]
struct History {
    announced: Vec<Announced>,
    /// The index of the oldest version that may answer a request that begins now.
    settled: usize,
}

#[derive(Debug)]
struct Announced {
    version: String,
    at: Instant,
}

/// Where the history stood when a request began.
#[derive(Debug, Clone, Copy)]
pub struct Begun(usize);

/// Which switch an answer belongs to: the index of its version in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Era(usize);

impl Expectation {
    /// The expectation before the first switch.
    pub fn new(version: impl Into<String>) -> Self {
        let first = Announced { version: version.into(), at: Instant::now() };
        Self(Mutex::new(History { announced: vec![first], settled: 0 }))
    }

    /// `version` is about to be promoted: from now on it may answer as well.
    pub fn announce(&self, version: impl Into<String>) {
        let announced = Announced { version: version.into(), at: Instant::now() };
        self.history().announced.push(announced);
    }

    /// The promote has returned: only the version announced last may answer what begins from now on.
    pub fn settle(&self) {
        let mut history = self.history();
        history.settled = history.announced.len() - 1;
    }

    /// A request begins.
    #[must_use]
    pub fn begin(&self) -> Begun {
        Begun(self.history().settled)
    }

    /// Whether `version` may answer the request that began at `begun`.
    ///
    /// # Errors
    /// A sentence, when it may not.
    pub fn judge(&self, begun: Begun, version: &str) -> Result<Era, String> {
        self.history().judge(begun, version)
    }

    /// Whether the drain deadline of a stream of `era` is over: a later switch was announced at
    /// least `drain` ago. The switch itself happens after its announcement, so this never calls a
    /// stream cut in time a stream cut early.
    #[must_use]
    pub fn may_be_cut(&self, era: Era, drain: Duration, now: Instant) -> bool {
        let history = self.history();
        let left_at = history.announced.get(era.0 + 1).map(|next| next.at);
        left_at.is_some_and(|at| now.saturating_duration_since(at) >= drain)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    fn judge(&self, begun: Begun, version: &str) -> Result<Era, String> {
        let allowed = &self.announced[begun.0..];
        // The oldest match, when a version was live twice meanwhile: in doubt a cut is not called early.
        match allowed.iter().position(|announced| announced.version == version) {
            Some(index) => Ok(Era(begun.0 + index)),
            None => {
                let names: Vec<_> = allowed.iter().map(|announced| announced.version.as_str()).collect();
                Err(format!("{version} answered a request that began when {} was live", names.join(" or ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(1);

    #[test]
    fn after_the_promote_returned_only_the_new_version_may_answer() {
        let expectation = Expectation::new("v1");
        let before = expectation.begin();
        expectation.announce("v2");
        let during = expectation.begin();
        expectation.settle();
        let after = expectation.begin();
        for begun in [before, during] {
            assert!(expectation.judge(begun, "v1").is_ok() && expectation.judge(begun, "v2").is_ok());
        }
        assert!(expectation.judge(after, "v2").is_ok());
        assert_eq!(
            expectation.judge(after, "v1"),
            Err("v1 answered a request that began when v2 was live".to_owned())
        );
    }

    #[test]
    fn before_the_announcement_the_new_version_may_not_answer() {
        let expectation = Expectation::new("v1");
        assert!(expectation.judge(expectation.begin(), "v2").is_err());
    }

    #[test]
    fn a_version_that_comes_back_belongs_to_its_newest_time() {
        let expectation = Expectation::new("v1");
        for version in ["v2", "v1"] {
            expectation.announce(version);
            expectation.settle();
        }
        let begun = expectation.begin();
        assert_eq!(expectation.judge(begun, "v1"), Ok(Era(2)));
        assert!(expectation.judge(begun, "v2").is_err());
    }

    #[test]
    fn a_stream_may_be_cut_only_when_its_own_switch_is_a_drain_ago() {
        let expectation = Expectation::new("v1");
        let now = Instant::now();
        assert!(!expectation.may_be_cut(Era(0), DRAIN, now + DRAIN * 9), "there was no switch");
        expectation.announce("v2");
        let announced = Instant::now();
        assert!(!expectation.may_be_cut(Era(0), DRAIN, announced));
        assert!(expectation.may_be_cut(Era(0), DRAIN, announced + DRAIN));
        assert!(!expectation.may_be_cut(Era(1), DRAIN, announced + DRAIN), "it is on the new slot");
    }
}
