//! One run of a migration command in a one-off container: its output into the log, its end as a cause.
//!
//! Used by the stage of a deployment and by `switcher migrate up|down`.

use std::collections::VecDeque;
use std::io;

use async_trait::async_trait;
use switcher_config::Span;

use super::machine::Cause;
use super::site::Site;
use super::world::cause;
use crate::code::Code;
use crate::container::{Container, ContainerSpec, Ended, Output, RunEnd};
use crate::docker::Engine;
use crate::log::{DeploymentLog, Level};
use crate::redact::{Lines, Redactor};

/// How many lines of a migration's output are kept for the error.
const TAIL: usize = 50;

/// A migration that is to be run.
pub(crate) struct MigrationRun<'a> {
    pub(crate) site: &'a Site<'a>,
    pub(crate) log: &'a DeploymentLog,
    /// How messages name it: `the migration of v1.5.0`.
    pub(crate) what: String,
    pub(crate) timeout: Span,
}

/// Why a migration did not come to a good end.
pub(crate) enum NotMigrated {
    /// It failed.
    Failed(Cause),
    /// The engine went away; it may still run.
    Unknown(Cause),
}

impl NotMigrated {
    /// Why.
    pub(crate) fn into_cause(self) -> Cause {
        match self {
            Self::Failed(cause) | Self::Unknown(cause) => cause,
        }
    }
}

impl MigrationRun<'_> {
    /// Waits until an earlier migration, whose command was killed, has ended by itself, and removes its container: two
    /// at once is what nobody's migrations are made for.
    pub(crate) async fn until_gone(&self, engine: &Engine, earlier: &Container) -> Result<(), NotMigrated> {
        let text = format!("{} is still there from an earlier command: its end is waited for", earlier.name);
        self.log.write(Level::Warn, "migrate", &text, &[]);
        self.site.ctx.reporter.step(&text);
        let mut said = Said::new(self.log, &self.site.redactor);
        let ended = engine.reattach(&earlier.id, self.timeout.0, &mut said).await;
        let _ = said.end();
        // How it ended is told by the schema.
        ended.map(drop).map_err(|error| {
            let failure = self.site.docker_failure(&error);
            NotMigrated::Unknown(cause(failure.code, failure.message))
        })
    }

    /// Runs it, or goes on with a container of it that is there already. Without a specification it only goes on.
    pub(crate) async fn to_its_end(
        &self,
        engine: &Engine,
        spec: Option<&ContainerSpec>,
        there: Option<Container>,
    ) -> Result<(), NotMigrated> {
        let mut said = Said::new(self.log, &self.site.redactor);
        let gone_on = match there {
            Some(container) => engine.reattach(&container.id, self.timeout.0, &mut said).await.transpose(),
            None => None,
        };
        let ended = match (gone_on, spec) {
            (Some(ended), _) => ended,
            // Before the first deployment nobody has made the network yet.
            (None, Some(spec)) => match engine.ensure_network(&spec.network).await {
                Ok(_) => engine.run(spec, self.timeout.0, &mut said).await,
                Err(error) => Err(error),
            },
            (None, None) => {
                let message = format!("{} was cut short, and its container is gone", self.what);
                return Err(NotMigrated::Failed(cause(Code::MigrationFailed, message)));
            }
        };
        let evidence = said.end();
        let (what, timeout) = (&self.what, self.timeout);
        let message = match ended {
            Ok(RunEnd::Ended(Ended { code: 0, .. })) => return Ok(()),
            Ok(RunEnd::Ended(end)) if end.out_of_memory => {
                format!("{what} was killed for memory (exit code {})", end.code)
            }
            Ok(RunEnd::Ended(Ended { error: Some(error), .. })) => format!("{what} failed: {error}"),
            Ok(RunEnd::Ended(end)) => format!("{what} ended with exit code {}", end.code),
            Ok(RunEnd::TimedOut) => format!("{what} took longer than {timeout} and was stopped"),
            Err(error) => {
                let failure = self.site.docker_failure(&error);
                let cause = Cause { evidence, ..cause(failure.code, failure.message) };
                return Err(if error.lost_the_engine() {
                    NotMigrated::Unknown(cause)
                } else {
                    NotMigrated::Failed(cause)
                });
            }
        };
        let message = self.site.redactor.line(&message);
        Err(NotMigrated::Failed(Cause { evidence, ..cause(Code::MigrationFailed, message) }))
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
