//! The command line against a real proxy: results, exit codes, and what is said when something is wrong.

use switcher_config::Slot;
use switcher_config::wire::{Health, Mode};
use switcher_tests::http1::{get, request};
use switcher_tests::relay::{Mischief, Relay};
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, Switcher, until};
use tokio::io::{AsyncBufReadExt as _, BufReader};

async fn two() -> (App, App, Proxy, Switcher) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    let switcher = Switcher::of(&proxy);
    (blue, green, proxy, switcher)
}

#[tokio::test]
async fn status_shows_both_slots_and_its_json_is_the_apis() {
    let (_blue, green, _proxy, switcher) = two().await;
    let shown = switcher.succeed(&["status"]).await.stdout;
    for part in ["shop", "blue", "green", "healthy", &green.upstream()] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let json = switcher.succeed(&["status", "--json"]).await.json();
    let status: switcher_config::wire::Status = serde_json::from_value(json).expect("a status");
    assert_eq!(status.apps.len(), 1);
}

#[tokio::test]
async fn promote_returns_after_the_drain_with_a_receipt() {
    let (blue, _green, proxy, switcher) = two().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "it to wait", || async { blue.waiting() == 1 }).await;
    let running = tokio::spawn(async move { switcher.run(&["promote", "green", "--json"]).await });
    // Asked of the admin API: a request that asked would itself be inside at the switch.
    until(PATIENCE, "traffic to move", || async { proxy.admin().shop().await.active == Slot::Green }).await;
    assert!(!running.is_finished(), "it returned before the drain was over");
    blue.open_gate();
    assert_eq!(client.exchange(b"").await.text(), "blue");
    let ran = running.await.expect("it ran");
    assert_eq!(ran.code, 0, "{ran:?}");
    let receipt = ran.json();
    for (key, value) in [("app", "shop"), ("from", "blue"), ("to", "green")] {
        assert_eq!(receipt[key], value, "{receipt}");
    }
    assert_eq!((&receipt["generation"], &receipt["drain"]["drained"]), (&2.into(), &true.into()));
    assert_eq!(receipt["drain"]["finished"]["requests"], 1);
    assert!(receipt["switched_at"].is_string() && receipt["switch_micros"].is_number());
}

#[tokio::test]
async fn detach_returns_as_soon_as_traffic_has_moved() {
    let (blue, _green, proxy, switcher) = two().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "it to wait", || async { blue.waiting() == 1 }).await;
    let receipt = switcher.succeed(&["promote", "green", "--detach", "--json"]).await.json();
    assert!(receipt.get("drain").is_none(), "{receipt}");
    assert_eq!((blue.waiting(), get(proxy.http(), "/").await.text().as_str()), (1, "green"));
}

#[tokio::test]
async fn a_drain_time_can_be_given_and_what_was_cut_is_named() {
    let (_blue, _green, proxy, switcher) = two().await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    let receipt = switcher.succeed(&["promote", "green", "--drain-timeout", "300ms", "--json"]).await.json();
    assert_eq!(receipt["drain"]["cut"]["websockets"][0]["route"], "GET /socket", "{receipt}");
}

#[tokio::test]
async fn rollback_goes_back_to_the_warm_slot() {
    let (_blue, _green, proxy, switcher) = two().await;
    switcher.succeed(&["promote", "green"]).await;
    let receipt = switcher.succeed(&["rollback", "--json"]).await.json();
    assert_eq!((&receipt["from"], &receipt["to"]), (&"green".into(), &"blue".into()));
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn an_unhealthy_slot_is_exit_code_4_and_comes_with_its_reason() {
    let (_blue, green, proxy, switcher) = two().await;
    green.health(500, "out of order");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    let ran = switcher.run(&["promote", "green"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    ran.says(&["E-HEALTH-", "500", "blue"]);
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    switcher.succeed(&["promote", "green", "--force"]).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn a_slot_is_waited_for_until_it_is_healthy() {
    let (_blue, green, proxy, switcher) = two().await;
    green.health(500, "starting");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    let ran = switcher.run(&["promote", "green", "--wait-healthy", "300ms"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    ran.says(&["E-HEALTH-", "starting"]);
    let running =
        tokio::spawn(async move { switcher.run(&["promote", "green", "--wait-healthy", "30s"]).await });
    let probes = green.probes();
    until(PATIENCE, "more probes", || async { green.probes() > probes + 3 }).await;
    green.health(200, "ok");
    let ran = running.await.expect("it ran");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn a_wrong_slot_name_is_wrong_usage_and_names_the_slots() {
    let (_blue, _green, proxy, switcher) = two().await;
    let ran = switcher.run(&["promote", "geen"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    ran.says(&["geen", "blue", "green"]);
    assert_eq!(proxy.generation().await.get(), 1);
}

#[tokio::test]
async fn a_missing_proxy_is_exit_code_6_and_names_its_socket() {
    let (_blue, _green, mut proxy, switcher) = two().await;
    proxy.kill();
    let socket = proxy.socket().display().to_string();
    let dead = switcher.run(&["status"]).await;
    assert_eq!(dead.code, 6, "{dead:?}");
    dead.says(&["E-PROXY-", &socket]);
    std::fs::remove_file(proxy.socket()).expect("removed");
    let absent = switcher.run(&["promote", "green"]).await;
    assert_eq!(absent.code, 6, "{absent:?}");
    absent.says(&["E-PROXY-", &socket]);
    assert_ne!(dead.stderr, absent.stderr, "a dead proxy and a missing socket are told apart");
}

#[tokio::test]
async fn somebody_else_acting_in_between_is_exit_code_3_and_changes_nothing() {
    let (_blue, _green, proxy, switcher) = two().await;
    let other = Mischief::Before("PUT", "/v1/apps/shop/slots/green", r#"{"upstreams":[]}"#);
    let relay = Relay::start(proxy.path("").as_path(), proxy.admin(), other);
    let ran = switcher.run(&["promote", "green", "--admin", relay.socket()]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    ran.says(&["E-GEN-", "blue"]);
    assert_eq!((proxy.admin().shop().await.active, relay.changes()), (Slot::Blue, 1));
}

#[tokio::test]
async fn of_two_promotes_at_once_one_wins_and_the_other_says_who_is_live() {
    let (_blue, _green, proxy, switcher) = two().await;
    let promote = || switcher.run(&["promote", "green"]);
    let (one, two) = tokio::join!(promote(), promote());
    let mut codes = [one.code, two.code];
    codes.sort_unstable();
    assert_eq!(codes[0], 0, "{one:?} {two:?}");
    // The loser either lost the race (3), or came late and found its wish fulfilled (0).
    assert!(matches!(codes[1], 0 | 3), "{one:?} {two:?}");
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.generation.get()), (Slot::Green, 2));
}

#[tokio::test]
async fn a_lost_answer_is_found_out_by_asking_for_the_status() {
    let (_blue, _green, proxy, switcher) = two().await;
    let relay = Relay::start(proxy.path("").as_path(), proxy.admin(), Mischief::LoseAnswer);
    let ran = switcher.succeed(&["promote", "green", "--json", "--admin", relay.socket()]).await;
    assert_eq!((&ran.json()["to"], &ran.json()["generation"]), (&"green".into(), &2.into()));
    let shop = proxy.admin().shop().await;
    assert_eq!(
        (shop.active, shop.generation.get(), relay.changes()),
        (Slot::Green, 2, 1),
        "it was not done twice"
    );
}

#[tokio::test]
async fn a_lost_question_is_asked_once_more() {
    let (_blue, _green, proxy, switcher) = two().await;
    let relay = Relay::start(proxy.path("").as_path(), proxy.admin(), Mischief::LoseQuestion);
    switcher.succeed(&["promote", "green", "--admin", relay.socket()]).await;
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.generation.get(), relay.changes()), (Slot::Green, 2, 2));
}

#[tokio::test]
async fn a_lost_answer_followed_by_somebody_else_is_never_called_a_success_of_ones_own() {
    let (_blue, _green, proxy, switcher) = two().await;
    let other = Mischief::LoseAnswerAfter("POST", "/v1/apps/shop/promote", r#"{"slot":"blue"}"#);
    let relay = Relay::start(proxy.path("").as_path(), proxy.admin(), other);
    let ran = switcher.run(&["promote", "green", "--admin", relay.socket()]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    ran.says(&["E-GEN-", "blue"]);
    assert_eq!(proxy.admin().shop().await.active, Slot::Blue);
}

#[tokio::test]
async fn pause_resume_and_stop_do_what_they_say() {
    let (_blue, _green, proxy, switcher) = two().await;
    for (verb, mode) in [
        (&["pause", "--max", "1h"][..], Mode::Paused),
        (&["resume"], Mode::Open),
        (&["stop", "--message", "Back at noon"], Mode::Stopped),
    ] {
        switcher.succeed(verb).await;
        assert_eq!(proxy.admin().shop().await.mode, mode, "{verb:?}");
    }
    let page = get(proxy.http(), "/").await;
    assert!(page.status == 503 && page.text().contains("Back at noon"), "{}", page.text());
}

#[tokio::test]
async fn drain_lists_what_is_still_inside() {
    let (blue, _green, proxy, switcher) = two().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "it to wait", || async { blue.waiting() == 1 }).await;
    switcher.succeed(&["promote", "green", "--detach"]).await;
    let shown = switcher.succeed(&["drain", "blue"]).await.stdout;
    assert!(shown.contains("GET /gate"), "{shown}");
    let json = switcher.succeed(&["drain", "blue", "--json"]).await.json();
    assert_eq!(json["exchanges"][0]["route"], "GET /gate", "{json}");
}

#[tokio::test]
async fn register_gives_the_standby_its_addresses() {
    let (_blue, _green, proxy, switcher) = two().await;
    let new = App::start("new").await;
    switcher.succeed(&["register", "green", &new.upstream(), "--release", "v9"]).await;
    switcher.succeed(&["promote", "green", "--wait-healthy", "20s"]).await;
    let answer = get(proxy.http(), "/").await;
    assert_eq!((answer.text().as_str(), answer.header("x-switcher-release")), ("new", Some("v9")));
    let refused = switcher.run(&["register", "green", &new.upstream()]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    refused.says(&["E-SLOT-", "green"]);
}

#[tokio::test]
async fn reload_tells_what_changed_and_what_is_wrong() {
    let (blue, green, mut proxy, switcher) = two().await;
    proxy.configure(Setup::two(&blue, &green).shop("timeouts", "{response: 7s}"));
    let ran = switcher.succeed(&["reload", "--json"]).await;
    assert!(ran.json()["changes"].as_array().is_some_and(|c| !c.is_empty()), "{ran:?}");
    proxy.configure(Setup::two(&blue, &green).shop("helth", "{}"));
    let admin = proxy.socket().display().to_string();
    let ran = switcher.run(&["reload", "--admin", &admin]).await;
    assert_eq!(ran.code, 10, "{ran:?}");
    ran.says(&["helth"]);
}

#[tokio::test]
async fn events_are_printed_as_they_happen() {
    let (_blue, _green, proxy, switcher) = two().await;
    let mut child = switcher.command(&["events", "--json"]).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let first = tokio::spawn(async move { lines.next_line().await });
    // A switch is repeated until the stream is open and tells of one.
    let mut to = Slot::Green;
    until(PATIENCE, "an event to be printed", || {
        let (admin, slot, printed) = (proxy.admin(), to, first.is_finished());
        to = to.other();
        async move { printed || admin.promote(slot).await.is_err() }
    })
    .await;
    let line = first.await.expect("no panic").expect("output").expect("a line");
    let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert!(matches!(event["event"].as_str(), Some("switched" | "drained")), "{event}");
}

#[tokio::test]
async fn an_app_must_be_named_when_there_are_several() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let keys = [
        ("path", "/api"),
        ("slots", &*switcher_tests::setup::slots(&[blue.upstream()], &[green.upstream()])),
    ];
    let proxy = Setup::two(&blue, &green).another("api", blue.upstream(), &keys).start_healthy().await;
    let switcher = Switcher::of(&proxy);
    let ran = switcher.run(&["promote", "green"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    ran.says(&["shop", "api", "--app"]);
    let unknown = switcher.run(&["promote", "green", "--app", "shpo"]).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    unknown.says(&["shpo", "shop"]);
    switcher.succeed(&["promote", "green", "--app", "api", "--wait-healthy", "20s"]).await;
    assert_eq!(get(proxy.http(), "/api").await.text(), "green");
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn options_stand_before_or_after_the_verb() {
    let (_blue, _green, proxy, _) = two().await;
    let bare = Switcher::bare(&proxy.path(""));
    let config = proxy.config().display().to_string();
    let before = bare.succeed(&["--config", &config, "--json", "status"]).await;
    let after = bare.succeed(&["status", "--json", "--config", &config]).await;
    let here = bare.succeed(&["status", "--json"]).await;
    let socket = proxy.socket().display().to_string();
    let direct = bare.succeed(&["status", "--json", "--admin", &socket]).await;
    for ran in [before, after, here, direct] {
        assert_eq!(ran.json()["pid"], proxy.pid());
    }
}

#[tokio::test]
async fn piped_output_has_no_colour_and_no_bars() {
    let (_blue, _green, _proxy, switcher) = two().await;
    for verb in [&["status"][..], &["promote", "green"], &["drain", "blue"], &["explain"]] {
        let ran = switcher.succeed(verb).await;
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{verb:?}: {text:?}");
    }
}

#[tokio::test]
async fn an_error_can_be_had_as_json_and_explained() {
    let (_blue, green, proxy, switcher) = two().await;
    green.health(500, "out of order");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    let ran = switcher.run(&["promote", "green", "--json"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    let text = format!("{}{}", ran.stdout, ran.stderr);
    let code =
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(|w| w.starts_with("E-HEALTH-"));
    let explained = switcher.succeed(&["explain", code.expect("a code")]).await.stdout;
    assert!(explained.contains(code.expect("a code")) && explained.len() > 100, "{explained}");
    assert_eq!(switcher.run(&["explain", "E-NOTHING-99"]).await.code, 2);
}

#[tokio::test]
async fn completions_are_printed_for_each_shell() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let script = Switcher::bare(folder.path()).succeed(&["completions", shell]).await.stdout;
        assert!(script.contains("promote") && script.contains("rollback"), "{shell}: {script}");
    }
}

#[tokio::test]
async fn a_slot_that_is_live_and_healthy_is_no_error() {
    let (_blue, _green, proxy, switcher) = two().await;
    switcher.succeed(&["promote", "blue"]).await;
    assert_eq!(proxy.generation().await.get(), 1, "nothing was to be done");
}

#[tokio::test]
async fn an_application_without_slots_is_filled_by_hand() {
    let green = App::start("green").await;
    let proxy = Setup::slots(&[], &[]).start().await;
    let switcher = Switcher::of(&proxy);
    let shown = switcher.succeed(&["status"]).await.stdout;
    assert!(shown.contains("shop") && shown.contains("blue"), "{shown}");
    let empty = switcher.run(&["promote", "green"]).await;
    assert_eq!(empty.code, 4, "{empty:?}");
    empty.says(&["E-SLOT-02", "register green HOST:PORT"]);
    switcher.succeed(&["register", "green", &green.upstream(), "--release", "v1"]).await;
    switcher.succeed(&["promote", "green", "--wait-healthy", "20s"]).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    let back = switcher.run(&["rollback"]).await;
    assert_eq!(back.code, 4, "there is nothing to go back to: {back:?}");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn a_lease_that_somebody_holds_keeps_no_hand_from_the_switch() {
    let (_blue, _green, proxy, switcher) = two().await;
    let lease = r#"{"number":7,"holder":"lock_a"}"#;
    assert_eq!(proxy.admin().call("POST", "/v1/apps/shop/claim", lease).await.status, 200);
    let status = switcher.succeed(&["status", "--json"]).await.json();
    assert_eq!(status["apps"]["shop"]["fence"]["holder"], "lock_a", "{status}");
    switcher.succeed(&["promote", "green"]).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}
