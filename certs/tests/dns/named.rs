//! A real BIND with its own folder and port, killed when dropped.
//!
//! Name servers are always asked on port 53, and BIND listens on addresses of interfaces only. So it listens on a
//! free port of 127.0.0.1, and a relay brings it what is asked at an address of its own in 127.0.0.0/8. That
//! needs root, and `named` of the package bind9.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::{RData, RecordType};
use switcher_certs::dns::lookup::{ask, is_answer, name};
use switcher_config::durable::{self, Durability};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// The TSIG key of every server here, in base64.
pub(crate) const KEY: &str = "bm90LWEtc2VjcmV0LW9ubHktZm9yLXRlc3RzLTAwMDE=";
pub(crate) const KEY_NAME: &str = "switcher.test";

/// A running server.
pub(crate) struct Named {
    child: Child,
    folder: TempDir,
    address: Ipv4Addr,
    port: u16,
    relays: [JoinHandle<()>; 2],
}

/// A zone file, or the server to copy the zone from.
pub(crate) enum Zone<'a> {
    Primary(String),
    Secondary(&'a Named),
}

/// Why there can be no server here. On a user's machine the test is skipped then; in CI, where `CI=true`, it fails.
pub(crate) fn missing() -> bool {
    let named = Command::new("named").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let why = if named.is_err() {
        "`named` is not there; install bind9"
    } else if std::net::UdpSocket::bind((addresses().0, 53)).is_err() {
        "port 53 needs root"
    } else {
        return false;
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "a part is missing in CI: {why}");
    println!("skipped: {why}");
    true
}

/// Two addresses that no other test has.
pub(crate) fn addresses() -> (Ipv4Addr, Ipv4Addr) {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(2, Ordering::Relaxed);
    let at = |last| Ipv4Addr::new(127, high.max(1), low, last);
    (at(last), at(last + 1))
}

impl Named {
    /// Starts one for these zones and waits until it answers.
    pub(crate) async fn start(address: Ipv4Addr, zones: &[(&str, Zone<'_>)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let dir = folder.path().display().to_string();
        let mut config = format!(
            "key \"{KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{KEY}\"; }};\ncontrols {{ }};\n\
             options {{ directory \"{dir}\"; pid-file \"{dir}/pid\"; session-keyfile \"{dir}/session\";\n\
             listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; notify no;\n\
             allow-transfer {{ any; }}; dnssec-validation no; min-refresh-time 1; }};\n"
        );
        for (zone, kind) in zones {
            config.push_str(&match kind {
                Zone::Primary(text) => {
                    put(folder.path(), zone, text);
                    let update = format!("allow-update {{ key \"{KEY_NAME}\"; }};");
                    format!("zone \"{zone}\" {{ type primary; file \"{zone}\"; {update} }};\n")
                }
                Zone::Secondary(of) => {
                    let from = format!("primaries {{ 127.0.0.1 port {}; }};", of.port);
                    format!("zone \"{zone}\" {{ type secondary; file \"{zone}\"; {from} }};\n")
                }
            });
        }
        let file = put(folder.path(), "named.conf", &config);
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new("named")
            .args(["-g", "-n", "1", "-c"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("named starts");
        let relays = relay((address, 53).into(), (Ipv4Addr::LOCALHOST, port).into()).await;
        let named = Self { child, folder, address, port, relays };
        for (zone, _) in zones {
            named.wait_for(zone).await;
        }
        named
    }

    async fn wait_for(&self, zone: &str) {
        let zone = name(zone).expect("a name");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let itself = (Ipv4Addr::LOCALHOST, self.port).into();
            let answer = ask(itself, &zone, RecordType::SOA, false).await;
            if answer.is_ok_and(|it| is_answer(it.metadata.response_code) && !it.answers.is_empty()) {
                return;
            }
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "named does not answer for {zone}:\n{}", log());
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn resolver(&self) -> SocketAddr {
        (self.address, 53).into()
    }

    /// A file that holds the TSIG key.
    pub(crate) fn key_file(&self) -> PathBuf {
        put(self.folder.path(), "tsig", KEY)
    }

    /// The options of a client of this server.
    pub(crate) fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("server", IpAddr::V4(self.address).to_string()),
            ("key_name", KEY_NAME.to_owned()),
            ("key_file", self.key_file().display().to_string()),
        ]
    }

    /// The TXT records of a name, in order.
    pub(crate) async fn texts(&self, record: &str) -> Vec<String> {
        let record = name(record).expect("a name");
        let answer = ask(self.resolver(), &record, RecordType::TXT, false).await.expect("an answer");
        let mut texts: Vec<String> =
            answer
                .answers
                .iter()
                .filter_map(|record| {
                    if let RData::TXT(text) = &record.data { Some(text.txt_data.concat()) } else { None }
                })
                .map(|text| String::from_utf8(text).expect("text"))
                .collect();
        texts.sort();
        texts
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        for relay in &self.relays {
            relay.abort();
        }
        // Errors say that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free for UDP and TCP, from below the range that the system takes outgoing ports from and above that of
/// other tests: nobody takes it before BIND does.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let start = u16::from_be_bytes([high, low]).wrapping_mul(4);
    for _ in 0..2700 {
        let port = 30_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 2700;
        let (tcp, udp) = (
            std::net::TcpListener::bind(("127.0.0.1", port)),
            std::net::UdpSocket::bind(("127.0.0.1", port)),
        );
        if tcp.is_ok() && udp.is_ok() {
            return port;
        }
    }
    panic!("no free port from 30000 to 32700");
}

/// Brings questions over UDP and TCP from one address to another, and the answers back.
async fn relay(from: SocketAddr, to: SocketAddr) -> [JoinHandle<()>; 2] {
    let udp = Arc::new(UdpSocket::bind(from).await.expect("port 53"));
    let tcp = TcpListener::bind(from).await.expect("port 53");
    let udp = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
            let (udp, question) = (Arc::clone(&udp), buffer[..length].to_vec());
            tokio::spawn(async move {
                let server = UdpSocket::bind("127.0.0.1:0").await?;
                server.connect(to).await?;
                server.send(&question).await?;
                let mut answer = [0; 4096];
                let length = server.recv(&mut answer).await?;
                udp.send_to(&answer[..length], client).await
            });
        }
    });
    let tcp = tokio::spawn(async move {
        while let Ok((mut client, _)) = tcp.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    [udp, tcp]
}

/// A zone file with name servers and further records; a secondary asks again after `refresh` seconds.
pub(crate) fn zone_file(servers: &[Ipv4Addr], refresh: u32, records: &str) -> String {
    let mut text = format!("$TTL 60\n@ SOA ns1 root 1 {refresh} 1 3600 5\n");
    for (n, address) in (1..).zip(servers) {
        text.push_str(&format!("@ NS ns{n}\nns{n} A {address}\n"));
    }
    text.push_str(records);
    text.push('\n');
    text
}

fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    durable::replace(&path, text.as_bytes(), 0o600, Durability::Synced).expect("written");
    path
}
