//! The switch as the deployer asks for it, under a lease, against a scripted proxy on a real socket.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use switcher_config::PerSlot;
use switcher_config::wire::{ByKind, Health, Mode, SlotStatus, UpstreamStatus};

use super::*;
use crate::cli::Global;
use crate::context::Surroundings;

/// A proxy that gives these answers, one a question, and notes what it was asked.
struct Scripted {
    admin: Admin,
    asked: Arc<Mutex<Vec<Value>>>,
    _folder: tempfile::TempDir,
}

impl Scripted {
    fn start(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("admin.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, heard) = (Arc::clone(&answers), Arc::clone(&heard));
                let service = hyper::service::service_fn(move |request: http::Request<_>| {
                    answer(request, Arc::clone(&answers), Arc::clone(&heard))
                });
                let served = hyper::server::conn::http1::Builder::new();
                tokio::spawn(served.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { admin: Admin::new(socket), asked, _folder: folder }
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().expect("the questions").clone()
    }

    /// Promotes green on what was seen.
    async fn promote(&self, seen: AppStatus, options: Options) -> Result<Outcome, Failure> {
        let args = ["switcher", "deploy"].map(Into::into);
        let ctx = Context::new(Global::default(), &args, Surroundings::default());
        let app = "shop".parse().expect("a name");
        let interrupt = Interrupt::listen().expect("signals");
        let switch =
            Switch { ctx: &ctx, admin: &self.admin, app: &app, slot: Slot::Green, options, interrupt };
        switch.perform(seen).await
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    heard: Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    heard.lock().expect("the questions").push(serde_json::from_slice(&body).unwrap_or_default());
    let next = answers.lock().expect("the answers").pop_front();
    let (status, value) = next.unwrap_or((500, json!("nothing more was expected")));
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    Ok(response)
}

/// Blue is live in generation 7, and both slots are healthy.
fn seen() -> AppStatus {
    let upstream = UpstreamStatus {
        address: "127.0.0.1:8001".parse().expect("an address"),
        weight: switcher_config::Weight::ONE,
        ejected: None,
        health: Health::Healthy,
        live: None,
        last_check: None,
        checks: Vec::new(),
    };
    let slot = SlotStatus {
        health: Health::Healthy,
        reason: None,
        release: None,
        upstreams: vec![upstream],
        in_flight: ByKind::default(),
    };
    AppStatus {
        active: Slot::Blue,
        generation: generation(7),
        mode: Mode::Open,
        held: 0,
        slots: PerSlot { blue: slot.clone(), green: slot },
        draining: Vec::new(),
        fence: None,
        bake: None,
        canary: None,
        release_affinity: None,
    }
}

fn generation(number: u64) -> Generation {
    number.to_string().parse().expect("a generation")
}

fn under_lease(expected: u64) -> Options {
    let fence = Some(Fence { number: 3, holder: "lock_a".to_owned() });
    Options { detach: true, fence, expected: Some(generation(expected)), ..Options::default() }
}

#[tokio::test]
async fn the_lease_travels_with_the_switch() {
    let switched = json!({
        "generation": 8, "from": "blue", "to": "green", "drained_generation": 7,
        "switched_at": "2026-11-21T14:03:07Z", "switch_micros": 14.25,
    });
    let proxy = Scripted::start([(200, switched)]);
    let moved = proxy.promote(seen(), under_lease(7)).await.expect("moved");
    assert!(matches!(moved, Outcome::Moved(receipt) if receipt.generation == generation(8)));
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["fence"], json!({"number": 3, "holder": "lock_a"}));
    assert_eq!(asked[0]["expected_generation"], 7);
}

#[tokio::test]
async fn a_lost_lease_is_told_with_what_is_live_and_ends_in_exit_code_3() {
    let message = "lease 3 of lock_a was lost to lease 4 of lock_b";
    let refusal = json!({"reason": "stale_fence", "message": message, "active": "blue", "generation": 7});
    let proxy = Scripted::start([(409, refusal)]);
    let failure = proxy.promote(seen(), under_lease(7)).await.expect_err("refused");
    assert_eq!((failure.code, failure.message.as_str()), (Code::LeaseLost, message));
    assert_eq!(failure.code.exit() as u8, 3);
    assert_eq!(failure.live, Live::of(&"shop".parse().expect("a name"), &seen()));
}

#[tokio::test]
async fn a_status_of_another_generation_than_the_expected_one_is_not_adopted() {
    let proxy = Scripted::start([]);
    for expected in [6, 8] {
        let failure = proxy.promote(seen(), under_lease(expected)).await.expect_err("refused");
        assert_eq!(failure.code, Code::GenerationMoved);
        let said = format!("somebody else changed shop: its generation is 7, and {expected} was expected");
        assert_eq!(failure.message, said);
    }
    assert!(proxy.asked().is_empty(), "nothing was asked for");
}
