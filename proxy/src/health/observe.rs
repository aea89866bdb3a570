//! Rise and fall: what a run of probes makes of an upstream. Pure.
//!
//! Invariant: an upstream becomes healthy only by `rise` passes in a row and unhealthy only by `fall` failures in a
//! row, or at once by a suspicion from real traffic, which the very next probe settles. Called by
//! [`crate::upstream::Upstream`].

use switcher_config::wire::Health;

/// What is known of one check of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Neither `rise` passes nor `fall` failures in a row yet.
    Unknown {
        /// Passes in a row.
        passes: u16,
        /// Failures in a row.
        failures: u16,
    },
    /// Passed `rise` probes in a row, and has not failed `fall` in a row since.
    Healthy {
        /// Failures in a row.
        failures: u16,
    },
    /// Refused a connection of real traffic; the next probe decides.
    Suspect {
        /// Whether it was healthy before; then one pass makes it so again.
        was_healthy: bool,
    },
    /// Failed `fall` probes in a row, and has not passed `rise` in a row since.
    Unhealthy {
        /// Passes in a row.
        passes: u16,
    },
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It found what is expected.
    Passed,
    /// It did not.
    Failed,
}

impl Observed {
    /// Before the first probe.
    pub const NOTHING: Self = Self::Unknown { passes: 0, failures: 0 };

    /// What users and the switch see.
    #[must_use]
    pub const fn health(self) -> Health {
        match self {
            Self::Unknown { .. } => Health::Unknown,
            Self::Healthy { .. } => Health::Healthy,
            Self::Suspect { .. } | Self::Unhealthy { .. } => Health::Unhealthy,
        }
    }

    /// A connection of real traffic failed.
    #[must_use]
    pub const fn suspected(self) -> Self {
        match self {
            Self::Unknown { .. } => Self::Suspect { was_healthy: false },
            Self::Healthy { .. } => Self::Suspect { was_healthy: true },
            Self::Suspect { .. } => self,
            Self::Unhealthy { .. } => Self::Unhealthy { passes: 0 },
        }
    }
}

/// What one more probe makes of it. `rise` and `fall` below 1 count as 1.
#[must_use]
pub fn observe(observed: &Observed, outcome: &Outcome, rise: u16, fall: u16) -> Observed {
    match outcome {
        Outcome::Passed => passed(*observed, rise.max(1)),
        Outcome::Failed => failed(*observed, fall.max(1)),
    }
}

const fn passed(observed: Observed, rise: u16) -> Observed {
    let (before, up): (u16, bool) = match observed {
        Observed::Healthy { .. } | Observed::Suspect { was_healthy: true } => {
            return Observed::Healthy { failures: 0 };
        }
        Observed::Unknown { passes, .. } => (passes, false),
        Observed::Suspect { was_healthy: false } => (0, false),
        Observed::Unhealthy { passes } => (passes, true),
    };
    let passes = before.saturating_add(1);
    if passes >= rise {
        Observed::Healthy { failures: 0 }
    } else if up {
        Observed::Unhealthy { passes }
    } else {
        Observed::Unknown { passes, failures: 0 }
    }
}

const fn failed(observed: Observed, fall: u16) -> Observed {
    let (before, was_healthy): (u16, bool) = match observed {
        Observed::Suspect { .. } | Observed::Unhealthy { .. } => return Observed::Unhealthy { passes: 0 },
        Observed::Unknown { failures, .. } => (failures, false),
        Observed::Healthy { failures } => (failures, true),
    };
    let failures = before.saturating_add(1);
    if failures >= fall {
        Observed::Unhealthy { passes: 0 }
    } else if was_healthy {
        Observed::Healthy { failures }
    } else {
        Observed::Unknown { passes: 0, failures }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Plays a history: `+` a pass, `-` a failure, `!` a suspicion; gives the health after each step.
    fn play(history: &str, rise: u16, fall: u16) -> String {
        let mut observed = Observed::NOTHING;
        let step = |c| {
            observed = match c {
                '+' => observe(&observed, &Outcome::Passed, rise, fall),
                '-' => observe(&observed, &Outcome::Failed, rise, fall),
                _ => observed.suspected(),
            };
            match observed.health() {
                Health::Unknown => '?',
                Health::Healthy => 'H',
                Health::Unhealthy => 'U',
            }
        };
        history.chars().map(step).collect()
    }

    #[test]
    fn health_rises_and_falls_by_runs() {
        for (history, seen) in [
            ("++", "?H"),
            ("+-++", "???H"),
            ("---", "??U"),
            ("--+---", "?????U"),
            ("++--+--", "?HHHHHH"),
            ("++---", "?HHHU"),
            ("++---+-++", "?HHHUUUUH"),
        ] {
            assert_eq!(play(history, 2, 3), seen, "{history}");
        }
        assert_eq!(play("+-+", 1, 1), "HUH");
        assert_eq!(play("+-", 0, 0), "HU", "zero counts as one");
    }

    #[test]
    fn a_suspicion_takes_an_upstream_out_at_once_and_the_next_probe_settles_it() {
        for (history, seen) in [
            ("++!+", "?HUH"),
            ("++!-+", "?HUUU"),
            ("++!-++", "?HUUUH"),
            ("!", "U"),
            ("!++", "U?H"),
            ("+!+", "?U?"),
            ("++!!+", "?HUUH"),
            ("---+!+", "??UUUU"),
        ] {
            assert_eq!(play(history, 2, 3), seen, "{history}");
        }
    }

    proptest! {
        /// Against the plain words of the rule: the last `rise` probes passed, or the last `fall` failed, or neither
        /// and the verdict before stands.
        #[test]
        fn without_suspicions_only_runs_count(history in prop::collection::vec(any::<bool>(), 0..60), rise in 1_u16..5, fall in 1_u16..5) {
            let mut observed = Observed::NOTHING;
            let mut expected = Health::Unknown;
            for end in 1..=history.len() {
                let outcome = if history[end - 1] { Outcome::Passed } else { Outcome::Failed };
                observed = observe(&observed, &outcome, rise, fall);
                let run = |of: bool| history[..end].iter().rev().take_while(|passed| **passed == of).count();
                if run(true) >= usize::from(rise) {
                    expected = Health::Healthy;
                } else if run(false) >= usize::from(fall) {
                    expected = Health::Unhealthy;
                }
                prop_assert_eq!(observed.health(), expected);
            }
        }

        /// However it got there, `rise` passes in a row make an upstream healthy and `fall` failures unhealthy.
        #[test]
        fn runs_always_win(history in "[+!-]{0,30}", rise in 1_u16..5, fall in 1_u16..5) {
            let passes = play(&format!("{history}{}", "+".repeat(rise.into())), rise, fall);
            prop_assert!(passes.ends_with('H'));
            let failures = play(&format!("{history}{}", "-".repeat(fall.into())), rise, fall);
            prop_assert!(failures.ends_with('U'));
        }
    }
}
