//! Opening the folder, saving and removing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Home, Mount, acme, lineage, put, until};
use crate::fixtures::issue;
use crate::folder::{Account, Folder, FolderError, Order, Secret, check_certificate};
use crate::lineage::{Issuer, KeyType};
use crate::part::skip_or_fail;
use crate::record::Record;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

#[test]
fn a_new_folder_is_ours_alone() {
    let home = Home::new();
    assert_eq!(mode(home.folder.root()), 0o700);
    for place in ["certificates", "orders", "accounts", "internal", "imported", "damaged"] {
        assert_eq!(mode(&home.path(place)), 0o700, "{place}");
    }
    let shop = acme(&["shop.example"]);
    let good = issue(&["shop.example"]);
    home.folder.save_certificate(&shop, &good.key, &good.certificate).expect("saved");
    assert_eq!(home.files("certificates"), ["shop.example.json", "shop.example.pem"]);
    assert_eq!(mode(&home.path("certificates/shop.example.pem")), 0o600);
    assert_eq!(mode(&home.path("certificates/shop.example.json")), 0o600);
    assert!(home.folder.load().damaged.is_empty());
}

#[test]
fn rights_of_others_are_taken_away() {
    let home = Home::new();
    let key = home.put("certificates/a.example.pem", "a key");
    let ledger = home.put("ledger.json", "{}");
    for (path, wide) in
        [(home.folder.root(), 0o755), (&home.path("orders"), 0o777), (&key, 0o644), (&ledger, 0o640)]
    {
        fs::set_permissions(path, Permissions::from_mode(wide)).expect("widened");
    }
    Folder::open(home.folder.root()).expect("opened again");
    assert_eq!([mode(home.folder.root()), mode(&home.path("orders"))], [0o700, 0o700]);
    assert_eq!([mode(&key), mode(&ledger)], [0o600, 0o600]);
}

#[test]
fn a_file_in_the_way_is_named_with_the_remedy() {
    let home = Home::new();
    let file = home.outside("file");
    put(&file, "in the way");
    let remedy =
        "a file stands where a folder belongs: move it away, or set `proxy.data_dir` to another place";
    for root in [file.clone(), file.join("certs"), file.join("deep/certs")] {
        let said = Folder::open(root).expect_err("a file in the way").to_string();
        assert!(said.starts_with(&format!("cannot create the folder {}", file.display())), "{said}");
        assert!(said.ends_with(remedy), "{said}");
    }
    fs::remove_dir(home.path("orders")).expect("empty");
    home.put("orders", "in the way");
    let said = home.plain(&Folder::open(home.folder.root()).expect_err("a file in the way"));
    assert!(said.starts_with("cannot create the folder DIR/orders: ") && said.ends_with(remedy), "{said}");
}

#[test]
fn a_full_and_a_read_only_disk_are_refused_and_what_lies_there_is_still_read() {
    let home = Home::new();
    let place = home.outside("small");
    let Some(disk) = Mount::new(&place, "size=128k") else {
        return skip_or_fail("this user may not mount a file system");
    };
    let folder = Folder::open(place.join("certs")).expect("opened");
    let shop = acme(&["shop.example"]);
    let old = until(2040, &["shop.example"], KeyType::Ecdsa);
    folder.save_certificate(&shop, &old.key, &old.certificate).expect("saved");
    let mut filler = fs::File::create(place.join("filler")).expect("a file");
    while std::io::Write::write_all(&mut filler, &[0; 1024]).is_ok() {}
    drop(filler);

    let error = Folder::open(place.join("certs")).expect_err("full");
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().ends_with("; free some space there"), "{error}");
    let new = until(2050, &["shop.example"], KeyType::Ecdsa);
    let error = folder.save_certificate(&shop, &new.key, &new.certificate).expect_err("full");
    assert!(error.is_full(), "{error}");
    let contents = Folder::at(place.join("certs")).load();
    assert_eq!(super::year(contents.of(&shop)), Some(2040), "the old one stays");
    assert!(contents.damaged.is_empty());

    disk.remount("ro");
    let said = Folder::open(place.join("certs")).expect_err("read-only").to_string();
    assert!(said.ends_with("; mount it writable, or set `proxy.data_dir` to a place that is"), "{said}");
    assert_eq!(super::year(Folder::at(place.join("certs")).load().of(&shop)), Some(2040));

    disk.remount("rw");
    fs::remove_file(place.join("filler")).expect("removed");
    folder.save_certificate(&shop, &new.key, &new.certificate).expect("there is space again");
    assert_eq!(super::year(folder.load().of(&shop)), Some(2050));
}

#[test]
fn a_certificate_is_saved_only_when_it_is_worth_keeping() {
    let home = Home::new();
    let two = acme(&["a.example", "*.b.example"]);
    let good = until(2040, &["a.example", "*.b.example"], KeyType::Ecdsa);
    home.folder.save_certificate(&two, &good.key, &good.certificate).expect("saved");
    let before = fs::read(home.path(&format!("certificates/{}.pem", two.id()))).expect("a pair");

    let other = until(2040, &["a.example", "*.b.example"], KeyType::Ecdsa);
    let one = until(2040, &["a.example"], KeyType::Ecdsa);
    let old = until(2021, &["a.example", "*.b.example"], KeyType::Ecdsa);
    let rsa = until(2040, &["a.example", "*.b.example"], KeyType::Rsa);
    for (key, chain, why) in [
        (&good.key, &String::new(), "the authority's answer holds no certificate; "),
        (&other.key, &good.certificate, "the key in the authority's answer does not belong to the first"),
        (&String::new(), &good.certificate, "the authority's answer holds no private key; "),
        (&one.key, &one.certificate, "it is not valid for *.b.example; order it again with every name"),
        (&old.key, &old.certificate, "it expired at 2021-12-31T00:00:00Z; check this machine's clock, then"),
        (&rsa.key, &rsa.certificate, "its key is not of the kind that was asked for; order it again with a"),
        (&good.key, &good.certificate[..200].to_owned(), "the authority's answer is damaged PEM"),
    ] {
        let error = home.folder.save_certificate(&two, key, chain).expect_err(why);
        assert!(matches!(error, FolderError::Refused { .. }));
        let said = error.to_string();
        let whole = format!("the new certificate for *.b.example, a.example is not saved: {why}");
        assert!(said.starts_with(&whole), "{said}");
        assert!(check_certificate(&two, key, chain, jiff::Timestamp::now()).is_err());
        assert!(!said.contains("PRIVATE"), "{said}");
    }
    let after = fs::read(home.path(&format!("certificates/{}.pem", two.id()))).expect("a pair");
    assert_eq!(after, before, "nothing was written");
    check_certificate(&two, &good.key, &good.certificate, jiff::Timestamp::now()).expect("the good one");
}

#[test]
fn what_is_saved_is_found_again() {
    let home = Home::new();
    let shop = lineage(&["shop.example", "192.0.2.7", "2001:DB8:0::7"], KeyType::Rsa, Issuer::Internal);
    let good = until(2040, &["shop.example", "192.0.2.7", "2001:db8::7"], KeyType::Rsa);
    home.folder.save_certificate(&shop, &good.key, &good.certificate).expect("saved");
    let mut record = Record::new(&shop);
    record.ca = Some("https://ca.example/directory".to_owned());
    record.attempts.failures = 3;
    home.folder.save_record(&record).expect("saved");
    let contents = home.again().load();
    let kept = contents.of(&shop).expect("kept");
    assert_eq!(kept.record, record);
    assert_eq!(kept.pair.as_ref().expect("a pair").names(), ["shop.example", "192.0.2.7", "2001:db8::7"]);
    home.folder.remove(&shop).expect("removed");
    home.folder.remove(&shop).expect("removing it again is no error");
    assert!(home.again().load().kept.is_empty());
}

#[test]
fn accounts_and_orders_are_found_again_and_never_printed() {
    let home = Home::new();
    let account = |directory: &str| Account {
        directory: directory.to_owned(),
        key: Secret::new("-----BEGIN PRIVATE KEY-----\nhush\n".to_owned()),
        url: Some("https://ca.example/account/1".to_owned()),
        contact: Some("ops@example.com".to_owned()),
        eab_kid: None,
    };
    let one = account("https://ca.example:14000/directory");
    let two = account("https://ca.example:14000/other");
    home.folder.save_account(&one).expect("saved");
    home.folder.save_account(&two).expect("saved");
    assert_eq!(home.again().account(&one.directory).expect("read"), Some(one.clone()));
    assert_eq!(home.again().account(&two.directory).expect("read"), Some(two));
    assert_eq!(home.again().account("https://new.example/").expect("read"), None);
    assert!(home.files("accounts")[0].starts_with("ca.example_14000-"), "{:?}", home.files("accounts"));

    let shop = acme(&["shop.example"]);
    let order = Order {
        directory: one.directory.clone(),
        url: None,
        names: shop.names().to_vec(),
        key: Secret::new("hush".to_owned()),
        began_at: "2030-01-01T00:00:00Z".parse().expect("a time"),
    };
    assert_eq!(home.folder.order(&shop).expect("read"), None);
    home.folder.save_order(&shop, &order).expect("saved");
    assert_eq!(home.again().order(&shop).expect("read"), Some(order.clone()));
    assert!(home.folder.load().damaged.is_empty());
    home.folder.remove_order(&shop).expect("removed");
    assert_eq!(home.again().order(&shop).expect("read"), None);
    let printed = format!("{one:?} {order:?}");
    assert!(!printed.contains("hush") && printed.contains("(secret)"), "{printed}");
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Ledger {
    orders: u32,
}

#[test]
fn a_ledger_is_found_again_and_a_damaged_one_is_named() {
    let home = Home::new();
    assert_eq!(home.folder.load_ledger::<Ledger>(), (Ledger::default(), None));
    home.folder.save_ledger(&Ledger { orders: 7 }).expect("saved");
    assert_eq!(home.again().load_ledger::<Ledger>(), (Ledger { orders: 7 }, None));
    home.put("ledger.json", "{\"orders\": ");
    let (ledger, damaged) = home.folder.load_ledger::<Ledger>();
    assert_eq!(ledger, Ledger::default());
    let damaged = damaged.expect("named");
    assert_eq!(fs::read_to_string(damaged.set_aside.expect("kept")).expect("a file"), "{\"orders\": ");
    assert_eq!(home.folder.load_ledger::<Ledger>(), (Ledger::default(), None), "it is met once");
}
