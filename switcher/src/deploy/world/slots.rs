//! The stages that the engine and the runtime do: the image, the containers of the new slot, their removal.

use switcher_config::Bytes;

use super::{Trouble, World, stopped};
use crate::code::Code;
use crate::deploy::machine::{Fact, Machine};
use crate::deploy::order::Stage;
use crate::docker::PullProgress;
use crate::runtime::{RuntimeError, Start, StopHow};

impl World<'_> {
    /// The image comes to the engine, by its digest.
    pub(super) async fn pull(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let engine = self.site.engine().map_err(|failure| Trouble::of(&failure))?;
        let (Some(engine), Some(image)) = (engine, &machine.order.release.image) else {
            return Ok(None);
        };
        let reporter = &self.site.ctx.reporter;
        let mut on = |progress: PullProgress| {
            reporter.waiting(&format!(
                "pulling: {} of {} layers, {} of {}",
                progress.layers_done,
                progress.layers,
                Bytes(progress.bytes),
                Bytes(progress.bytes_total)
            ));
        };
        let pulled = self.interrupt.unless(engine.pull(image, &mut on)).await.map_err(stopped)?;
        reporter.done();
        match pulled {
            Ok(there) => {
                let (git_commit, version) = (there.git_commit(), there.version());
                let [git_commit, version] = [git_commit, version].map(|text| text.map(str::to_owned));
                Ok(Some(Fact::Pulled { git_commit, version }))
            }
            Err(error) => Err(Trouble::of(&self.site.docker_failure(&error))),
        }
    }

    /// The release starts in the standby slot.
    pub(super) async fn start(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let order = &machine.order;
        let mut replicas = Vec::new();
        for replica in 1..=self.site.deploy.replicas {
            let words = self.site.words(order, order.slot, replica);
            let environment = self.site.environment().map_err(|failure| Trouble::of(&failure))?;
            let resolved = environment.application(&words).map_err(|problems| self.environment(&problems))?;
            replicas.push(resolved);
        }
        let start = Start {
            slot: order.slot,
            deployment: &order.id,
            release: &order.release,
            replicas: &replicas,
            settings: &self.site.deploy,
        };
        match self.runtime()?.start(&start).await {
            Ok(upstreams) => Ok(Some(Fact::Started { upstreams })),
            // It ended at once, and only its own words tell why.
            Err(error @ RuntimeError::Ended(_)) => {
                let status = self.seen().await?;
                Err(self.with_evidence(Code::StartFailed, error.to_string(), order.slot, &status).await)
            }
            Err(error) => Err(self.runtime_trouble(&error)),
        }
    }

    /// What this deployment started is stopped and removed; what belongs to another one stays.
    pub(super) async fn remove(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let slot = machine.order.slot;
        let status = self.seen().await?;
        self.refuse_live(&status, slot)?;
        let running = self.runtime()?.running().await.map_err(|error| self.runtime_trouble(&error))?;
        let ours = running.get(slot).as_ref().is_some_and(|inside| inside.deployment == machine.order.id);
        if ours {
            // Whoever came as a canary's client has left, or has had its time.
            if machine.has_begun(Stage::Canary) {
                self.until_nobody_is_inside(slot).await?;
            }
            self.runtime()?
                .stop(slot, StopHow::Remove)
                .await
                .map_err(|error| self.runtime_trouble(&error))?;
        }
        Ok(None)
    }

    /// What a runtime met, as the machine takes it.
    pub(super) fn runtime_trouble(&self, error: &RuntimeError) -> Trouble {
        Trouble::of(&self.site.runtime_failure(error))
    }
}
