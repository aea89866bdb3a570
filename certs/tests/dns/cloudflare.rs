//! The provider Cloudflare, for real: the library's client with its fixed address, which a CONNECT proxy of the
//! test leads to a TLS server that plays version 4 of the interface and keeps the records in a real name server.
//!
//! Proxy and trust come from the environment, so the client runs in a second process of this very binary.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use dns_update::providers::rfc2136::DnsAddress;
use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, TsigAlgorithm};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use switcher_config::Span;
use switcher_config::durable::{self, Durability};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

use crate::named::{self, Named, Zone, addresses, zone_file};

const ROLE: &str = "SWITCHER_TEST_CLOUDFLARE";
const NAME: &str = "cloudflare::cloudflare_sets_shows_and_removes_two_values";
const TOKEN: &str = "a-token-of-the-test";
const RECORD: &str = "_acme-challenge.a.test";

#[tokio::test]
async fn cloudflare_sets_shows_and_removes_two_values() {
    if let Ok(resolver) = std::env::var(ROLE) {
        return client(resolver.parse().expect("an address")).await;
    }
    if named::missing() {
        return;
    }
    let (address, _) = addresses();
    let named = Named::start(address, &[("a.test", Zone::Primary(zone_file(&[address], 60, "")))]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        durable::replace(&path, text.as_bytes(), 0o600, Durability::Synced).expect("written");
        path
    };
    let (root, config) = tls();
    let played = Arc::new(Played { named: named.resolver(), records: Mutex::default() });
    let proxy = serve(Arc::clone(&played), TlsAcceptor::from(config)).await;
    let status = tokio::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env("HTTPS_PROXY", format!("http://{proxy}"))
        .env("https_proxy", format!("http://{proxy}"))
        .env("SSL_CERT_FILE", write("root.pem", &root))
        .env("SWITCHER_TEST_TOKEN_FILE", write("token", TOKEN))
        .env("SWITCHER_TEST_WRONG_TOKEN_FILE", write("wrong", "another-token"))
        .env(ROLE, named.resolver().to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("the second process");
    assert!(status.success(), "the client failed, see above");
    assert_eq!(played.records.lock().await.changes, 4, "two were added and removed through the interface");
    assert!(named.texts(RECORD).await.is_empty());
}

/// In the second process: what an order does.
async fn client(resolver: SocketAddr) {
    let with = |variable: &str| {
        let file = std::env::var(variable).expect("a file");
        crate::dns("cloudflare", &[("token_file", file)], Span::seconds(20), resolver)
    };
    let dns = with("SWITCHER_TEST_TOKEN_FILE");
    let one = dns.post("a.test", "value-1").await.expect("posted");
    let two = dns.post("a.test", "value-2").await.expect("posted");
    dns.propagated("a.test", "value-1").await.expect("visible");
    dns.propagated("a.test", "value-2").await.expect("visible");
    one.remove().await.expect("removed");
    dns.propagated("a.test", "value-2").await.expect("still visible");
    two.remove().await.expect("removed");

    let error = with("SWITCHER_TEST_WRONG_TOKEN_FILE").post("a.test", "value").await.expect_err("refused");
    let error = error.to_string();
    assert!(
        error.starts_with("the DNS provider cloudflare did not set the TXT record _acme-challenge.a.test: ")
            && error.contains("Invalid access token")
            && !error.contains("another-token"),
        "{error}"
    );
}

/// A root and a server for the fixed address with a certificate of it.
pub(crate) fn tls() -> (String, Arc<ServerConfig>) {
    let mut root = CertificateParams::new([]).expect("parameters");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().expect("a key");
    let pem = root.self_signed(&root_key).expect("a root").pem();
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(["api.cloudflare.com".to_owned()])
        .expect("parameters")
        .signed_by(&key, &Issuer::new(root, root_key))
        .expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("a configuration");
    (pem, Arc::new(config))
}

/// The proxy: every CONNECT to the interface's address ends at the one that plays it.
async fn serve(played: Arc<Played>, tls: TlsAcceptor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (played, tls) = (Arc::clone(&played), tls.clone());
            tokio::spawn(async move { tunnel(stream, &played, &tls).await });
        }
    });
    address
}

async fn tunnel(stream: TcpStream, played: &Played, tls: &TlsAcceptor) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let request = head(&mut stream).await?;
    assert_eq!(request.line, "CONNECT api.cloudflare.com:443 HTTP/1.1", "nobody else is asked");
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    let mut stream = BufReader::new(tls.accept(stream).await.ok()?);
    loop {
        let request = head(&mut stream).await?;
        let (status, body) = played.answer(&request).await;
        let body = body.to_string();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

struct Request {
    line: String,
    authorization: String,
    body: Vec<u8>,
}

async fn head(stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let field = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    let authorization = field("authorization").unwrap_or_default();
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { line: lines.into_iter().next()?, authorization, body })
}

/// Version 4 of the interface, as far as it is used, for the zone `a.test`.
struct Played {
    named: SocketAddr,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    kept: Vec<(String, Value)>,
    changes: u32,
}

impl Played {
    async fn answer(&self, request: &Request) -> (u16, Value) {
        if request.authorization != format!("Bearer {TOKEN}") {
            let errors = json!([{"code": 9109, "message": "Invalid access token"}]);
            return (403, json!({"success": false, "errors": errors, "result": null}));
        }
        let mut words = request.line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut records = self.records.lock().await;
        let result = match (method, path.strip_prefix("/client/v4/zones").unwrap_or_default()) {
            ("GET", "") if query.contains("name=a.test") => json!([{"id": "zone-1", "name": "a.test"}]),
            ("GET", "") => json!([]),
            ("GET", "/zone-1/dns_records") => records.list(query),
            ("POST", "/zone-1/dns_records") => {
                let record: Value = serde_json::from_slice(&request.body).expect("a record in JSON");
                self.change(&record, true).await;
                records.add(record)
            }
            ("DELETE", path) => {
                let id = path.strip_prefix("/zone-1/dns_records/").expect("a record");
                let at = records.kept.iter().position(|(kept, _)| kept == id).expect("a record");
                let (_, record) = records.kept.remove(at);
                self.change(&record, false).await;
                records.changes += 1;
                json!({"id": id})
            }
            other => panic!("the interface has no {other:?}"),
        };
        (200, json!({"success": true, "errors": [], "messages": [], "result": result}))
    }

    /// Keeps what Cloudflare would show: a TXT record's content comes in quotes.
    async fn change(&self, record: &Value, add: bool) {
        assert_eq!((&record["type"], &record["ttl"]), (&json!("TXT"), &json!(60)));
        let name = record["name"].as_str().expect("a name");
        let value = record["content"].as_str().expect("a content").trim_matches('"').to_owned();
        let key = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, named::KEY).expect("a key");
        let address = DnsAddress::Tcp(self.named);
        let updater = DnsUpdater::new_rfc2136_tsig(address, named::KEY_NAME, key, TsigAlgorithm::HmacSha256)
            .expect("a client");
        let values = vec![DnsRecord::TXT(value)];
        let change = if add {
            Box::pin(updater.add_to_rrset(name, DnsRecordType::TXT, 60, values, "a.test")).await
        } else {
            Box::pin(updater.remove_from_rrset(name, DnsRecordType::TXT, values, "a.test")).await
        };
        change.expect("changed");
    }
}

impl Records {
    fn list(&self, query: &str) -> Value {
        assert!(query.contains("name=_acme-challenge.a.test") && query.contains("type=TXT"), "{query}");
        let with_id = |(id, record): &(String, Value)| {
            let mut record = record.clone();
            record["id"] = json!(id);
            record
        };
        self.kept.iter().map(with_id).collect()
    }

    fn add(&mut self, record: Value) -> Value {
        self.changes += 1;
        let id = format!("record-{}", self.changes);
        self.kept.push((id.clone(), record.clone()));
        json!({"id": id, "type": "TXT", "name": record["name"], "content": record["content"]})
    }
}
