//! The process: signals, hand-over, readiness, and starts that cannot succeed.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use switcher_config::Slot;
use switcher_config::wire::RefusalReason;
use switcher_tests::http1::{get, get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::part::can;
use switcher_tests::sse::Events;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, skip_or_fail, until, within};
use tokio::net::TcpStream;

async fn two() -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let setup = Setup::two(&blue, &green).proxy("shutdown_timeout", "1h");
    let proxy = setup.start_healthy().await;
    (blue, green, proxy)
}

async fn refuses(proxy: &Proxy) {
    until(PATIENCE, "new connections to be refused", || async {
        TcpStream::connect(proxy.http()).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn sigterm_ends_an_idle_process_at_once_also_with_idle_connections() {
    let (_blue, _green, mut proxy) = two().await;
    let mut idle = Http1::connect(proxy.http()).await;
    idle.exchange(&request("GET", "/", &[], b"")).await;
    let over_http2 = Http2::tls(proxy.https(), "shop.test").await;
    over_http2.exchange(http2::get("/"), b"").await;
    let silent = Http1::connect(proxy.http()).await;
    proxy.signal(Signal::TERM);
    // The configured limit is an hour: an exit within the test's patience is one that waited for nobody.
    assert_eq!(proxy.exit().await.code, Some(0));
    idle.ending().await;
    drop(silent);
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (blue, _green, mut proxy) = two().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/half", &[], b"")).await;
    let framing = client.head().await.answer_framing();
    let over_http2 = Http2::tls(proxy.https(), "shop.test").await;
    let second = tokio::spawn(async move { over_http2.exchange(http2::get("/gate"), b"").await });
    until(PATIENCE, "both to be in flight", || async { blue.waiting() == 2 }).await;
    proxy.signal(Signal::TERM);
    refuses(&proxy).await;
    assert!(proxy.is_running());
    blue.open_gate();
    assert_eq!(client.try_body(framing).await.expect("a whole body"), b"half whole");
    assert_eq!(second.await.expect("an answer").text(), "blue");
    assert_eq!(proxy.exit().await.code, Some(0));
}

#[tokio::test]
async fn sigterm_waits_no_longer_than_the_shutdown_timeout() {
    let blue = App::start("blue").await;
    let mut proxy = Setup::one(blue.upstream()).proxy("shutdown_timeout", "300ms").start_healthy().await;
    let mut events = Events::open(Http1::connect(proxy.http()).await, "/events").await;
    events.data().await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    proxy.signal(Signal::TERM);
    proxy.exit().await;
    socket.goodbye().await;
}

#[tokio::test]
async fn sighup_takes_a_good_file_over_and_keeps_every_connection() {
    let (blue, green, mut proxy) = two().await;
    let api = App::start("api").await;
    let mut kept = Http1::connect(proxy.http()).await;
    kept.exchange(&request("GET", "/", &[], b"")).await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    let mut held = Http1::connect(proxy.http()).await;
    held.send(&request("GET", "/half", &[], b"")).await;
    let framing = held.head().await.answer_framing();
    let changed = Setup::two(&blue, &green).proxy("shutdown_timeout", "1h").another(
        "api",
        api.upstream(),
        &[("path", "/api")],
    );
    proxy.configure(changed);
    proxy.signal(Signal::HUP);
    until(PATIENCE, "the new application", || async { get(proxy.http(), "/api").await.text() == "api" })
        .await;
    assert_eq!(kept.exchange(&request("GET", "/api", &[], b"")).await.text(), "api");
    assert_eq!(socket.ask("still here?").await, "still here?");
    blue.open_gate();
    assert_eq!(held.try_body(framing).await.expect("a whole body"), b"half whole");
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn a_reload_does_not_undo_a_switch() {
    let (blue, green, mut proxy) = two().await;
    let generation = proxy.admin().promote(Slot::Green).await.expect("promoted").generation;
    proxy.configure(Setup::two(&blue, &green).shop("timeouts", "{response: 7s}"));
    let reloaded = proxy.admin().reload().await.expect("reloaded");
    assert!(!reloaded.changes.is_empty(), "{reloaded:?}");
    let shop = proxy.admin().shop().await;
    assert!(shop.active == Slot::Green && shop.generation >= generation, "{shop:?}");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let (blue, green, mut proxy) = two().await;
    proxy.configure(Setup::two(&blue, &green).shop("hosts", "[other.test]").shop("helth", "{path: /}"));
    proxy.signal(Signal::HUP);
    until(PATIENCE, "the reason on standard error", || async { proxy.stderr().contains("helth") }).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    let refused = proxy.admin().reload().await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (422, RefusalReason::BadConfiguration));
    assert!(refused.refusal.message.contains("helth"), "{}", refused.refusal.message);
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn what_only_a_restart_can_change_is_said() {
    let (blue, green, mut proxy) = two().await;
    proxy.configure(Setup::two(&blue, &green).proxy("threads", "3"));
    let reloaded = proxy.admin().reload().await.expect("reloaded");
    assert!(reloaded.needs_restart.iter().any(|s| s.contains("threads")), "{reloaded:?}");
}

/// Clients that never stop asking: on fresh connections and on kept ones. Returns how many answers they got.
fn load(proxy: &Proxy, stopped: &tokio::sync::watch::Receiver<bool>) -> Vec<tokio::task::JoinHandle<usize>> {
    let one = |fresh: bool| {
        let (address, stopped) = (proxy.http(), stopped.clone());
        tokio::spawn(async move {
            let (mut kept, mut answers) = (Http1::connect(address).await, 0);
            while !*stopped.borrow() {
                if fresh {
                    kept = Http1::connect(address).await;
                    ask(&mut kept)
                        .await
                        .unwrap_or_else(|e| panic!("a request on a fresh connection failed: {e}"));
                } else {
                    asked_on(&mut kept, address).await;
                }
                answers += 1;
            }
            answers
        })
    };
    [true, true, false, false].map(one).into()
}

async fn ask(kept: &mut Http1) -> std::io::Result<()> {
    let answer = kept.try_exchange(&request("GET", "/", &[], b"")).await?;
    assert_eq!((answer.status, answer.text().as_str()), (200, "green"));
    Ok(())
}

/// One request on a kept connection. A server may close one that is idle at the very moment a request is sent, so
/// every client asks once more on a fresh connection; that one must not fail.
async fn asked_on(kept: &mut Http1, address: std::net::SocketAddr) {
    if ask(kept).await.is_err() {
        *kept = Http1::connect(address).await;
        ask(kept)
            .await
            .unwrap_or_else(|e| panic!("a request failed on a kept and on a fresh connection: {e}"));
    }
}

#[tokio::test]
async fn an_upgrade_under_load_refuses_and_fails_nobody() {
    let (_blue, green, mut proxy) = two().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let generation = proxy.generation().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut long = Http1::connect(proxy.http()).await;
    long.send(&request("GET", "/half", &[], b"")).await;
    let framing = long.head().await.answer_framing();
    let clients = load(&proxy, &stopped);
    until(PATIENCE, "load", || async { green.hits() > 100 }).await;
    let old = proxy.pid();
    proxy.upgrade().await;
    let (before, shop) = (green.hits(), proxy.admin().shop().await);
    assert_ne!(proxy.pid(), old);
    assert_eq!((shop.active, shop.generation), (Slot::Green, generation));
    until(PATIENCE, "load on the new process", || async { green.hits() > before + 100 }).await;
    stop.send_replace(true);
    for client in clients {
        assert!(client.await.expect("no failure") > 0);
    }
    green.open_gate();
    assert_eq!(long.try_body(framing).await.expect("a whole body from the old process"), b"half whole");
    assert_eq!(proxy.predecessor_exit().await, Some(0));
    proxy.admin().promote(Slot::Blue).await.expect("the new process switches");
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn the_load_of_the_upgrade_sees_a_request_that_fails() {
    let (_blue, green, proxy) = two().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let clients = load(&proxy, &stopped);
    until(PATIENCE, "load", || async { green.hits() > 100 }).await;
    green.stop().await;
    for client in clients {
        assert!(within(PATIENCE, "a client to fail", client).await.is_err(), "a failure went unseen");
    }
}

#[tokio::test]
async fn an_upgrade_can_be_repeated() {
    let (_blue, _green, mut proxy) = two().await;
    for _ in 0..3 {
        proxy.upgrade().await;
        assert_eq!(proxy.predecessor_exit().await, Some(0));
        assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it_and_a_remedy() {
    let blue = App::start("blue").await;
    let taken = blue.address();
    let mut proxy = Proxy::spawn(Setup::one(blue.upstream()).proxy("http", &taken.to_string()));
    let exit = proxy.exit().await;
    assert!(exit.code.is_some_and(|code| code != 0), "{exit:?}");
    assert!(exit.stderr.contains(&taken.to_string()), "{exit:?}");
    assert!(exit.stderr.contains("in use") || exit.stderr.contains("taken"), "{exit:?}");
}

#[tokio::test]
async fn a_privileged_port_is_an_error_that_names_it_and_a_remedy() {
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if limit.trim().parse::<u16>().is_ok_and(|limit| limit <= 81) {
        return skip_or_fail("port 81 is open to every user here");
    }
    let drop_root = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"];
    let root = can("test \"$(id -u)\" = 0");
    if root && !can("setpriv --reuid=65534 --regid=65534 --clear-groups true") {
        return skip_or_fail("becoming another user needs setpriv");
    }
    let blue = App::start("blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    Proxy::open_to_all(folder.path());
    let setup = Setup::one(blue.upstream()).proxy("http", "127.0.0.1:81");
    // The program is copied to where the other user may run it.
    let copy = folder.path().join("switcher-proxy").display().to_string();
    let script = format!(
        "cp \"$1\" '{copy}' && chmod 755 '{copy}' && shift && exec {} '{copy}' \"$@\"",
        drop_root.join(" ")
    );
    let wrapper = ["sh", "-c", &script, "sh"];
    let mut proxy = Proxy::spawn_in(folder, setup, if root { &wrapper[..] } else { &[] });
    let exit = proxy.exit().await;
    assert!(exit.code.is_some_and(|code| code != 0), "{exit:?}");
    assert!(exit.stderr.contains("127.0.0.1:81"), "{exit:?}");
    let remedies = ["CAP_NET_BIND_SERVICE", "cap_net_bind_service", "root", "1024"];
    assert!(remedies.iter().any(|r| exit.stderr.contains(r)), "{exit:?}");
}

#[tokio::test]
async fn the_service_manager_is_told_of_the_start_and_of_the_end() {
    let blue = App::start("blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("non-blocking");
    let socket = tokio::net::UnixDatagram::from_std(socket).expect("a socket");
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let mut proxy = Proxy::spawn_within(Setup::one(blue.upstream()), &["env", &variable]);
    told(&socket, "READY=1").await;
    assert_eq!(get(proxy.http(), "/").await.status, 200, "ready means serving");
    proxy.signal(Signal::TERM);
    told(&socket, "STOPPING=1").await;
    assert_eq!(proxy.exit().await.code, Some(0));
}

async fn told(socket: &tokio::net::UnixDatagram, what: &str) {
    let mut message = [0; 4096];
    within(PATIENCE, what, async {
        loop {
            let length = socket.recv(&mut message).await.expect("a message");
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == what) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_a_killed_process_left_is_taken_over() {
    let (_blue, _green, mut proxy) = two().await;
    proxy.kill();
    assert!(proxy.socket().exists(), "a killed process cleans nothing up");
    proxy.restart().await;
    assert_eq!(proxy.admin().get("/ready").await.status, 200);
}

#[tokio::test]
async fn a_second_process_does_not_take_the_first_ones_place() {
    let (_blue, _green, mut proxy) = two().await;
    let first = proxy.pid();
    let config = proxy.config().to_owned();
    let program = switcher_tests::program::find("switcher-proxy");
    let second =
        tokio::process::Command::new(program).arg("--config").arg(&config).kill_on_drop(true).output();
    let second = within(PATIENCE, "the second process to give up", second).await.expect("it ran");
    assert!(!second.status.success(), "{second:?}");
    assert!(proxy.is_running());
    assert_eq!(proxy.admin().status().await.pid, first);
    assert_eq!(get_with(proxy.http(), "/", &[]).await.text(), "blue");
}

#[tokio::test]
async fn two_proxies_never_share_a_data_folder() {
    let (blue, _green, mut proxy) = two().await;
    let data = proxy.path("data").display().to_string();
    let mut second = Proxy::spawn(Setup::one(blue.upstream()).proxy("data_dir", &data));
    let exit = second.exit().await;
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.stderr.contains("belongs to another running switcher-proxy"), "{exit:?}");
    assert!(proxy.is_running());
}

#[tokio::test]
async fn after_a_hand_over_only_the_new_process_answers_the_admin_socket() {
    let (blue, _green, mut proxy) = two().await;
    let mut held = Http1::connect(proxy.http()).await;
    held.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "it to be in flight", || async { blue.waiting() == 1 }).await;
    proxy.upgrade().await;
    let new = proxy.pid();
    for _ in 0..30 {
        let status = proxy.admin().try_call("GET", "/v1/status", "").await.expect("an answer");
        assert_eq!(status.json()["pid"], new, "the process that handed over still answers");
    }
    blue.open_gate();
    assert_eq!(held.exchange(b"").await.text(), "blue");
    assert_eq!(proxy.predecessor_exit().await, Some(0));
}

#[tokio::test]
async fn a_file_in_the_place_of_the_admin_socket_is_left_alone() {
    let blue = App::start("blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    let notes = folder.path().join("notes.txt");
    std::fs::copy("/proc/self/cmdline", &notes).expect("a file");
    let mut proxy = Proxy::spawn(Setup::one(blue.upstream()).proxy("admin", &notes.display().to_string()));
    let exit = proxy.exit().await;
    assert!(exit.code.is_some_and(|code| code != 0) && exit.stderr.contains("no socket"), "{exit:?}");
    assert!(notes.metadata().is_ok_and(|m| m.is_file()), "the file is still there");
}
