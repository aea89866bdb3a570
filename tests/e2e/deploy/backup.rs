//! `switcher snapshot`, as a user types it: taken, listed, verified, restored beside, put in the place of the live one.

use switcher_tests::{Site, skip_or_fail};

fn names(site: &Site) -> Vec<String> {
    site.postgres().query("SELECT name FROM items ORDER BY id")
}

#[tokio::test]
async fn a_snapshot_brings_back_what_was_lost_and_never_over_a_live_database_unasked() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    let _ = site.postgres().query(
        "SET ROLE app; CREATE TABLE items (id serial PRIMARY KEY, name text); \
         INSERT INTO items (name) VALUES ('one'), ('two')",
    );
    site.release("v1").await;
    let taken = site.succeed(&["snapshot", "create", "--json"]).await.json();
    let id = taken["id"].as_str().unwrap_or_else(|| panic!("no id: {taken:#}")).to_owned();
    let listed = site.succeed(&["snapshot", "list", "--json"]).await.json();
    let listed: Vec<&str> =
        listed["snapshots"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!((listed.len(), listed[0]), (2, id.as_str()), "that of the deployment, and this one first");
    site.succeed(&["snapshot", "verify", &id]).await;

    let _ = site.postgres().query("DELETE FROM items WHERE name = 'two'");
    let restored = site.succeed(&["snapshot", "restore", &id, "--json"]).await.json();
    let beside = restored["restored"]["database"].as_str().expect("a database").to_owned();
    assert_eq!(site.postgres().query_in(&beside, "SELECT count(*) FROM items"), ["2"]);
    assert_eq!(names(&site), ["one"], "the live one is left alone");

    // Nobody sits at the terminal, so the word has to be there.
    for (typed, says) in [(None, "nobody is here to be asked"), (Some("shop"), "--yes-replace names")] {
        let mut arguments = vec!["snapshot", "restore", &id, "--swap"];
        arguments.extend(typed.into_iter().flat_map(|typed| ["--yes-replace", typed]));
        let ran = site.run(&arguments).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        ran.says(&["E-SNAP-", says]);
    }
    assert_eq!(names(&site), ["one"]);
    let swapped =
        site.succeed(&["snapshot", "restore", &id, "--swap", "--yes-replace", "app", "--json"]).await;
    assert_eq!(names(&site), ["one", "two"], "{swapped:?}");
    let before = swapped.json()["swapped"]["before"].as_str().expect("the old one stays").to_owned();
    assert_eq!(site.postgres().query_in(&before, "SELECT count(*) FROM items"), ["1"]);
    site.agree("v1").await;

    // A dump that lost its end is told apart from a good one, and is not restored.
    let folder = site.memory().join("snapshots");
    let dump = std::fs::read_dir(&folder).expect("the snapshots").flatten().map(|entry| entry.path());
    let dump = dump.filter(|path| path.to_string_lossy().contains(&id));
    let dump =
        dump.max_by_key(|path| path.metadata().map(|m| m.len()).unwrap_or_default()).expect("the dump");
    std::fs::File::options().write(true).open(&dump).and_then(|file| file.set_len(100)).expect("a cut file");
    assert!(site.succeed(&["snapshot", "list"]).await.stdout.contains("damaged"));
    for command in [&["snapshot", "verify", &id][..], &["snapshot", "restore", &id]] {
        let ran = site.run(command).await;
        assert_ne!(ran.code, 0, "{ran:?}");
        ran.says(&["E-SNAP-", &id]);
    }
}
