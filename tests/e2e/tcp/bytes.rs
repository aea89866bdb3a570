//! Bytes of raw connections: all of them, in order, both ways; and upstreams that are not there.

use std::time::Duration;

use switcher_config::Slot;
use switcher_config::wire::Health;
use switcher_tests::port::{Port, Refusing};
use switcher_tests::{Echo, Line, PATIENCE, Setup, until, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Stage;

#[tokio::test]
async fn much_goes_both_ways_and_each_side_may_end_first() {
    let stage = Stage::new().await;
    let all: Vec<u8> = (0..8_000_000_u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
    let stream = TcpStream::connect(stage.port.address()).await.expect("a connection");
    let (mut reads, mut writes) = stream.into_split();
    let say = async {
        writes.write_all(&all).await.expect("taken");
        // Half of the connection ends; the answer still comes.
        writes.shutdown().await.expect("said");
    };
    let mut heard = Vec::new();
    let (_, read) =
        within(PATIENCE, "all to come back", async { tokio::join!(say, reads.read_to_end(&mut heard)) })
            .await;
    read.expect("an end in order");
    let rest = heard.strip_prefix(b"blue\n").expect("its name");
    assert_eq!(rest.len(), all.len() + b"heard 8000000\n".len());
    assert!(rest.starts_with(&all) && rest.ends_with(b"heard 8000000\n"));
    stage.until_inside(Slot::Blue, 0).await;

    let record = stage.proxy.record("the connection", |o| o["kind"] == "connections").await;
    assert_eq!(
        (&record["bytes_in"], &record["bytes_out"]),
        (&8_000_000.into(), &8_000_019.into()),
        "{record}"
    );
    assert_eq!(
        (&record["protocol"], &record["app"], &record["tls"]),
        (&"TCP".into(), &"shop".into(), &false.into())
    );
    assert!(
        record.get("status").is_none() && record.get("method").is_none() && record.get("error").is_none(),
        "{record}"
    );
    for (series, value) in [
        (r#"switcher_tcp_bytes_total{app="shop",direction="in",slot="blue"}"#, 8_000_000),
        (r#"switcher_tcp_bytes_total{app="shop",direction="out",slot="blue"}"#, 8_000_019),
        (r#"switcher_tcp_connections_total{app="shop",end="finished",slot="blue"}"#, 1),
    ] {
        stage.proxy.wait_metric(series, value).await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let stage = Stage::new().await;
    for _ in 0..20 {
        let line = stage.line("blue").await;
        // With a reset instead of an end.
        line.into_inner().set_zero_linger().expect("an option");
    }
    stage.until_inside(Slot::Blue, 0).await;
}

#[tokio::test]
async fn the_next_upstream_of_the_slot_takes_what_a_dead_one_does_not() {
    let (dead, alive, port) = (Refusing::start(), Echo::start("alive").await, Port::reserve());
    let both = [dead.address().to_string(), alive.address().to_string()];
    let proxy = Setup::raw(&both, &[], &format!("{{listen: \"{}\"}}", port.address())).start_unready().await;
    until(PATIENCE, "the upstream to be healthy", || async {
        let blue = proxy.admin().shop().await.slots.blue;
        blue.upstreams.iter().any(|one| one.health == Health::Healthy)
    })
    .await;
    for _ in 0..10 {
        let mut line = Line::connect(port.address()).await;
        assert_eq!(line.line().await, "alive");
    }
    let address = alive.address();
    drop(alive);
    until(PATIENCE, "nobody to listen", || async { TcpStream::connect(address).await.is_err() }).await;
    // Nobody is left: the connection is closed, and the log says why.
    Line::connect(port.address()).await.ended().await;
    let why = "no upstream took the connection: connection refused";
    let told = |error: &str| error.starts_with(why);
    let failed = proxy.record("a failed connection", |o| o["error"].as_str().is_some_and(told)).await;
    assert_eq!(failed["tries"], 2, "{failed}");
}

#[tokio::test]
async fn connections_are_spread_and_an_upstream_gets_no_more_than_it_may() {
    let (one, other, port) = (Echo::start("one").await, Echo::start("other").await, Port::reserve());
    let both = [one.address().to_string(), other.address().to_string()];
    let proxy = Setup::raw(&both, &[], &format!("{{listen: \"{}\"}}", port.address()))
        .shop("balance", "least_in_flight")
        .shop("max_in_flight", "1")
        .shop("queue", "{requests: 1, max: 1h}")
        .start_healthy()
        .await;
    let mut first = Line::connect(port.address()).await;
    let mut second = Line::connect(port.address()).await;
    let mut names = [first.line().await, second.line().await];
    names.sort();
    assert_eq!(names, ["one", "other"]);
    let mut third = Line::connect(port.address()).await;
    until(PATIENCE, "the third to be inside", || async {
        proxy.admin().shop().await.slots.blue.in_flight.connections == 3
    })
    .await;
    // The queue is full.
    Line::connect(port.address()).await.ended().await;
    proxy.record("the one too many", |o| o["error"] == "no upstream has room").await;
    drop(first);
    let name = third.line().await;
    assert!(names.contains(&name), "{name}");
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_its_time_and_one_that_speaks_is_not() {
    let stage = Stage::with(", idle: 3s", |setup| setup).await;
    let (mut silent, mut speaking) = (stage.line("blue").await, stage.line("blue").await);
    let ended = async {
        silent.ended().await;
        stage.proxy.record("a silent one", |o| o["error"] == "nothing moved for too long").await
    };
    let mut ended = Box::pin(ended);
    loop {
        tokio::select! {
            _ = &mut ended => break,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                assert_eq!(speaking.ask("hm").await, "hm");
            }
        }
    }
    drop(ended);
    assert_eq!(speaking.ask("still here?").await, "still here?");
    let series = r#"switcher_tcp_connections_total{app="shop",end="idle",slot="blue"}"#;
    stage.proxy.wait_metric(series, 1).await;
}

#[tokio::test]
async fn an_upstream_that_does_not_end_its_side_keeps_no_half_of_a_connection() {
    let (listener, port) = Port::listen().await;
    let deaf = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let door = Port::reserve();
    let tcp = format!("{{listen: \"{}\"}}", door.address());
    let proxy = Setup::raw(&[port.address().to_string()], &[], &tcp).start_healthy().await;
    let mut half = TcpStream::connect(door.address()).await.expect("a connection");
    let whole = TcpStream::connect(door.address()).await.expect("a connection");
    half.write_all(b"bye").await.expect("taken");
    half.shutdown().await.expect("said");
    // It has half a minute to answer, and not for ever.
    let last = within(3 * PATIENCE, "its end", half.read(&mut [0; 1])).await;
    assert!(!matches!(last, Ok(1..)), "{last:?}");
    proxy.record("half a connection", |o| o["error"] == "nothing moved for too long").await;
    let inside = proxy.admin().shop().await.slots.get(Slot::Blue).in_flight.connections;
    assert_eq!(inside, 1, "one that both sides keep open may be silent for ever");
    drop(whole);
    deaf.abort();
}

#[tokio::test]
async fn one_address_gets_its_share_of_connections() {
    let stage = Stage::with("", |setup| setup.proxy("limits", "{connections_per_address: 2}")).await;
    let mut kept = [stage.line("blue").await, stage.line("blue").await];
    Line::connect(stage.port.address()).await.ended().await;
    stage.proxy.wait_limit("connections_per_address", 1).await;
    assert_eq!(kept[0].ask("still here?").await, "still here?");
}

#[tokio::test]
async fn a_balancer_in_front_and_an_upstream_behind_speak_of_the_client() {
    let set =
        |setup: Setup| setup.proxy("trusted_proxies", "[127.0.0.1]").shop("upstream_proxy_protocol", "v1");
    let stage = Stage::with(", proxy_protocol: require", set).await;
    let mut line = Line::connect(stage.port.address()).await;
    line.say("PROXY TCP4 192.0.2.7 198.51.100.1 4711 5432\r\nhello\n").await;
    // The upstream says again what it heard.
    for heard in ["blue", "PROXY TCP4 192.0.2.7 198.51.100.1 4711 5432", "hello"] {
        assert_eq!(line.line().await, heard);
    }
    line.finish().await;
    let record = stage.proxy.record("the client", |o| o["client"] == "192.0.2.7").await;
    assert_eq!(record["kind"], "connections");
    let mut bare = Line::connect(stage.port.address()).await;
    bare.say("hello\n").await;
    bare.ended().await;
}

/// Takes connections and resets each without a word.
async fn slamming() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_zero_linger().expect("an option");
        }
    });
    address
}

#[tokio::test]
async fn an_upstream_that_breaks_connections_without_a_word_is_left_out() {
    let (good, slamming, port) = (Echo::start("good").await, slamming().await, Port::reserve());
    let both = [slamming.to_string(), good.address().to_string()];
    let proxy = Setup::raw(&both, &[], &format!("{{listen: \"{}\"}}", port.address()))
        .shop("outliers", "{failures: 2, ejection: 1h}")
        .start_healthy()
        .await;
    let ejected = || async {
        let upstreams = proxy.admin().shop().await.slots.blue.upstreams;
        upstreams.iter().map(|one| one.ejected.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(ejected().await, [false, false]);
    until(PATIENCE, "it to be left out", || async {
        // Every other one is broken, some before the connection is taken.
        let _ = Line::connect(port.address()).await.try_line().await;
        ejected().await == [true, false]
    })
    .await;
    for _ in 0..4 {
        assert_eq!(Line::connect(port.address()).await.line().await, "good");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_idle_connections_cost_less_than_8_kib_each() {
    const COUNT: usize = 800;
    const MOST: u64 = 8 * 1024;
    let stage = Stage::with("", |setup| setup.proxy("limits", "{connections_per_address: 100000}")).await;
    let (mut lines, mut before) = (Vec::new(), 0);
    for number in 0..COUNT + 50 {
        let mut line = stage.line("blue").await;
        // Much was on its way once, and is not any more.
        if number % 10 == 0 {
            let much = "x".repeat(100_000);
            assert!(line.ask(&much).await == much);
        }
        lines.push(line);
        if number == 50 {
            before = stage.proxy.resident_bytes();
        }
    }
    let grown = stage.proxy.resident_bytes().saturating_sub(before) / COUNT as u64;
    eprintln!("an idle raw connection: {grown} bytes each, of at most {MOST}");
    assert!(grown < MOST, "{grown}");
    for line in lines.iter_mut().step_by(100) {
        assert_eq!(line.ask("still here?").await, "still here?");
    }
}
