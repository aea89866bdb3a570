//! A proxy that is not there, and an application that is not meant: sentence, fix and exit code.

use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::proxy::{Answer, Proxy, refusal};
use crate::run::{command, finish, switcher};

#[test]
fn every_way_in_which_a_proxy_can_be_missing_has_its_own_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = folder.path().join("absent.sock");
    let dead = folder.path().join("dead.sock");
    drop(UnixListener::bind(&dead).expect("a socket"));
    let plain = folder.path().join("plain");
    std::fs::File::create(&plain).expect("a file");
    let long = folder.path().join("x".repeat(120));
    let shown: Vec<String> = [absent, dead, plain, long]
        .iter()
        .map(|path| {
            let run = switcher(path, "promote green");
            assert_eq!(run.code, 6, "{}", run.all());
            run.err
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn the_suggested_commands_reach_the_same_proxy() {
    let proxy = Proxy::start().on("POST /v1/apps/shop/promote", |_| {
        refusal(409, "generation_moved", "shop is at generation 8, not 7")
    });
    let args = format!("promote green --app shop --admin {}", proxy.socket().display());
    let run = finish(command(&args).output().expect("a run"), &proxy.socket());
    assert_eq!(run.code, 3, "{}", run.all());
    assert!(run.err.contains("switcher --admin /run/switcher/admin.sock --app shop status"), "{}", run.err);
}

#[test]
fn an_answer_of_something_else_is_not_taken_for_a_proxy_s() {
    let proxy = Proxy::start().on("GET /v1/status", |_| Answer::Text(200, "<html>\n  <p>It works!</p>"));
    insta::assert_snapshot!(switcher(&proxy.socket(), "status").all());
}

#[test]
fn one_of_several_applications_must_be_named() {
    let proxy = Proxy::start().with(|world| {
        let shop = world.shop().clone();
        world.status.apps.insert("blog".parse().expect("a name"), shop.clone());
        world.status.apps.insert("news".parse().expect("a name"), shop);
    });
    let socket = proxy.socket();
    let shown: Vec<String> = ["promote green", "promote green --app shap", "status --app shap"]
        .map(|args| switcher(&socket, args).all())
        .into();
    insta::assert_snapshot!(shown.join("\n"));
    assert_eq!(
        switcher(&socket, "status --app news --json").json()["apps"].as_object().expect("apps").len(),
        1
    );
}

#[test]
fn a_proxy_without_applications_says_so() {
    let proxy = Proxy::start().with(|world| world.status.apps.clear());
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green").all());
}

#[test]
fn registering_over_the_live_slot_is_refused_before_it_is_asked() {
    let proxy = Proxy::start();
    insta::assert_snapshot!(switcher(&proxy.socket(), "register blue 127.0.0.1:9001").all());
    assert_eq!(proxy.changes_asked(), [""; 0]);
}

#[test]
fn a_wrong_slot_name_is_wrong_usage() {
    let run = switcher(Path::new("/nonexistent"), "promote gren");
    insta::assert_snapshot!(run.all());
    let error = switcher(Path::new("/nonexistent"), "promote gren --json").error();
    assert_eq!(error["error"]["code"], "E-USAGE-01");
    assert_eq!(error["error"]["exit"], 2);
}
