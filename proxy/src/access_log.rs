//! The access log: a line for each exchange that is to be logged, written by a thread of its own.
//!
//! Lines are made where the exchange ends, from what is there to be borrowed, and put beside those that wait. The writer
//! takes all of them a few hundred times a second at most: to wake it for each would cost more than the line.
//!
//! Invariant: [`AccessLog::log`] never waits for it. A writer that is slow or stuck loses lines, and every lost line is
//! counted. No line holds a credential that [`redact`] knows. The gateway logs; the composition root starts and closes
//! it and has it reopened on SIGUSR1; a reload may replace how and where it is written.

pub mod line;
pub mod redact;
#[cfg(test)]
mod tests;
mod writer;

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use switcher_config::settings::{AccessLog as Settings, LogFormat};
use switcher_config::wire::Kind;
use switcher_config::{AppName, Generation, Slot, UpstreamAddress};

use crate::request_id::RequestId;
use crate::traces::{SpanId, TraceId};

use line::Rules;
use writer::{Lines, Out, Sink};

/// One exchange. What can be is borrowed from it.
#[derive(Debug, Clone)]
pub struct Record<'r> {
    /// When the request arrived.
    pub time: Timestamp,
    /// Its id.
    pub request_id: RequestId,
    /// Its trace, and its own span in that, where it is traced.
    pub trace: Option<(TraceId, SpanId)>,
    /// The application, unless none was found.
    pub app: Option<Arc<AppName>>,
    /// The slot that served it.
    pub slot: Option<Slot>,
    /// The generation that served it.
    pub generation: Option<Generation>,
    /// The client's address.
    pub client: IpAddr,
    /// The protocol of the client's connection: `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'static str,
    /// Whether that connection is TLS.
    pub tls: bool,
    /// The method.
    pub method: http::Method,
    /// The host asked for.
    pub host: Cow<'r, str>,
    /// Path and query, as sent.
    pub path: Cow<'r, str>,
    /// The status of the answer; 499 when the client left before it.
    pub status: u16,
    /// The kind the exchange turned out to be.
    pub kind: Kind,
    /// The upstream that was asked last.
    pub upstream: Option<Arc<UpstreamAddress>>,
    /// How many upstreams were tried.
    pub tries: u32,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// From the arrival of the head to the end.
    pub duration: Duration,
    /// To open the upstream connection; absent when a pooled one was used.
    pub connect: Option<Duration>,
    /// From the arrival of the head to the first byte from the upstream.
    pub first_byte: Option<Duration>,
    /// The client's name of itself.
    pub user_agent: Option<Cow<'r, str>>,
    /// The page the client came from.
    pub referer: Option<Cow<'r, str>>,
    /// What went wrong.
    pub error: Option<Cow<'r, str>>,
    /// The request headers that are logged as well.
    pub headers: Vec<(HeaderName, String)>,
}

/// A handle to the access log; clones are cheap. While it is off it does nothing at all.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    /// Taken away when the log is closed; its writer ends when the last borrower is gone.
    running: ArcSwapOption<Running>,
    dropped: Arc<AtomicU64>,
}

/// A writer at work.
struct Running {
    lines: Arc<Lines>,
    rules: Rules,
    end: Arc<End>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lines.close();
    }
}

/// Tells when a writer has ended.
#[derive(Default)]
struct End {
    finished: Mutex<bool>,
    wake: Condvar,
}

/// What decides whether an exchange is logged.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The id of the request.
    pub id: &'a RequestId,
    /// The status that is logged.
    pub status: u16,
    /// Something went wrong, or the proxy answered an error by itself.
    pub failed: bool,
    /// How long the client waited for its answer.
    pub took: Duration,
}

impl AccessLog {
    /// Starts the writing thread, unless the format is `off`.
    ///
    /// # Errors
    /// A sentence with a fix when the file cannot be used, or when the operating system gives no thread.
    pub fn start(settings: &Settings) -> Result<Self, String> {
        let log = Self(Arc::new(Shared { running: ArcSwapOption::empty(), dropped: Arc::default() }));
        log.replace(settings)?;
        Ok(log)
    }

    /// Writes by these settings from now on; what is queued is written by those before.
    ///
    /// # Errors
    /// As of [`AccessLog::start`]; then nothing is changed.
    pub fn replace(&self, settings: &Settings) -> Result<(), String> {
        if settings.format == LogFormat::Off {
            self.0.running.store(None);
            return Ok(());
        }
        let sink = match &settings.file {
            Some(file) => Sink::file(file)?,
            None => Sink::standard_output()?,
        };
        self.run(Rules::new(settings), sink)
    }

    fn run(&self, rules: Rules, sink: Sink) -> Result<(), String> {
        let (lines, end) = (Arc::new(Lines::default()), Arc::new(End::default()));
        let out = Out::new(sink, Arc::clone(&self.0.dropped));
        let running = Running { lines: Arc::clone(&lines), rules, end: Arc::clone(&end) };
        let work = move || {
            writer::run(&lines, out);
            *end.finished.lock() = true;
            end.wake.notify_all();
        };
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(work);
        thread.map_err(|error| format!("the access log cannot be started: {error}"))?;
        self.0.running.store(Some(Arc::new(running)));
        Ok(())
    }

    /// Whether this exchange is logged: build no record when not.
    #[must_use]
    pub fn wants(&self, outcome: Outcome<'_>) -> bool {
        self.0.running.load().as_ref().is_some_and(|running| running.rules.want(outcome))
    }

    /// The request headers that are logged as well, without their values where those are secrets.
    #[must_use]
    pub fn headers(
        &self,
        request: &HeaderMap,
        is_secret: impl Fn(&HeaderName) -> bool,
    ) -> Vec<(HeaderName, String)> {
        let running = self.0.running.load();
        running.as_ref().map_or_else(Vec::new, |running| running.rules.headers(request, is_secret))
    }

    /// Leaves the record's line to the writer, or drops and counts it. Never waits for a disk.
    pub fn log(&self, mut record: Record<'_>) {
        thread_local! {
            static LINE: RefCell<String> = RefCell::new(String::with_capacity(1024));
        }
        let running = self.0.running.load();
        let taken = running.as_ref().is_some_and(|running| {
            LINE.with_borrow_mut(|line| {
                line.clear();
                line::render(&mut record, &running.rules, line);
                running.lines.put(line.as_bytes())
            })
        });
        if !taken {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the file opened again: somebody has moved it away.
    pub fn reopen(&self) {
        if let Some(running) = self.0.running.load().as_ref() {
            running.lines.reopen();
        }
    }

    /// Records that were lost, because the writer was slow, stuck or failing.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Ends the log: what is queued is written. Waits for that, but not longer than `limit`, because the writer
    /// may be stuck for ever; whether everything was written is the answer.
    pub fn close(&self, limit: Duration) -> bool {
        let Some(running) = self.0.running.swap(None) else { return true };
        let end = Arc::clone(&running.end);
        drop(running);
        let mut finished = end.finished.lock();
        !end.wake.wait_while_for(&mut finished, |finished| !*finished, limit).timed_out()
    }
}

/// Whether the file that the settings name can be appended to, as far as that can be told without making it.
///
/// # Errors
/// A sentence with a fix.
pub fn check(settings: &Settings) -> Result<(), String> {
    let Some(file) = settings.file.as_deref().filter(|_| settings.format != LogFormat::Off) else {
        return Ok(());
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let name = folder.display();
        return Err(format!(
            "proxy.access_log.file: there is no folder {name}; make it, owned by the proxy's user"
        ));
    }
    if file.is_dir() {
        return Err(format!("proxy.access_log.file: {} is a folder; name a file in it", file.display()));
    }
    Ok(())
}
