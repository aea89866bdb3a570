//! Loading whatever lies there.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use super::{Home, acme, bundle, lineage, put, until, year};
use crate::folder::Folder;
use crate::lineage::{Issuer, KeyType};
use crate::record::Record;

#[test]
fn damaged_content_is_set_aside_whole_and_the_rest_is_found() {
    let home = Home::new();
    let good = until(2040, &["good.example"], KeyType::Ecdsa);
    home.folder.save_certificate(&acme(&["good.example"]), &good.key, &good.certificate).expect("saved");
    let pem = bundle(&good);
    let half = &pem[..pem.len() - 40];
    let mismatched = format!("{}{}", until(2040, &["x"], KeyType::Ecdsa).key, good.certificate);
    let of_another = serde_json::to_string(&Record::new(&acme(&["x.example"]))).expect("JSON");
    for (file, content, why) in [
        ("certificates/half.example.pem", half, "is damaged PEM (it ends in the middle)"),
        ("certificates/empty.example.pem", "", "holds no private key"),
        ("certificates/bare.example.pem", &good.key, "holds no certificate"),
        ("certificates/keyless.example.pem", &good.certificate, "holds no private key"),
        ("certificates/mixed.example.pem", &mismatched, "does not belong to the first certificate"),
        ("certificates/a.example.json", "{\"names\": [\"a.ex", "is damaged at line 1, column "),
        (
            "certificates/b.example.json",
            &of_another,
            "is the record of another certificate than its name says",
        ),
        ("certificates/c.example.json", "", "is damaged at line 1, column 0"),
        ("orders/d.example.json", "{\"key\": 5}", "is damaged at line 1, column "),
        ("accounts/ca.example-1.json", "\u{0}\u{0}", "is damaged at line 1, column 1"),
    ] {
        let path = home.put(file, content);
        let contents = home.again().load();
        assert_eq!(year(contents.of(&acme(&["good.example"]))), Some(2040), "{file}");
        assert_eq!(contents.kept.len(), 1, "{file}");
        assert_eq!(contents.damaged.len(), 1, "{file}: {:?}", contents.damaged);
        let damaged = &contents.damaged[0];
        assert_eq!(damaged.file, path);
        assert!(damaged.why.contains(&path.display().to_string()), "{damaged}");
        assert!(damaged.why.contains(why), "{damaged}");
        let aside = damaged.set_aside.as_ref().expect("set aside");
        assert!(aside.starts_with(home.path("damaged")));
        assert!(damaged.to_string().ends_with(&format!("; it was moved to {}", aside.display())));
        assert_eq!(fs::read_to_string(aside).expect("kept"), content, "{file}");
        assert!(home.again().load().damaged.is_empty(), "{file} is met once");
    }
}

#[test]
fn two_damaged_files_of_one_name_are_both_kept() {
    let home = Home::new();
    for content in ["one", "two", "three"] {
        home.put("certificates/a.example.pem", content);
        assert_eq!(home.folder.load().damaged.len(), 1);
    }
    let mut kept: Vec<String> = home
        .files("damaged")
        .iter()
        .map(|file| fs::read_to_string(home.path("damaged").join(file)).expect("a file"))
        .collect();
    kept.sort();
    assert_eq!(kept, ["one", "three", "two"]);
}

#[test]
fn a_file_that_cannot_be_read_is_left_where_it_is() {
    let home = Home::new();
    // A link to itself cannot be read by anybody.
    for file in
        ["certificates/a.example.pem", "certificates/b.example.json", "accounts/c.json", "ledger.json"]
    {
        symlink(home.path(file), home.path(file)).expect("a link");
    }
    let record = Record::new(&acme(&["a.example"]));
    home.folder.save_record(&record).expect("saved");
    let contents = home.folder.load();
    assert_eq!(contents.of(&acme(&["a.example"])).expect("known").record, record);
    assert_eq!(contents.damaged.len(), 3, "{:?}", contents.damaged);
    let (_, ledger) = home.folder.load_ledger::<Vec<String>>();
    for damaged in contents.damaged.iter().chain(&ledger) {
        assert_eq!(damaged.set_aside, None);
        assert!(fs::symlink_metadata(&damaged.file).is_ok(), "{damaged}");
        let said = home.plain(damaged);
        assert!(said.starts_with("cannot read DIR/"), "{said}");
        assert!(
            said.ends_with("let the user that runs switcher-proxy read it; it was left where it is"),
            "{said}"
        );
    }
    assert!(ledger.is_some());
    assert!(home.files("damaged").is_empty());
}

#[test]
fn a_pair_whose_record_is_lost_is_still_of_its_lineage() {
    let home = Home::new();
    let cases = [
        (acme(&["a.example"]), until(2040, &["a.example"], KeyType::Ecdsa)),
        (lineage(&["a.example"], KeyType::Rsa, Issuer::Acme), until(2041, &["a.example"], KeyType::Rsa)),
        (
            lineage(&["a.example"], KeyType::Ecdsa, Issuer::Internal),
            until(2042, &["a.example"], KeyType::Ecdsa),
        ),
        (lineage(&["a.example"], KeyType::Rsa, Issuer::Internal), until(2043, &["a.example"], KeyType::Rsa)),
        (acme(&["*.c.example"]), until(2044, &["*.c.example", "c.example"], KeyType::Ecdsa)),
        (
            acme(&["::1", "10.0.0.1", "d.example"]),
            until(2045, &["d.example", "10.0.0.1", "::1"], KeyType::Ecdsa),
        ),
        // Imported: a wildcard that serves one host, and an RSA key until the renewal.
        (acme(&["host.e.example"]), until(2046, &["*.e.example"], KeyType::Ecdsa)),
        (acme(&["f.example"]), until(2047, &["f.example"], KeyType::Rsa)),
        (acme(&["printer.internal"]), until(2048, &["printer.internal"], KeyType::Ecdsa)),
    ];
    for (lineage, issued) in &cases {
        home.put(&format!("certificates/{}.pem", lineage.id()), &bundle(issued));
    }
    let contents = home.folder.load();
    assert_eq!(contents.damaged, []);
    assert_eq!(contents.kept.len(), cases.len());
    for (number, (lineage, _)) in (2040..).zip(&cases) {
        let kept = contents.of(lineage).unwrap_or_else(|| panic!("{} is not found", lineage.id()));
        assert_eq!(year(Some(kept)), Some(number), "{}", lineage.id());
        assert_eq!(kept.record, Record::new(lineage));
    }
}

#[test]
fn a_record_without_a_pair_remembers_its_failures() {
    let home = Home::new();
    let shop = acme(&["shop.example"]);
    let mut record = Record::new(&shop);
    record.attempts.failures = 4;
    home.folder.save_record(&record).expect("saved");
    let contents = home.again().load();
    let kept = contents.of(&shop).expect("known");
    assert!(kept.pair.is_none());
    assert_eq!(kept.record.attempts.failures, 4);
}

#[test]
fn an_expired_pair_is_loaded_all_the_same() {
    let home = Home::new();
    home.put("certificates/a.example.pem", &bundle(&until(2021, &["a.example"], KeyType::Ecdsa)));
    let contents = home.folder.load();
    assert_eq!(year(contents.of(&acme(&["a.example"]))), Some(2021));
    assert_eq!(contents.damaged, []);
}

#[test]
fn a_good_pair_in_the_wrong_place_waits_in_the_inbox() {
    let home = Home::new();
    let shop = acme(&["shop.example", "www.shop.example"]);
    let mut record = Record::new(&shop);
    record.attempts.failures = 2;
    home.folder.save_record(&record).expect("saved");
    let too_few = bundle(&until(2040, &["shop.example"], KeyType::Ecdsa));
    let nameless = bundle(&until(2040, &["other.example"], KeyType::Ecdsa));
    home.put(&format!("certificates/{}.pem", shop.id()), &too_few);
    home.put("certificates/mine.pem", &nameless);
    let contents = home.folder.load();
    let kept = contents.of(&shop).expect("known");
    assert!(kept.pair.is_none() && kept.record.attempts.failures == 2);
    let said: Vec<String> = contents.damaged.iter().map(|damaged| home.plain(damaged)).collect();
    let id = shop.id();
    assert_eq!(
        said,
        [
            "DIR/certificates/mine.pem does not say by its name which certificate it is; it was moved to DIR/imported/mine.pem".to_owned(),
            format!("DIR/certificates/{id}.pem is not valid for www.shop.example, which belongs to it; it was moved to DIR/imported/{id}.pem"),
        ]
    );
    assert_eq!(fs::read_to_string(home.path("imported/mine.pem")).expect("kept"), nameless);
}

#[test]
fn what_a_killed_write_left_is_removed_when_it_is_old() {
    let home = Home::new();
    for place in ["", "certificates/", "accounts/", "orders/", "internal/", "imported/"] {
        let old = home.put(&format!("{place}.switcher-Ab3xYz"), "half a key");
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let times = FileTimes::new().set_modified(an_hour_ago);
        File::options().write(true).open(&old).and_then(|file| file.set_times(times)).expect("an old file");
        home.put(&format!("{place}.switcher-busy00"), "being written by somebody else");
        let contents = home.folder.load();
        assert!(contents.kept.is_empty() && contents.damaged.is_empty());
        assert!(!old.exists(), "{}", old.display());
        assert!(home.path(&format!("{place}.switcher-busy00")).exists());
    }
}

#[test]
fn a_folder_that_is_not_there_holds_nothing() {
    let contents = Folder::at("/nonexistent-folder/certs").load();
    assert!(contents.kept.is_empty() && contents.damaged.is_empty());
}

#[test]
fn five_hundred_lineages_are_found_in_their_order() {
    let home = Home::new();
    let pem = bundle(&until(2040, &["*.example.com"], KeyType::Ecdsa));
    for number in 0..500 {
        let lineage = acme(&[&format!("host-{number:03}.example.com")]);
        let record = serde_json::to_string(&Record::new(&lineage)).expect("JSON");
        put(&home.path(&format!("certificates/{}.json", lineage.id())), &record);
        put(&home.path(&format!("certificates/{}.pem", lineage.id())), &pem);
    }
    let contents = home.folder.load();
    assert_eq!(contents.damaged, []);
    let names: Vec<&str> = contents.kept.iter().map(|kept| kept.lineage.id()).collect();
    let wanted: Vec<String> = (0..500).map(|number| format!("host-{number:03}.example.com")).collect();
    assert_eq!(names, wanted);
    assert!(contents.kept.iter().all(|kept| kept.pair.is_some()));
}
