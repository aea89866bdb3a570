//! What a hook prints: read from both streams until it ends, and no longer than it needs.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::SHOWN_LINES;
use crate::redact::{Lines, Redactor};

/// How long more output is waited for after the hook has ended: what it printed itself is in the pipe already.
const REST: Duration = Duration::from_millis(200);

/// How long output is read after the hook has ended, however much comes.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// Takes a line and the name of its stream.
type OnLine<'a> = dyn FnMut(&'static str, &str) + Send + 'a;

/// Both streams.
pub(super) struct Said {
    stdout: Stream<ChildStdout>,
    stderr: Stream<ChildStderr>,
}

impl Said {
    pub(super) fn of(child: &mut Child, redactor: &Redactor) -> Self {
        Self {
            stdout: Stream::new("stdout", child.stdout.take(), redactor),
            stderr: Stream::new("stderr", child.stderr.take(), redactor),
        }
    }

    /// Passes lines on until the hook ends.
    pub(super) async fn until_ended(
        &mut self,
        child: &mut Child,
        on_line: &mut OnLine<'_>,
    ) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = child.wait() => return status,
                () = self.read(on_line) => {}
            }
        }
    }

    /// Passes on what is still in the pipes. Whoever else holds them is not waited for.
    pub(super) async fn rest(&mut self, on_line: &mut OnLine<'_>) {
        let everything =
            async { while self.is_held() && tokio::time::timeout(REST, self.read(on_line)).await.is_ok() {} };
        // Every outcome is seen in the pipes.
        let _ = tokio::time::timeout(LONGEST_REST, everything).await;
        self.stdout.finish(on_line);
        self.stderr.finish(on_line);
    }

    /// Whether somebody still holds a pipe open.
    pub(super) fn is_held(&self) -> bool {
        self.stdout.pipe.is_some() || self.stderr.pipe.is_some()
    }

    async fn read(&mut self, on_line: &mut OnLine<'_>) {
        tokio::select! {
            count = self.stdout.read() => self.stdout.take(count, on_line),
            count = self.stderr.read() => self.stderr.take(count, on_line),
        }
    }
}

/// One stream.
struct Stream<R> {
    name: &'static str,
    /// None when it was read to its end.
    pipe: Option<R>,
    lines: Lines,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Stream<R> {
    fn new(name: &'static str, pipe: Option<R>, redactor: &Redactor) -> Self {
        Self { name, pipe, lines: redactor.lines(), buffer: vec![0; 8192] }
    }

    /// Reads what comes next and says how much it is; never returns once the stream has ended.
    async fn read(&mut self) -> usize {
        match &mut self.pipe {
            // A pipe that breaks has ended as well.
            Some(pipe) => pipe.read(&mut self.buffer).await.unwrap_or(0),
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, count: usize, on_line: &mut OnLine<'_>) {
        if count == 0 {
            self.pipe = None;
        }
        self.lines.push(&self.buffer[..count], &mut |line| on_line(self.name, line));
    }

    fn finish(&mut self, on_line: &mut OnLine<'_>) {
        self.lines.finish(&mut |line| on_line(self.name, line));
    }
}

/// The last lines.
#[derive(Default)]
pub(super) struct Tail(VecDeque<String>);

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
        if self.0.len() == SHOWN_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0.into()
    }
}
