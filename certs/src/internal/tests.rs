//! The authority, judged by strict clients: rustls with webpki, and `openssl verify` where there is one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use switcher_config::durable::{self, Durability};

use super::*;
use crate::lineage::Issuer;
use crate::pair::Pair;

fn now() -> Timestamp {
    "2031-05-06T07:08:09Z".parse().expect("a time")
}

fn later(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

fn lineage(names: &[&str], key: KeyType) -> Lineage {
    Lineage::new(names.iter().map(ToString::to_string), key, Issuer::Internal).expect("names")
}

fn put(path: &Path, text: &str) {
    durable::replace(path, text.as_bytes(), 0o600, Durability::Unsynced).expect("written");
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

/// What a client that trusts `root` alone says to a chain.
fn client_says(root: &str, chain: &str, name: &str, at: Timestamp) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("a root")).expect("a trusted root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let client =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a client");
    let chain: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().expect("a chain");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let seconds = u64::try_from(at.as_second()).expect("a time");
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let said = client.verify_server_cert(&chain[0], &chain[1..], &name, &[], at);
    said.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_strict_client_accepts_hosts_wildcards_and_addresses_of_both_kinds_of_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::open(dir.path(), now()).expect("an authority");
    for key in [KeyType::Ecdsa, KeyType::Rsa] {
        let lineage = lineage(&["shop.home.arpa", "*.home.arpa", "192.0.2.7", "2001:db8::7"], key);
        let issued = authority.issue(&lineage, now()).expect("issued");
        let says = |name, at| client_says(authority.root_pem(), &issued.chain_pem, name, at);
        for name in ["shop.home.arpa", "other.home.arpa", "192.0.2.7", "2001:db8::7"] {
            assert_eq!(says(name, now()), Ok(()), "{name}");
        }
        for name in ["home.arpa", "a.b.home.arpa", "192.0.2.8", "2001:db8::8"] {
            let refused = says(name, now()).expect_err("a name that is not in it");
            assert!(refused.contains("not valid for name"), "{refused}");
        }
        let refused = says("shop.home.arpa", later(7)).expect_err("a week later");
        assert!(refused.contains("expired"), "{refused}");
        assert_eq!(says("shop.home.arpa", now() - SignedDuration::from_mins(59)), Ok(()), "a clock behind");
        let refused = says("shop.home.arpa", now() - SignedDuration::from_mins(61)).expect_err("too early");
        assert!(refused.contains("not valid yet"), "{refused}");
    }
}

#[test]
fn a_certificate_can_be_served_and_is_of_the_kind_that_was_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::open(dir.path(), now()).expect("an authority");
    for (key, algorithm) in
        [(KeyType::Ecdsa, rustls::SignatureAlgorithm::ECDSA), (KeyType::Rsa, rustls::SignatureAlgorithm::RSA)]
    {
        let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
        let issued = authority.issue(&lineage(&[&long], key), now()).expect("issued");
        let bundle = format!("{}{}", issued.key_pem, issued.chain_pem);
        let pair = Pair::from_bundle(bundle.as_bytes(), Path::new("issued")).expect("a pair");
        assert_eq!(pair.names(), [long]);
        assert_eq!(pair.certified_key().key.algorithm(), algorithm);
        assert_eq!(pair.not_before(), now() - SignedDuration::from_hours(1));
        assert_eq!(pair.not_after(), pair.not_before() + SignedDuration::from_hours(7 * 24));
    }
}

#[test]
fn the_root_is_made_once_and_nobody_else_can_read_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("deep/internal");
    let first = Authority::open(&dir, now()).expect("made");
    let second = Authority::open(&dir, later(365)).expect("loaded");
    assert_eq!(first.root_pem(), second.root_pem());
    assert_eq!(first.root_pem(), text(&dir.join("root.pem")));
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("root.key")), 0o600);
    assert_eq!(mode(&dir.join("root.pem")), 0o600);
    let issued = second.issue(&lineage(&["a.example"], KeyType::Ecdsa), later(365)).expect("issued");
    assert_eq!(client_says(first.root_pem(), &issued.chain_pem, "a.example", later(365)), Ok(()));
    let printed = format!("{first:?} {issued:?}");
    assert!(!printed.contains("PRIVATE") && !printed.contains(&issued.key_pem[40..80]), "{printed}");
}

#[test]
fn a_root_is_a_root_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::open(dir.path(), now()).expect("made");
    let der = CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).expect("a root");
    let (_, x509) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
    let name = x509.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).expect("a name");
    assert!(name.starts_with("Switcher internal authority (") && name.ends_with(')'), "{name}");
    let constraints = x509.basic_constraints().expect("readable").expect("there").value;
    assert!(constraints.ca);
    assert_eq!(constraints.path_len_constraint, Some(0));
    let usage = x509.key_usage().expect("readable").expect("there").value;
    assert!(usage.key_cert_sign() && !usage.digital_signature());
    let other = tempfile::tempdir().expect("a folder");
    let other = Authority::open(other.path(), now()).expect("made");
    let issued = other.issue(&lineage(&["a.example"], KeyType::Ecdsa), now()).expect("issued");
    let refused = client_says(authority.root_pem(), &issued.chain_pem, "a.example", now());
    assert!(refused.is_err(), "another authority of the same name is not trusted");
}

#[test]
fn no_two_certificates_share_a_serial() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::open(dir.path(), now()).expect("made");
    let serials: std::collections::HashSet<Vec<u8>> = (0..20)
        .map(|_| {
            let issued = authority.issue(&lineage(&["a.example"], KeyType::Ecdsa), now()).expect("issued");
            let der = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).expect("a leaf");
            let (_, x509) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
            assert_eq!(x509.raw_serial().len(), 16);
            x509.raw_serial().to_vec()
        })
        .collect();
    assert_eq!(serials.len(), 20);
}

#[test]
fn a_damaged_root_is_named_and_left_alone() {
    let foreign = tempfile::tempdir().expect("a folder");
    Authority::open(foreign.path(), now()).expect("another authority");
    let foreign_key = text(&foreign.path().join("root.key"));
    let no_authority = crate::fixtures::issue(&["a.example"]);
    type Break<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let cases: [Break<'_>; 6] = [
        ("root.pem", &|dir| put(&dir.join("root.pem"), "gone"), "holds no certificate in PEM"),
        ("root.key", &|dir| put(&dir.join("root.key"), "gone"), "holds no private key in PEM (PKCS#8)"),
        ("root.key", &|dir| put(&dir.join("root.key"), &foreign_key), "is not the key of root.pem"),
        (
            "root.key",
            &|dir| fs::remove_file(dir.join("root.key")).expect("removed"),
            "is missing beside root.pem",
        ),
        (
            "root.pem",
            &|dir| {
                put(&dir.join("root.pem"), &no_authority.certificate);
                put(&dir.join("root.key"), &no_authority.key);
            },
            "was not made by switcher-proxy",
        ),
        (
            "root.pem",
            &|dir| {
                let pem = text(&dir.join("root.pem"));
                put(&dir.join("root.pem"), &pem[..pem.len() / 2]);
            },
            "holds no certificate in PEM",
        ),
    ];
    for (file, damage, why) in cases {
        let dir = tempfile::tempdir().expect("a folder");
        Authority::open(dir.path(), now()).expect("made");
        damage(dir.path());
        let contents = || ["root.pem", "root.key"].map(|name| fs::read(dir.path().join(name)).ok());
        let before = contents();
        let said = Authority::open(dir.path(), now()).expect_err("damaged").to_string();
        let path = dir.path().join(file);
        assert!(said.contains(&format!("{} {why}. Devices may trust it", path.display())), "{said}");
        assert!(said.contains("put root.pem and root.key back from a backup, or move both away"), "{said}");
        assert_eq!(contents(), before, "nothing is overwritten");
    }
}

#[test]
fn a_root_whose_making_was_cut_short_is_finished() {
    let dir = tempfile::tempdir().expect("a folder");
    Authority::open(dir.path(), now()).expect("made");
    let key = text(&dir.path().join("root.key"));
    fs::remove_file(dir.path().join("root.pem")).expect("as if killed before the second write");
    let authority = Authority::open(dir.path(), now()).expect("finished");
    assert_eq!(text(&dir.path().join("root.key")), key);
    let issued = authority.issue(&lineage(&["a.example"], KeyType::Ecdsa), now()).expect("issued");
    assert_eq!(client_says(authority.root_pem(), &issued.chain_pem, "a.example", now()), Ok(()));
}

#[test]
fn a_root_near_its_end_is_renewed_and_the_old_one_is_kept_and_still_trusted() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = Authority::open(dir.path(), now()).expect("made");
    let end = first.not_after();
    assert!(end > later(3650) && end < later(3653), "ten years: {end}");
    let week = SignedDuration::from_hours(7 * 24);
    let not_yet = Authority::open(dir.path(), end - week).expect("loaded");
    assert_eq!(not_yet.root_pem(), first.root_pem());
    let last_days = end - week + SignedDuration::from_secs(1);
    let second = Authority::open(dir.path(), last_days).expect("renewed");
    assert!(second.not_after() > end + SignedDuration::from_hours(9 * 365 * 24));
    let beside = dir.path().join(format!("root-until-{}.pem", end.strftime("%Y-%m-%d")));
    assert_eq!(text(&beside), first.root_pem());
    let issued = second.issue(&lineage(&["a.example"], KeyType::Ecdsa), last_days).expect("issued");
    for (root, trusted) in [("new", second.root_pem()), ("old", first.root_pem())] {
        assert_eq!(client_says(trusted, &issued.chain_pem, "a.example", last_days), Ok(()), "{root} root");
    }
    let third = Authority::open(dir.path(), last_days).expect("loaded");
    assert_eq!(third.root_pem(), second.root_pem());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("internal");
    put(&file, "in the way");
    let said = Authority::open(&file, now()).expect_err("a file in the way").to_string();
    assert!(
        said.contains(&file.display().to_string()) && said.contains("; let the user that runs"),
        "{said}"
    );
}

#[test]
fn openssl_accepts_a_leaf_and_refuses_it_for_other_names() {
    if Command::new("openssl").arg("version").output().is_err() {
        return crate::part::skip_or_fail("no openssl on this machine");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let real_now = Timestamp::now();
    let authority = Authority::open(dir.path(), real_now).expect("made");
    let leaf = dir.path().join("leaf.pem");
    for key in [KeyType::Ecdsa, KeyType::Rsa] {
        let lineage = lineage(&["a.example", "*.b.example", "192.0.2.7"], key);
        put(&leaf, &authority.issue(&lineage, real_now).expect("issued").chain_pem);
        let verifies = |check: [&str; 2]| {
            let output = Command::new("openssl")
                .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
                .arg(dir.path().join("root.pem"))
                .args(check)
                .arg(&leaf)
                .output()
                .expect("openssl runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(said) }
        };
        for good in [
            ["-verify_hostname", "a.example"],
            ["-verify_hostname", "x.b.example"],
            ["-verify_ip", "192.0.2.7"],
        ] {
            assert_eq!(verifies(good), Ok(()), "{good:?}");
        }
        let refused = verifies(["-verify_hostname", "c.example"]).expect_err("another name");
        assert!(refused.contains("mismatch"), "{refused}");
    }
}
