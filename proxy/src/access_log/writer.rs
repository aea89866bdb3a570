//! The writing thread, and where it writes to.
//!
//! Invariant: whole lines reach the file, each once. What could not be written is kept up to a buffer's size and tried
//! again each second; the lines beyond it are dropped and counted, and the trouble is said once. Several processes may
//! append to one file, because a write ends with a line.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How many bytes of lines wait to be written at most.
const BUFFER: usize = 64 * 1024;

/// How long it takes from one try to the next, and from one look at the file to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Where lines go.
pub(super) enum Sink {
    /// What cannot be opened again.
    Stream(Box<dyn Write + Send>),
    /// A file by its path, when it could be opened.
    File(PathBuf, Option<File>),
}

impl Sink {
    /// Standard output, without the buffer that would hide how much was written.
    pub(super) fn standard_output() -> Result<Self, String> {
        let duplicate = std::io::stdout().as_fd().try_clone_to_owned();
        let duplicate = duplicate.map_err(|error| format!("standard output cannot be written: {error}"))?;
        Ok(Self::Stream(Box::new(File::from(duplicate))))
    }

    /// A file. Trouble that an operator has to mend is an error; a disk that is full for now is not.
    pub(super) fn file(path: &Path) -> Result<Self, String> {
        super::check(&switcher_config::settings::AccessLog {
            file: Some(path.to_owned()),
            ..switcher_config::settings::AccessLog::of(switcher_config::settings::LogFormat::Json)
        })?;
        // A pipe is opened by the writer alone, which may wait for its reader.
        if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Ok(Self::File(path.to_owned(), None));
        }
        match open(path) {
            Ok(file) => Ok(Self::File(path.to_owned(), Some(file))),
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                let name = path.display();
                let fix = "let the proxy's user write it, or name another file";
                Err(format!("proxy.access_log.file: {name} cannot be appended to: {error}; {fix}"))
            }
            Err(_) => Ok(Self::File(path.to_owned(), None)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.write(bytes),
            Self::File(path, file) => match file {
                Some(file) => file.write(bytes),
                None => file.insert(open(path)?).write(bytes),
            },
        }
    }

    /// Writes as much as it takes: how much that was, and what kept it from taking all.
    fn pour(&mut self, bytes: &[u8]) -> (usize, std::io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.write(&bytes[written..]) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    fn name(&self) -> String {
        match self {
            Self::Stream(_) => "standard output".to_owned(),
            Self::File(path, _) => path.display().to_string(),
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options().append(true).create(true).mode(0o640).open(path)
}

/// Lines on their way to a sink.
pub(super) struct Out {
    sink: Sink,
    dropped: Arc<AtomicU64>,
    waiting: Vec<u8>,
    /// The first line that waits was written in part.
    torn: bool,
    /// When to try again, while nothing can be written.
    retry: Option<Instant>,
    lost: u64,
    looked: Instant,
}

impl Out {
    pub(super) fn new(sink: Sink, dropped: Arc<AtomicU64>) -> Self {
        let waiting = Vec::with_capacity(BUFFER);
        Self { sink, dropped, waiting, torn: false, retry: None, lost: 0, looked: Instant::now() }
    }

    /// Writes lines from where they are, and takes those that the sink does not.
    pub(super) fn pass(&mut self, lines: &[u8], now: Instant) {
        let mut left = lines;
        if self.waiting.is_empty() && self.retry.is_none() && !lines.is_empty() {
            self.leave_deleted(now);
            let (written, outcome) = self.sink.pour(lines);
            self.wrote(&lines[..written], outcome, now);
            left = &lines[written..];
        }
        for line in left.split_inclusive(|byte| *byte == b'\n') {
            self.take(line, now);
        }
        self.flush(now);
    }

    /// Takes a line, or drops it when there is no room.
    fn take(&mut self, line: &[u8], now: Instant) {
        if self.waiting.len() + line.len() > BUFFER {
            self.flush(now);
        }
        // A line longer than the buffer has it to itself.
        if self.waiting.is_empty() || self.waiting.len() + line.len() <= BUFFER {
            self.waiting.extend_from_slice(line);
        } else {
            self.lose(1);
        }
    }

    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Writes what waits, unless that failed a moment ago.
    fn flush(&mut self, now: Instant) {
        if self.retry.is_some_and(|retry| now < retry) {
            return;
        }
        self.leave_deleted(now);
        if !self.waiting.is_empty() {
            self.write(now);
        }
    }

    fn write(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.waiting);
        let (written, outcome) = self.sink.pour(&waiting);
        self.wrote(&waiting[..written], outcome, now);
        self.waiting = waiting;
        self.waiting.drain(..written);
    }

    /// Notes how a write went.
    fn wrote(&mut self, written: &[u8], outcome: std::io::Result<()>, now: Instant) {
        if let Some(last) = written.last() {
            self.torn = *last != b'\n';
        }
        match outcome {
            Ok(()) => {
                if self.retry.take().is_some() {
                    let lost = std::mem::take(&mut self.lost);
                    tracing::info!(to = self.sink.name(), lost, "the access log is written again");
                }
            }
            Err(error) => self.failed(&error, now),
        }
    }

    fn failed(&mut self, error: &std::io::Error, now: Instant) {
        if self.retry.replace(now + PAUSE).is_none() {
            let to = self.sink.name();
            tracing::warn!(%error, to, "the access log cannot be written; lines are dropped and counted, and it is tried again each second");
        }
    }

    /// Opens the file again, for what comes from here on.
    fn reopen(&mut self, now: Instant) {
        self.retry = self.retry.map(|_| now);
        self.flush(now);
        let Sink::File(path, file) = &mut self.sink else { return };
        match open(path) {
            Ok(fresh) => {
                *file = Some(fresh);
                self.leave_torn();
            }
            Err(error) => {
                tracing::warn!(%error, to = %path.display(), "the access log cannot be opened again; what is open is written on");
            }
        }
    }

    /// A file that was deleted is left: nobody would find what is written to it.
    fn leave_deleted(&mut self, now: Instant) {
        if now < self.looked + PAUSE {
            return;
        }
        self.looked = now;
        let Sink::File(_, file) = &mut self.sink else { return };
        if file.as_ref().and_then(|file| file.metadata().ok()).is_some_and(|meta| meta.nlink() == 0) {
            *file = None;
            self.leave_torn();
        }
    }

    /// The rest of a line whose beginning is in another file is worth nothing.
    fn leave_torn(&mut self) {
        if std::mem::take(&mut self.torn) {
            let end =
                self.waiting.iter().position(|byte| *byte == b'\n').map_or(self.waiting.len(), |n| n + 1);
            self.waiting.drain(..end);
            self.lose(1);
        }
    }

    /// The last try, and the count of what is lost by it.
    pub(super) fn finish(&mut self, now: Instant) {
        self.retry = self.retry.map(|_| now);
        self.flush(now);
        let lines = self.waiting.iter().filter(|byte| **byte == b'\n').count();
        self.lose(lines as u64);
    }

    /// How long to wait for the next record at most, when something is left to try.
    fn patience(&self, now: Instant) -> Option<Duration> {
        let retry = self.retry.filter(|_| !self.waiting.is_empty())?;
        Some(retry.saturating_duration_since(now))
    }
}

/// Lines that wait for the writer.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: Mutex<State>,
    /// Rung when the first line waits, and when there is something else to do.
    wake: Condvar,
    /// Rung when there is something else to do.
    hurry: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    reopen: bool,
    closed: bool,
}

/// How many bytes of lines wait for the writer at most.
pub(super) const WAITING: usize = 4 << 20;

/// How much room for lines is kept from one burst to the next.
const KEPT: usize = 256 * 1024;

/// How long the writer lets further lines come before it takes them.
const GATHER: Duration = Duration::from_millis(5);

impl Lines {
    /// Takes a line; false when too many wait.
    pub(super) fn put(&self, line: &[u8]) -> bool {
        let mut state = self.state.lock();
        if state.bytes.len() + line.len() > WAITING {
            return false;
        }
        let first = state.bytes.is_empty();
        state.bytes.extend_from_slice(line);
        drop(state);
        if first {
            self.wake.notify_one();
        }
        true
    }

    pub(super) fn reopen(&self) {
        self.state.lock().reopen = true;
        self.ring();
    }

    /// No more lines come.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.ring();
    }

    fn ring(&self) {
        self.wake.notify_one();
        self.hurry.notify_one();
    }

    /// Waits for something to do, but no longer than that.
    fn wait(&self, patience: Option<Duration>) {
        let mut state = self.state.lock();
        let nothing = |state: &mut State| state.bytes.is_empty() && !state.reopen && !state.closed;
        match patience {
            Some(patience) => drop(self.wake.wait_while_for(&mut state, nothing, patience)),
            None => self.wake.wait_while(&mut state, nothing),
        }
        self.hurry.wait_while_for(&mut state, |state| !state.reopen && !state.closed, GATHER);
    }

    /// Takes all lines, in exchange for an empty place for the next ones; whether the file is to be opened again, and
    /// whether these were the last.
    fn take(&self, empty: &mut Vec<u8>) -> (bool, bool) {
        let mut state = self.state.lock();
        std::mem::swap(&mut state.bytes, empty);
        (std::mem::take(&mut state.reopen), state.closed)
    }
}

/// Writes as long as lines come.
pub(super) fn run(lines: &Lines, mut out: Out) {
    let mut taken = Vec::new();
    loop {
        lines.wait(out.patience(Instant::now()));
        let (reopen, last) = lines.take(&mut taken);
        let now = Instant::now();
        if reopen {
            out.reopen(now);
        }
        out.pass(&taken, now);
        if last {
            return out.finish(now);
        }
        // What one burst has needed is not kept for ever.
        taken.clear();
        taken.shrink_to(KEPT);
    }
}
