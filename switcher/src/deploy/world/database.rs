//! The stages that concern the database: reading the schema, dumping it, migrating it from the new image.

use super::{Trouble, World};
use crate::code::Code;
use crate::container::Container;
use crate::database::{SchemaState, migrations_run};
use crate::deploy::machine::{Fact, Machine};
use crate::deploy::migration::{MigrationRun, NotMigrated};
use crate::deployment::Words;

impl World<'_> {
    /// The schema's version is read; a dirty one is refused.
    pub(super) async fn inspect(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let words = self.site.words(&machine.order, machine.order.slot, 0);
        let schema = self.site.schema(&words).await.map_err(|failure| Trouble::of(&failure))?;
        let state = match schema {
            Ok(state) => state,
            Err(warning) => return Ok(Some(Fact::Warning { warning })),
        };
        if let Some((tool, dirty)) =
            state.as_ref().and_then(|s| s.dirty.as_ref().map(|dirty| (s.tool, dirty)))
        {
            let message = format!("the schema is dirty: {tool} says that {}; {}", dirty.what, dirty.way_out);
            return Err(Trouble::failed(Code::SchemaDirty, message));
        }
        Ok(Some(Fact::SchemaBefore { version: state.and_then(|state| state.version) }))
    }

    /// The database is dumped. A deployment stops when its snapshot fails.
    pub(super) async fn snapshot(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let words = self.site.words(&machine.order, machine.order.slot, 0);
        let taken = self.site.take_snapshot(&words, Some(&machine.order.id)).await;
        match taken {
            Ok(snapshot) => Ok(Some(Fact::Snapshot { id: snapshot.id.to_string() })),
            Err(failure) => Err(Trouble::of(&failure)),
        }
    }

    /// The new image's migrations run, once. A container of them that is there already is waited for.
    pub(super) async fn migrate(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let order = &machine.order;
        let engine = self.site.engine().map_err(|failure| Trouble::of(&failure))?;
        let (Some(engine), Some(settings)) = (engine, &self.site.deploy.migrate) else {
            return Ok(None);
        };
        let words = self.site.words(order, order.slot, 0);
        let there = self.site.migration_container().await.map_err(|failure| Trouble::of(&failure))?;
        let (ours, theirs): (Option<Container>, Option<Container>) = match there {
            Some(there) if there.deployment().as_ref() == Some(&order.id) => (Some(there), None),
            other => (None, other),
        };
        // What runs already is waited for, whatever became of the secrets since.
        let spec = self.site.migration_spec(&order.release, &words, &settings.command);
        let spec = spec.map_err(|failure| Trouble::of(&failure));
        let spec = if ours.is_some() { spec.ok() } else { Some(spec?) };
        let run = MigrationRun {
            site: self.site,
            log: &self.log,
            what: format!("the migration of {}", order.release.version),
            timeout: settings.timeout,
        };
        let failed = |error| match error {
            // Without the engine nobody knows whether the migration goes on: its end is to be seen first.
            NotMigrated::Unknown(cause) => Trouble::Unknown(cause),
            NotMigrated::Failed(cause) => Trouble::Failed(cause),
        };
        if let Some(earlier) = theirs {
            run.until_gone(engine, &earlier).await.map_err(failed)?;
        }
        let before = self.version(&words).await;
        run.to_its_end(engine, spec.as_ref(), ours).await.map_err(failed)?;
        let after = self.version(&words).await;
        let run = migrations_run(before.as_ref(), after.as_ref());
        Ok(Some(Fact::Migrated { version: after.and_then(|state| state.version), run }))
    }

    /// The schema, where it can be read.
    async fn version(&self, words: &Words) -> Option<SchemaState> {
        self.site.schema(words).await.ok()?.ok()?
    }

    pub(super) fn environment(&self, problems: &crate::environment::Problems) -> Trouble {
        Trouble::failed(Code::EnvironmentBad, self.site.redactor.line(&problems.to_string()))
    }
}
