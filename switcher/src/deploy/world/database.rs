//! The stages that concern the database: reading the schema, dumping it, migrating it from the new image.

use std::collections::VecDeque;
use std::io;

use async_trait::async_trait;

use super::{Trouble, World, cause};
use crate::code::Code;
use crate::container::{Ended, Output, RunEnd};
use crate::database::{DatabaseUrl, SchemaState, migrations_run, probe};
use crate::deploy::machine::{Cause, Fact, Machine};
use crate::log::{DeploymentLog, Level};
use crate::redact::{Lines, Redactor};

/// How many lines of a migration's output are kept for the error.
const TAIL: usize = 50;

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
        let mut said = Said::new(&self.log, &self.site.redactor);
        let timeout = settings.timeout;
        let gone_on = match there {
            Some(container) => engine.reattach(&container.id, timeout.0, &mut said).await.transpose(),
            None => None,
        };
        let ended = match gone_on {
            Some(ended) => ended,
            // Before the first deployment nobody has made the network yet.
            None => match engine.ensure_network(&spec.network).await {
                Ok(_) => engine.run(&spec, timeout.0, &mut said).await,
                Err(error) => Err(error),
            },
        };
        let evidence = said.end();
        let what = format!("the migration of {}", order.release.version);
        let message = match ended {
            Ok(RunEnd::Ended(Ended { code: 0, .. })) => None,
            Ok(RunEnd::Ended(end)) if end.out_of_memory => {
                Some(format!("{what} was killed for memory (exit code {})", end.code))
            }
            Ok(RunEnd::Ended(end)) => Some(format!("{what} ended with exit code {}", end.code)),
            Ok(RunEnd::TimedOut) => Some(format!("{what} took longer than {timeout} and was stopped")),
            Err(error) => {
                let failure = self.site.docker_failure(&error);
                return Err(Trouble::Failed(Cause { evidence, ..cause(failure.code, failure.message) }));
            }
        };
        if let Some(message) = message {
            return Err(Trouble::Failed(Cause { evidence, ..cause(Code::MigrationFailed, message) }));
        }
        let after = self.schema(machine).await?.ok().flatten();
        let run = migrations_run(before.as_ref(), after.as_ref());
        Ok(Some(Fact::Migrated { version: after.and_then(|state| state.version), run }))
    }

    pub(super) fn environment(&self, problems: &crate::environment::Problems) -> Trouble {
        Trouble::failed(Code::EnvironmentBad, self.site.redactor.line(&problems.to_string()))
    }
}

/// What a migration says: whole redacted lines into the log, the last ones kept.
struct Said<'a> {
    log: &'a DeploymentLog,
    stdout: Lines,
    stderr: Lines,
    tail: VecDeque<String>,
}

impl<'a> Said<'a> {
    fn new(log: &'a DeploymentLog, redactor: &Redactor) -> Self {
        Self { log, stdout: redactor.lines(), stderr: redactor.lines(), tail: VecDeque::new() }
    }

    /// What came without an end of line, and then the last lines of all.
    fn end(self) -> Vec<String> {
        let Self { log, mut stdout, mut stderr, mut tail } = self;
        stdout.finish(&mut |line| keep(log, &mut tail, line));
        stderr.finish(&mut |line| keep(log, &mut tail, line));
        tail.into()
    }
}

fn keep(log: &DeploymentLog, tail: &mut VecDeque<String>, line: &str) {
    log.write(Level::Info, "migrate", line, &[]);
    tail.push_back(line.to_owned());
    if tail.len() > TAIL {
        tail.pop_front();
    }
}

#[async_trait]
impl Output for Said<'_> {
    async fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { log, stdout, tail, .. } = self;
        stdout.push(bytes, &mut |line| keep(log, tail, line));
        Ok(())
    }

    async fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { log, stderr, tail, .. } = self;
        stderr.push(bytes, &mut |line| keep(log, tail, line));
        Ok(())
    }
}
