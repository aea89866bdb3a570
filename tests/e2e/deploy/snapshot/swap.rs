//! A restored database takes the live one's place while clients go on: all of it, or nothing.

use std::cell::Cell;

use switcher::database::probe;
use switcher::snapshot::swap;
use switcher_tests::{PATIENCE, until};

use super::*;

#[tokio::test]
async fn the_restored_database_takes_the_live_ones_name_although_clients_keep_coming() {
    let Some(stage) = Stage::set().await else { return };
    let snapshot = stage.taken().await;
    stage.postgres.query_in("app", "DELETE FROM items WHERE id > 1");
    let restored = restore(&stage.with, &snapshot.id, None, Timestamp::now()).await.expect("restored");
    let now = "2026-11-21T14:03:07Z".parse().expect("a moment");
    // Clients that connect again and again, as a pool does.
    let (rounds, ended) = (Cell::new(0_u32), Cell::new(false));
    let clients = async {
        while !ended.get() {
            // Those that are sent away come back.
            let _ = probe(&stage.with.url).await;
            rounds.set(rounds.get() + 1);
        }
    };
    let swapped = async {
        until(PATIENCE, "the clients", || async { rounds.get() > 3 }).await;
        let swapped = swap(&stage.with.url, &restored.database, now).await;
        let seen = rounds.get();
        until(PATIENCE, "the clients to come back", || async { rounds.get() > seen + 3 }).await;
        ended.set(true);
        swapped
    };
    let (swapped, ()) = tokio::join!(swapped, clients);
    let swapped = swapped.expect("swapped");
    assert_eq!(
        (swapped.live.as_str(), swapped.before.as_deref()),
        ("app", Some("app_before_20261121_140307"))
    );
    assert_eq!(stage.databases(), ["app", "app_before_20261121_140307"]);
    assert_eq!(stage.postgres.query("SELECT count(*) FROM items"), ["500"]);
    assert_eq!(stage.postgres.query_in("app_before_20261121_140307", "SELECT count(*) FROM items"), ["1"]);
    assert_eq!(probe(&stage.with.url).await.expect("the application may connect"), None);
}

#[tokio::test]
async fn when_the_second_name_cannot_be_changed_the_first_one_is_not_either() {
    let Some(stage) = Stage::set().await else { return };
    let error = swap(&stage.with.url, "app_nowhere", Timestamp::now()).await.expect_err("there is none");
    assert!(error.to_string().starts_with("app is the database it was"), "{error}");
    assert!(error.to_string().contains("\"app_nowhere\" does not exist"), "{error}");
    assert_eq!(stage.databases(), ["app"]);
    assert_eq!(stage.postgres.query("SELECT count(*) FROM items"), ["500"]);

    // Somebody else's database is not ours to rename.
    stage.postgres.query_in("postgres", "CREATE DATABASE app_foreign");
    let error = swap(&stage.with.url, "app_foreign", Timestamp::now()).await.expect_err("not ours");
    assert!(error.to_string().contains("must be owner"), "{error}");
    assert_eq!(stage.databases(), ["app", "app_foreign"]);
}

#[tokio::test]
async fn a_database_that_is_gone_is_brought_back() {
    let Some(stage) = Stage::set().await else { return };
    let before = content(&stage.postgres, "app");
    let snapshot = stage.taken().await;
    stage.postgres.query_in("postgres", "DROP DATABASE app");
    let restored = restore(&stage.with, &snapshot.id, None, Timestamp::now()).await.expect("restored");
    let swapped = swap(&stage.with.url, &restored.database, Timestamp::now()).await.expect("swapped");
    assert_eq!(swapped.before, None);
    assert_eq!(content(&stage.postgres, "app"), before);
}
