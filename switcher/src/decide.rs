//! May this slot be made live? The same question the proxy answers with authority; asked here first, so
//! that the answer is a good sentence and nothing is sent in vain. Pure.

use switcher_config::wire::{AppStatus, Health};
use switcher_config::{AppName, Generation, Slot};

use crate::code::Code;
use crate::phrase;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ask the proxy to switch, expecting this generation.
    Go {
        /// The generation that was looked at.
        expected: Generation,
    },
    /// The slot is live and healthy: there is nothing to do.
    Done,
    /// The slot is live and not healthy: there is nothing to switch, and all is not well.
    LiveButNotHealthy {
        /// Why it is not healthy.
        reason: String,
    },
    /// The slot has no upstreams.
    Empty,
    /// The slot is not healthy now; it may become so.
    NotHealthy {
        /// Unhealthy or unknown.
        health: Health,
        /// Why.
        reason: String,
    },
}

/// Decides on what an application's status says.
#[must_use]
pub fn decide(app: &AppStatus, slot: Slot, force: bool) -> Decision {
    let status = app.slots.get(slot);
    let reason = || phrase::reason(status);
    if app.active == slot {
        return match status.health {
            Health::Healthy => Decision::Done,
            Health::Unhealthy | Health::Unknown => Decision::LiveButNotHealthy { reason: reason() },
        };
    }
    if status.upstreams.is_empty() {
        return Decision::Empty;
    }
    match (status.health, force) {
        (Health::Healthy, true | false) | (Health::Unhealthy | Health::Unknown, true) => {
            Decision::Go { expected: app.generation }
        }
        (health @ (Health::Unhealthy | Health::Unknown), false) => {
            Decision::NotHealthy { health, reason: reason() }
        }
    }
}

impl Decision {
    /// Why the slot can be sent nobody, in the words of every verb that would; none when that is not the trouble.
    #[must_use]
    pub fn unfit(&self, app: &AppName, slot: Slot) -> Option<(Code, String)> {
        match self {
            Self::Empty => Some((
                Code::SlotEmpty,
                format!("{slot} of {app} has no upstreams, so nothing in it could answer"),
            )),
            Self::NotHealthy { health: Health::Unknown, reason } => Some((
                Code::HealthUnknown,
                format!("whether {slot} of {app} is healthy is not known yet: {reason}"),
            )),
            Self::NotHealthy { health: Health::Unhealthy | Health::Healthy, reason } => {
                Some((Code::HealthBad, format!("{slot} of {app} is not healthy: {reason}")))
            }
            Self::Go { .. } | Self::Done | Self::LiveButNotHealthy { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use switcher_config::PerSlot;
    use switcher_config::wire::{ByKind, Mode, SlotStatus, UpstreamStatus};

    use super::*;

    fn slot(health: Health, upstreams: usize) -> SlotStatus {
        let upstream = UpstreamStatus {
            address: "127.0.0.1:8001".parse().expect("an address"),
            weight: switcher_config::Weight::ONE,
            ejected: None,
            health,
            live: None,
            last_check: None,
            checks: Vec::new(),
        };
        SlotStatus {
            health,
            reason: (health == Health::Unhealthy).then(|| "it answered 503".to_owned()),
            release: None,
            upstreams: vec![upstream; upstreams],
            in_flight: ByKind::default(),
        }
    }

    fn app(active: Slot, green: SlotStatus) -> AppStatus {
        AppStatus {
            active,
            generation: "7".parse().expect("a generation"),
            mode: Mode::Open,
            held: 0,
            slots: PerSlot { blue: slot(Health::Healthy, 1), green },
            draining: Vec::new(),
            fence: None,
            bake: None,
            canary: None,
            release_affinity: None,
        }
    }

    #[test]
    fn every_case_of_promoting_green_has_its_answer() {
        use Health::{Healthy, Unhealthy, Unknown};
        let go = || Decision::Go { expected: "7".parse().expect("a generation") };
        let bad = "it answered 503".to_owned();
        let early = "no check of it has failed, but too few have succeeded".to_owned();
        let table = BTreeMap::from([
            (("standby", "healthy", 1, false), (Slot::Blue, Healthy, go())),
            (("standby", "healthy", 1, true), (Slot::Blue, Healthy, go())),
            (
                ("standby", "unhealthy", 1, false),
                (Slot::Blue, Unhealthy, Decision::NotHealthy { health: Unhealthy, reason: bad.clone() }),
            ),
            (("standby", "unhealthy", 1, true), (Slot::Blue, Unhealthy, go())),
            (
                ("standby", "unknown", 1, false),
                (Slot::Blue, Unknown, Decision::NotHealthy { health: Unknown, reason: early }),
            ),
            (("standby", "unknown", 1, true), (Slot::Blue, Unknown, go())),
            (("standby", "unknown", 0, true), (Slot::Blue, Unknown, Decision::Empty)),
            (("standby", "unknown", 0, false), (Slot::Blue, Unknown, Decision::Empty)),
            (("live", "healthy", 1, false), (Slot::Green, Healthy, Decision::Done)),
            (("live", "healthy", 1, true), (Slot::Green, Healthy, Decision::Done)),
            (
                ("live", "unhealthy", 1, true),
                (Slot::Green, Unhealthy, Decision::LiveButNotHealthy { reason: bad }),
            ),
        ]);
        for (case @ (_, _, upstreams, force), (active, health, answer)) in table {
            assert_eq!(decide(&app(active, slot(health, upstreams)), Slot::Green, force), answer, "{case:?}");
        }
    }
}
