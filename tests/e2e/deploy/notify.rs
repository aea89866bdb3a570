//! Those who want to hear of deployments do, once each is on record; one who cannot be told changes nothing.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use switcher::signature;
use switcher_tests::http1::{Framing, Http1, get};
use switcher_tests::{Image, PATIENCE, Site, skip_or_fail, until};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const KEY: &str = "key-that-nobody-guesses";
/// The part of the address that nobody may see.
const TOKEN: &str = "T0-hunter2";

/// Something that is told, and answers with a status.
pub(super) struct Receiver {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    server: JoinHandle<()>,
}

/// What it was told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    event: String,
    pub(super) delivery: String,
    login: Option<String>,
    signature: Option<String>,
    body: Vec<u8>,
}

impl Told {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    pub(super) async fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(listen(Http1::over(stream), Arc::clone(&heard), status));
            }
        });
        Self { address, told, server }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/services/{TOKEN}", self.address)
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.told.lock().expect("what was told").clone()
    }

    pub(super) fn events(&self) -> Vec<String> {
        self.told().into_iter().map(|told| told.event).collect()
    }
}

async fn listen(mut wire: Http1, told: Arc<Mutex<Vec<Told>>>, status: u16) {
    while let Some(head) = wire.forever_head().await {
        let framing = head.request_framing();
        let body = if framing == Framing::Nothing { Ok(Vec::new()) } else { wire.try_body(framing).await };
        let header = |name: &str| head.get(name).map(str::to_owned);
        told.lock().expect("what was told").push(Told {
            event: header("x-switcher-event").unwrap_or_default(),
            delivery: header("x-switcher-delivery").unwrap_or_default(),
            login: header("authorization"),
            signature: header(signature::HEADER),
            body: body.unwrap_or_default(),
        });
        let answer = format!("HTTP/1.1 {status} Heard\r\nContent-Length: 0\r\n\r\n");
        if wire.try_send(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A site that tells `receiver` of everything, with what it signs with.
async fn telling(receiver: &Receiver, more: &str) -> Site {
    let site = Site::prepare().await;
    put_secret(&site, "hook.key", &format!("{KEY}\n"));
    put_secret(&site, "hook.url", &format!("{}\n", receiver.url()));
    let at = |name: &str| site.path(name).display().to_string();
    let (url, key) = (at("hook.url"), at("hook.key"));
    let headers = format!("{{Authorization: \"Bearer {TOKEN}\"}}");
    let notify = format!("[{{url_file: \"{url}\", secret_file: \"{key}\", headers: {headers}}}{more}]");
    site.switcher_section("notify", &notify)
}

fn put_secret(site: &Site, name: &str, text: &str) {
    use switcher_config::durable::{Durability, replace};
    replace(&site.path(name), text.as_bytes(), 0o600, Durability::Unsynced).expect("a written file");
}

#[tokio::test]
async fn a_success_and_a_failure_are_told_and_signed_and_no_address_is_seen() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (receiver, picky) = (Receiver::answering(204).await, Receiver::answering(200).await);
    let more = format!(", {{url: \"{}\", events: [failed]}}", picky.url());
    let site = telling(&receiver, &more).await.deploy("smoke", "{path: /env, contains: \"QUALITY=good\"}");
    let site = site.open().await;
    site.push(&Image::new("v1").env("QUALITY", "good")).await;
    let ran = site.succeed(&["deploy", "v1"]).await;
    assert!(!format!("{ran:?}").contains(TOKEN), "{ran:?}");
    let told = receiver.told();
    let [first] = told.as_slice() else { panic!("told once: {told:?}") };
    let body = first.json();
    assert_eq!((first.event.as_str(), &body["event"]), ("deployed", &"deployed".into()), "{body:#}");
    assert_eq!((&body["app"], &body["environment"]), (&"shop".into(), &"production".into()), "{body:#}");
    assert_eq!(body["deployment"], site.state()["current_deployment"], "{body:#}");
    assert!(body["text"].as_str().is_some_and(|text| text.contains("v1 is live in")), "{body:#}");
    assert_eq!(first.login.as_deref(), Some(format!("Bearer {TOKEN}").as_str()));
    let signed = first.signature.as_deref().expect("a signature");
    assert!(signature::is_signed(KEY.as_bytes(), &first.body, signed));
    assert!(!signature::is_signed(b"another key", &first.body, signed), "a forged one would be noticed");
    site.push(&Image::new("v2")).await;
    assert_eq!(site.run(&["deploy", "v2"]).await.code, 4);
    assert_eq!(
        (receiver.events(), picky.events()),
        (vec!["deployed".into(), "failed".into()], vec!["failed".into()])
    );
    let failed = receiver.told().pop().expect("the newest").json();
    assert_eq!(failed["deployment"]["failure"]["code"], "E-SMOKE-01", "{failed:#}");
    assert_eq!(picky.told()[0].signature, None);
    let shown = site.succeed(&["config", "show"]).await.stdout;
    assert!(!shown.contains(TOKEN), "{shown}");
    assert_eq!(site.leaks(&[KEY.to_owned()]), [""; 0]);
}

#[tokio::test]
async fn a_version_that_the_proxy_took_back_is_told_by_whoever_records_it() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let receiver = Receiver::answering(200).await;
    let site = telling(&receiver, "").await.deploy("bake", "{for: 1m, min_requests: 20}").open().await;
    site.push(&Image::new("v1")).await;
    site.succeed(&["deploy", "v1", "--skip-bake"]).await;
    let live = site.proxy().admin().shop().await.active;
    site.push(&Image::new("v2").env("FAIL_REQUESTS", "1")).await;
    let mut command = site.switcher().command(&["deploy", "v2"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    until(PATIENCE, "traffic to move", || async { site.proxy().admin().shop().await.active != live }).await;
    child.kill().await.expect("killed");
    until(PATIENCE, "the proxy to go back", || async {
        let _ = get(site.proxy().http(), "/version").await;
        site.proxy().admin().shop().await.active == live
    })
    .await;
    assert_eq!(receiver.events(), ["deployed"], "nobody has recorded it yet");
    site.succeed(&["repair"]).await;
    assert_eq!(receiver.events(), ["deployed", "rolled_back"]);
    let told = receiver.told().pop().expect("the newest");
    let body = told.json();
    assert_eq!(body["deployment"]["status"], "rolled_back", "{body:#}");
    let id = body["deployment"]["id"].as_str().expect("an id");
    assert_eq!(told.delivery, format!("{id}-rolled_back"));
    site.agree("v1").await;
}

#[tokio::test]
async fn a_receiver_that_is_down_or_refuses_is_a_warning_and_no_more() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let failing = Receiver::answering(503).await;
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("its address")
    };
    let more = format!(
        ", {{url: \"http://{nobody}/{TOKEN}\"}}, {{url: \"http://127.0.0.1:1/\", secret_file: /nonexistent/key}}"
    );
    let site = telling(&failing, &more).await.open().await;
    site.push(&Image::new("v1")).await;
    let ran = site.succeed(&["deploy", "v1"]).await;
    ran.says(&[
        "warning: notification 1 (127.0.0.1) was not delivered: it answered 503",
        "warning: notification 2 (127.0.0.1) was not delivered",
        "warning: notification 3 (127.0.0.1) was not delivered: /nonexistent/key: No such file",
    ]);
    assert!(!format!("{ran:?}").contains(TOKEN), "{ran:?}");
    let tries: Vec<String> = failing.told().into_iter().map(|told| told.delivery).collect();
    assert!(tries.len() == 3 && tries.iter().all(|delivery| *delivery == tries[0]), "{tries:?}");
    site.agree("v1").await;
}
