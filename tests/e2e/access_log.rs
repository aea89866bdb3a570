//! The access log: what stands in it, and that it never holds a request up.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use switcher_tests::http1::{get, get_with, post, request};
use switcher_tests::part::can;
use switcher_tests::port::Refusing;
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, skip_or_fail, until};

#[tokio::test]
async fn a_record_tells_the_whole_exchange() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    let answer = client.exchange(&request("POST", "/echo?q=1", &[("User-Agent", "probe")], b"12345")).await;
    let record = proxy.record_of("/echo").await;
    for (key, value) in [
        ("app", serde_json::json!("shop")),
        ("slot", "blue".into()),
        ("generation", serde_json::json!(proxy.generation().await)),
        ("method", "POST".into()),
        ("host", "shop.test".into()),
        ("path", "/echo?q=1".into()),
        ("status", 200.into()),
        ("client", "127.0.0.1".into()),
        ("tls", true.into()),
        ("upstream", app.upstream().into()),
        ("tries", 1.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 5.into()),
        ("user_agent", "probe".into()),
        ("request_id", answer.header("x-request-id").into()),
    ] {
        assert_eq!(record[key], value, "{key} in {record}");
    }
    assert!(record["duration_ms"].is_number() && record["time"].is_string(), "{record}");
}

#[tokio::test]
async fn a_second_try_is_counted() {
    let (dead, app) = (Refusing::start(), App::start("alive").await);
    let blue = [dead.address().to_string(), app.upstream()];
    let proxy =
        Setup::slots(&blue, &[]).shop("health", "{interval: 1h, rise: 1, fall: 1000}").start_unready().await;
    for n in 0..2 {
        assert_eq!(post(proxy.http(), &format!("/{n}"), b"x").await.status, 200);
    }
    let record = proxy.record("a second try", |r| r["tries"] == 2).await;
    assert_eq!((&record["status"], &record["upstream"]), (&200.into(), &app.upstream().into()));
}

#[tokio::test]
async fn the_log_can_be_text_and_can_be_off() {
    let app = App::start("blue").await;
    let text = Setup::one(app.upstream()).proxy("access_log", "text").start_healthy().await;
    get(text.http(), "/as-text").await;
    until(PATIENCE, "a line of text", || async {
        text.stdout().lines().iter().any(|l| l.contains("/as-text") && !l.starts_with('{'))
    })
    .await;
    let mut off = Setup::one(app.upstream()).proxy("access_log", "off").start_healthy().await;
    get(off.http(), "/unseen").await;
    off.signal(rustix::process::Signal::TERM);
    assert!(!off.exit().await.stdout.contains("/unseen"));
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_no_request_up() {
    let app = App::start("blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("stuck");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    // Opened for both ways, a pipe without a reader takes 64 KiB and then blocks its writer for ever.
    let script = format!("exec \"$@\" 1<>'{}'", pipe.display());
    let mut proxy = Proxy::spawn_within(Setup::one(app.upstream()), &["sh", "-c", &script, "sh"]);
    proxy.wait_ready().await;
    let mut client = Http1::connect(proxy.http()).await;
    for n in 0..2_000 {
        let answer = client.exchange(&request("GET", &format!("/{n}"), &[], b"")).await;
        assert_eq!(answer.status, 200, "request {n}");
    }
}

#[tokio::test]
async fn what_was_logged_is_written_before_the_process_ends() {
    let app = App::start("blue").await;
    let mut proxy = Setup::one(app.upstream()).start_healthy().await;
    for n in 0..100 {
        get(proxy.http(), &format!("/n{n}")).await;
    }
    proxy.signal(rustix::process::Signal::TERM);
    let stdout = proxy.exit().await.stdout;
    assert!((0..100).all(|n| stdout.contains(&format!("/n{n}\""))), "{stdout}");
}

/// The records in a file, in order; one that is still being written is none yet.
fn records(file: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn to_file(app: &App, more: &str) -> Setup {
    Setup::one(app.upstream()).proxy("access_log", more)
}

/// Starts a proxy that logs to `logs/access.log` in its folder, and says where that is.
async fn logging(app: &App, more: &str) -> (Proxy, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).expect("a folder for logs");
    let file = logs.join("access.log");
    let setup = to_file(app, &format!("{{file: {}, {more}}}", file.display()));
    let mut proxy = Proxy::spawn_in(folder, setup, &[]);
    proxy.wait_ready().await;
    proxy.wait_healthy().await;
    (proxy, file)
}

async fn dropped(proxy: &Proxy) -> u64 {
    proxy.metric("switcher_access_log_dropped_total").await
}

#[tokio::test]
async fn a_file_that_is_rotated_under_load_loses_no_line_and_has_none_twice() {
    let app = App::start("blue").await;
    let (proxy, file) = logging(&app, "format: json").await;
    let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777 & !0o640, 0, "readable by its owner and group alone: {mode:o}");
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let address = proxy.http();
            tokio::spawn(async move {
                let mut connection = Http1::connect(address).await;
                for n in 0..500 {
                    let path = format!("/{client}/{n}");
                    assert_eq!(connection.exchange(&request("GET", &path, &[], b"")).await.status, 200);
                }
            })
        })
        .collect();
    let moved: Vec<PathBuf> = (1..=3).map(|n| file.with_extension(format!("log.{n}"))).collect();
    for old in &moved {
        until(PATIENCE, "some lines", || async { records_so_far(&file) > 20 }).await;
        std::fs::rename(&file, old).expect("rotated");
        proxy.signal(rustix::process::Signal::USR1);
        until(PATIENCE, "the new file", || async { file.exists() }).await;
    }
    for client in clients {
        client.await.expect("every answer");
    }
    let all = || moved.iter().chain([&file]).flat_map(|file| records(file)).collect::<Vec<_>>();
    until(PATIENCE, "every line", || async { all().len() >= 2000 }).await;
    let mut paths: Vec<String> =
        all().iter().map(|r| r["path"].as_str().expect("a path").to_owned()).collect();
    paths.sort();
    let mut wanted: Vec<String> = (0..4).flat_map(|c| (0..500).map(move |n| format!("/{c}/{n}"))).collect();
    wanted.sort();
    assert_eq!(paths, wanted);
    assert!(moved.iter().all(|old| !records(old).is_empty()), "each file has some");
    assert_eq!(dropped(&proxy).await, 0);
}

fn records_so_far(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else_and_mends_itself() {
    if !can("unshare -rm sh -c 'mount -t tmpfs -o size=64k tmpfs /mnt'") {
        return skip_or_fail("a file system of a test's own needs user namespaces");
    }
    let app = App::start("blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).expect("a folder for logs");
    let setup = to_file(&app, &format!("{{file: {}}}", logs.join("access.log").display()));
    let script = format!("mount -t tmpfs -o size=256k tmpfs '{}' && exec \"$@\"", logs.display());
    let mut proxy = Proxy::spawn_in(folder, setup, &["unshare", "-rm", "sh", "-c", &script, "sh"]);
    proxy.wait_ready().await;
    proxy.wait_healthy().await;
    let inside = PathBuf::from(format!("/proc/{}/root{}/access.log", proxy.pid(), logs.display()));
    let mut client = Http1::connect(proxy.http()).await;
    let mut sent = 0_u64;
    // The disk holds 256 KiB and the writer another 64.
    while dropped(&proxy).await == 0 {
        assert!(sent < 20_000, "no line is ever lost");
        for n in sent..sent + 100 {
            assert_eq!(client.exchange(&request("GET", &format!("/{n}"), &[], b"")).await.status, 200);
        }
        sent += 100;
    }
    let complaints = || proxy.stderr().matches("the access log cannot be written").count();
    until(PATIENCE, "the loss to be said", || async { complaints() > 0 }).await;
    assert_eq!(complaints(), 1, "{}", proxy.stderr());
    let before = std::fs::read_to_string(&inside).expect("the file");
    // Rotated away: room again, and the torn line is finished nowhere.
    std::fs::remove_file(&inside).expect("removed");
    until(PATIENCE, "the log to be written again", || async { proxy.stderr().contains("is written again") })
        .await;
    assert_eq!(client.exchange(&request("GET", "/last", &[], b"")).await.status, 200);
    until(PATIENCE, "the last line", || async { records(&inside).iter().any(|r| r["path"] == "/last") })
        .await;
    let whole = before.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    let after = records(&inside).len();
    let lost = dropped(&proxy).await;
    assert_eq!(lost + (whole + after) as u64, sent + 1, "{lost} of {sent}: {whole} + {after}");
}

#[tokio::test]
async fn a_folder_that_vanishes_costs_lines_until_it_is_back() {
    let app = App::start("blue").await;
    let (proxy, file) = logging(&app, "format: json").await;
    get(proxy.http(), "/first").await;
    until(PATIENCE, "the first line", || async { records(&file).len() == 1 }).await;
    let folder = file.parent().expect("a folder").to_owned();
    std::fs::remove_dir_all(&folder).expect("removed");
    until(PATIENCE, "the loss to be said", || async {
        get(proxy.http(), "/lost").await.status == 200 && proxy.stderr().contains("cannot be written")
    })
    .await;
    std::fs::create_dir(&folder).expect("given back");
    until(PATIENCE, "lines again", || async {
        get(proxy.http(), "/back").await;
        records(&file).iter().any(|record| record["path"] == "/back")
    })
    .await;
    assert_eq!(proxy.stderr().matches("the access log cannot be written").count(), 1);
}

#[tokio::test]
async fn only_what_is_chosen_is_logged_and_no_credential() {
    let app = App::start("blue").await;
    let more = "sample: 0%, fields: [status, path, error], headers: [authorization, x-tenant], redact: {query: [invite]}";
    let (proxy, file) = logging(&app, more).await;
    get(proxy.http(), "/fine").await;
    let headers =
        [("Authorization", "Bearer hunter2"), ("X-Tenant", "acme"), ("Referer", "https://a:hunter2@b/")];
    get_with(proxy.http(), "/status/502?token=hunter2&invite=hunter2&q=1", &headers).await;
    until(PATIENCE, "the failure", || async { records(&file).len() == 1 }).await;
    let wanted = serde_json::json!({
        "status": 502,
        "path": "/status/502?token=***&invite=***&q=1",
        "headers": {"authorization": "Bearer ***", "x-tenant": "acme"},
    });
    assert_eq!(records(&file), [wanted]);
}

#[tokio::test]
async fn a_reload_moves_the_log_and_a_bad_file_moves_nothing() {
    let app = App::start("blue").await;
    let (mut proxy, file) = logging(&app, "format: json").await;
    let other = proxy.path("other.log");
    proxy.configure(to_file(&app, &format!("{{file: {}}}", proxy.path("nowhere/access.log").display())));
    let refused = proxy.admin().reload().await.expect_err("refused");
    let why = &refused.refusal.message;
    assert!(
        why.contains("proxy.access_log.file") && why.contains("nowhere") && why.contains("make it"),
        "{why}"
    );
    get(proxy.http(), "/still").await;
    until(PATIENCE, "the old file", || async { records(&file).iter().any(|r| r["path"] == "/still") }).await;
    proxy.configure(to_file(&app, &format!("{{file: {}}}", other.display())));
    let reloaded = proxy.admin().reload().await.expect("reloaded");
    assert!(reloaded.needs_restart.is_empty(), "{reloaded:?}");
    get(proxy.http(), "/moved").await;
    until(PATIENCE, "the new file", || async { records(&other).iter().any(|r| r["path"] == "/moved") }).await;
    // A new process appends to the same file.
    proxy.upgrade().await;
    get(proxy.http(), "/taken-over").await;
    until(PATIENCE, "the line of the new process", || async {
        records(&other).iter().any(|r| r["path"] == "/taken-over")
    })
    .await;
    assert_eq!(proxy.predecessor_exit().await, Some(0));
    let mut bad = Proxy::spawn(to_file(&app, "{file: /no-such-folder/access.log}"));
    let exit = bad.exit().await;
    assert_eq!(exit.code, Some(10), "{exit:?}");
    assert!(exit.stderr.contains("/no-such-folder"), "{exit:?}");
}
