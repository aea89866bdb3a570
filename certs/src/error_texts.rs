//! Every sentence that a failed attempt can end with, held by a snapshot: they are read by tired people.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::acme::AcmeError;
use crate::dns::DnsError;
use crate::folder::{FolderError, Refusal};
use crate::internal::InternalError;
use crate::on_demand::{OnDemandError, Refusal as NotAllowed};
use crate::record::ChallengeKind;

const CA: &str = "https://ca.example/directory";

fn text(value: &str) -> String {
    value.to_owned()
}

fn denied() -> io::Error {
    io::Error::from(io::ErrorKind::PermissionDenied)
}

#[test]
fn every_way_an_order_can_fail_has_its_sentence() {
    let (ca, name, why) = (text(CA), text("shop.example.com"), text("the network is down"));
    let until = "2026-11-21T12:00:00Z".parse().expect("a time");
    let path = PathBuf::from("/etc/switcher/hmac");
    let kind = ChallengeKind::Http01;
    let offered = text("classic, shortlived");
    let limit = text("5 of 5 certificates for shop.example.com were issued within 7 days");
    let errors = [
        AcmeError::Unreachable { ca: ca.clone(), why: why.clone() },
        AcmeError::Nonsense { ca: ca.clone(), why: text("its directory is answered with 502 Bad Gateway") },
        AcmeError::Refused { ca: ca.clone(), why: text("no such account (accountDoesNotExist)"), kind: None },
        AcmeError::Validation { ca: ca.clone(), name: name.clone(), kind, why: text("404 (unauthorized)") },
        AcmeError::NoChallenge { ca: ca.clone(), name, hint: "a wildcard needs `acme.dns`" },
        AcmeError::NeedsExternalAccount { ca: ca.clone() },
        AcmeError::ExternalAccountKey { path: path.clone(), why: text("the file is empty") },
        AcmeError::NoProfile { ca: ca.clone(), profile: text("tiny"), offered },
        AcmeError::Roots { path, why: text("it holds no certificate in PEM") },
        AcmeError::TooSlow { ca: ca.clone(), doing: "verifying the names" },
        AcmeError::NoRoom { ca, limit, until },
        AcmeError::Make { what: "a private key", why: text("no randomness") },
        AcmeError::NotAllowed(text("the ask URL does not allow shop.example.com: it answers 404")),
    ];
    insta::assert_snapshot!(errors.map(|error| error.to_string()).join("\n"));
}

#[test]
fn every_way_the_disk_and_dns_can_fail_has_its_sentence() {
    let path = PathBuf::from("/var/lib/switcher/certs/ledger.json");
    let record = text("_acme-challenge.shop.example.com");
    let (provider, option) = ("cloudflare", "token_file");
    let lacking = vec![text("ns1.example.com (192.0.2.1) lacks it")];
    let full = io::Error::from(io::ErrorKind::StorageFull);
    let errors: Vec<Box<dyn std::error::Error>> = vec![
        Box::new(FolderError::Disk { path: path.clone(), step: "write", source: full }),
        Box::new(FolderError::Disk { path: path.clone(), step: "create the folder", source: denied() }),
        Box::new(FolderError::Refused {
            names: text("a.example"),
            why: Refusal::NotCovered { name: text("a.example") },
        }),
        Box::new(FolderError::Refused { names: text("a.example"), why: Refusal::WrongKey }),
        Box::new(FolderError::Nameless),
        Box::new(InternalError::Damaged { path: path.clone(), why: "is no certificate" }),
        Box::new(InternalError::Unreadable { path: path.clone(), source: denied() }),
        Box::new(InternalError::NoFolder { path: path.clone(), source: denied() }),
        Box::new(InternalError::System { what: "a root" }),
        Box::new(DnsError::Unknown(text("cloudfare"))),
        Box::new(DnsError::Missing { provider, option }),
        Box::new(DnsError::File { option: text(option), file: path, why: denied() }),
        Box::new(DnsError::Options { provider, why: text("the key is no base64") }),
        Box::new(DnsError::Provider {
            provider,
            doing: "set",
            record: record.clone(),
            why: text("it answers 403"),
        }),
        Box::new(DnsError::NoProgram),
        Box::new(DnsError::NotPropagated { record, after: Duration::from_secs(120), lacking }),
        Box::new(OnDemandError::Url { url: text("nowhere"), why: text("relative URL without a base") }),
    ];
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn every_reason_not_to_serve_a_stranger_has_its_sentence() {
    let name = text("customer.example");
    let refusals = [
        NotAllowed::Name { name: text("localhost"), why: "it has no dot" },
        NotAllowed::Denied { name: name.clone(), status: 404 },
        NotAllowed::Unasked { name: name.clone(), why: text("connection refused") },
        NotAllowed::Limit { name: name.clone(), limit: 20, window: Duration::from_secs(3600) },
        NotAllowed::Busy { name },
    ];
    insta::assert_snapshot!(refusals.map(|refusal| refusal.to_string()).join("\n"));
}
