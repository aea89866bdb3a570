//! The options of TCP connections, as the kernel tells of them, and listeners of both families.

use std::net::{Ipv6Addr, SocketAddr};

use switcher_tests::http1::{get, request};
use switcher_tests::port::Port;
use switcher_tests::{App, Http1, PATIENCE, Setup, until};

/// Whether the kernel will ask the other end of this process's connection whether it is still there: the timer in
/// `/proc/net/tcp` (`timer_active` 2, proc(5)) of the socket with these ports.
fn is_asked(local: u16, remote: u16) -> Option<bool> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of connections");
    let port = |cell: &str| u16::from_str_radix(cell.rsplit(':').next()?, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let is_it = port(cells.get(1)?)? == local && port(cells.get(2)?)? == remote;
        is_it.then(|| cells[5].starts_with("02:"))
    })
}

#[tokio::test]
async fn clients_and_upstreams_are_asked_whether_they_are_still_there() {
    for (keepalive, asked) in [("60s", true), ("0s", false)] {
        let app = App::start("blue").await;
        let proxy = Setup::one(app.upstream())
            .proxy("tcp", &format!("{{keepalive: {keepalive}}}"))
            .shop("timeouts", "{pool: 20s}")
            .start_healthy()
            .await;
        let tcp = tokio::net::TcpStream::connect(proxy.http()).await.expect("a connection");
        let own = tcp.local_addr().expect("its address").port();
        let mut wire = Http1::over(tcp);
        assert_eq!(wire.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
        until(PATIENCE, "the client's connection to be idle", || async {
            is_asked(proxy.http().port(), own) == Some(asked)
        })
        .await;
        // The pooled connection to the upstream is the one with a request on it.
        let upstream = app.address().port();
        let table = || std::fs::read_to_string("/proc/net/tcp").expect("the table of connections");
        let to_upstream = || {
            let ending = format!(":{upstream:04X}");
            let rows = table();
            let mut rows = rows.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
            // ESTABLISHED, and not on the application's side.
            rows.any(|cells| cells[2].ends_with(&ending) && cells[3] == "01" && cells[5].starts_with("02:"))
        };
        until(PATIENCE, "the upstream's connection to be idle", || async { to_upstream() == asked }).await;
    }
}

#[tokio::test]
async fn a_listener_of_both_families_takes_both_and_stands_beside_one_of_ipv4() {
    let app = App::start("blue").await;
    let reserved = [Port::reserve(), Port::reserve()];
    let [both, beside] = reserved.each_ref().map(|port| port.address().port());
    let listeners = format!("[\"[::]:{both}\", 0.0.0.0:{beside}, \"[::]:{beside}\"]");
    let _proxy = Setup::one(app.upstream()).proxy("http", &listeners).start_healthy().await;
    for port in [both, beside] {
        assert_eq!(get(([127, 0, 0, 1], port).into(), "/").await.text(), "blue");
        assert_eq!(app.last().header("x-forwarded-for"), Some("127.0.0.1"), "IPv4 is not mapped");
        assert_eq!(get(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), "/").await.text(), "blue");
        assert_eq!(app.last().header("x-forwarded-for"), Some("::1"));
    }
}

#[tokio::test]
async fn two_processes_share_a_port_when_both_are_told_to() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let port = Port::reserve();
    let setup = |app: &App, share: &str| {
        Setup::one(app.upstream())
            .proxy("http", &port.address().to_string())
            .proxy("tcp", &format!("{{reuse_port: {share}, fast_open: true, backlog: 64}}"))
    };
    let _first = setup(&blue, "true").start_healthy().await;
    let _second = setup(&green, "true").start_healthy().await;
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    until(PATIENCE, "both to be met", || async {
        let text = get(port.address(), "/").await.text();
        seen.borrow_mut().insert(text);
        seen.borrow().len() == 2
    })
    .await;
    let exit = switcher_tests::Proxy::spawn(setup(&green, "false")).exit().await;
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("is taken by another process"), "{}", exit.stderr);
}
