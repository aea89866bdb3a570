//! Every entry of the table makes a client, and no secret gets into a message.

use std::path::PathBuf;
use std::sync::LazyLock;

use rcgen::{KeyPair, PKCS_RSA_SHA256};
use switcher_config::durable::{self, Durability};
use switcher_config::providers::PROVIDERS;
use tempfile::TempDir;

use super::*;

/// Making one takes long.
static RSA: LazyLock<String> =
    LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key").serialize_pem());

fn put(folder: &TempDir, name: &str, text: &str) -> String {
    let path: PathBuf = folder.path().join(name);
    durable::replace(&path, text.as_bytes(), 0o600, Durability::Synced).expect("written");
    path.display().to_string()
}

/// A value that the option of that provider could have.
fn dummy(folder: &TempDir, provider: &str, option: &str) -> String {
    match (provider, option) {
        ("rfc2136", "key_file") => put(folder, "tsig", "c2VjcmV0\n"),
        ("rfc2136", "server") => "192.0.2.1".to_owned(),
        ("rfc2136", "algorithm") => "hmac-sha512".to_owned(),
        ("ovh", "region") => "ovh-ca".to_owned(),
        (_, "key_file") => put(folder, "key.pem", &RSA),
        (_, "server") => "https://dns.example".to_owned(),
        (_, "region") => "eu-central-1".to_owned(),
        (_, "client_ip") => "192.0.2.9".to_owned(),
        (_, option) if option.ends_with("_file") => put(folder, option, "dummy-secret\n"),
        (_, option) => format!("some-{option}"),
    }
}

fn options(folder: &TempDir, provider: &Provider, names: &[&str]) -> BTreeMap<String, String> {
    names.iter().map(|option| ((*option).to_owned(), dummy(folder, provider.name, option))).collect()
}

#[tokio::test]
async fn every_provider_of_the_table_makes_a_client_with_what_it_needs_and_with_all_it_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    for provider in PROVIDERS {
        let all: Vec<&str> = provider.needs.iter().chain(provider.may).copied().collect();
        for names in [provider.needs, all.as_slice()] {
            let options = options(&folder, provider, names);
            check(provider.name, &options).expect("enough options");
            if let Err(error) = Client::new(provider.name, &options).await {
                panic!("{names:?}: {error}");
            }
        }
    }
    let made: Vec<&str> = MAKERS.iter().map(|(name, _)| *name).collect();
    let listed: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
    assert_eq!(made, listed);
}

#[tokio::test]
async fn every_option_that_is_needed_is_really_used() {
    let folder = tempfile::tempdir().expect("a folder");
    for provider in PROVIDERS {
        for missing in provider.needs {
            let mut options = options(&folder, provider, provider.needs);
            options.remove(*missing);
            let told = check(provider.name, &options).expect_err("told at once").to_string();
            assert_eq!(
                told,
                format!("the DNS provider {} needs the option `acme.dns.{missing}`", provider.name)
            );
            let error = Client::new(provider.name, &options).await.err().expect("not made").to_string();
            assert!(error.contains(&format!("`acme.dns.{missing}` is missing")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_told_with_its_option_and_file() {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, why) in
        [("/no/such/token".to_owned(), "No such file"), (put(&folder, "empty", " \n"), "it is empty")]
    {
        let options = BTreeMap::from([("token_file".to_owned(), file.clone())]);
        let error = Client::new("cloudflare", &options).await.err().expect("no secret").to_string();
        assert!(
            error.starts_with(&format!("cannot read {file}, which `acme.dns.token_file` names: {why}")),
            "{error}"
        );
    }
    let unknown = check("clodflare", &BTreeMap::new()).expect_err("unknown").to_string();
    assert!(unknown.starts_with("`clodflare` is no DNS provider"), "{unknown}");
}

#[tokio::test]
async fn options_that_make_no_client_say_what_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let rfc2136 = provider("rfc2136").expect("known");
    for (option, value, words) in [
        ("server", "ns.example".to_owned(), "write an IP address, with `:port` unless it is 53"),
        ("algorithm", "md5".to_owned(), "use hmac-sha256, hmac-sha384 or hmac-sha512"),
        ("key_file", put(&folder, "bad", "???"), "`acme.dns.key_file` holds no base64"),
    ] {
        let mut options = options(&folder, rfc2136, rfc2136.needs);
        options.insert(option.to_owned(), value);
        let error = Client::new("rfc2136", &options).await.err().expect("no client").to_string();
        assert!(error.contains(words), "{error}");
    }
    for server in ["192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:53"] {
        let mut options = options(&folder, rfc2136, rfc2136.needs);
        options.insert("server".to_owned(), server.to_owned());
        assert!(Client::new("rfc2136", &options).await.is_ok(), "{server}");
    }
}

#[tokio::test]
async fn secrets_are_kept_out_of_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let given = options(&folder, provider("namesilo").expect("known"), &["token_file"]);
    let client = Client::new("namesilo", &given).await.expect("made");
    let words = "Failed to send request to https://api.example/?key=dummy-secret";
    let told = client.options.redact(&client.explain(&Error::Api(words.to_owned())));
    assert_eq!(told, "API error: Failed to send request to https://api.example/?key=[secret]");
    let told = client.explain(&Error::Unauthorized);
    assert_eq!(
        told,
        "Unauthorized; check that the secret is valid and may edit the zone (`acme.dns.token_file`)"
    );
}
