//! Tells the proxy how far a deployment is, for those who watch its dashboard.
//!
//! Invariant: a deployment neither waits for it nor fails by it. A proxy that is away, busy or older hears nothing.

use std::time::Duration;

use switcher_config::wire::{Progress, StepState};

use super::super::machine::{Effect, Fact, Machine};
use super::{Trouble, World, name};

/// How long the proxy may take to listen.
const HEARS: Duration = Duration::from_millis(500);

impl World<'_> {
    /// An effect begins.
    pub(super) async fn begins(&self, machine: &Machine, effect: &Effect) {
        self.tell(machine, effect, StepState::Running, &self.says(machine, effect)).await;
    }

    /// An effect goes on, and there is news of it.
    pub(super) async fn goes_on(&self, machine: &Machine, effect: &Effect, news: &str) {
        self.tell(machine, effect, StepState::Running, news).await;
    }

    /// An effect has ended.
    pub(super) async fn ended(
        &self,
        machine: &Machine,
        effect: &Effect,
        done: &Result<Option<Fact>, Trouble>,
    ) {
        let (state, message) = match done {
            Ok(_) => (StepState::Done, ""),
            Err(Trouble::Failed(cause) | Trouble::Interrupted(cause) | Trouble::Unknown(cause)) => {
                (StepState::Failed, cause.message.as_str())
            }
        };
        self.tell(machine, effect, state, message).await;
    }

    async fn tell(&self, machine: &Machine, effect: &Effect, state: StepState, message: &str) {
        let progress = Progress {
            deployment: machine.order.id.to_string(),
            slot: machine.order.slot,
            step: name(effect).to_owned(),
            state,
            message: self.site.redactor.line(message),
        };
        // Whether it was heard is nobody's concern.
        let _ = tokio::time::timeout(HEARS, self.site.admin.progress(&self.site.app, &progress)).await;
    }
}
