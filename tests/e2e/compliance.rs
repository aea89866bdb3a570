//! What the scanners of the field say of the TLS listener: sslyze with Mozilla's intermediate profile, testssl.sh.
//!
//! Both look at a real proxy that shows a certificate as a public authority would issue it. Every scanner has a
//! negative control: a server with TLS 1.0 and old ciphers, to which it must object. `.ci/compliance-tools`
//! installs them. That a client with X25519MLKEM768 gets it stands in `tls`.

mod sslyze;
mod testssl;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CrlDistributionPoint, DnType, IsCa, Issuer, KeyPair};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use switcher_tests::certificate::put;
use switcher_tests::port::Port;
use switcher_tests::{App, PATIENCE, Proxy, Setup, until, within};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// The name in the certificate.
const NAME: &str = "shop.test";

/// How long a scan may take. On an idle machine it takes seconds to half a minute.
const SCAN: Duration = Duration::from_secs(170);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate of 80 days with its key and its authority, in files.
struct Issued {
    folder: TempDir,
}

impl Issued {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (authority_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Switcher test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = authority.self_signed(&authority_key).expect("a root");
        let mut leaf = CertificateParams::new(vec![NAME.to_owned()]).expect("a good name");
        leaf.distinguished_name.push(DnType::CommonName, NAME);
        leaf.not_before = (SystemTime::now() - DAY).into();
        leaf.not_after = (SystemTime::now() + DAY * 79).into();
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        // Nobody fetches it. A certificate that nobody could revoke would be a finding.
        let uris = vec!["http://authority.test/revoked.crl".to_owned()];
        leaf.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).expect("a certificate");
        let issued = Self { folder };
        put(&issued.root(), &root.pem());
        put(&issued.certificate(), &leaf.pem());
        put(&issued.key(), &key.serialize_pem());
        issued
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("leaf.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("leaf.key")
    }

    /// Where a scanner may put its result.
    fn result(&self) -> PathBuf {
        self.folder.path().join("result.json")
    }
}

/// A proxy with a TLS listener as everybody gets it.
async fn listener(issued: &Issued) -> (Proxy, App) {
    let app = App::start("blue").await;
    let (certificate, key) = (issued.certificate(), issued.key());
    let files = format!("{{certificate: {}, key: {}}}", certificate.display(), key.display());
    let setup = Setup::one(app.upstream()).shop("hosts", &format!("[{NAME}]")).shop("tls", &files);
    (setup.start_healthy().await, app)
}

/// The negative control: TLS 1.0 to 1.3 with every cipher that openssl still has.
struct Outdated {
    port: Port,
    _server: Child,
}

impl Outdated {
    async fn start(issued: &Issued) -> Self {
        let port = Port::reserve();
        let server = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-min_protocol", "TLSv1", "-accept"])
            .arg(port.address().to_string())
            .args(["-cipher", "ALL:!aNULL:@SECLEVEL=0", "-cert"])
            .arg(issued.certificate())
            .arg("-key")
            .arg(issued.key())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("openssl starts");
        until(PATIENCE, "openssl to listen", || async { TcpStream::connect(port.address()).await.is_ok() })
            .await;
        Self { port, _server: server }
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

/// Runs a scanner to its end and returns what it said and what it wrote into its file of results.
async fn scan(what: &str, command: &mut Command, result: &Path) -> (String, serde_json::Value) {
    let running = command.stdin(Stdio::null()).env("TERM", "dumb").kill_on_drop(true).output();
    let output = within(SCAN, what, running).await.expect("it starts");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let text =
        std::fs::read_to_string(result).unwrap_or_else(|e| panic!("{what} left no result: {e}\n{said}"));
    let result = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what} was cut off: {e}\n{said}"));
    (said, result)
}
