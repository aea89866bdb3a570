//! What is told of a deployment that is over, or that cannot go on: which event it is, and in which words. Pure.

use jiff::Timestamp;
use serde::Serialize;
use switcher_config::settings::NotifyEvent;

use super::machine::{Cause, Machine, Phase};
use super::order::Purpose;
use crate::phrase;
use crate::state::record::DeploymentRecord;

/// The body of a notification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notice {
    /// What happened.
    pub event: &'static str,
    /// The same as a sentence; chat programs show it.
    pub text: String,
    /// The application.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// The record, as state and history have it.
    pub deployment: DeploymentRecord,
    /// When it was told.
    pub at: Timestamp,
}

/// What a deployment came to; none when nobody wants to hear of it.
#[must_use]
pub const fn event(machine: &Machine) -> Option<NotifyEvent> {
    let facts = &machine.facts;
    match &machine.phase {
        Phase::Failed { .. } if facts.went_back.is_some() => Some(NotifyEvent::RolledBack),
        Phase::Failed { .. } => Some(NotifyEvent::Failed),
        Phase::Done if facts.stays.is_some() => Some(NotifyEvent::Attention),
        Phase::Done if facts.switched.is_none() => None,
        Phase::Done if machine.order.purpose.goes_back() => Some(NotifyEvent::RolledBack),
        Phase::Done => Some(NotifyEvent::Deployed),
        Phase::Working { .. } | Phase::Undoing { .. } => None,
    }
}

/// Puts it into words. `open` is why it cannot go on, while it is not over.
#[must_use]
pub fn notice(
    machine: &Machine,
    event: NotifyEvent,
    open: Option<&Cause>,
    deployment: DeploymentRecord,
    at: Timestamp,
) -> Notice {
    let order = &machine.order;
    let words = match open {
        Some(cause) => waits(machine, cause),
        None => words(machine, event, &deployment),
    };
    let text = format!("{} ({}): {words}", order.app, order.environment);
    Notice {
        event: event.as_str(),
        text,
        app: order.app.to_string(),
        environment: order.environment.clone(),
        deployment,
        at,
    }
}

fn words(machine: &Machine, event: NotifyEvent, deployment: &DeploymentRecord) -> String {
    let order = &machine.order;
    let (version, slot, by) = (&order.release.version, order.slot, &order.by);
    let took =
        deployment.seconds.map(|seconds| format!(" in {}", phrase::duration(seconds))).unwrap_or_default();
    let why =
        deployment.failure.as_ref().map_or_else(String::new, |failure| format!(": {}", failure.message));
    match event {
        NotifyEvent::Deployed if order.purpose == Purpose::Promote => {
            format!("{version} is live in {slot}, promoted by {by}")
        }
        NotifyEvent::Deployed => format!("{version} is live in {slot}, deployed by {by}{took}"),
        NotifyEvent::RolledBack if order.purpose.goes_back() => {
            format!("traffic went back to {version} in {slot}, by {by}")
        }
        NotifyEvent::RolledBack => format!("{version} was taken back, and the version before serves{why}"),
        NotifyEvent::Failed => {
            let what = order.purpose.as_str();
            let during = deployment.failure.as_ref().map(|failure| format!(" during {}", failure.phase));
            let during = during.unwrap_or_default();
            format!("{what} of {version} by {by} failed{during}, and what was live serves on{why}")
        }
        NotifyEvent::Attention => {
            let warnings = deployment.warnings.join("; ");
            format!("{version} in {slot} needs somebody to look at it: {warnings}{why}")
        }
    }
}

fn waits(machine: &Machine, cause: &Cause) -> String {
    let order = &machine.order;
    let (what, version, by, why) =
        (order.purpose.as_str(), &order.release.version, &order.by, &cause.message);
    let stage = machine.stage().as_str();
    let traffic = if machine.has_moved() { "traffic has moved" } else { "traffic has not moved" };
    format!(
        "{what} of {version} by {by} cannot go on during {stage}: {why}; {traffic}, and `switcher repair` goes on with it"
    )
}

/// The name of a delivery: the same when it is sent again, so that a receiver knows what it has seen.
#[must_use]
pub fn delivery(machine: &Machine, event: NotifyEvent, open: Option<&Cause>) -> String {
    let open = if open.is_some() { "-open" } else { "" };
    format!("{}-{}{open}", machine.order.id, event.as_str())
}

#[cfg(test)]
mod tests {
    use switcher_config::{Generation, Slot, Span};

    use super::*;
    use crate::deploy::machine::{Cause, Event, Fact, Moved, step};
    use crate::deploy::order::{Order, Stage};
    use crate::deployment::{DeploymentId, Release};
    use crate::state::record::FailureRecord;

    fn machine(purpose: Purpose) -> Machine {
        Machine::new(Order {
            id: DeploymentId::new(Timestamp::UNIX_EPOCH),
            purpose,
            app: "shop".parse().expect("a name"),
            environment: "production".into(),
            waiting: None,
            release: Release { version: "v2".into(), image: None, git_commit: None },
            slot: Slot::Green,
            seen: Generation::FIRST,
            began_at: Timestamp::UNIX_EPOCH,
            by: "ada@build".into(),
            keep_previous: Span::seconds(60),
            compatible: true,
            patience: None,
            drain: None,
            force: false,
            canary: None,
            bake: None,
            stages: vec![Stage::Promote, Stage::Bake],
        })
    }

    fn after(purpose: Purpose, facts: Vec<Option<Fact>>) -> Machine {
        facts.into_iter().fold(machine(purpose), |machine, fact| step(machine, Event::Performed { fact }))
    }

    fn moved() -> Option<Fact> {
        Some(Fact::Moved(Moved {
            from: Slot::Blue,
            generation: Generation::FIRST.next(),
            drained_generation: Generation::FIRST,
            switched_at: Timestamp::UNIX_EPOCH,
            switch_micros: None,
        }))
    }

    fn cause() -> Cause {
        Cause { code: "E-PULL-01".into(), message: "there is no such image".into(), evidence: Vec::new() }
    }

    #[test]
    fn every_end_has_its_event_and_what_is_under_way_has_none() {
        assert_eq!(event(&machine(Purpose::Deploy)), None);
        assert_eq!(event(&after(Purpose::Prepare, vec![None, None])), None);
        assert_eq!(event(&after(Purpose::Deploy, vec![moved(), None])), Some(NotifyEvent::Deployed));
        assert_eq!(event(&after(Purpose::Rollback, vec![moved(), None])), Some(NotifyEvent::RolledBack));
        let stays = Some(Fact::Stays { cause: cause() });
        assert_eq!(event(&after(Purpose::Deploy, vec![moved(), stays])), Some(NotifyEvent::Attention));
        let back = Some(Fact::WentBack { generation: Generation::FIRST, cause: cause() });
        // Both hooks and the record.
        let went_back = after(Purpose::Deploy, vec![moved(), back, None, None, None]);
        assert_eq!(event(&went_back), Some(NotifyEvent::RolledBack));
        let failed = step(machine(Purpose::Deploy), Event::Failed { cause: cause() });
        let done = [(), ()].iter().fold(failed, |machine, ()| step(machine, Event::Performed { fact: None }));
        assert_eq!(event(&done), Some(NotifyEvent::Failed));
    }

    #[test]
    fn the_words_are_one_sentence_with_who_and_why() {
        let machine = machine(Purpose::Deploy);
        let order = &machine.order;
        let mut record = DeploymentRecord::begun(
            order.id.clone(),
            "v2".into(),
            Slot::Green,
            order.by.clone(),
            Timestamp::UNIX_EPOCH,
        );
        let text = |event, record: &DeploymentRecord| {
            notice(&machine, event, None, record.clone(), Timestamp::UNIX_EPOCH).text
        };
        let deployed = "shop (production): v2 is live in green, deployed by ada@build";
        assert_eq!(text(NotifyEvent::Deployed, &record), deployed);
        record.failure = Some(FailureRecord {
            code: "E-PULL-01".into(),
            phase: "pull".into(),
            message: "there is no such image".into(),
            evidence: Vec::new(),
        });
        let failed = "shop (production): deploy of v2 by ada@build failed during pull, and what was live serves on: there is no such image";
        assert_eq!(text(NotifyEvent::Failed, &record), failed);
        let id = &machine.order.id;
        assert_eq!(delivery(&machine, NotifyEvent::Failed, None), format!("{id}-failed"));
        let (attention, cause) = (NotifyEvent::Attention, cause());
        let told = notice(&machine, attention, Some(&cause), record, Timestamp::UNIX_EPOCH);
        let open = "shop (production): deploy of v2 by ada@build cannot go on during promote: there is no such image; traffic has not moved, and `switcher repair` goes on with it";
        assert_eq!(told.text, open);
        // Two of one deployment are told apart: it may need somebody again when it is given up.
        assert_ne!(delivery(&machine, attention, Some(&cause)), delivery(&machine, attention, None));
    }
}
