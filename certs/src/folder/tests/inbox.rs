//! Taking over certificates from elsewhere.

use std::fs;

use super::{Home, acme, bundle, lineage, until, year};
use crate::folder::{Kept, Taken, Verdict};
use crate::lineage::{Issuer, KeyType, Lineage};

/// Each file with the ids of the lineages that it serves, or why it serves none.
fn outcome(home: &Home, wanted: &[Lineage]) -> Vec<(String, Result<Vec<String>, String>)> {
    let id = |kept: &Kept| kept.lineage.id().to_owned();
    let mut outcome: Vec<_> = home
        .folder
        .take_inbox(wanted)
        .into_iter()
        .map(|Taken { file, verdict, .. }| {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            let result = match verdict {
                Verdict::Taken(kept) => Ok(kept.iter().map(id).collect()),
                Verdict::Refused { why } => Err(home.plain(&why)),
                Verdict::Damaged(damaged) => Err(home.plain(&damaged)),
            };
            (name, result)
        })
        .collect();
    outcome.sort();
    outcome
}

fn taken(file: &str, ids: &[&str]) -> (String, Result<Vec<String>, String>) {
    (file.to_owned(), Ok(ids.iter().map(ToString::to_string).collect()))
}

#[test]
fn an_import_becomes_the_certificate_of_the_lineage_that_it_covers() {
    let home = Home::new();
    let shop = acme(&["shop.example", "www.shop.example"]);
    let pem = bundle(&until(2040, &["shop.example", "www.shop.example", "x.example"], KeyType::Ecdsa));
    home.put("imported/caddy-shop.pem", &pem);
    home.put(
        "imported/caddy-shop.json",
        "{\"origin\": \"caddy\", \"ca\": \"https://acme-v02.api.letsencrypt.org/directory\"}",
    );
    let mut failed = crate::record::Record::new(&shop);
    failed.attempts.failures = 3;
    home.folder.save_record(&failed).expect("saved");
    assert_eq!(home.folder.inbox(), [home.path("imported/caddy-shop.pem")]);
    let verdicts = home.folder.take_inbox(std::slice::from_ref(&shop));
    assert_eq!(verdicts[0].origin.as_deref(), Some("caddy"));
    let Verdict::Taken(kept) = &verdicts[0].verdict else { panic!("{verdicts:?}") };
    assert_eq!(kept[0].lineage, shop);
    assert_eq!(kept[0].record.ca.as_deref(), Some("https://acme-v02.api.letsencrypt.org/directory"));
    assert_eq!(kept[0].record.attempts.failures, 0);
    assert!(home.files("imported").is_empty() && home.folder.inbox().is_empty());
    let contents = home.again().load();
    assert_eq!(year(contents.of(&shop)), Some(2040));
    assert_eq!(contents.of(&shop).expect("kept").record, kept[0].record);
    assert_eq!(
        fs::read_to_string(home.path(&format!("certificates/{}.pem", shop.id()))).expect("a pair"),
        pem
    );
}

#[test]
fn one_import_serves_every_lineage_that_it_covers_and_each_gets_its_kind_of_key() {
    let home = Home::new();
    let wanted = [
        acme(&["a.example"]),
        acme(&["a.example", "b.example"]),
        acme(&["both.example"]),
        lineage(&["both.example"], KeyType::Rsa, Issuer::Acme),
        acme(&["old.example"]),
        lineage(&["inside.example"], KeyType::Ecdsa, Issuer::Internal),
    ];
    home.put("imported/ab.pem", &bundle(&until(2040, &["a.example", "b.example"], KeyType::Ecdsa)));
    home.put("imported/both.pem", &bundle(&until(2040, &["both.example"], KeyType::Rsa)));
    home.put("imported/old.pem", &bundle(&until(2040, &["old.example"], KeyType::Rsa)));
    home.put("imported/inside.pem", &bundle(&until(2040, &["inside.example"], KeyType::Ecdsa)));
    let outcome = outcome(&home, &wanted);
    assert_eq!(outcome[0], taken("ab.pem", &[wanted[1].id(), "a.example"]), "the most names first");
    assert_eq!(outcome[1], taken("both.pem", &["both.example+rsa"]), "the other one is still to be ordered");
    assert_eq!(outcome[3], taken("old.pem", &["old.example"]), "nothing is issued when moving from RSA");
    let (file, refused) = &outcome[2];
    let refused = refused.as_ref().expect_err("an internal name wants no import");
    assert_eq!(file, "inside.pem");
    assert!(
        refused.contains("no certificate that is wanted has only names that it is valid for"),
        "{refused}"
    );
    assert_eq!(home.files("imported"), ["inside.pem"]);
    let contents = home.again().load();
    assert_eq!(contents.damaged, []);
    assert_eq!(contents.kept.len(), 4);
}

#[test]
fn of_two_imports_the_fitting_kind_comes_first_and_then_the_longer_life() {
    let home = Home::new();
    let shop = acme(&["shop.example"]);
    home.put("imported/1-rsa.pem", &bundle(&until(2049, &["shop.example"], KeyType::Rsa)));
    home.put("imported/2-short.pem", &bundle(&until(2041, &["shop.example"], KeyType::Ecdsa)));
    home.put("imported/3-long.pem", &bundle(&until(2042, &["shop.example"], KeyType::Ecdsa)));
    let outcome = outcome(&home, std::slice::from_ref(&shop));
    assert_eq!(outcome[2], taken("3-long.pem", &["shop.example"]));
    for (file, refused) in &outcome[..2] {
        let why = format!(
            "DIR/imported/{file} is not taken: another one in the inbox serves the same names better; remove this one"
        );
        assert_eq!(refused, &Err(why));
    }
    assert_eq!(year(home.again().load().of(&shop)), Some(2042));
}

#[test]
fn what_is_there_already_is_only_replaced_by_what_is_valid_for_longer() {
    let home = Home::new();
    let shop = acme(&["shop.example"]);
    let have = until(2042, &["shop.example"], KeyType::Ecdsa);
    home.folder.save_certificate(&shop, &have.key, &have.certificate).expect("saved");
    home.put("imported/shop.pem", &bundle(&until(2041, &["shop.example"], KeyType::Ecdsa)));
    let wanted = std::slice::from_ref(&shop);
    let why = "DIR/imported/shop.pem is not taken: the certificate for shop.example that is there already is valid until 2042-12-31T00:00:00Z";
    assert_eq!(outcome(&home, wanted), [("shop.pem".to_owned(), Err(why.to_owned()))]);
    assert_eq!(home.files("imported"), ["shop.pem"], "it stays");
    assert_eq!(year(home.again().load().of(&shop)), Some(2042));
    home.put("imported/shop.pem", &bundle(&until(2043, &["shop.example"], KeyType::Ecdsa)));
    assert_eq!(outcome(&home, wanted), [taken("shop.pem", &["shop.example"])]);
    assert_eq!(year(home.again().load().of(&shop)), Some(2043));
}

#[test]
fn what_is_of_no_use_is_refused_with_a_reason() {
    let home = Home::new();
    home.put("imported/expired.pem", &bundle(&until(2021, &["shop.example"], KeyType::Ecdsa)));
    home.put("imported/stranger.pem", &bundle(&until(2040, &["stranger.example"], KeyType::Ecdsa)));
    home.put("imported/broken.pem", "-----BEGIN");
    home.put("imported/.hidden.pem", "not looked at");
    home.put("imported/readme.txt", "not looked at");
    let outcome = outcome(&home, &[acme(&["shop.example"])]);
    let [(_, broken), (_, expired), (_, stranger)] = &outcome[..] else { panic!("{outcome:?}") };
    let broken = broken.as_ref().expect_err("damaged");
    assert!(
        broken.starts_with("DIR/imported/broken.pem ") && broken.contains("; it was moved to DIR/damaged/"),
        "{broken}"
    );
    let expired = expired.as_ref().expect_err("expired");
    assert!(
        expired.starts_with(
            "DIR/imported/expired.pem is not taken: the certificate expired at 2021-12-31T00:00:00Z"
        ),
        "{expired}"
    );
    let stranger = stranger.as_ref().expect_err("not wanted");
    assert!(
        stranger
            .ends_with("(stranger.example); add them to an application with `tls: auto`, or remove the file"),
        "{stranger}"
    );
    assert_eq!(home.files("imported"), [".hidden.pem", "expired.pem", "readme.txt", "stranger.pem"]);
}

#[test]
fn a_damaged_note_beside_an_import_does_not_hold_it_up() {
    let home = Home::new();
    home.put("imported/shop.pem", &bundle(&until(2040, &["shop.example"], KeyType::Ecdsa)));
    home.put("imported/shop.json", "{");
    assert_eq!(outcome(&home, &[acme(&["shop.example"])]), [taken("shop.pem", &["shop.example"])]);
    assert!(home.files("imported").is_empty());
    assert_eq!(home.files("damaged").len(), 1);
}
