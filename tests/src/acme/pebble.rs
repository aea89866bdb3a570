//! A real authority: Let's Encrypt's Pebble as Debian ships it, which checks every challenge.
//!
//! Each has ports, a folder and a DNS server of its own. Its directory lies behind a gate, so that the authority
//! can be out of reach and come back with everything it knows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tempfile::TempDir;

use crate::acme::authority::Authority;
use crate::acme::gate::Gate;
use crate::acme::strict::Strict;
use crate::certificate::put;
use crate::daemon::{Daemon, lacking};
use crate::dns::{self, Records};
use crate::port::Port;
use crate::until::{PATIENCE, until};

/// The external account that authorities with [`Settings::eab`] know.
pub const KID: &str = "kid-1";
/// Its key in base64url.
pub const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// How an authority is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    nonce_reject: u8,
    validity_seconds: u64,
    eab: bool,
    reuse: u8,
    resolver: Option<SocketAddr>,
}

/// A running authority. It ends when dropped.
pub struct Pebble {
    http: Arc<Port>,
    https: Arc<Port>,
    gate: Gate,
    records: Records,
    management: Port,
    endpoint: Authority,
    folder: TempDir,
    server: Daemon,
    _api: Port,
}

impl Pebble {
    /// Why this machine cannot run one, if it cannot.
    #[must_use]
    pub fn lacks() -> Option<String> {
        lacking(&["pebble", dns::PROGRAM])
    }

    /// One that rejects no nonce, asks for no external account, issues for years and checks every authorization anew.
    #[must_use]
    pub const fn settings() -> Settings {
        Settings { nonce_reject: 0, validity_seconds: 157_766_400, eab: false, reuse: 0, resolver: None }
    }

    /// The port where it looks for HTTP-01, for the proxy's plain listener.
    #[must_use]
    pub const fn http(&self) -> &Arc<Port> {
        &self.http
    }

    /// The port where it looks for TLS-ALPN-01, for the proxy's TLS listener.
    #[must_use]
    pub const fn https(&self) -> &Arc<Port> {
        &self.https
    }

    /// The directory's URL.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.gate.address())
    }

    /// The root of its own endpoint, as a PEM file.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("endpoint.pem")
    }

    /// The DNS server that it asks, unless the settings name another.
    #[must_use]
    pub const fn records(&self) -> &Records {
        &self.records
    }

    /// The root of what it issues, as PEM.
    pub async fn root_pem(&self) -> String {
        let trust = Strict::trusting(&[self.endpoint.root()]);
        let answer = trust.try_get("127.0.0.1", self.management.address(), "/roots/0").await;
        answer.expect("the root").text()
    }

    /// A client that trusts what it issues.
    pub async fn strict(&self) -> Strict {
        Strict::trusting_pem(&self.root_pem().await)
    }

    /// How many requests came for a path, such as `/order-plz`, rejected nonces among them.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        let wanted = format!("POST {path}");
        self.server.output().lines().iter().filter(|line| line.contains(&wanted)).count()
    }

    /// How many orders it took.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.said("Added order ")
    }

    /// How many certificates it issued.
    #[must_use]
    pub fn issued(&self) -> usize {
        self.said("Issued certificate serial")
    }

    /// How many accounts it made.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.said(" accounts in memory")
    }

    fn said(&self, what: &str) -> usize {
        self.server.output().lines().iter().filter(|line| line.contains(what)).count()
    }

    /// Everything it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.output().text()
    }

    /// From now on it cannot be reached.
    pub async fn down(&mut self) {
        self.gate.close().await;
    }

    /// It can be reached again, and knows everything it knew.
    pub fn up(&mut self) {
        self.gate.open();
    }
}

impl Settings {
    /// Rejects so many good nonces of a hundred.
    #[must_use]
    pub const fn nonce_reject(mut self, percent: u8) -> Self {
        self.nonce_reject = percent;
        self
    }

    /// Issues for so many seconds.
    #[must_use]
    pub const fn validity(mut self, seconds: u64) -> Self {
        self.validity_seconds = seconds;
        self
    }

    /// Asks for the external account [`KID`].
    #[must_use]
    pub const fn eab(mut self) -> Self {
        self.eab = true;
        self
    }

    /// Takes so many valid authorizations of a hundred for further orders.
    #[must_use]
    pub const fn reuse(mut self, percent: u8) -> Self {
        self.reuse = percent;
        self
    }

    /// Asks another DNS server.
    #[must_use]
    pub const fn resolver(mut self, address: SocketAddr) -> Self {
        self.resolver = Some(address);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(self) -> Pebble {
        let records = Records::start().await;
        let folder = tempfile::Builder::new().prefix("pebble-").tempdir().expect("a folder");
        let [http, https] = [(); 2].map(|()| Arc::new(Port::reserve()));
        let (api, management) = (Port::reserve(), Port::reserve());
        let endpoint = Authority::new("pebble endpoint");
        let path = |name: &str| folder.path().join(name).display().to_string();
        write_endpoint(&folder, &endpoint);
        let config = json!({"pebble": {
            "listenAddress": api.address().to_string(),
            "managementListenAddress": management.address().to_string(),
            "certificate": path("cert.pem"),
            "privateKey": path("key.pem"),
            "httpPort": http.address().port(),
            "tlsPort": https.address().port(),
            "ocspResponderURL": "",
            "domainBlocklist": ["blocked.test"],
            "certificateValidityPeriod": self.validity_seconds,
            "externalAccountBindingRequired": self.eab,
            "externalAccountMACKeys": {KID: HMAC},
        }});
        put(&folder.path().join("config.json"), &config.to_string());
        let resolver = self.resolver.unwrap_or_else(|| records.address()).to_string();
        let mut server = Daemon::start(
            "pebble",
            &["-strict", "-config", &path("config.json"), "-dnsserver", &resolver],
            &[
                ("PEBBLE_VA_NOSLEEP", "1"),
                ("PEBBLE_WFE_NONCEREJECT", &self.nonce_reject.to_string()),
                ("PEBBLE_AUTHZREUSE", &self.reuse.to_string()),
            ],
        );
        let trust = Strict::trusting(&[endpoint.root()]);
        for (address, what) in [(api.address(), "/dir"), (management.address(), "/roots/0")] {
            until(PATIENCE, "the authority to answer", || {
                server.insist();
                let trust = trust.clone();
                async move { trust.try_get("127.0.0.1", address, what).await.is_ok_and(|a| a.status == 200) }
            })
            .await;
        }
        let mut gate = Gate::before(api.address());
        gate.open();
        Pebble { http, https, gate, records, management, endpoint, folder, server, _api: api }
    }
}

fn write_endpoint(folder: &TempDir, endpoint: &Authority) {
    let (chain, key) = endpoint.pem(&["127.0.0.1", "localhost"]);
    debug_assert!(PrivateKeyDer::from_pem_slice(key.as_bytes()).is_ok());
    for (name, text) in [("cert.pem", &chain), ("key.pem", &key), ("endpoint.pem", &endpoint.root_pem())] {
        put(&folder.path().join(name), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip_or_fail;

    #[tokio::test]
    async fn it_answers_goes_away_and_comes_back() {
        if let Some(why) = Pebble::lacks() {
            return skip_or_fail(&why);
        }
        let mut pebble = Pebble::settings().nonce_reject(50).validity(15).eab().start().await;
        let trust = Strict::trusting(&[pebble.endpoint.root()]);
        let directory = async || trust.try_get("127.0.0.1", pebble.gate.address(), "/dir").await;
        let answer = directory().await.expect("a directory").json();
        assert_eq!(answer["meta"]["externalAccountRequired"], true);
        let url = answer["newOrder"].as_str().expect("a URL");
        assert!(pebble.directory().starts_with(url.split("/order").next().expect("an origin")), "{url}");
        assert!(pebble.root_pem().await.starts_with("-----BEGIN CERTIFICATE"));
        let gate = pebble.gate.address();
        pebble.down().await;
        assert!(trust.try_get("127.0.0.1", gate, "/dir").await.is_err());
        pebble.up();
        assert_eq!(trust.try_get("127.0.0.1", gate, "/dir").await.expect("an answer").status, 200);
        assert_eq!((pebble.orders(), pebble.issued(), pebble.accounts()), (0, 0, 0));
    }
}
