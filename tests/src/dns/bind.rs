//! Debian's name server with one zone that takes signed updates (RFC 2136, RFC 8945).
//!
//! It answers on port 53 of a loopback address of its own, as name servers do: that takes root's rights.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use tempfile::TempDir;

use super::front::Front;
use crate::certificate::put;
use crate::daemon::{Daemon, lacking};
use crate::port::Port;
use crate::until::{PATIENCE, until};

/// The key that signs updates, and its secret in base64.
const KEY: (&str, &str) = ("switcher-key", "c3dpdGNoZXItdGVzdC1rZXktb2YtMzItYnl0ZXMhISE=");

/// A running name server. It ends when dropped.
pub struct Bind {
    front: Front,
    folder: TempDir,
    server: Daemon,
    _port: Port,
}

impl Bind {
    /// Why this machine cannot run one, if it cannot.
    #[must_use]
    pub fn lacks() -> Option<String> {
        let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 53))
            .err()
            .filter(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
        lacking(&["named"]).or_else(|| deaf.map(|_| "port 53 takes root's rights".to_owned()))
    }

    /// Starts one for a zone, in which every name is 127.0.0.1.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(zone: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("bind-").tempdir().expect("a folder");
        let port = Port::reserve();
        let front = Front::before(port.address()).await;
        let place = folder.path().display();
        put(&folder.path().join("zone.db"), &zone_file(zone, front.address()));
        put(&folder.path().join("tsig.key"), &format!("{}\n", KEY.1));
        put(&folder.path().join("named.conf"), &configuration(zone, port.address(), &place.to_string()));
        let configuration = folder.path().join("named.conf").display().to_string();
        let mut server = Daemon::start("named", &["-g", "-n", "1", "-c", &configuration], &[]);
        until(PATIENCE, "the name server to run", || {
            server.insist();
            let running = server.output().text().ends_with("running");
            async move { running }
        })
        .await;
        Self { front, folder, server, _port: port }
    }

    /// Where it answers, by UDP and TCP.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// The name of the key that signs updates (HMAC with SHA-256).
    #[must_use]
    pub const fn key_name(&self) -> &'static str {
        KEY.0
    }

    /// The file with that key's secret in base64.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("tsig.key")
    }

    /// How many updates it took.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.server.output().text().matches("adding an RR").count()
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.output().text()
    }
}

fn zone_file(zone: &str, address: SocketAddr) -> String {
    format!(
        "$TTL 5\n@ IN SOA ns.{zone}. admin.{zone}. 1 60 60 600 1\n@ IN NS ns.{zone}.\n\
         @ IN A 127.0.0.1\n* IN A 127.0.0.1\nns IN A {}\n",
        address.ip()
    )
}

fn configuration(zone: &str, address: SocketAddr, folder: &str) -> String {
    let (name, secret) = KEY;
    format!(
        r#"options {{
    directory "{folder}"; managed-keys-directory "{folder}"; pid-file "{folder}/named.pid";
    session-keyfile "{folder}/session.key"; lock-file none;
    listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};
    recursion no; dnssec-validation no; notify no; allow-transfer {{ none; }};
}};
controls {{ }};
logging {{ category update {{ default_stderr; }}; category update-security {{ default_stderr; }}; }};
key "{name}" {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "{zone}" {{ type primary; file "{folder}/zone.db"; allow-update {{ key "{name}"; }}; }};
"#,
        port = address.port(),
        ip = address.ip(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::program;
    use crate::dns::texts;
    use crate::skip_or_fail;

    /// Adds a text by an update; whether it was taken.
    async fn add(bind: &Bind, secret: &str) -> bool {
        let script = format!(
            "server {} 53\nkey hmac-sha256:{} {secret}\nupdate add _acme-challenge.shop.test. 5 TXT proof\nsend\n",
            bind.address().ip(),
            bind.key_name()
        );
        let path = bind.folder.path().join("script");
        put(&path, &script);
        let nsupdate = program("nsupdate").expect("nsupdate");
        let ran = tokio::process::Command::new(nsupdate).arg("-v").arg(&path).output().await;
        ran.expect("it runs").status.success()
    }

    #[tokio::test]
    async fn only_signed_updates_are_taken() {
        if let Some(why) = Bind::lacks().or_else(|| lacking(&["nsupdate"])) {
            return skip_or_fail(&why);
        }
        let bind = Bind::start("shop.test").await;
        assert!(!add(&bind, "c3RyYW5nZXI=").await);
        assert!(texts(bind.address(), "_acme-challenge.shop.test").await.is_empty());
        assert!(add(&bind, KEY.1).await);
        assert_eq!(texts(bind.address(), "_acme-challenge.shop.test").await, ["proof"]);
        assert_eq!(bind.updates(), 1);
    }
}
