//! One-off containers: migrations and dumps. Made, attended from before the first byte to the end, removed.
//!
//! The invariants: output is attached to before the container starts, so none is lost; whoever takes the output sets
//! the pace; a container whose end was seen is removed, and one whose end was not seen (the engine was lost, we were
//! killed) stays under its name until [`Engine::reattach`] has seen it; an end that only looks like success is none.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as ClientError;
use bollard::models::ContainerWaitResponse;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, LogsOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::{sleep, timeout};

use super::deadline::ANSWER;
use super::{DockerError, DockerErrorKind, Engine};
use crate::container::{ContainerSpec, ContainerState, Ended, Output, RunEnd};

/// How long a container that took too long may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// How long the next piece of output may take once the container has ended.
const TRAILING: Duration = Duration::from_secs(10);

/// The exit code of a run whose end is not known.
const UNKNOWN: i64 = -1;

type Pieces = Pin<Box<dyn Stream<Item = Result<LogOutput, ClientError>> + Send>>;
type Code = Pin<Box<dyn Future<Output = Result<i64, DockerError>> + Send>>;

impl Engine {
    /// Runs a container to its end and removes it. What it writes goes to `output` as it comes. After `limit` it is
    /// asked to end, then killed.
    ///
    /// # Errors
    /// When it cannot be made or started, when `output` refuses, or when the engine is lost; in the last case the
    /// container may still be there, and [`Engine::reattach`] goes on with it.
    pub async fn run(
        &self,
        spec: &ContainerSpec,
        limit: Duration,
        output: &mut dyn Output,
    ) -> Result<RunEnd, DockerError> {
        let id = self.fresh(spec).await?;
        let end = self.started(&id, spec, limit, output).await;
        self.gone(&id, end).await
    }

    /// Goes on with a one-off container that somebody else started: all that it wrote goes to `output`, its end is
    /// waited for, and it is removed. None when there is none, or when it never ran.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn reattach(
        &self,
        id_or_name: &str,
        limit: Duration,
        output: &mut dyn Output,
    ) -> Result<Option<RunEnd>, DockerError> {
        let Some(found) = self.inspect(id_or_name).await? else { return Ok(None) };
        if found.state == ContainerState::Created {
            self.remove(&found.id).await?;
            return Ok(None);
        }
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).build();
        let pieces = Box::pin(self.docker.clone().with_timeout(ANSWER).logs(&found.id, Some(options)));
        let mut attended = Attended::new(self, &found.id, &found.name, pieces);
        attended.late = matches!(found.state, ContainerState::Exited(_));
        let end = attended.until_its_end(limit, GRACE, output).await;
        self.gone(&found.id, end).await.map(Some)
    }

    /// A container of that name that has never run.
    async fn fresh(&self, spec: &ContainerSpec) -> Result<String, DockerError> {
        let id = self.create(spec).await?;
        let state = self.inspect(&id).await?.map(|found| found.state);
        match state {
            Some(ContainerState::Created) => Ok(id),
            Some(ContainerState::Exited(_)) | None => {
                // An earlier try of the same deployment, whose end nobody asked for.
                self.remove(&id).await?;
                self.create(spec).await
            }
            Some(
                ContainerState::Running { .. } | ContainerState::Restarting { .. } | ContainerState::Other(_),
            ) => Err(DockerError::new(
                DockerErrorKind::Conflict,
                format!("the container {} of this deployment runs already", spec.name),
            )),
        }
    }

    async fn started(
        &self,
        id: &str,
        spec: &ContainerSpec,
        limit: Duration,
        output: &mut dyn Output,
    ) -> Result<RunEnd, DockerError> {
        let options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).build();
        let attach = self.docker.attach_container(id, Some(options));
        let attached = self.within(ANSWER, &format!("attach to the container {}", spec.name), attach).await?;
        if let Err(error) = self.start(&spec.name).await {
            return match self.inspect(id).await?.map(|found| found.state) {
                // Its program is missing or cannot be run: that is how the run ended, as in a shell.
                Some(ContainerState::Exited(end)) if error.kind() == DockerErrorKind::Refused => {
                    Ok(RunEnd::Ended(end))
                }
                _ => Err(error),
            };
        }
        let attended = Attended::new(self, id, &spec.name, attached.output);
        attended.until_its_end(limit, spec.stop_timeout.min(GRACE), output).await
    }

    /// Removes a container after its run. One whose end is not known because the engine was lost is left where it is.
    async fn gone(&self, id: &str, end: Result<RunEnd, DockerError>) -> Result<RunEnd, DockerError> {
        match end {
            Ok(end) => self.remove(id).await.map(|()| end),
            Err(error) => {
                if !error.lost_the_engine() {
                    // What matters is the first error; a leftover is met by the next run.
                    let _ = self.remove(id).await;
                }
                Err(error)
            }
        }
    }

    /// The exit code, when it comes.
    fn code(&self, id: &str, name: &str) -> Code {
        let (engine, id, doing) = (self.clone(), id.to_owned(), format!("wait for the container {name}"));
        async move {
            let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
            let mut answer = std::pin::pin!(engine.docker.wait_container(&id, Some(options)));
            match answer.next().await {
                Some(Ok(ContainerWaitResponse { status_code, .. })) => Ok(status_code),
                // How the client reports an exit code that is not 0.
                Some(Err(ClientError::DockerContainerWaitError { code, .. })) => Ok(code),
                Some(Err(error)) => Err(engine.failed(&doing, &error)),
                None => Err(engine.lost(&doing)),
            }
        }
        .boxed()
    }

    fn lost(&self, doing: &str) -> DockerError {
        let name = self.name();
        let message = format!("the Docker Engine at {name} ended when it was asked to {doing}");
        DockerError::new(DockerErrorKind::Lost, message)
    }
}

/// A container that runs, with somebody listening.
struct Attended<'a> {
    engine: &'a Engine,
    id: &'a str,
    name: &'a str,
    /// None when the output has ended.
    pieces: Option<Pieces>,
    waiting: Code,
    code: Option<i64>,
    /// Whether it had ended before anybody listened.
    late: bool,
}

impl<'a> Attended<'a> {
    fn new(engine: &'a Engine, id: &'a str, name: &'a str, pieces: Pieces) -> Self {
        Self {
            engine,
            id,
            name,
            pieces: Some(pieces),
            waiting: engine.code(id, name),
            code: None,
            late: false,
        }
    }

    async fn until_its_end(
        mut self,
        limit: Duration,
        grace: Duration,
        output: &mut dyn Output,
    ) -> Result<RunEnd, DockerError> {
        if let Ok(end) = timeout(limit, self.listen(output)).await {
            return Ok(RunEnd::Ended(self.ended(end?).await?));
        }
        // Its last words are heard while it ends.
        let (engine, name) = (self.engine, self.name);
        let listening = timeout(grace.saturating_add(ANSWER), self.listen(output));
        let (stopped, heard) = tokio::join!(engine.stop(name, grace), listening);
        stopped?;
        match heard {
            Ok(end) => end.map(|_| RunEnd::TimedOut),
            Err(_) => Err(engine.lost(&format!("stop the container {}", self.name))),
        }
    }

    /// Hands on what comes until the output and the container have ended; its exit code. May be dropped and called
    /// again: nothing is lost between.
    async fn listen(&mut self, output: &mut dyn Output) -> Result<i64, DockerError> {
        loop {
            let trailing = self.code.is_some();
            let piece = match (&mut self.pieces, self.code) {
                (None, Some(code)) => return Ok(code),
                (None, None) => {
                    self.code = Some((&mut self.waiting).await?);
                    continue;
                }
                (Some(pieces), _) => tokio::select! {
                    piece = pieces.next() => piece,
                    code = &mut self.waiting, if !trailing => {
                        self.code = Some(code?);
                        continue;
                    }
                    () = sleep(TRAILING), if trailing => return Err(self.endless()),
                },
            };
            match piece {
                Some(Ok(piece)) => self.hand_on(piece, output).await?,
                Some(Err(error)) => {
                    return Err(self.engine.failed(&format!("read what {} writes", self.name), &error));
                }
                None => self.pieces = None,
            }
        }
    }

    async fn hand_on(&self, piece: LogOutput, output: &mut dyn Output) -> Result<(), DockerError> {
        let taken = match piece {
            LogOutput::StdErr { message } => output.stderr(&message).await,
            LogOutput::StdOut { message } | LogOutput::Console { message } => output.stdout(&message).await,
            LogOutput::StdIn { .. } => Ok(()),
        };
        taken.map_err(|error: io::Error| {
            let message = format!("what the container {} writes could not be kept: {error}", self.name);
            DockerError::new(DockerErrorKind::File, message)
        })
    }

    fn endless(&self) -> DockerError {
        let message = format!("the container {} ended, and its output did not", self.name);
        DockerError::new(DockerErrorKind::Timeout, message)
    }

    /// How it ended, seen before it is removed: afterwards nobody can say whether memory was the reason. An end that
    /// looks like success is believed only when the engine saw it come by itself.
    async fn ended(&self, code: i64) -> Result<Ended, DockerError> {
        let (out_of_memory, error) = match self.engine.inspect(self.id).await?.map(|found| found.state) {
            Some(ContainerState::Exited(end)) => (end.out_of_memory, end.error),
            Some(
                ContainerState::Created
                | ContainerState::Running { .. }
                | ContainerState::Restarting { .. }
                | ContainerState::Other(_),
            )
            | None => (false, None),
        };
        if code == 0 {
            let seen = self.engine.witness(self.id).await?;
            let doubt = match (seen.killed, seen.died || !self.late) {
                (true, _) => Some("it was told to end before it was done"),
                (false, false) => Some("nobody saw how it ended: the Docker Engine was restarted meanwhile"),
                (false, true) => None,
            };
            if let Some(doubt) = doubt {
                return Ok(Ended { code: UNKNOWN, out_of_memory, error: Some(doubt.to_owned()) });
            }
        }
        Ok(Ended { code, out_of_memory, error })
    }
}
