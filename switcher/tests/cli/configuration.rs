//! The verbs on configuration files, and the way from a file to the admin socket.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::run::{Run, command, finish};

/// Runs the program on a file with this content; its folder is shown as `/etc/switcher`.
fn on(content: &str, args: &str) -> Run {
    let folder: TempDir = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("switcher.yaml");
    File::create(&path).and_then(|mut file| file.write_all(content.as_bytes())).expect("a file");
    let mut run = finish(
        command(&format!("--config {} {args}", path.display())).output().expect("a run"),
        Path::new("no socket is shown"),
    );
    for text in [&mut run.out, &mut run.err] {
        *text = text.replace(&folder.path().display().to_string(), "/etc/switcher");
    }
    run
}

const GOOD: &str =
    "apps:\n  shop:\n    slots:\n      blue: [127.0.0.1:8001]\n      green: [127.0.0.1:8002]\n";
const BAD: &str = "proxy:\n  htp: 0.0.0.0:80\napps:\n  shop:\n    slots:\n      blue: [127.0.0.1]\n";

#[test]
fn a_good_configuration_is_called_good() {
    insta::assert_snapshot!(on(GOOD, "config check").all());
    assert_eq!(on(GOOD, "config check --json").json()["apps"][0], "shop");
}

#[test]
fn a_bad_configuration_is_reported_whole_and_is_exit_code_10() {
    insta::assert_snapshot!("bad_check", on(BAD, "config check").all());
    let error = on(BAD, "--json config check").error();
    assert_eq!(error["error"]["report"]["problems"].as_array().expect("problems").len(), 2, "{error:#}");
}

#[test]
fn a_bad_configuration_does_not_keep_traffic_from_being_moved() {
    insta::assert_snapshot!("bad_promote", on(BAD, "promote green").all());
}

#[test]
fn the_configuration_is_shown_with_the_origin_of_each_value() {
    let shown = on(GOOD, "config show --origin");
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    assert!(shown.out.contains("# default"), "{}", shown.out);
    assert!(
        shown.out.lines().any(|line| line.contains("127.0.0.1:8001") && line.contains("switcher.yaml:4"))
    );
    assert!(!on(GOOD, "config show").out.contains("# default"));
    assert_eq!(on(GOOD, "config show --json").json()["apps"]["shop"]["initial"], "blue");
}

#[test]
fn the_schema_is_one_json_object() {
    assert_eq!(on(GOOD, "config schema").json()["type"], "object");
}

#[test]
fn the_admin_socket_comes_from_the_configuration() {
    let proxy = Proxy::start();
    let content = format!("proxy:\n  admin: {}\n{GOOD}", proxy.socket().display());
    let run = on(&content, "status --json");
    assert_eq!((run.code, run.json()["apps"]["shop"]["active"].as_str()), (0, Some("blue")), "{}", run.all());
}

#[test]
fn a_mistake_elsewhere_in_the_file_does_not_hide_the_admin_socket() {
    let proxy = Proxy::start();
    let content = format!("proxy:\n  htp: 0.0.0.0:80\n  admin: {}\n{GOOD}", proxy.socket().display());
    let run = on(&content, "status --json");
    assert_eq!((run.code, run.json()["apps"]["shop"]["active"].as_str()), (0, Some("blue")), "{}", run.all());
    assert_eq!(on(&content, "config check").code, 10);
}

#[test]
fn a_file_that_is_named_and_missing_is_a_configuration_error() {
    let output = command("--config /nonexistent/switcher.yaml status").output().expect("a run");
    let run = finish(output, Path::new("no socket is shown"));
    insta::assert_snapshot!(run.all());
}
