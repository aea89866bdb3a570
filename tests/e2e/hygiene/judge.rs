//! The judge: sends a case, looks at what the upstream got, and then at whether the next clients get their own answers.

use std::net::SocketAddr;
use std::time::Duration;

use switcher_tests::PATIENCE;
use switcher_tests::http1::{Http1, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::case::{Allowed, Case};
use super::recorder::{Log, Recorder};
use super::strict::{Request, sent};

/// How long a front that waits for more of a case is waited for, before the client leaves. Ours never waits, so it has
/// all the time of a busy machine; the negative controls often do.
pub(crate) const OURS: Duration = PATIENCE;
pub(crate) const NAIVE: Duration = Duration::from_millis(1500);

/// What became of a case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What is allowed.
    Good,
    /// The upstream got what is ambiguous or did not pass the front, or somebody got another's answer.
    Unsafe(String),
    /// A legal exchange did not work.
    Failing(String),
    /// It did no harm, but was not rejected as it should be.
    Weak(String),
}

/// What the client got until its connection ended: the statuses of all answers, interim ones left out.
#[derive(Debug)]
struct Got {
    statuses: Vec<u16>,
    bodies: Vec<String>,
    /// How many interim answers there were.
    interim: usize,
    closed: bool,
}

/// A last request on the same connection: whoever reads the case to its end closes after it.
fn last(number: usize) -> Vec<u8> {
    format!("GET /last-{number} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Plays a case against a front.
pub(crate) async fn judge(
    case: &Case,
    number: usize,
    front: SocketAddr,
    upstream: &Recorder,
    stalled: Duration,
) -> Verdict {
    drop(upstream.take());
    let bytes = [case.bytes.as_slice(), &last(number)].concat();
    let got = play(front, &bytes, stalled).await;
    let mut log = upstream.take();
    if let Some(harm) = poisoned(number, front, upstream, &mut log).await {
        return Verdict::Unsafe(harm);
    }
    if let Some(harm) = harm(&log) {
        return Verdict::Unsafe(harm);
    }
    match case.allowed {
        Allowed::Rejected(statuses) => rejected(&got, &log, statuses),
        Allowed::Unambiguous => unambiguous(&got, &log),
        Allowed::Served => served(&got, &log, &sent(&bytes)),
    }
}

async fn play(front: SocketAddr, bytes: &[u8], stalled: Duration) -> Got {
    let mut stream = TcpStream::connect(front).await.expect("the front takes connections");
    let (mut reading, mut writing) = stream.split();
    let mut received = Vec::new();
    let read = async {
        loop {
            let more = tokio::time::timeout(stalled, reading.read_buf(&mut received)).await;
            match more {
                Ok(Ok(1..)) => {}
                // A front that closes with bytes of ours unread resets the connection.
                Ok(Ok(0) | Err(_)) => return true,
                Err(_) => return false,
            }
        }
    };
    let write = async {
        // A front may close before it has taken everything.
        let _ = writing.write_all(bytes).await;
    };
    let (closed, ()) = tokio::join!(read, write);
    answers(&received, bytes, closed)
}

/// The answers in a stream, each to its request.
fn answers(mut bytes: &[u8], asked: &[u8], closed: bool) -> Got {
    let mut got = Got { statuses: Vec::new(), bodies: Vec::new(), interim: 0, closed };
    let mut requests = sent(asked).into_iter();
    while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        bytes = &bytes[end + 4..];
        let status: u16 = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default();
        if matches!(status, 100 | 102..200) {
            got.interim += 1;
            continue;
        }
        let of_head = requests.next().is_some_and(|request| request.method == "HEAD");
        let field = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        let length = match field("content-length:") {
            _ if of_head || matches!(status, 101 | 204 | 304) => 0,
            Some(length) => length.parse().unwrap_or(0),
            // Chunked, or to the end of the connection.
            None => bytes
                .windows(5)
                .position(|w| w == b"0\r\n\r\n" || w == b"\r\n\r\nH")
                .map_or(bytes.len(), |p| p + 5),
        };
        let length = length.min(bytes.len());
        got.statuses.push(status);
        got.bodies.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        bytes = &bytes[length..];
    }
    got
}

/// What the upstream should never have got.
pub(crate) fn harm(log: &Log) -> Option<String> {
    if let Some(bad) = log.bad.first() {
        return Some(format!("the upstream got {bad}"));
    }
    let marked = |request: &&Request| request.all("x-request-id").len() == 1;
    log.requests.iter().find(|r| !marked(r)).map(|r| format!("{} {} got past the front", r.method, r.target))
}

/// Whether what is left of a case spoils the next requests of others.
pub(crate) async fn poisoned(
    number: usize,
    front: SocketAddr,
    upstream: &Recorder,
    log: &mut Log,
) -> Option<String> {
    for victim in 0..2 {
        let path = format!("/victim-{number}-{victim}");
        let mut client = Http1::connect(front).await;
        let answer = client.try_exchange(&request("GET", &path, &[], b"")).await;
        let text = answer.map_or_else(|e| e.to_string(), |a| format!("{} {}", a.status, a.text()));
        let Log { requests, bad } = upstream.take();
        log.bad.extend(bad);
        let (own, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(|r| r.target == path);
        log.requests.extend(others);
        if text != format!("200 {path} 0") || own.len() != 1 || !own[0].body.is_empty() {
            return Some(format!("a victim got {text:?}; {log:?}"));
        }
    }
    None
}

fn rejected(got: &Got, log: &Log, statuses: &[u16]) -> Verdict {
    let seen: Vec<&str> = log.requests.iter().map(|r| r.target.as_str()).collect();
    // What came before the part that is rejected may have begun to be forwarded.
    if !seen.is_empty() {
        return Verdict::Weak(format!("the upstream saw {seen:?}; the client got {got:?}"));
    }
    let [status] = got.statuses[..] else { return Verdict::Weak(format!("the client got {got:?}")) };
    if !statuses.contains(&status) || !got.closed {
        return Verdict::Weak(format!("the client got {got:?}"));
    }
    Verdict::Good
}

fn unambiguous(got: &Got, log: &Log) -> Verdict {
    let refused = |status: &u16| matches!(status, 400..=499 | 501 | 505);
    let answered = !got.statuses.is_empty() && got.statuses.iter().all(|s| *s == 200 || refused(s));
    if answered && got.closed {
        Verdict::Good
    } else {
        Verdict::Weak(format!("the client got {got:?}; {log:?}"))
    }
}

fn served(got: &Got, log: &Log, sent: &[Request]) -> Verdict {
    let shape = |r: &Request| (r.method.clone(), r.target.clone(), r.body.clone());
    let asked = |r: &Request| (r.method.clone(), origin(&r.target), r.body.clone());
    let (wanted, seen): (Vec<_>, Vec<_>) =
        (sent.iter().map(asked).collect(), log.requests.iter().map(shape).collect());
    if wanted != seen {
        return Verdict::Failing(format!("sent {wanted:?}, seen {seen:?}; the client got {got:?}"));
    }
    let good = |(got, request): (&u16, &Request)| match origin(&request.target).as_str() {
        "/204" => *got == 204,
        "/304" => *got == 304,
        _ => *got == 200,
    };
    let own = got
        .bodies
        .iter()
        .zip(sent)
        .all(|(body, request)| body.is_empty() || body.contains(&origin(&request.target)));
    let understood = got.interim == 0 || sent[0].version == "HTTP/1.1";
    let all = got.statuses.len() == sent.len() && got.statuses.iter().zip(sent).all(good);
    if all && own && understood && got.closed {
        Verdict::Good
    } else {
        Verdict::Failing(format!("the client got {got:?}"))
    }
}

/// The path and query of a target, absolute or not.
fn origin(target: &str) -> String {
    let rest =
        target.strip_prefix("http://").map(|rest| &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]);
    match rest {
        Some("") => "/".to_owned(),
        Some(query) if query.starts_with('?') => format!("/{query}"),
        Some(path) => path.to_owned(),
        None => target.to_owned(),
    }
}
