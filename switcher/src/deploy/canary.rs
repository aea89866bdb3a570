//! The canary of a deployment: what is ordered, and what a look at the proxy's canary means for it. Pure.
//!
//! The proxy judges each step. The deployer leads it from one to the next, so that no share grows once nobody leads any
//! more: a command that died leaves the share as it is, still judged, until the next command takes it back.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use switcher_config::canary::steps;
use switcher_config::settings::CanarySettings;
use switcher_config::wire::{Canary, CanaryRequest, CanarySteps, CanaryThen};
use switcher_config::{BakeLimits, CanaryKey, CanaryRules, NamedValue, OnUnjudged, Share, Slot, Span};

/// A canary as it is ordered; part of the journal's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryOrder {
    /// The shares that follow each other, each larger than the one before.
    pub steps: Vec<Share>,
    /// How long each one is judged.
    pub every: Span,
    /// Who is on its side; the share is that of the step.
    pub who: Who,
    /// What it is judged by.
    pub limits: BakeLimits,
    /// How long a step is waited for beyond its time when it cannot be judged, or nobody else should come.
    pub hold: Span,
    /// What becomes of a step that too few requests reached.
    pub on_inconclusive: OnUnjudged,
}

/// Who is told apart by what, and who is always there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// What clients are told apart by.
    pub by: CanaryKey,
    /// Requests with one of these headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedValue>,
    /// Requests with one of these cookies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<NamedValue>,
    /// Clients of these networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<IpNet>,
}

/// What a look at a step says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It goes on.
    Going,
    /// It went well: the next one follows.
    Passed,
    /// Its time is over, and it is waited for.
    Waits(String),
    /// It could not be judged, and the next one follows all the same.
    Unjudged(String),
    /// It was waited for long enough: the clients are taken back.
    GivenUp(String),
}

impl From<&CanarySettings> for CanaryOrder {
    fn from(settings: &CanarySettings) -> Self {
        Self {
            steps: settings.steps.clone(),
            every: settings.every,
            who: Who { by: settings.by.clone(), ..Who::default() },
            limits: settings.limits.clone(),
            hold: settings.hold,
            on_inconclusive: settings.on_inconclusive,
        }
    }
}

impl CanaryOrder {
    /// The same if its steps can follow each other and somebody is meant.
    ///
    /// # Errors
    /// A sentence, when not.
    pub fn sound(self) -> Result<Self, String> {
        let grown = steps(self.steps.clone()).map_err(|wrong| wrong.to_string())?;
        let first = CanaryRules {
            share: grown.first().copied().unwrap_or_default(),
            by: self.who.by.clone(),
            headers: self.who.headers.clone(),
            cookies: self.who.cookies.clone(),
            clients: self.who.clients.clone(),
        };
        if first.reach_nobody() {
            return Err(
                "a canary with 0% of the clients and no header, cookie or network gets nobody".to_owned()
            );
        }
        if self.every.0 < Duration::from_secs(1) {
            return Err("a step of a canary takes a second or more".to_owned());
        }
        Ok(self)
    }

    /// What the proxy is asked for at a step, expecting nothing yet.
    #[must_use]
    pub fn request(&self, slot: Slot, share: Share) -> CanaryRequest {
        let Who { by, headers, cookies, clients } = self.who.clone();
        CanaryRequest {
            by: Some(by),
            headers: Some(headers),
            cookies: Some(cookies),
            clients: Some(clients),
            steps: Some(CanarySteps { shares: vec![share], every: self.every, then: CanaryThen::Ask }),
            limits: Some(self.limits.clone()),
            ..CanaryRequest::of(slot)
        }
    }

    /// What a look at the canary says of its step, which has been waited for so long beyond its time.
    #[must_use]
    pub fn look(&self, canary: &Canary, waited: Duration) -> Look {
        let Some(plan) = &canary.steps else { return Look::Going };
        let Some(why) = &plan.waits else {
            return if plan.passed { Look::Passed } else { Look::Going };
        };
        if waited < self.hold.0 {
            return Look::Waits(why.clone());
        }
        let few = canary.seen.requests < u64::from(self.limits.min_requests);
        match (self.on_inconclusive, few) {
            (OnUnjudged::GoOn, true) => Look::Unjudged(why.clone()),
            (OnUnjudged::GoOn, false) | (OnUnjudged::Abort, _) => Look::GivenUp(why.clone()),
        }
    }

    /// The steps as words: `5%, 25%, 50%`.
    #[must_use]
    pub fn words(&self) -> String {
        let shares: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        shares.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> CanaryOrder {
        CanaryOrder {
            steps: vec![Share::percent(5), Share::percent(50)],
            every: Span::seconds(60),
            who: Who::default(),
            limits: BakeLimits::default(),
            hold: Span::seconds(10),
            on_inconclusive: OnUnjudged::Abort,
        }
    }

    fn canary(requests: u64, waits: Option<&str>, passed: bool) -> Canary {
        let figures = |requests: u64| serde_json::json!({"requests": requests, "errors": 0, "connect_errors": 0, "timed": 0, "seconds": 0});
        serde_json::from_value(serde_json::json!({
            "slot": "green", "generation": 7, "share": "5%", "began_at": "2026-11-21T14:00:00Z",
            "share_since": "2026-11-21T14:00:00Z", "limits": BakeLimits::default(), "baseline": figures(0),
            "seen": figures(requests),
            "steps": {"left": [], "every": "60s", "then": "ask", "waits": waits, "passed": passed},
        }))
        .expect("a canary")
    }

    #[test]
    fn a_step_that_waits_is_held_for_a_while_and_then_given_up() {
        let at =
            |order: &CanaryOrder, canary: &Canary, seconds| order.look(canary, Duration::from_secs(seconds));
        let (few, ill) = (canary(9, Some("few came"), false), canary(500, Some("it is ill"), false));
        assert_eq!(at(&order(), &canary(9, None, false), 99), Look::Going);
        assert_eq!(at(&order(), &canary(500, None, true), 0), Look::Passed);
        assert_eq!(at(&order(), &few, 9), Look::Waits("few came".into()));
        assert_eq!(at(&order(), &few, 10), Look::GivenUp("few came".into()));
        let bold = CanaryOrder { on_inconclusive: OnUnjudged::GoOn, ..order() };
        assert_eq!(at(&bold, &few, 9), Look::Waits("few came".into()));
        assert_eq!(at(&bold, &few, 10), Look::Unjudged("few came".into()));
        assert_eq!(at(&bold, &ill, 10), Look::GivenUp("it is ill".into()), "nobody is sent to what is ill");
    }

    #[test]
    fn each_step_is_asked_for_alone_so_that_nothing_grows_by_itself() {
        let request = order().request(Slot::Green, Share::percent(5));
        let steps = request.steps.expect("steps");
        assert_eq!((steps.shares, steps.then), (vec![Share::percent(5)], CanaryThen::Ask));
        assert_eq!(request.limits, Some(BakeLimits::default()));
    }

    #[test]
    fn steps_that_make_no_sense_are_refused_before_anything_begins() {
        assert!(order().sound().is_ok());
        let falling = vec![Share::percent(50), Share::percent(5)];
        for wrong in [
            CanaryOrder { steps: falling, ..order() },
            CanaryOrder { steps: vec![Share::default()], ..order() },
            CanaryOrder { every: Span::default(), ..order() },
        ] {
            assert!(wrong.sound().is_err());
        }
    }
}
