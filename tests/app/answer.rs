//! What the application answers, path by path. Every answer names the version in `x-app-version`.

use std::io::{self, BufRead, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pattern::{Digest, chunk};
use crate::request::Request;
use crate::serve::{take_memory, terminated};
use crate::{database, millis, number, pause, secrets, variable, version, websocket};

/// The running application.
pub(crate) struct App {
    version: String,
    since: Instant,
    /// Requests other than health checks and questions for this very number.
    served: AtomicU64,
    health: Mutex<(u16, String)>,
}

type Reply = (u16, Vec<u8>);

impl App {
    /// As its environment says.
    pub(crate) fn new() -> Self {
        let status = number("HEALTH_STATUS").and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        let text = variable("HEALTH_TEXT").unwrap_or_else(|| "ok".to_owned());
        let health = Mutex::new((status, text));
        Self { version: version(), since: Instant::now(), served: AtomicU64::new(0), health }
    }

    /// Answers one request; whether another one may follow on this connection.
    pub(crate) fn answer(
        &self,
        request: &Request,
        from: &mut impl BufRead,
        to: &mut TcpStream,
        close: bool,
    ) -> io::Result<bool> {
        if !matches!(request.path.as_str(), "/health" | "/ready" | "/metrics" | "/served") {
            self.served.fetch_add(1, Relaxed);
        }
        match (request.path.as_str(), request.header("sec-websocket-key")) {
            ("/ws", Some(key)) => return websocket::echo(key, &self.version, from, to).map(|()| false),
            ("/sse", _) => return self.events(request, to).map(|()| false),
            ("/bytes", _) => self.download(request, to, close)?,
            ("/close", _) => return Ok(false),
            _ => {
                let (status, body) = self.reply(request, from)?;
                let head = self.head(status, &format!("content-length: {}\r\n", body.len()), close);
                to.write_all(head.as_bytes())?;
                if request.method != "HEAD" {
                    to.write_all(&body)?;
                }
            }
        }
        Ok(true)
    }

    fn head(&self, status: u16, framing: &str, close: bool) -> String {
        let connection = if close { "connection: close\r\n" } else { "" };
        format!("HTTP/1.1 {status} -\r\nx-app-version: {}\r\n{framing}{connection}\r\n", self.version)
    }

    fn reply(&self, request: &Request, from: &mut impl BufRead) -> io::Result<Reply> {
        let mut body = Vec::new();
        let mut digest = Digest::new();
        let keep = request.path == "/echo";
        request.body(from, |piece| {
            digest.update(piece);
            if keep {
                body.extend_from_slice(piece);
            }
        })?;
        if request.path != "/health" && variable("FAIL_REQUESTS").is_some() {
            return Ok((500, b"broken\n".to_vec()));
        }
        Ok(match request.path.as_str() {
            "/" => text(format!("hello from {}\n", self.version)),
            "/version" => text(format!("{}\n", self.version)),
            "/health" => self.healthy(),
            "/fail" => self.set_health(503, "failing since it was asked to"),
            "/heal" => self.set_health(200, "ok"),
            "/ready" => match database::schema() {
                Err(error) if error != database::NONE => {
                    (503, format!("the database: {error}\n").into_bytes())
                }
                Ok(_) | Err(_) => text("ready\n"),
            },
            "/metrics" => text(format!("app_requests_total {}\n", self.served.load(Relaxed))),
            "/served" => text(format!("{}\n", self.served.load(Relaxed))),
            "/slow" => {
                pause(Duration::from_millis(request.number("ms", 500)));
                text("slow\n")
            }
            "/upload" => text(digest.line()),
            "/echo" => (200, body),
            "/headers" => text(request.raw.clone()),
            "/env" => text(lines(std::env::vars())),
            "/secrets" => text(lines(secrets())),
            "/status" => (u16::try_from(request.number("code", 200)).unwrap_or(200), b"as asked\n".to_vec()),
            "/memory" => {
                take_memory(request.number("mb", 1));
                text("held\n")
            }
            "/log" => {
                println!("{}", request.word("text").unwrap_or("nothing"));
                text("logged\n")
            }
            "/schema" => database::schema().map_or_else(|error| (500, error.into_bytes()), text),
            "/crash" => {
                eprintln!("app: crashing because it was asked to");
                std::process::exit(i32::try_from(request.number("code", 4)).unwrap_or(4))
            }
            _ => (404, format!("there is no such page: {:?}\n", request.raw).into_bytes()),
        })
    }

    fn healthy(&self) -> Reply {
        if self.since.elapsed() < millis("READY_DELAY_MS").unwrap_or_default() {
            return (503, b"still starting\n".to_vec());
        }
        let (status, text) = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (status, format!("{text}\n").into_bytes())
    }

    fn set_health(&self, status: u16, why: &str) -> Reply {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = (status, why.to_owned());
        text("so be it\n")
    }

    /// Bytes of the pattern with their length declared, spread over time.
    fn download(&self, request: &Request, to: &mut TcpStream, close: bool) -> io::Result<()> {
        const PIECES: u64 = 16;
        let (length, time) = (request.number("n", 65_536), request.number("ms", 0));
        to.write_all(self.head(200, &format!("content-length: {length}\r\n"), close).as_bytes())?;
        let size = length.div_ceil(PIECES).max(1);
        for at in (0..length).step_by(usize::try_from(size).unwrap_or(1)) {
            pause(Duration::from_millis(time / PIECES));
            to.write_all(&chunk(at, size.min(length - at)))?;
        }
        Ok(())
    }

    /// Events until either side ends, numbered from 1, each naming the version.
    fn events(&self, request: &Request, to: &mut TcpStream) -> io::Result<()> {
        let framing = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
        to.write_all(self.head(200, framing, true).as_bytes())?;
        let every = Duration::from_millis(request.number("every", 1000));
        for id in 1_u64.. {
            let event = format!("id: {id}\ndata: {}\n\n", self.version);
            to.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
            pause(every);
            if terminated() {
                break;
            }
        }
        to.write_all(b"0\r\n\r\n")
    }
}

fn text(text: impl Into<String>) -> Reply {
    (200, text.into().into_bytes())
}

fn lines(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    pairs.into_iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}
