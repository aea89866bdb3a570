//! A scripted proxy: a real HTTP server on a real unix socket that answers as a test tells it to.
//!
//! Invariant: a question that the script does not foresee is answered 500, so no test passes by accident;
//! `GET /v1/status` alone is always answered, from the world's state.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use switcher_config::wire::{
    AppStatus, ByKind, Health, Mode, ProbeRecord, SlotStatus, Status, UpstreamStatus,
};
use switcher_config::{AppName, PerSlot, Slot};
use tempfile::TempDir;

/// What a scripted proxy does with a question.
pub(crate) enum Answer {
    /// Answers a status and a JSON body.
    Json(u16, Value),
    /// Answers a status and any other body.
    Text(u16, &'static str),
    /// Closes the connection without a word.
    Hangup,
    /// Says nothing, for as long as the test runs.
    Silence,
}

type Act = Box<dyn FnOnce(&mut World) -> Answer + Send>;

/// What the scripted proxy knows.
pub(crate) struct World {
    pub(crate) status: Status,
    script: VecDeque<(String, Act)>,
    /// Every question, as `METHOD PATH BODY`.
    pub(crate) asked: Vec<String>,
}

/// The scripted proxy; it ends with the test's process.
pub(crate) struct Proxy {
    folder: TempDir,
    world: Arc<(Mutex<World>, Condvar)>,
}

impl Proxy {
    /// Starts one that serves `shop`: blue is live in generation 7, both slots are healthy.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World { status: healthy(), script: VecDeque::new(), asked: Vec::new() };
        let world = Arc::new((Mutex::new(world), Condvar::new()));
        let (path, shared) = (folder.path().join("admin.sock"), Arc::clone(&world));
        let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, shared));
        });
        Self { folder, world }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// Changes the world before the program runs.
    pub(crate) fn with(self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.world.0.lock().expect("the world"));
        self
    }

    /// The next question `METHOD PATH` is met with this.
    pub(crate) fn on(self, question: &str, act: impl FnOnce(&mut World) -> Answer + Send + 'static) -> Self {
        self.with(|world| world.script.push_back((question.to_owned(), Box::new(act))))
    }

    /// Every question so far, the status left out.
    pub(crate) fn changes_asked(&self) -> Vec<String> {
        let world = self.world.0.lock().expect("the world");
        world.asked.iter().filter(|question| !question.starts_with("GET /v1/status")).cloned().collect()
    }

    /// Waits until a question that begins so was asked.
    pub(crate) fn wait_for(&self, beginning: &str) {
        self.wait_for_times(beginning, 1);
    }

    /// Waits until as many questions that begin so were asked.
    pub(crate) fn wait_for_times(&self, beginning: &str, times: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut world = self.world.0.lock().expect("the world");
        while world.asked.iter().filter(|question| question.starts_with(beginning)).count() < times {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{beginning} was not asked {times} times; only {:?}", world.asked);
            world = self.world.1.wait_timeout(world, left).expect("the world").0;
        }
    }
}

impl World {
    pub(crate) fn shop(&mut self) -> &mut AppStatus {
        self.status.apps.values_mut().next().expect("an application")
    }

    /// Traffic moves to the other slot; answers what a real proxy would.
    pub(crate) fn switch(&mut self) -> Answer {
        let shop = self.shop();
        let (from, before) = (shop.active, shop.generation);
        shop.active = from.other();
        shop.generation = before.next();
        Answer::Json(
            200,
            json!({
                "generation": shop.generation, "from": from, "to": shop.active, "drained_generation": before,
                "switched_at": "2026-11-21T14:03:07Z", "switch_micros": 14.25,
            }),
        )
    }
}

async fn serve(listener: std::os::unix::net::UnixListener, world: Arc<(Mutex<World>, Condvar)>) {
    listener.set_nonblocking(true).expect("a listener for tokio");
    let listener = tokio::net::UnixListener::from_std(listener).expect("a listener for tokio");
    while let Ok((stream, _)) = listener.accept().await {
        let world = Arc::clone(&world);
        let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&world)));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(
    request: Request<Incoming>,
    world: Arc<(Mutex<World>, Condvar)>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let question = format!("{} {}", head.method, head.uri.path());
    let answer = {
        let mut world_now = world.0.lock().expect("the world");
        let full = format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body));
        world_now.asked.push(full.trim_end().to_owned());
        world.1.notify_all();
        let next = world_now.script.iter().position(|(expected, _)| *expected == question);
        match next.and_then(|at| world_now.script.remove(at)) {
            Some((_, act)) => act(&mut world_now),
            None if question == "GET /v1/status" => Answer::Json(200, json!(world_now.status)),
            None => Answer::Text(500, "the script does not foresee this question"),
        }
    };
    let (status, body) = match answer {
        Answer::Json(status, body) => (status, body.to_string()),
        Answer::Text(status, body) => (status, body.to_owned()),
        Answer::Hangup => return Err(std::io::Error::other("hung up")),
        Answer::Silence => std::future::pending().await,
    };
    Ok(Response::builder().status(status).body(Full::from(body)).expect("an answer"))
}

/// The drain of blue after the switch from generation 7.
pub(crate) fn drained() -> Answer {
    Answer::Json(
        200,
        json!({
            "slot": "blue", "generation": 7, "drained": true, "seconds": 1.4,
            "finished": {"requests": 12, "uploads": 1, "streams": 0, "websockets": 0},
            "cut": {"requests": [], "uploads": [], "streams": [], "websockets": [
                {"kind": "websockets", "route": "GET /ws", "request_id": "r1", "age_seconds": 31.2}]},
            "in_flight": {"requests": 0, "uploads": 0, "streams": 0, "websockets": 0},
        }),
    )
}

/// A refusal as the real proxy words it.
pub(crate) fn refusal(status: u16, reason: &str, message: &str) -> Answer {
    Answer::Json(status, json!({"reason": reason, "message": message, "active": "blue", "generation": 7}))
}

pub(crate) fn slot(health: Health, address: &str, release: &str) -> SlotStatus {
    let ok = health == Health::Healthy;
    let check = ProbeRecord {
        at: Timestamp::UNIX_EPOCH,
        ok,
        check: "ready".to_owned(),
        status: Some(if ok { 200 } else { 503 }),
        body: None,
        latency_ms: 1.25,
        error: (!ok).then(|| "GET /health answered 503 Service Unavailable: \"database is down\"".to_owned()),
    };
    let reason = check.error.as_ref().map(|error| format!("{address}: {error}"));
    let upstream = UpstreamStatus {
        address: address.parse().expect("an address"),
        weight: switcher_config::Weight::ONE,
        ejected: None,
        health,
        live: None,
        last_check: Some(check.clone()),
        checks: vec![check],
    };
    let in_flight = ByKind::default();
    SlotStatus { health, reason, release: Some(release.to_owned()), upstreams: vec![upstream], in_flight }
}

fn healthy() -> Status {
    let mut blue = slot(Health::Healthy, "127.0.0.1:8001", "v1.4.2");
    blue.in_flight = ByKind { requests: 3, uploads: 0, streams: 0, websockets: 1, connections: 0 };
    let shop = AppStatus {
        active: Slot::Blue,
        generation: "7".parse().expect("a generation"),
        mode: Mode::Open,
        held: 0,
        slots: PerSlot { blue, green: slot(Health::Healthy, "127.0.0.1:8002", "v1.5.0") },
        draining: Vec::new(),
        fence: None,
        bake: None,
        canary: None,
        release_affinity: None,
    };
    let name: AppName = "shop".parse().expect("a name");
    Status {
        apps: BTreeMap::from([(name, shop)]),
        certificates: Vec::new(),
        version: "0.1.0".to_owned(),
        started_at: Timestamp::now(),
        pid: 4242,
    }
}
