//! `certs import`: real layouts of three programs, a real data folder, a scripted proxy.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use switcher_config::durable::{self, Durability};
use tempfile::TempDir;

use crate::proxy::{Answer, Proxy};
use crate::run::{Run, command, finish};

const IMPORT: &str = "POST /v1/certificates/import";
const APPS: &str = "apps:\n  shop:\n    slots: {blue: [127.0.0.1:8001]}\n";
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// A machine: a source folder, a data folder and the configuration that names it.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("data")).expect("a data folder");
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        durable::replace(&path, content.as_bytes(), 0o600, Durability::Unsynced).expect("a file");
    }

    /// Imports; the proxy is the one behind this socket.
    fn import(&self, socket: &Path, args: &str) -> Run {
        let data = self.path("data");
        self.put("switcher.yaml", &format!("proxy:\n  data_dir: {}\n{APPS}", data.display()));
        let args = format!("--config {}/switcher.yaml certs import {args}", self.folder.path().display());
        let args = args.replace("SOURCE", &self.path("source").display().to_string());
        let output = command(&args).env("SWITCHER_ADMIN", socket).output().expect("a run");
        let mut run = finish(output, socket);
        for text in [&mut run.out, &mut run.err] {
            *text = text.replace(&self.folder.path().display().to_string(), "/m");
        }
        run
    }

    /// Imports while no proxy runs.
    fn import_alone(&self, args: &str) -> Run {
        let dead = self.path("dead.sock");
        let _ = fs::remove_file(&dead);
        drop(UnixListener::bind(&dead).expect("a socket"));
        self.import(&dead, args)
    }

    /// What waits for the proxy: the names of the files without their hashes, and what is said of each.
    fn waiting(&self) -> Vec<(String, Value)> {
        let folder = self.path("data/certs/imported");
        let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
        let mut waiting: Vec<(String, Value)> = files
            .map(|file| file.expect("a file").path())
            .filter(|file| file.extension().is_some_and(|end| end == "pem"))
            .map(|file| {
                assert_eq!(fs::metadata(&file).expect("metadata").permissions().mode() & 0o777, 0o600);
                let pem = fs::read_to_string(&file).expect("PEM");
                assert!(pem.contains("BEGIN PRIVATE KEY") && pem.contains("BEGIN CERTIFICATE"));
                let said = fs::read(file.with_extension("json")).expect("what is said of it");
                let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
                let name = name.rsplit_once('-').expect("a hash").0.to_owned();
                (name, serde_json::from_slice(&said).expect("JSON"))
            })
            .collect();
        waiting.sort_by(|one, other| one.0.cmp(&other.0));
        waiting
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut folders = vec![self.path("source")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a listing") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files.push((path.clone(), fs::read(path).unwrap_or_default()))
                }
            }
        }
        files.sort();
        files
    }
}

/// A certificate that is valid until the beginning of a year, and its key.
fn issue(names: &[&str], year: i32) -> (String, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("good names");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

/// Caddy 2, with two authorities, a wildcard, its own authority, an expired certificate and half a certificate.
fn caddy() -> Machine {
    let machine = Machine::new();
    let put = |authority: &str, folder: &str, (certificate, key): (String, String), ca: Option<&str>| {
        let base = format!("source/certificates/{authority}/{folder}/{folder}");
        machine.put(&format!("{base}.crt"), &certificate);
        machine.put(&format!("{base}.key"), &key);
        let data = ca.map(|ca| json!({"url": "https://example/cert/1", "ca": ca})).unwrap_or_default();
        machine.put(&format!("{base}.json"), &json!({"sans": [folder], "issuer_data": data}).to_string());
    };
    let real = "acme-v02.api.letsencrypt.org-directory";
    put(real, "shop.example.com", issue(&["shop.example.com"], 2090), Some(LETS_ENCRYPT));
    put(real, "wildcard_.example.com", issue(&["*.example.com"], 2090), None);
    put(real, "old.example.com", issue(&["old.example.com"], 2021), None);
    put("acme.zerossl.com-v2-DV90", "shop.example.com", issue(&["shop.example.com"], 2080), None);
    put("local", "dev.example.com", issue(&["dev.example.com"], 2090), None);
    machine.put("source/certificates/local/empty.example.com/empty.example.com.lock", "");
    machine.put("source/acme/acme-v02.api.letsencrypt.org-directory/users/default/default.json", "{}");
    machine.put("source/instance.uuid", "1");
    machine
}

fn traefik() -> Machine {
    let machine = Machine::new();
    let entry = |names: &[&str]| {
        let (certificate, key) = issue(names, 2090);
        json!({"domain": {"main": names[0], "sans": names[1..]}, "certificate": STANDARD.encode(certificate),
            "key": STANDARD.encode(key), "Store": "default"})
    };
    let account = |host: &str| {
        json!({"Email": "ops@example.com", "KeyType": "4096", "PrivateKey": "MIIJ",
        "Registration": {"body": {"status": "valid"}, "uri": format!("https://{host}/acme/acct/1")}})
    };
    let acme = json!({
        "letsencrypt": {"Account": account("acme-v02.api.letsencrypt.org"),
            "Certificates": [entry(&["shop.example.com", "www.shop.example.com"]), entry(&["*.example.com"])]},
        "private": {"Account": account("ca.example.net"), "Certificates": [entry(&["inside.example.com"])]},
        "unused": {"Account": account("ca.example.net"), "Certificates": null},
    });
    machine.put("source/acme.json", &format!("{acme:#}"));
    machine
}

fn certbot() -> Machine {
    let machine = Machine::new();
    for (name, names) in [
        ("shop.example.com", ["shop.example.com", "www.shop.example.com"].as_slice()),
        ("api", &["api.example.com"]),
    ] {
        let (certificate, key) = issue(names, 2090);
        machine.put(&format!("source/archive/{name}/fullchain2.pem"), &certificate);
        machine.put(&format!("source/archive/{name}/privkey2.pem"), &key);
        fs::create_dir_all(machine.path(&format!("source/live/{name}"))).expect("a folder");
        for file in ["fullchain", "privkey"] {
            let link = machine.path(&format!("source/live/{name}/{file}.pem"));
            symlink(format!("../../archive/{name}/{file}2.pem"), link).expect("a link");
        }
        let conf =
            format!("version = 2.9.0\n[renewalparams]\nauthenticator = nginx\nserver = {LETS_ENCRYPT}\n");
        machine.put(&format!("source/renewal/{name}.conf"), &conf);
    }
    machine.put("source/live/README", "This directory contains your keys and certificates.");
    machine
}

fn said(origin: &str, ca: Option<&str>) -> Value {
    ca.map_or_else(|| json!({ "origin": origin }), |ca| json!({ "origin": origin, "ca": ca }))
}

fn origin(machine: &Machine, program: &str, path: &str) -> String {
    format!("{program}:{}", machine.path(path).display())
}

/// The years until a certificate of the tests expires change with the day the tests run.
fn steady(run: &Run) -> String {
    let words: Vec<String> = run
        .all()
        .lines()
        .map(|line| {
            let mut words: Vec<&str> = line.split(' ').collect();
            for at in 1..words.len() {
                if words[at].starts_with("days") {
                    words[at - 1] = "N";
                }
            }
            words.join(" ")
        })
        .collect();
    words.join("\n")
}

#[test]
fn caddy_s_certificates_wait_for_the_proxy_and_caddy_s_folder_is_left_alone() {
    let machine = caddy();
    let before = machine.files();
    insta::assert_snapshot!(steady(&machine.import_alone("caddy SOURCE")));
    let origin = origin(&machine, "caddy", "source");
    assert_eq!(
        machine.waiting(),
        [
            ("_.example.com".to_owned(), said(&origin, Some(LETS_ENCRYPT))),
            ("shop.example.com".to_owned(), said(&origin, Some(LETS_ENCRYPT))),
        ]
    );
    assert_eq!(machine.files(), before);
    assert_eq!(
        machine.import_alone("caddy SOURCE/certificates").code,
        0,
        "the folder itself may be named too"
    );
}

#[test]
fn traefik_s_certificates_are_taken_with_their_authority() {
    let machine = traefik();
    insta::assert_snapshot!(steady(&machine.import_alone("traefik SOURCE/acme.json")));
    let origin = origin(&machine, "traefik", "source/acme.json");
    assert_eq!(
        machine.waiting(),
        [
            ("_.example.com".to_owned(), said(&origin, Some(LETS_ENCRYPT))),
            ("inside.example.com".to_owned(), said(&origin, None)),
            ("shop.example.com".to_owned(), said(&origin, Some(LETS_ENCRYPT))),
        ]
    );
}

#[test]
fn the_acme_json_of_traefik_1_7_is_understood() {
    let machine = Machine::new();
    let (certificate, key) = issue(&["shop.example.com"], 2090);
    let acme = json!({"Account": {"Registration": {"uri": "https://acme-v02.api.letsencrypt.org/acme/acct/1"}},
        "Certificates": [{"Domain": {"Main": "shop.example.com", "SANs": null},
            "Certificate": STANDARD.encode(certificate), "Key": STANDARD.encode(key)}], "HTTPChallenges": {}});
    machine.put("source/acme.json", &acme.to_string());
    assert_eq!(machine.import_alone("traefik SOURCE").code, 0, "the folder of acme.json may be named too");
    let origin = origin(&machine, "traefik", "source");
    assert_eq!(machine.waiting(), [("shop.example.com".to_owned(), said(&origin, Some(LETS_ENCRYPT)))]);
}

#[test]
fn certbot_s_links_are_followed_and_its_server_is_kept() {
    let machine = certbot();
    insta::assert_snapshot!(steady(&machine.import_alone("certbot SOURCE")));
    let origin = origin(&machine, "certbot", "source");
    assert_eq!(
        machine.waiting(),
        [
            ("api.example.com".to_owned(), said(&origin, Some(LETS_ENCRYPT))),
            ("shop.example.com".to_owned(), said(&origin, Some(LETS_ENCRYPT))),
        ]
    );
}

#[test]
fn a_dry_run_writes_nothing_and_asks_nobody() {
    let machine = certbot();
    let proxy = Proxy::start();
    let run = machine.import(&proxy.socket(), "certbot SOURCE --dry-run --json");
    assert_eq!(
        (run.code, run.json()["certificates"][0]["outcome"].as_str()),
        (0, Some("planned")),
        "{}",
        run.all()
    );
    assert!(!machine.path("data/certs").exists());
    assert_eq!(proxy.changes_asked(), [""; 0]);
}

/// A proxy that takes what its inbox holds for `shop.example.com`, and refuses the rest.
fn taking(machine: &Machine) -> Proxy {
    let folder = machine.path("data/certs/imported");
    Proxy::start().on(IMPORT, move |_| {
        let files = fs::read_dir(folder).expect("an inbox").map(|file| file.expect("a file").path());
        let words = files.filter(|file| file.extension().is_some_and(|end| end == "pem")).map(|file| {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            if name.starts_with("shop") {
                json!({"file": name, "names": ["shop.example.com"], "taken": true})
            } else {
                json!({"file": name, "names": ["x"], "taken": false, "problem": "no application has this host."})
            }
        });
        Answer::Json(200, json!({"certificates": words.collect::<Vec<_>>()}))
    })
}

#[test]
fn a_running_proxy_says_what_it_took_and_why_it_did_not_take_the_rest() {
    let machine = caddy();
    let proxy = taking(&machine);
    insta::assert_snapshot!(steady(&machine.import(&proxy.socket(), "caddy SOURCE")));
    assert_eq!(proxy.changes_asked(), [IMPORT]);
    let machine = certbot();
    let run = machine.import(&taking(&machine).socket(), "certbot SOURCE --json");
    let outcomes: Vec<Value> = (0..2).map(|at| run.json()["certificates"][at]["outcome"].clone()).collect();
    assert_eq!((run.code, outcomes), (0, vec![json!("refused"), json!("taken")]));
}

#[test]
fn a_proxy_with_another_data_folder_is_found_out() {
    let machine = certbot();
    let proxy = Proxy::start().on(IMPORT, |_| Answer::Json(200, json!({"certificates": []})));
    insta::assert_snapshot!(machine.import(&proxy.socket(), "certbot SOURCE").all());
}

#[test]
fn a_proxy_that_breaks_off_leaves_the_certificates_waiting() {
    let machine = certbot();
    let proxy = Proxy::start().on(IMPORT, |_| Answer::Hangup);
    insta::assert_snapshot!(steady(&machine.import(&proxy.socket(), "certbot SOURCE")));
    assert_eq!(machine.waiting().len(), 2);
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_imported() {
    let machine = certbot();
    fs::remove_file(machine.path("source/archive/api/privkey2.pem")).expect("removed");
    insta::assert_snapshot!(steady(&machine.import_alone("certbot SOURCE")));
    assert_eq!(machine.waiting().len(), 1);
    let machine = traefik();
    let acme = fs::read_to_string(machine.path("source/acme.json")).expect("acme.json");
    machine.put("source/acme.json", &acme.replacen("\"key\": \"", "\"key\": \"*", 1));
    let run = machine.import_alone("traefik SOURCE");
    assert!(run.code == 1 && run.err.contains("its `key` is no base64"), "{}", run.all());
}

#[test]
fn a_place_without_certificates_says_what_was_expected_there() {
    let machine = caddy();
    machine.put("source/live/README", "no certificates");
    machine.put("source/empty", "\n");
    machine.put("source/list", "[]");
    machine.put("source/other", "{\"a\": 1}");
    machine.put("source/text", "hello");
    let shown = [
        "caddy SOURCE/nowhere",
        "caddy SOURCE/acme",
        "traefik SOURCE",
        "traefik SOURCE/empty",
        "traefik SOURCE/list",
        "traefik SOURCE/other",
        "traefik SOURCE/text",
        "certbot SOURCE/acme",
        "certbot SOURCE",
        "caddy SOURCE/certificates/local --dry-run",
    ]
    .map(|args| {
        let run = machine.import_alone(args);
        assert_eq!(run.code, 1, "{}", run.all());
        format!("$ switcher certs import {args}\n{}", run.err)
    });
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_data_folder_that_cannot_be_used_is_named() {
    let machine = certbot();
    machine.put("data/certs", "a file where a folder belongs");
    insta::assert_snapshot!(machine.import_alone("certbot SOURCE").all());
}
