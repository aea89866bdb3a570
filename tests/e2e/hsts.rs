//! Strict Transport Security: where it is said and where not.

use switcher_tests::certificate::Certificate;
use switcher_tests::http1::{get_with, request};
use switcher_tests::tls::Hello;
use switcher_tests::{App, PATIENCE, Proxy, Raw, Setup, until};
use tempfile::TempDir;

const HEADER: &str = "strict-transport-security";

struct Stage {
    app: App,
    folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self { app: App::start("blue").await, folder: TempDir::new().expect("a folder") }
    }

    fn setup(&self, hsts: &str) -> Setup {
        let (certificate, key) = Certificate::of(&["shop.test"]).write(self.folder.path(), "shop");
        let files = format!("{{certificate: {}, key: {}}}", certificate.display(), key.display());
        Setup::one(self.app.upstream()).shop("hosts", "[shop.test]").shop("tls", &files).shop("hsts", hsts)
    }
}

async fn said(proxy: &Proxy, path: &str) -> Option<String> {
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    let answer = client.exchange(&request("GET", path, &[], b"")).await;
    answer.header(HEADER).map(str::to_owned)
}

#[tokio::test]
async fn a_fixed_policy_is_said_on_tls_alone_also_by_our_own_answers() {
    let stage = Stage::new().await;
    let hsts = "{max_age: 365d, include_subdomains: true, preload: true}";
    let proxy = stage.setup(hsts).start_healthy().await;
    let full = Some("max-age=31536000; includeSubDomains; preload".to_owned());
    assert_eq!(said(&proxy, "/").await, full);
    let plain = get_with(proxy.http(), "/", &[("Host", "shop.test")]).await;
    assert_eq!((plain.status, plain.header(HEADER)), (200, None));
    proxy.admin().stop(None).await.expect("stopped");
    assert_eq!(said(&proxy, "/").await, full, "the maintenance page");
    assert_eq!(stage.app.hits(), 2);
}

#[tokio::test]
async fn the_ladder_begins_low_and_is_remembered() {
    let stage = Stage::new().await;
    let mut proxy = stage.setup("ladder").start_healthy().await;
    let file = proxy.path("data").join("hsts.json");
    assert!(!file.exists());
    assert_eq!(said(&proxy, "/").await.as_deref(), Some("max-age=300"));
    until(PATIENCE, "the begin to be saved", || async { file.exists() }).await;
    let first = std::fs::read_to_string(&file).expect("readable");
    proxy.kill();
    proxy.restart().await;
    assert_eq!(said(&proxy, "/").await.as_deref(), Some("max-age=300"));
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), first, "it began once");
}

#[tokio::test]
async fn a_placeholder_promises_nothing() {
    let stage = Stage::new().await;
    let proxy = stage.setup("ladder").shop("tls", "auto").start_healthy().await;
    assert_eq!(said(&proxy, "/").await, None);
    assert!(!proxy.path("data").join("hsts.json").exists());
}

#[tokio::test]
async fn off_leaves_the_word_to_the_upstream_and_on_takes_it() {
    let upstream = Raw::answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: max-age=7\r\n\r\n",
    )
    .await;
    let stage = Stage::new().await;
    for (hsts, wanted) in [("\"off\"", "max-age=7"), ("ladder", "max-age=300")] {
        let address = upstream.address().to_string();
        let proxy = stage.setup(hsts).shop("slots", &format!("{{blue: [\"{address}\"]}}")).start().await;
        assert_eq!(said(&proxy, "/").await.as_deref(), Some(wanted), "hsts: {hsts}");
    }
}
