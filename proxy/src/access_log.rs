//! The access log: one line for each exchange, written by a thread of its own.
//!
//! Invariant: [`AccessLog::log`] never waits. A writer that is slow or stuck loses lines, and every lost line is
//! counted. The gateway logs; the composition root starts and closes it.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use switcher_config::settings::AccessLog as Format;
use switcher_config::wire::Kind;
use switcher_config::{AppName, Generation, Slot, UpstreamAddress};

use crate::request_id::RequestId;

/// How many records wait for the writer at most; a record is a pointer here.
const QUEUE: usize = 16 * 1024;

/// One exchange. Fields of the configuration are shared, not copied.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// When the request arrived.
    pub time: Timestamp,
    /// Its id.
    #[serde(serialize_with = "as_text")]
    pub request_id: RequestId,
    /// The application, unless none was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<Arc<AppName>>,
    /// The slot that served it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The generation that served it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The client's address.
    pub client: IpAddr,
    /// The protocol of the client's connection: `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'static str,
    /// Whether that connection is TLS.
    pub tls: bool,
    /// The method.
    #[serde(serialize_with = "as_text")]
    pub method: http::Method,
    /// The host asked for.
    pub host: String,
    /// Path and query, as sent.
    pub path: String,
    /// The status of the answer; 499 when the client left before it.
    pub status: u16,
    /// The kind the exchange turned out to be.
    pub kind: Kind,
    /// The upstream that was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Arc<UpstreamAddress>>,
    /// How many upstreams were tried.
    pub tries: u32,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// From the arrival of the head to the end.
    #[serde(rename = "duration_ms", serialize_with = "as_millis")]
    pub duration: Duration,
    /// To open the upstream connection; absent when a pooled one was used.
    #[serde(
        rename = "connect_ms",
        serialize_with = "as_optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect: Option<Duration>,
    /// From the arrival of the head to the first byte from the upstream.
    #[serde(
        rename = "first_byte_ms",
        serialize_with = "as_optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub first_byte: Option<Duration>,
    /// The client's name of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The page the client came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A handle to the access log; clones are cheap. The one for `Off` does nothing at all.
#[derive(Clone)]
pub struct AccessLog(Option<Arc<Shared>>);

struct Shared {
    /// Taken away when the log is closed; the writer ends when the last borrower is gone.
    queue: ArcSwapOption<SyncSender<Box<Record>>>,
    dropped: AtomicU64,
    finished: Mutex<bool>,
    wake: Condvar,
}

impl AccessLog {
    /// Starts the writing thread, unless the format is `Off`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(format: Format, writer: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let render = match format {
            Format::Off => return Ok(Self(None)),
            Format::Json => json_line,
            Format::Text => text_line,
        };
        let (sender, records) = sync_channel(QUEUE);
        let shared = Arc::new(Shared {
            queue: ArcSwapOption::from_pointee(sender),
            dropped: AtomicU64::new(0),
            finished: Mutex::new(false),
            wake: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            write_all(&records, writer, render, &thread.dropped);
            *thread.finished.lock() = true;
            thread.wake.notify_all();
        })?;
        Ok(Self(Some(shared)))
    }

    /// Whether anything is logged: build no record when not.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Hands the record to the writer, or drops and counts it. Never waits.
    pub fn log(&self, record: Box<Record>) {
        let Some(shared) = &self.0 else { return };
        let queued = shared.queue.load().as_ref().is_some_and(|queue| queue.try_send(record).is_ok());
        if !queued {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were lost, because the writer was slow, stuck or failing.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Ends the log: what is queued is written and flushed. Waits for that, but not longer than `limit`, because
    /// the writer may be stuck for ever; whether everything was written is the answer.
    pub fn close(&self, limit: Duration) -> bool {
        let Some(shared) = &self.0 else { return true };
        drop(shared.queue.swap(None));
        let mut finished = shared.finished.lock();
        !shared.wake.wait_while_for(&mut finished, |finished| !*finished, limit).timed_out()
    }
}

/// The writing thread: writes as long as records come, flushes whenever none is waiting.
fn write_all(
    records: &Receiver<Box<Record>>,
    writer: Box<dyn Write + Send>,
    render: fn(&Record, &mut Vec<u8>),
    dropped: &AtomicU64,
) {
    let mut out = BufWriter::with_capacity(64 * 1024, writer);
    let mut line = Vec::with_capacity(1024);
    let lost = |lines| dropped.fetch_add(lines, Ordering::Relaxed);
    let mut unflushed = 0;
    loop {
        let record = match records.try_recv() {
            Ok(record) => record,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                if out.flush().is_err() {
                    lost(unflushed);
                }
                unflushed = 0;
                let Ok(record) = records.recv() else { return };
                record
            }
        };
        line.clear();
        render(&record, &mut line);
        match out.write_all(&line) {
            Ok(()) => unflushed += 1,
            Err(_) => {
                lost(1);
            }
        }
    }
}

fn json_line(record: &Record, line: &mut Vec<u8>) {
    // A record holds nothing that JSON cannot say, and a Vec takes everything.
    let _ = serde_json::to_writer(&mut *line, record);
    line.push(b'\n');
}

/// A line for people: `2026-01-02T03:04:05.678Z 192.0.2.7 GET "shop.example/cart?x=1" 200 1.2ms …`.
fn text_line(record: &Record, line: &mut Vec<u8>) {
    let mut text = String::with_capacity(256);
    let _ = render_text(record, &mut text);
    text.push('\n');
    line.extend_from_slice(text.as_bytes());
}

fn render_text(r: &Record, out: &mut String) -> std::fmt::Result {
    write!(out, "{:.3} {} {} ", r.time, r.client, r.method)?;
    write!(out, "\"{}{}\"", printable(&r.host), printable(&r.path))?;
    write!(out, " {} {:.1}ms {}B", r.status, millis(r.duration), r.bytes_out)?;
    write!(out, " {}{} {}", r.protocol, if r.tls { "+tls" } else { "" }, r.kind.as_str())?;
    if let (Some(app), Some(slot)) = (&r.app, r.slot) {
        write!(out, " {app}/{slot}")?;
    }
    if let Some(generation) = r.generation {
        write!(out, "#{generation}")?;
    }
    if let Some(upstream) = &r.upstream {
        write!(out, " upstream={upstream}")?;
    }
    if r.tries > 1 {
        write!(out, " tries={}", r.tries)?;
    }
    write!(out, " id={}", r.request_id)?;
    if let Some(agent) = &r.user_agent {
        write!(out, " agent=\"{}\"", printable(agent))?;
    }
    if let Some(error) = &r.error {
        write!(out, " error=\"{}\"", printable(error))?;
    }
    Ok(())
}

/// A text from a client: it can end neither its quotes nor its line, and it moves no cursor.
fn printable(text: &str) -> impl std::fmt::Display {
    std::fmt::from_fn(move |f| {
        text.chars().try_for_each(|c| {
            if c == '"' || c == '\\' || c.is_control() {
                write!(f, "{}", c.escape_default())
            } else {
                f.write_char(c)
            }
        })
    })
}

fn millis(duration: Duration) -> f64 {
    // Microseconds are exact enough, and keep the figures short.
    duration.as_micros() as f64 / 1000.0
}

fn as_millis<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(millis(*duration))
}

fn as_optional_millis<S: serde::Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    duration.map(millis).serialize(to)
}

fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn record() -> Record {
        Record {
            time: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
            request_id: RequestId::of(&http::HeaderMap::from_iter([id_header()]), true),
            app: Some(Arc::new("shop".parse().unwrap())),
            slot: Some(Slot::Green),
            generation: Some(Generation::FIRST.next()),
            client: "192.0.2.7".parse().unwrap(),
            protocol: "HTTP/2",
            tls: true,
            method: http::Method::GET,
            host: "shop.example".into(),
            path: "/cart?x=\"1\"\r\n".into(),
            status: 200,
            kind: Kind::Requests,
            upstream: Some(Arc::new("127.0.0.1:8001".parse().unwrap())),
            tries: 2,
            bytes_in: 0,
            bytes_out: 1234,
            duration: Duration::from_micros(12_345),
            connect: Some(Duration::from_micros(500)),
            first_byte: None,
            user_agent: Some("curl/8 \u{1b}[31m".into()),
            referer: None,
            error: None,
        }
    }

    fn id_header() -> (http::HeaderName, http::HeaderValue) {
        (crate::request_id::X_REQUEST_ID, http::HeaderValue::from_static("id-1"))
    }

    /// A writer whose bytes can be read while it is in use.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, records: Vec<Record>) -> String {
        let page = Page::default();
        let log = AccessLog::start(format, Box::new(page.clone())).unwrap();
        for record in records {
            log.log(Box::new(record));
        }
        assert!(log.close(LIMIT), "everything is written before it is closed");
        assert_eq!(log.dropped(), 0);
        String::from_utf8(page.0.lock().clone()).unwrap()
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        insta::assert_snapshot!(written(Format::Json, vec![record()]));
    }

    #[test]
    fn a_record_is_one_line_of_text() {
        insta::assert_snapshot!(written(Format::Text, vec![record()]));
    }

    #[test]
    fn every_record_is_written_in_order_before_the_log_is_closed() {
        let records: Vec<_> = (0..1000).map(|n| Record { bytes_out: n, ..record() }).collect();
        let lines = written(Format::Json, records);
        let numbers: Vec<u64> = lines
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["bytes_out"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn off_writes_nothing_and_is_not_asked() {
        let log = AccessLog::start(Format::Off, Box::new(Page::default())).unwrap();
        assert!(!log.enabled());
        log.log(Box::new(record()));
        assert!(log.close(Duration::ZERO));
        assert_eq!(log.dropped(), 0);
    }

    /// A writer that waits until its gate is dropped.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_is_stuck_loses_lines_and_holds_nobody_up() {
        let (gate, stuck) = std::sync::mpsc::channel();
        let log = AccessLog::start(Format::Json, Box::new(Stuck(stuck))).unwrap();
        // More than the queue and the buffer can hold: with a log that waits, this would never end.
        let sent = QUEUE + 5000;
        for _ in 0..sent {
            log.log(Box::new(record()));
        }
        let dropped = log.dropped();
        assert!(dropped > 0 && dropped < sent as u64, "{dropped} of {sent}");
        assert!(!log.close(Duration::ZERO), "the writer is stuck");
        drop(gate);
        assert!(log.close(LIMIT), "once it goes on, what was queued is written");
        assert_eq!(log.dropped(), dropped);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let log = AccessLog::start(Format::Json, Box::new(Broken)).unwrap();
        log.log(Box::new(record()));
        assert!(log.close(LIMIT));
        assert_eq!(log.dropped(), 1);
    }
}
