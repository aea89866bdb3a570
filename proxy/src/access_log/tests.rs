//! The log as a whole: every record becomes one line somewhere, or is counted.

use std::io::{self, Write};
use std::time::Instant;

use proptest::prelude::*;
use switcher_config::Share;
use switcher_config::settings::LogField;

use super::writer::Out;
use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn record() -> Record<'static> {
    Record {
        time: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        request_id: RequestId::of(&http::HeaderMap::from_iter([id_header()]), true),
        trace: None,
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
        headers: Vec::new(),
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

fn started(settings: &Settings, writer: impl Write + Send + 'static) -> AccessLog {
    let log = AccessLog::start(&Settings::of(LogFormat::Off)).unwrap();
    log.run(Rules::new(settings), Sink::Stream(Box::new(writer))).unwrap();
    log
}

fn written_by(settings: &Settings, records: Vec<Record<'_>>) -> String {
    let page = Page::default();
    let log = started(settings, page.clone());
    for record in records {
        log.log(record);
    }
    assert!(log.close(LIMIT), "everything is written before it is closed");
    assert_eq!(log.dropped(), 0);
    String::from_utf8(page.0.lock().clone()).unwrap()
}

fn written(format: LogFormat, records: Vec<Record<'_>>) -> String {
    written_by(&Settings::of(format), records)
}

#[test]
fn a_record_is_one_line_of_json() {
    insta::assert_snapshot!(written(LogFormat::Json, vec![record()]));
}

#[test]
fn a_record_is_one_line_of_text() {
    insta::assert_snapshot!(written(LogFormat::Text, vec![record()]));
}

#[test]
fn milliseconds_are_written_as_json_has_them() {
    for (micros, text) in [
        (0, "0.0"),
        (5, "0.005"),
        (50, "0.05"),
        (500, "0.5"),
        (1_000, "1.0"),
        (12_345, "12.345"),
        (1_010, "1.01"),
    ] {
        let line =
            written(LogFormat::Json, vec![Record { duration: Duration::from_micros(micros), ..record() }]);
        assert!(line.contains(&format!("\"duration_ms\":{text},")), "{line}");
    }
}

#[test]
fn every_record_is_written_in_order_before_the_log_is_closed() {
    let records: Vec<_> = (0..1000).map(|n| Record { bytes_out: n, ..record() }).collect();
    let lines = written(LogFormat::Json, records);
    let numbers: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["bytes_out"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

#[test]
fn off_writes_nothing_and_is_not_asked() {
    let log = AccessLog::start(&Settings::of(LogFormat::Off)).unwrap();
    assert!(!log.wants(outcome(&record().request_id)));
    log.log(record());
    assert!(log.close(Duration::ZERO));
}

fn outcome(id: &RequestId) -> Outcome<'_> {
    Outcome { id, status: 200, failed: false, took: Duration::ZERO }
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
    let log = started(&Settings::of(LogFormat::Json), Stuck(stuck));
    // More than can wait: with a log that waits, this would never end.
    let sent = 3 * super::writer::WAITING / 300;
    for _ in 0..sent {
        log.log(record());
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
    let log = started(&Settings::of(LogFormat::Json), Broken);
    log.log(record());
    assert!(log.close(LIMIT));
    assert_eq!(log.dropped(), 1);
}

fn chosen(format: LogFormat) -> Settings {
    let fields =
        vec![LogField::Status, LogField::Path, LogField::Duration, LogField::UserAgent, LogField::Tls];
    Settings { fields, ..Settings::of(format) }
}

#[test]
fn chosen_fields_and_headers_stand_in_their_order_without_credentials() {
    let with_headers = || Record {
        path: "/cart?q=1&access_token=abc".into(),
        headers: vec![
            (http::header::REFERER, "https://a:b@shop.test/?key=7\n".into()),
            (HeaderName::from_static("x-tenant"), "one".into()),
            (HeaderName::from_static("x-tenant"), "two \u{2028}".into()),
        ],
        ..record()
    };
    insta::assert_snapshot!(written_by(&chosen(LogFormat::Json), vec![with_headers()]));
    insta::assert_snapshot!(written_by(&chosen(LogFormat::Text), vec![with_headers()]));
}

#[test]
fn a_chosen_header_with_a_secret_is_logged_without_it() {
    let names = ["authorization", "cookie", "x-preview", "x-tenant"].map(str::to_owned);
    let rules = Rules::new(&Settings { headers: names.into(), ..Settings::of(LogFormat::Json) });
    let sent = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    let request = HeaderMap::from_iter([
        sent("authorization", "Bearer abc"),
        sent("cookie", "session=1"),
        sent("x-preview", "let-me-in"),
        sent("x-tenant", "one"),
    ]);
    let logged: Vec<String> =
        rules.headers(&request, |name| name == "x-preview").into_iter().map(|(_, value)| value).collect();
    assert_eq!(logged, ["Bearer ***", "***", "***", "one"]);
}

#[test]
fn a_share_of_what_went_well_is_logged_and_all_that_did_not() {
    let rules = Rules::new(&Settings { sample: Share::percent(10), ..Settings::of(LogFormat::Json) });
    let ids: Vec<RequestId> = (0..10_000).map(|_| RequestId::generate()).collect();
    let logged: Vec<bool> = ids.iter().map(|id| rules.want(outcome(id))).collect();
    let count = logged.iter().filter(|wanted| **wanted).count();
    assert!((800..1200).contains(&count), "{count} of 10000");
    assert_eq!(logged, ids.iter().map(|id| rules.want(outcome(id))).collect::<Vec<_>>(), "it is stable");
    for id in &ids {
        assert!(rules.want(Outcome { status: 502, ..outcome(id) }));
        assert!(rules.want(Outcome { failed: true, ..outcome(id) }));
        assert!(rules.want(Outcome { took: Duration::from_secs(1), ..outcome(id) }));
    }
    let none = Rules::new(&Settings { sample: Share::percent(0), ..Settings::of(LogFormat::Json) });
    assert!(!ids.iter().any(|id| none.want(outcome(id))));
}

proptest! {
    #[test]
    fn no_byte_of_a_client_breaks_a_line(host in any::<String>(), path in any::<String>(), agent in any::<String>(), header in "[\\x00-\\x{9f}\u{2028}\u{2029}\u{202e}\"\\\\]{0,20}") {
        for settings in [LogFormat::Json, LogFormat::Text].iter().flat_map(|f| [Settings::of(*f), chosen(*f)]) {
            let mut line = String::new();
            let mut record = Record {
                host: host.as_str().into(),
                path: path.as_str().into(),
                user_agent: Some(agent.as_str().into()),
                referer: Some(header.as_str().into()),
                headers: vec![(HeaderName::from_static("x-any"), header.clone())],
                ..record()
            };
            line::render(&mut record, &Rules::new(&settings), &mut line);
            let body = line.strip_suffix('\n').unwrap();
            prop_assert!(!body.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{:?}", body);
            if settings.format == LogFormat::Json {
                let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
                prop_assert_eq!(&parsed["user_agent"], &serde_json::Value::from(agent.clone()));
            }
        }
    }
}

/// A disk of limited room.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (written, room) = &mut *self.0.lock();
        if *room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(*room);
        written.extend_from_slice(&bytes[..taken]);
        *room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk {
    fn room(&self, bytes: usize) {
        self.0.lock().1 = bytes;
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().0.clone()).unwrap()
    }
}

#[test]
fn a_full_disk_tears_no_line_and_what_could_be_kept_is_written_when_there_is_room() {
    let (disk, dropped) = (Disk::default(), Arc::new(AtomicU64::new(0)));
    let mut out = Out::new(Sink::Stream(Box::new(disk.clone())), Arc::clone(&dropped));
    let start = Instant::now();
    let line = |n: usize| format!("{n:>99}\n");
    disk.room(250);
    for first in (0..2000).step_by(20) {
        out.pass((first..first + 20).map(line).collect::<String>().as_bytes(), start);
    }
    assert_eq!(disk.text().len(), 250, "the disk is full in the middle of a line");
    let lost = dropped.load(Ordering::Relaxed);
    assert!(lost > 0, "more came than is kept");
    disk.room(usize::MAX);
    out.pass(&[], start);
    assert_eq!(disk.text().len(), 250, "it is not tried at once");
    out.pass(&[], start + Duration::from_secs(1));
    out.pass(line(9999).as_bytes(), start + Duration::from_secs(1));
    out.finish(start + Duration::from_secs(1));
    let text = disk.text();
    assert!(text.lines().all(|line| line.len() == 99), "no line is torn");
    let numbers: Vec<usize> = text.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.last() == Some(&9999), "each once, in order");
    assert_eq!(numbers.len() as u64 + lost, 2001, "every line is written or counted");
    assert_eq!(dropped.load(Ordering::Relaxed), lost);
}
