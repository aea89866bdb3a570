//! Killed at every step: what is found afterwards is the old or the new pair, never half and never neither.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Home, acme, bundle, lineage, put, until, year};
use crate::folder::{Contents, Folder, Order, Secret, Verdict};
use crate::lineage::{Issuer, KeyType, Lineage};
use crate::record::Record;

/// Kills `act` before its first change to the disk, before its second, and so on; after each the folder is
/// loaded and judged, and then `act` is done again to its end. Returns how many changes it makes.
fn killed_at_every_step(
    prepare: impl Fn(&Home),
    act: impl Fn(&Folder) -> bool,
    judge: impl Fn(&Contents, usize),
) -> usize {
    for step in 0.. {
        let home = Home::new();
        prepare(&home);
        let dying = home.again();
        dying.disk.fuse.set(step);
        let finished = act(&dying);
        let contents = home.again().load();
        assert_eq!(contents.damaged, [], "killed at step {step}");
        judge(&contents, step);
        if finished {
            return step;
        }
        assert!(act(&home.again()), "done again after step {step}");
        judge(&home.again().load(), usize::MAX);
    }
    unreachable!("it ends")
}

fn pair_until(home: &Home, lineage: &Lineage, year: i32) {
    let names: Vec<&str> = lineage.names().iter().map(String::as_str).collect();
    let issued = until(year, &names, KeyType::Ecdsa);
    home.folder.save_certificate(lineage, &issued.key, &issued.certificate).expect("saved");
}

#[test]
fn a_renewal_leaves_the_old_or_the_new_pair() {
    let shop = acme(&["shop.example", "www.shop.example"]);
    let new = until(2041, &["shop.example", "www.shop.example", "more.example"], KeyType::Ecdsa);
    let steps = killed_at_every_step(
        |home| pair_until(home, &shop, 2040),
        |folder| folder.save_certificate(&shop, &new.key, &new.certificate).is_ok(),
        |contents, step| {
            let wanted = if step >= 1 { 2041 } else { 2040 };
            assert_eq!(year(contents.of(&shop)), Some(wanted), "killed at step {step}");
            assert_eq!(contents.kept.len(), 1);
        },
    );
    assert_eq!(steps, 1, "one write");
}

#[test]
fn a_first_certificate_is_there_whole_or_not_at_all() {
    // More names than the lineage has: only the record says which lineage it is.
    let shop = acme(&["shop.example", "www.shop.example"]);
    let new = until(2041, &["shop.example", "www.shop.example", "more.example"], KeyType::Ecdsa);
    let steps = killed_at_every_step(
        |_| (),
        |folder| folder.save_certificate(&shop, &new.key, &new.certificate).is_ok(),
        |contents, step| {
            assert_eq!(year(contents.of(&shop)), (step >= 2).then_some(2041), "killed at step {step}");
        },
    );
    assert_eq!(steps, 2, "the record, then the pair");
}

#[test]
fn an_import_is_taken_over_whole_or_still_waits() {
    let one = acme(&["a.example"]);
    let two = acme(&["a.example", "b.example"]);
    let wanted = [one.clone(), two.clone()];
    let pem = bundle(&until(2041, &["a.example", "b.example", "c.example"], KeyType::Ecdsa));
    let steps = killed_at_every_step(
        |home| {
            pair_until(home, &one, 2040);
            home.put("imported/all.pem", &pem);
            home.put("imported/all.json", "{\"origin\": \"certbot\", \"ca\": \"https://ca.example/\"}");
        },
        |folder| {
            folder.take_inbox(&wanted);
            folder.inbox().is_empty()
        },
        |contents, step| {
            let old_or_new = [year(contents.of(&one)), year(contents.of(&two))];
            assert!(
                [Some(2040), Some(2041)].contains(&old_or_new[0]),
                "killed at step {step}: {old_or_new:?}"
            );
            assert!([None, Some(2041)].contains(&old_or_new[1]), "killed at step {step}: {old_or_new:?}");
            if step == usize::MAX {
                assert_eq!(old_or_new, [Some(2041), Some(2041)]);
                for lineage in &wanted {
                    let record = &contents.of(lineage).expect("kept").record;
                    assert_eq!(record.ca.as_deref(), Some("https://ca.example/"), "{}", lineage.id());
                }
            }
        },
    );
    assert_eq!(steps, 7, "three for the new lineage, two for the known one, two for the inbox");
}

#[test]
fn a_removal_never_leaves_a_revoked_pair_without_its_record() {
    let shop = lineage(&["shop.example"], KeyType::Ecdsa, Issuer::Acme);
    let order = Order {
        directory: "https://ca.example/".to_owned(),
        url: None,
        names: shop.names().to_vec(),
        key: Secret::new("a key".to_owned()),
        began_at: "2030-01-01T00:00:00Z".parse().expect("a time"),
    };
    let steps = killed_at_every_step(
        |home| {
            pair_until(home, &shop, 2040);
            let record = Record { on_demand: true, ..Record::new(&shop) };
            home.folder.save_record(&record).expect("saved");
            home.folder.save_order(&shop, &order).expect("saved");
        },
        |folder| folder.remove(&shop).is_ok(),
        |contents, step| {
            let kept = contents.of(&shop);
            assert_eq!(kept.is_some(), step < 3, "killed at step {step}");
            assert_eq!(year(kept), (step < 1).then_some(2040), "killed at step {step}");
            assert!(kept.is_none_or(|kept| kept.record.on_demand));
        },
    );
    assert_eq!(steps, 3);
}

#[test]
fn opening_is_finished_by_the_next_start() {
    let home = Home::new();
    for step in 0.. {
        let root = home.outside(&format!("{step}/certs"));
        let dying = Folder::at(&root);
        dying.disk.fuse.set(step);
        let finished = dying.prepare().is_ok();
        let folder = Folder::open(&root).expect("opened by the next start");
        assert!(folder.load().kept.is_empty() && folder.load().damaged.is_empty());
        if finished {
            assert!(step >= 9, "seven folders and the probe: {step}");
            return;
        }
    }
}

/// Where the process that is to be killed works.
const VICTIM: &str = "SWITCHER_TEST_VICTIM";

#[test]
#[ignore = "is run by the test below, in a process of its own"]
fn the_victim_saves_for_ever() {
    let Some(root) = std::env::var_os(VICTIM) else { return };
    let folder = Folder::open(root).expect("opened");
    let shop = acme(&["shop.example"]);
    let pairs = [2040, 2041].map(|year| until(year, &["shop.example"], KeyType::Ecdsa));
    let other = acme(&["imported.example"]);
    for round in 0_u64.. {
        let pair = &pairs[usize::from(round % 2 == 0)];
        folder.save_certificate(&shop, &pair.key, &pair.certificate).expect("saved");
        let next = year(folder.load().of(&other)).map_or(2040, |year| i32::from(year) + 1);
        let import = until(next, &["imported.example"], KeyType::Ecdsa);
        put(&folder.root().join("imported/import.pem"), &bundle(&import));
        let taken = folder.take_inbox(std::slice::from_ref(&other));
        assert!(matches!(taken[0].verdict, Verdict::Taken(_)), "{taken:?}");
        println!("round {round}");
    }
}

/// Runs the victim until it has finished two rounds, then kills it wherever it is.
fn kill_a_victim(root: &Path) {
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "folder::tests::crash::the_victim_saves_for_ever", "--ignored", "--nocapture"])
        .env(VICTIM, root)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a victim");
    let lines = BufReader::new(victim.stdout.take().expect("its output")).lines();
    let rounds = lines.map_while(Result::ok).filter(|line| line.contains("round ")).take(2).count();
    victim.kill().expect("killed");
    let status = victim.wait().expect("dead");
    assert_eq!((rounds, status.code()), (2, None), "it worked until it was killed");
}

#[test]
fn a_process_that_is_really_killed_leaves_whole_pairs() {
    let home = Home::new();
    let mut imported = None;
    for kill in 0..12 {
        kill_a_victim(home.folder.root());
        let contents = home.again().load();
        assert_eq!(contents.damaged, [], "kill {kill}");
        let shop = year(contents.of(&acme(&["shop.example"])));
        assert!([Some(2040), Some(2041)].contains(&shop), "kill {kill}: {shop:?}");
        let now_imported = year(contents.of(&acme(&["imported.example"])));
        assert!(now_imported > imported, "kill {kill}: {imported:?}, then {now_imported:?}");
        imported = now_imported;
    }
}

#[test]
fn a_pair_written_in_place_would_be_caught() {
    let home = Home::new();
    let shop = acme(&["shop.example"]);
    pair_until(&home, &shop, 2040);
    let new = bundle(&until(2041, &["shop.example"], KeyType::Ecdsa));
    let in_place = home.path("certificates/shop.example.pem");
    let mut file = std::fs::File::create(in_place).expect("truncated");
    std::io::Write::write_all(&mut file, &new.as_bytes()[..new.len() / 2])
        .expect("half written, then killed");
    let contents = home.again().load();
    assert_eq!(year(contents.of(&shop)), None);
    assert_eq!(contents.damaged.len(), 1);
}
