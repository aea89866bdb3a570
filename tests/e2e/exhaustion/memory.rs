//! A limit of 64 MiB on the memory of the process, kept by the kernel: whoever goes beyond is killed.

use std::process::Command;

use futures::future::join_all;
use switcher_tests::cgroup::Cgroup;
use switcher_tests::http1::request;
use switcher_tests::tls::Hello;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Http2, Proxy, Setup, http2, skip_or_fail};

const LIMIT: u64 = 64 << 20;

/// How many clients of each kind there are; 500 together.
const PLAIN: usize = 250;
const TLS: usize = 150;
const SOCKETS: usize = 100;

/// A large answer, in bytes.
const LARGE: usize = 1 << 20;

fn group() -> Option<Cgroup> {
    let group = Cgroup::with_memory(LIMIT);
    if group.is_none() {
        skip_or_fail("a limit on memory needs control groups that may be made");
    }
    group
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connections_are_served_within_64_mib() {
    let Some(group) = group() else { return };
    let app = App::start("blue").await;
    let setup = Setup::one(app.upstream()).proxy("limits", "{connections_per_address: 10000}");
    let mut proxy = Proxy::spawn_within(setup, &["sh", "-c", &group.script(), "sh"]);
    proxy.wait_ready().await;
    proxy.wait_healthy().await;
    let mut clients = Vec::new();
    for number in 0..PLAIN + TLS {
        clients.push(if number < PLAIN {
            Http1::connect(proxy.http()).await
        } else {
            Hello::to("shop.test").http1(proxy.https()).await
        });
    }
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(WebSocket::connect(proxy.http(), "/socket").await);
    }
    let small = request("GET", "/", &[], b"");
    for client in &mut clients {
        assert_eq!(client.exchange(&small).await.status, 200);
    }
    // All at once.
    let answers = join_all(clients.iter_mut().map(|client| client.exchange(&small))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let large = request("GET", &format!("/bytes/{LARGE}"), &[], b"");
    for some in clients.chunks_mut(50) {
        let answers = join_all(some.iter_mut().map(|client| client.exchange(&large))).await;
        assert!(answers.iter().all(|answer| answer.body.len() == LARGE));
    }
    let second = Http2::connect(proxy.http()).await;
    let streams = join_all((0..100).map(|_| second.exchange(http2::get("/bytes/100000"), b""))).await;
    assert!(streams.iter().all(|answer| answer.body.len() == 100_000));
    for socket in &mut sockets {
        assert_eq!(socket.text().await, "blue");
        assert_eq!(socket.ask("still here?").await, "still here?");
    }
    proxy.admin().reload().await.expect("a reload");
    eprintln!("at most {} MiB were resident", proxy.peak_bytes() >> 20);
    assert!(proxy.is_running());
    assert_eq!(group.killed(), 0);
    proxy.kill();
}

/// The control: the limit is one.
#[test]
fn a_program_that_takes_more_is_killed() {
    let Some(group) = group() else { return };
    let script = group.script();
    let greedy = ["-c", &script, "sh", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
    let status = Command::new("sh").args(greedy).status().expect("a shell");
    assert!(!status.success(), "{status}");
    assert!(group.killed() > 0);
}
