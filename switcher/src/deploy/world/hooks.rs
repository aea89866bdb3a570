//! The user's own commands around a deployment.

use switcher_config::Slot;
use switcher_config::settings::Hook;

use super::{Trouble, World};
use crate::code::Code;
use crate::deploy::machine::{Fact, Machine, Phase};
use crate::deploy::order::Stage;
use crate::deploy::undo::Undo;
use crate::hook::{self, Call};

impl World<'_> {
    /// The hook of a stage.
    pub(super) async fn hook_of(&mut self, machine: &Machine, stage: Stage) -> Result<Option<Fact>, Trouble> {
        let hooks = &self.site.deploy.hooks;
        let (slot, old) = (machine.order.slot, machine.order.slot.other());
        let (name, hook, slot) = match stage {
            Stage::PreDeploy => ("pre_deploy", &hooks.pre_deploy, slot),
            Stage::PrePromote => ("pre_promote", &hooks.pre_promote, slot),
            Stage::Deactivate | Stage::Retire => ("deactivate", &hooks.deactivate, old),
            Stage::Activate => ("activate", &hooks.activate, slot),
            Stage::PostPromote => ("post_promote", &hooks.post_promote, slot),
            Stage::PostRollback => ("post_rollback", &hooks.post_rollback, slot),
            Stage::Pull
            | Stage::Inspect
            | Stage::Snapshot
            | Stage::Migrate
            | Stage::Vacate
            | Stage::Start
            | Stage::Register
            | Stage::Probe
            | Stage::Smoke
            | Stage::Canary
            | Stage::Promote
            | Stage::Verify
            | Stage::Drain
            | Stage::Bake
            | Stage::Record => return Ok(None),
        };
        self.hook(machine, name, hook.as_ref(), slot).await
    }

    /// A hook that makes up for a failed deployment.
    pub(super) async fn hook_again(
        &mut self,
        machine: &Machine,
        undo: Undo,
    ) -> Result<Option<Fact>, Trouble> {
        let hooks = &self.site.deploy.hooks;
        let (slot, old) = (machine.order.slot, machine.order.slot.other());
        let (name, hook, slot) = match undo {
            Undo::DeactivateNew => ("deactivate", &hooks.deactivate, slot),
            Undo::ActivateOld => ("activate", &hooks.activate, old),
            Undo::PostRollback => ("post_rollback", &hooks.post_rollback, old),
            Undo::OnFailure => ("on_failure", &hooks.on_failure, slot),
            Undo::DeactivateOld => ("deactivate", &hooks.deactivate, old),
            Undo::ActivateNew => ("activate", &hooks.activate, slot),
            Undo::EndCanary | Undo::Return | Undo::Withdraw | Undo::Remove | Undo::Record => return Ok(None),
        };
        self.hook(machine, name, hook.as_ref(), slot).await
    }

    async fn hook(
        &mut self,
        machine: &Machine,
        name: &'static str,
        hook: Option<&Hook>,
        slot: Slot,
    ) -> Result<Option<Fact>, Trouble> {
        let Some(hook) = hook else { return Ok(None) };
        let failure = match &machine.phase {
            Phase::Undoing { cause, .. } | Phase::Failed { cause, .. } => Some(cause.message.clone()),
            Phase::Working { .. } | Phase::Done => None,
        };
        let words = self.site.words(&machine.order, slot, 0);
        let site = self.site;
        let call = Call {
            name,
            hook,
            words: &words,
            failure: failure.as_deref(),
            folder: &site.folder,
            redactor: &site.redactor,
            log: &self.log,
        };
        let mut said = |line: &str| site.ctx.reporter.step(&format!("  {name}: {line}"));
        let outcome = hook::run(call, &mut said).await;
        outcome.map(|()| None).map_err(|error| Trouble::failed(Code::HookFailed, error.to_string()))
    }
}
