//! Unix sockets: requests that come in by one, and upstreams behind one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use switcher_config::Slot;
use switcher_config::wire::Health;
use switcher_tests::certificate::Certificate;
use switcher_tests::http1::{get, request};
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Proxy, Setup};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::promote::lose_nothing;

/// An application that is met by a unix socket alone.
struct Behind {
    app: App,
    path: PathBuf,
    door: JoinHandle<()>,
}

impl Behind {
    async fn start(name: &str, folder: &Path) -> Self {
        Self::before(App::start(name).await, folder)
    }

    fn before(app: App, folder: &Path) -> Self {
        let path = folder.join(format!("{}.sock", app.name()));
        let listener = UnixListener::bind(&path).expect("a socket");
        let to = app.address();
        let door = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to).await.expect("the application");
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { app, path, door }
    }

    fn upstream(&self) -> String {
        let scheme = self.app.upstream().replace(&self.app.address().to_string(), "");
        format!("{scheme}unix:{}", self.path.display())
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.door.abort();
    }
}

async fn by(path: &Path) -> Http1 {
    Http1::over(UnixStream::connect(path).await.expect("a connection"))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

async fn listening(path: &Path, more: &str, app: &App) -> Proxy {
    let listeners = format!("[{{listen: \"unix:{}\"{more}}}]", path.display());
    Setup::one(app.upstream()).proxy("http", &listeners).start_healthy().await
}

#[tokio::test]
async fn requests_uploads_and_websockets_come_in_by_a_unix_socket() {
    let (app, folder) = (App::start("blue").await, folder());
    let path = folder.path().join("http.sock");
    let mut proxy = listening(&path, "", &app).await;
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "its group may come in, others may not");
    let mut wire = by(&path).await;
    assert_eq!(wire.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
    assert_eq!(app.last().header("x-forwarded-for"), Some("127.0.0.1"));
    // Whoever may open the socket speaks for clients.
    wire.exchange(&request("GET", "/told", &[("X-Forwarded-For", "203.0.113.7")], b"")).await;
    assert_eq!(app.last().header("x-forwarded-for"), Some("203.0.113.7, 127.0.0.1"));
    assert_eq!(proxy.record_of("/told").await["client"], "203.0.113.7");
    let upload = request("POST", "/count", &[], &vec![1; 2_000_000]);
    assert_eq!(wire.exchange(&upload).await.json()["bytes"], 2_000_000);
    let mut socket = WebSocket::over(by(&path).await, "/socket").await;
    assert_eq!(socket.text().await, "blue");
    assert_eq!(socket.ask(&"long ".repeat(50_000)).await, "long ".repeat(50_000));
    socket.close().await;
    drop(wire);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit().await.code, Some(0));
    assert!(!path.exists(), "it takes its socket away");
}

#[tokio::test]
async fn the_mode_is_the_configured_one_and_a_dead_processs_socket_is_replaced() {
    let (app, folder) = (App::start("blue").await, folder());
    let path = folder.path().join("http.sock");
    let mut proxy = listening(&path, ", mode: 606", &app).await;
    let mode = || std::fs::metadata(&path).expect("the socket").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o606);
    proxy.kill();
    assert!(path.exists(), "nobody took it away");
    proxy.restart().await;
    assert_eq!(by(&path).await.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
    assert_eq!(mode(), 0o606);
}

#[tokio::test]
async fn a_socket_of_somebody_alive_and_a_file_are_left_alone() {
    let (app, folder) = (App::start("blue").await, folder());
    let alive = folder.path().join("alive.sock");
    let _somebody = UnixListener::bind(&alive).expect("a socket");
    let file = folder.path().join("file");
    switcher_tests::certificate::put(&file, "precious");
    for (path, why) in
        [(&alive, "another process answers there"), (&file, "a file that is no socket stands there")]
    {
        let setup = Setup::one(app.upstream()).proxy("http", &format!("\"unix:{}\"", path.display()));
        let exit = Proxy::spawn(setup).exit().await;
        assert_eq!(exit.code, Some(1));
        assert!(exit.stderr.contains(why), "{}", exit.stderr);
    }
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "precious");
}

#[tokio::test]
async fn an_upgrade_hands_the_socket_over() {
    let (app, folder) = (App::start("blue").await, folder());
    let path = folder.path().join("http.sock");
    let mut proxy = listening(&path, "", &app).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let at = path.clone();
    let client = tokio::spawn(async move {
        let mut answers = 0;
        while !*stopped.borrow() {
            let answer = by(&at).await.exchange(&request("GET", "/", &[], b"")).await;
            assert_eq!(answer.text(), "blue");
            answers += 1;
        }
        answers
    });
    proxy.upgrade().await;
    assert_eq!(proxy.predecessor_exit().await, Some(0));
    stop.send_replace(true);
    assert!(client.await.expect("no connection is refused") > 0);
    assert_eq!(by(&path).await.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
}

#[tokio::test]
async fn upstreams_behind_unix_sockets_serve_requests_uploads_and_websockets() {
    let folder = folder();
    let (blue, green) =
        (Behind::start("blue", folder.path()).await, Behind::start("green", folder.path()).await);
    let proxy = Setup::slots(&[blue.upstream()], &[green.upstream()]).start_healthy().await;
    let mut wire = Http1::connect(proxy.http()).await;
    assert_eq!(wire.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
    let upload = request("POST", "/count", &[], &vec![1; 2_000_000]);
    assert_eq!(wire.exchange(&upload).await.json()["bytes"], 2_000_000);
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    assert_eq!(socket.text().await, "blue");
    assert_eq!(socket.ask("hello").await, "hello");
    assert_eq!(proxy.record_of("/count").await["upstream"], blue.upstream());
    let before = blue.app.connections();
    for _ in 0..10 {
        wire.exchange(&request("GET", "/", &[], b"")).await;
    }
    // Probes have connections of their own; those of requests are used again.
    assert!(blue.app.connections() - before < 10, "connections are pooled");
    let shop = proxy.admin().shop().await;
    assert_eq!(shop.slots.get(Slot::Blue).upstreams[0].address.to_string(), blue.upstream());
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn upstreams_behind_unix_sockets_speak_http2_and_tls() {
    let folder = folder();
    let certificate = Certificate::of(&["app.internal"]);
    let (root, _) = certificate.write(folder.path(), "root");
    let verified = format!("{{ca_file: {}, server_name: app.internal}}", root.display());
    let second = Behind::before(App::h2c("second").await, folder.path());
    let tls = Behind::before(App::tls("tls", &certificate).await, folder.path());
    assert!(second.upstream().starts_with("h2c://unix:/"), "{}", second.upstream());
    assert!(tls.upstream().starts_with("https://unix:/"), "{}", tls.upstream());
    for behind in [second, tls] {
        let setup = Setup::one(behind.upstream()).shop("upstream_tls", &verified);
        let proxy = setup.start_healthy().await;
        let mut wire = Http1::connect(proxy.http()).await;
        for _ in 0..3 {
            assert_eq!(wire.exchange(&request("GET", "/", &[], b"")).await.text(), behind.app.name());
        }
        let upload = request("POST", "/count", &[], &vec![1; 2_000_000]);
        assert_eq!(wire.exchange(&upload).await.json()["bytes"], 2_000_000);
        assert_eq!(proxy.record_of("/count").await["upstream"], behind.upstream());
    }
}

#[tokio::test]
async fn a_promote_between_unix_sockets_under_load_loses_nothing() {
    let folder = folder();
    let (blue, green) =
        (Behind::start("blue", folder.path()).await, Behind::start("green", folder.path()).await);
    let path = folder.path().join("http.sock");
    let setup = Setup::slots(&[blue.upstream()], &[green.upstream()]);
    let proxy = setup.proxy("http", &format!("\"unix:{}\"", path.display())).start_healthy().await;
    lose_nothing(&proxy, || by(&path)).await;
}

#[tokio::test]
async fn an_upstream_whose_socket_is_gone_is_unhealthy_until_it_is_back() {
    let folder = folder();
    let blue = Behind::start("blue", folder.path()).await;
    let proxy = Setup::one(blue.upstream()).start_healthy().await;
    drop(std::fs::remove_file(&blue.path));
    proxy.wait_health(Slot::Blue, Health::Unhealthy).await;
    let answer = get(proxy.http(), "/").await;
    assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
    let again = Behind::start("blue", folder.path()).await;
    proxy.wait_health(Slot::Blue, Health::Healthy).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    drop(again);
}

#[tokio::test]
async fn a_unix_socket_is_registered_at_run_time() {
    let folder = folder();
    let (blue, green) = (App::start("blue").await, Behind::start("green", folder.path()).await);
    let proxy = Setup::slots(&[blue.upstream()], &[]).start_healthy().await;
    let body = format!("{{\"upstreams\": [\"{}\"], \"release\": null}}", green.upstream());
    let answer = proxy.admin().call("PUT", "/v1/apps/shop/slots/green", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    let bad = r#"{"upstreams": ["unix:nowhere.sock"], "release": null}"#;
    let answer = proxy.admin().call("PUT", "/v1/apps/shop/slots/blue", bad).await;
    assert!(answer.text().contains("begins with `/`"), "{}", answer.text());
}
