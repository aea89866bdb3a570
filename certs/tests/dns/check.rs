//! The check of names with a real name server, a listener of our own and a directory.

use std::net::SocketAddr;
use std::sync::Arc;

use switcher_certs::Challenges;
use switcher_certs::challenges::HTTP_PATH;
use switcher_certs::check::{Question, check};
use switcher_config::durable::{self, Durability};
use switcher_config::settings::ChallengeChoice;
use switcher_config::wire::{CheckKind, Finding, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::cloudflare;
use crate::named::{self, Named, Zone, addresses, zone_file};

const RECORDS: &str = r#"
site A 127.0.0.1
site CAA 0 issue "other.example"
shop.site CNAME site
good A 127.0.0.1
good CAA 0 issue "ca.example"
good CAA 0 issuewild ";"
plain A 127.0.0.1
"#;

/// Name, what was looked at, how it looks, and how the message goes on; none where there is nothing to look at.
type Expected = (&'static str, CheckKind, Option<(Verdict, &'static str)>);

#[rustfmt::skip]
const EXPECTED: &[Expected] = &[
    ("site.test", CheckKind::Dns, Some((Verdict::Ok, "resolves to 127.0.0.1."))),
    ("site.test", CheckKind::Http, Some((Verdict::Ok, "is this proxy."))),
    ("site.test", CheckKind::Caa, Some((Verdict::Problem, "site.test has CAA 0 issue \"other.example\"."))),
    ("shop.site.test", CheckKind::Http, Some((Verdict::Ok, "is this proxy."))),
    ("shop.site.test", CheckKind::Caa, Some((Verdict::Problem, "has CAA 0 issue \"other.example\"."))),
    ("good.test", CheckKind::Caa, Some((Verdict::Ok, "allow the authority for good.test."))),
    ("*.good.test", CheckKind::Caa, Some((Verdict::Problem, "good.test has CAA 0 issuewild \";\"."))),
    ("*.good.test", CheckKind::Dns, Some((Verdict::Ok, "belongs into the zone test."))),
    ("*.good.test", CheckKind::Http, None),
    ("plain.test", CheckKind::Caa, Some((Verdict::Ok, "No CAA record stands against plain.test."))),
    ("missing.test", CheckKind::Dns, Some((Verdict::Problem, "it has neither an A nor an AAAA record."))),
    ("missing.test", CheckKind::Http, None),
];

#[tokio::test]
async fn names_are_looked_at_with_the_eyes_of_the_authority() {
    if named::missing() {
        return;
    }
    let (address, _) = addresses();
    let named = Named::start(address, &[("test", Zone::Primary(zone_file(&[address], 60, RECORDS)))]).await;
    let findings = findings(named.resolver()).await;
    for (name, kind, expected) in EXPECTED {
        let finding = findings.iter().find(|it| it.name.as_deref() == Some(*name) && it.check == *kind);
        match (finding, expected) {
            (None, None) => {}
            (Some(Finding { verdict, message, fix, .. }), Some((expected, words))) => {
                assert_eq!(verdict, expected, "{name} {kind:?}: {message}");
                assert!(message.ends_with(words), "{name} {kind:?}: {message}");
                assert_eq!(fix.is_some(), *expected != Verdict::Ok, "{name} {kind:?}: {fix:?}");
            }
            (finding, _) => panic!("{name} {kind:?}: {finding:?}"),
        }
    }
}

async fn findings(resolver: SocketAddr) -> Vec<Finding> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root.pem");
    let (pem, _) = cloudflare::tls();
    durable::replace(&root, pem.as_bytes(), 0o600, Durability::Synced).expect("written");
    let challenges = Arc::new(Challenges::default());
    let directory = r#"{"newOrder": "https://ca.example/new", "meta": {"caaIdentities": ["ca.example"]}}"#;
    let posted = Arc::clone(&challenges);
    let http_port = serve(move |path| match path.strip_prefix(HTTP_PATH) {
        Some(token) => posted.http(token).map(|answer| answer.to_string()).unwrap_or_default(),
        None => directory.to_owned(),
    })
    .await;
    let mut names: Vec<String> = EXPECTED.iter().map(|(name, ..)| (*name).to_owned()).collect();
    names.dedup();
    check(&Question {
        names,
        directories: vec![format!("http://127.0.0.1:{http_port}/directory")],
        ca_file: Some(root),
        challenge: ChallengeChoice::Auto,
        dns: true,
        resolvers: vec![resolver],
        challenges,
        http_port,
        https_port: 1,
        limits: Vec::new(),
    })
    .await
}

/// A plain HTTP server whose answers are made of the path.
async fn serve(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await?;
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let body = answer(request.split(' ').nth(1).unwrap_or_default());
                let head =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await
            });
        }
    });
    port
}
