//! Every way in which a snapshot is not taken: its own sentence, and nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use switcher::code::{Code, Exit};
use switcher_tests::part::can;
use switcher_tests::{PATIENCE, until, until_some};

use super::*;

/// Somebody who holds a lock that a dump waits for.
struct Locker(Child);

impl Locker {
    async fn on(stage: &Stage, table: &str) -> Self {
        let url = stage.postgres.url();
        let mut psql = Command::new(stage.postgres.programs().join("psql"));
        let sql = format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep(600)");
        psql.args(["-qAtX", "-c", &sql, &url]).stdin(Stdio::null());
        let locker = Self(psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("psql runs"));
        until(PATIENCE, "the lock", || async {
            let sql = format!("SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND mode LIKE 'Access%' AND granted");
            stage.postgres.query(&sql) == ["1"]
        })
        .await;
        locker
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The dumps that wait for a lock in this server.
fn waiting(stage: &Stage) -> Vec<String> {
    stage.postgres.query_in(
        "postgres",
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'",
    )
}

#[tokio::test]
async fn a_dump_that_may_not_read_a_table_says_which_and_leaves_nothing() {
    let Some(stage) = Stage::set().await else { return };
    stage.postgres.query_in("app", "CREATE TABLE secrets (n int); REVOKE ALL ON secrets FROM app");
    let error = stage.take().await.expect_err("it may not");
    assert_eq!((error.code(), error.code().exit()), (Code::SnapshotFailed, Exit::Migration));
    assert!(error.to_string().contains("permission denied for table secrets"), "{error}");
    stage.assert_nothing_stays();
}

#[tokio::test]
async fn a_dump_that_takes_too_long_is_stopped() {
    let Some(mut stage) = Stage::set().await else { return };
    let _locker = Locker::on(&stage, "items").await;
    stage.with.timeout = Duration::from_secs(1);
    let error = stage.take().await.expect_err("it waits for the lock");
    assert_eq!(error.code(), Code::SnapshotTimeout);
    assert_eq!(error.to_string(), "the dump of app@127.0.0.1 did not end within 1 s; it was stopped");
    stage.assert_nothing_stays();
}

#[tokio::test]
async fn a_server_that_is_killed_during_a_dump_leaves_nothing() {
    let Some(mut stage) = Stage::set().await else { return };
    let _locker = Locker::on(&stage, "items").await;
    let with = stage.with.clone();
    let mut ignored = |_| {};
    let (taken, ()) = tokio::join!(take(&with, None, Timestamp::now(), &mut ignored), async {
        until(PATIENCE, "the dump to wait", || async { !waiting(&stage).is_empty() }).await;
        stage.postgres.kill();
    });
    let error = taken.expect_err("the server is gone");
    assert!(matches!(error, SnapshotError::Dump { .. }), "{error:?}");
    assert!(error.to_string().contains("server closed the connection"), "{error}");
    assert_eq!(stage.files(), Vec::<PathBuf>::new());
    let error = stage.take().await.expect_err("nobody is there");
    assert_eq!(error.code().exit(), Exit::Unreachable, "{error}");
    stage.postgres.restart().await;
    stage.assert_nothing_stays();
    stage.taken().await;
}

#[tokio::test]
async fn a_dump_that_is_left_takes_its_program_and_its_file_along() {
    let Some(stage) = Stage::set().await else { return };
    let _locker = Locker::on(&stage, "items").await;
    let mut ignored = |_| {};
    tokio::select! {
        _ = take(&stage.with, None, Timestamp::now(), &mut ignored) => panic!("it waits for the lock"),
        () = until(PATIENCE, "the dump to wait", || async { !waiting(&stage).is_empty() }) => {}
    }
    stage.assert_nothing_stays();
    until(PATIENCE, "its program to end", || async {
        waiting(&stage).is_empty() || dumps(&stage).is_empty()
    })
    .await;
}

/// The running `pg_dump`s of this test: their folders in `/proc`.
fn dumps(stage: &Stage) -> Vec<PathBuf> {
    let port = format!("PGPORT={}", stage.with.url.port);
    let ours = |path: &PathBuf| {
        let text = |name: &str| fs::read(path.join(name)).unwrap_or_default();
        text("cmdline").windows(7).any(|w| w == b"pg_dump")
            && text("environ").windows(port.len()).any(|w| w == port.as_bytes())
    };
    let entries = fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path());
    entries.filter(ours).collect()
}

#[tokio::test]
async fn no_argument_variable_or_file_of_a_running_dump_holds_the_password() {
    let Some(stage) = Stage::set().await else { return };
    let _locker = Locker::on(&stage, "items").await;
    let mut ignored = |_| {};
    // Looked at while the dump is waited for: what is no longer waited for is ended.
    let looked = async {
        let program = until_some(PATIENCE, "the dump to wait", || async {
            // The one that waits is there by then, and the one that was asked for its version is gone.
            if waiting(&stage).is_empty() { None } else { dumps(&stage).pop() }
        })
        .await;
        for name in ["cmdline", "environ"] {
            let text =
                String::from_utf8_lossy(&fs::read(program.join(name)).expect("a process")).into_owned();
            assert!(text.contains("pg_dump") || text.contains("PGDATABASE=app"), "{text}");
            assert!(!text.contains(&stage.postgres.password()), "{name}: {text}");
        }
        // Its standard input is the password, in a file that has no name.
        let link = fs::read_link(program.join("fd/0")).expect("its standard input");
        assert!(link.to_string_lossy().contains("memfd:"), "{link:?}");
        assert!(!holds(stage.home.path(), &stage.postgres.password()));
        program
    };
    let program = tokio::select! {
        _ = take(&stage.with, None, Timestamp::now(), &mut ignored) => panic!("it waits for the lock"),
        program = looked => program,
    };
    until(PATIENCE, "it to end", || async { !program.join("fd/0").exists() }).await;
}

#[tokio::test]
async fn a_pg_dump_that_is_too_old_is_refused_before_anything_is_written() {
    let Some(mut stage) = Stage::set().await else { return };
    let folder = stage.home.path().join("bin");
    fs::create_dir(&folder).expect("a folder");
    let program = folder.join("pg_dump");
    switcher_tests::certificate::put(&program, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    let right = stage.postgres.programs().to_owned();
    stage.with.tools = Tools::Local(LocalTools::of(vec![folder.clone()]));
    let error = stage.take().await.expect_err("it is too old");
    assert_eq!(error.code(), Code::SnapshotTool);
    let text = error.to_string();
    assert!(text.contains("pg_dump 9.6.24 in") && text.contains("apt install postgresql-client-1"), "{text}");
    stage.assert_nothing_stays();
    stage.with.tools = Tools::Local(LocalTools::of(Vec::new()));
    assert!(
        stage.take().await.expect_err("none").to_string().starts_with("there is no pg_dump on this machine")
    );
    // Beside a fitting one it is passed over.
    stage.with.tools = Tools::Local(LocalTools::of(vec![folder, right]));
    stage.taken().await;
}

/// A small disk.
struct Disk(PathBuf);

impl Disk {
    fn of(path: PathBuf, kilobytes: u32) -> Option<Self> {
        fs::create_dir(&path).expect("a folder");
        let mounted = can(&format!("mount -t tmpfs -o size={kilobytes}k tmpfs '{}'", path.display()));
        mounted.then_some(Self(path))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = can(&format!("umount '{}'", self.0.display()));
    }
}

#[tokio::test]
async fn a_full_disk_is_told_with_the_room_that_is_missing_and_emptied_again() {
    let Some(mut stage) = Stage::set().await else { return };
    let Some(disk) = Disk::of(stage.home.path().join("disk"), 512) else {
        return skip_or_fail("mounting a small disk needs root");
    };
    let noise = "INSERT INTO items (name, data) SELECT 'noise ' || n, decode(repeat(md5(random()::text), 1) || md5(random()::text), 'hex') FROM generate_series(1, 60000) n";
    stage.postgres.query_in("app", noise);
    stage.with.folder = Folder::new(disk.0.join("snapshots"));
    let error = stage.take().await.expect_err("there is no room");
    assert_eq!(error.code(), Code::SnapshotRoom);
    assert!(error.to_string().contains("MiB more is needed"), "{error}");
    stage.assert_nothing_stays();
    let large = stage.home.path().join("large");
    stage.with.folder = Folder::new(large);
    stage.taken().await;
}
