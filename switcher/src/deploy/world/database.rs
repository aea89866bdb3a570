//! The stages that concern the database: reading the schema, dumping it, migrating it from the new image.

use super::{Trouble, World};
use crate::code::Code;
use crate::database::{DatabaseUrl, SchemaState, migrations_run, probe};
use crate::deploy::machine::{Fact, Machine};
use crate::deploy::migration::{MigrationRun, NotMigrated};

impl World<'_> {
    /// The schema's version is read; a dirty one is refused.
    pub(super) async fn inspect(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let state = match self.schema(machine).await? {
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

    /// What the schema is now. The inner error is why nobody could read it, which stops nothing: the database may
    /// be reachable from the containers alone.
    async fn schema(&self, machine: &Machine) -> Result<Result<Option<SchemaState>, String>, Trouble> {
        let words = self.site.words(&machine.order, machine.order.slot, 0);
        let url = {
            let environment = self.site.environment().map_err(|failure| Trouble::of(&failure))?;
            environment.schema_url(&words).map_err(|problems| self.environment(&problems))?
        };
        let Some(url) = url else {
            return Ok(Err(
                "the schema was not read: neither `migrate.database_url` nor DATABASE_URL is set".into(),
            ));
        };
        let url: DatabaseUrl = match url.expose().parse() {
            Ok(url) => url,
            Err(error) => return Ok(Err(format!("the schema was not read: {error}"))),
        };
        let url = self.site.reachable(url).await;
        Ok(probe(&url)
            .await
            .map_err(|error| self.site.redactor.line(&format!("the schema was not read: {error}"))))
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
        let before = self.schema(machine).await?.ok().flatten();
        let words = self.site.words(order, order.slot, 0);
        let spec =
            self.site.migration(order, &words, &settings.command).map_err(|failure| Trouble::of(&failure))?;
        let there = self.site.migration_container(order).await.map_err(|failure| Trouble::of(&failure))?;
        let run = MigrationRun {
            site: self.site,
            log: &self.log,
            what: format!("the migration of {}", order.release.version),
            timeout: settings.timeout,
        };
        run.to_its_end(engine, &spec, there).await.map_err(|error| match error {
            // Without the engine nobody knows whether the migration goes on: its end is to be seen first.
            NotMigrated::Unknown(cause) => Trouble::Unknown(cause),
            NotMigrated::Failed(cause) => Trouble::Failed(cause),
        })?;
        let after = self.schema(machine).await?.ok().flatten();
        let run = migrations_run(before.as_ref(), after.as_ref());
        Ok(Some(Fact::Migrated { version: after.and_then(|state| state.version), run }))
    }

    pub(super) fn environment(&self, problems: &crate::environment::Problems) -> Trouble {
        Trouble::failed(Code::EnvironmentBad, self.site.redactor.line(&problems.to_string()))
    }
}
