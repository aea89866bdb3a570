//! The logs of several containers that lie there already, merged by time with one line of each in memory.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::time::timeout;

use super::line::{Assembler, LogLine};
use crate::container::Container;
use crate::docker::logs::{Part, Pieces};
use crate::docker::{DockerError, DockerErrorKind, Engine};
use crate::redact::Redactor;

/// How long the next piece of a log that lies there already may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The log of one container.
pub(super) struct Source {
    name: String,
    pieces: Pieces,
    since: Option<Timestamp>,
    assembler: Assembler,
    ready: VecDeque<LogLine>,
    ended: bool,
}

impl Source {
    pub(super) fn open(engine: &Engine, container: &Container, part: Part, redactor: &Redactor) -> Self {
        Self {
            name: container.name.clone(),
            pieces: engine.pieces(&container.id, part),
            since: part.since,
            assembler: Assembler::new(redactor),
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// Reads until a line is there, or the end. A container that is gone meanwhile has come to its end.
    async fn fill(&mut self) -> Result<(), DockerError> {
        while self.ready.is_empty() && !self.ended {
            let (ready, since) = (&mut self.ready, self.since);
            let take = |line: LogLine| {
                if wanted(&line, since) {
                    ready.push_back(line);
                }
            };
            match timeout(PATIENCE, self.pieces.next()).await {
                Ok(Some(Ok(piece))) => self.assembler.push(&piece, take),
                Ok(Some(Err(error))) if error.kind() == DockerErrorKind::NotFound => self.ended = true,
                Ok(Some(Err(error))) => return Err(error),
                Ok(None) | Err(_) => {
                    self.assembler.finish(take);
                    self.ended = true;
                }
            }
        }
        Ok(())
    }
}

/// The engine is asked by whole seconds.
pub(super) fn wanted(line: &LogLine, since: Option<Timestamp>) -> bool {
    line.at.is_none_or(|at| since.is_none_or(|since| at >= since))
}

/// The earliest line of all that was not taken yet, with its container's name; none at the end.
pub(super) async fn earliest(sources: &mut [Source]) -> Result<Option<(String, LogLine)>, DockerError> {
    for source in &mut *sources {
        source.fill().await?;
    }
    let at = |source: &&mut Source| source.ready.front().and_then(|line| line.at);
    let next = sources.iter_mut().filter(|source| !source.ready.is_empty()).min_by_key(at);
    Ok(next.and_then(|source| Some((source.name.clone(), source.ready.pop_front()?))))
}
