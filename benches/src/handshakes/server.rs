//! The servers that are compared: each a child on the core of the servers, with one worker and one thread.
//!
//! They get what a careful operator would give them, and what decides the cost of a handshake is the same for
//! all: certificate, key exchange, TLS 1.2 and 1.3, tickets, no access log for a connection without a request.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustls::pki_types::ServerName;
use switcher::demo::trouble::Trouble;
use switcher_tests::certificate::{Certificate, put};
use switcher_tests::port::Port;
use switcher_tests::{App, PATIENCE, Proxy, Setup, until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::cores::{Cores, used_by};

/// Certificates in files, one for each name: `nameN.crt`, `nameN.key`, and both in `nameN.pem`.
pub struct Certificates {
    folder: TempDir,
    count: usize,
}

fn name(number: usize) -> String {
    format!("name{number}.test")
}

impl Certificates {
    /// Makes P-256 certificates for this many names.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn make(count: usize) -> Result<Self, Trouble> {
        let folder = TempDir::new().map_err(Trouble::system("make a folder"))?;
        for number in 0..count {
            let (certificate, key) =
                Certificate::of(&[&name(number)]).write(folder.path(), &format!("name{number}"));
            let read = |path| std::fs::read_to_string(path).map_err(Trouble::system("read a certificate"));
            put(&folder.path().join(format!("name{number}.pem")), &(read(certificate)? + &read(key)?));
        }
        Ok(Self { folder, count })
    }

    /// The names.
    ///
    /// # Panics
    /// Never: they are names.
    #[must_use]
    pub fn names(&self) -> Vec<ServerName<'static>> {
        (0..self.count).map(|number| ServerName::try_from(name(number)).expect("a name")).collect()
    }

    fn file(&self, number: usize, extension: &str) -> String {
        self.folder.path().join(format!("name{number}.{extension}")).display().to_string()
    }

    /// The `tls` key of an app.
    fn tls(&self, number: usize) -> String {
        format!("{{certificate: {}, key: {}}}", self.file(number, "crt"), self.file(number, "key"))
    }
}

/// A running server. It ends when dropped.
pub struct Server(Kind);

enum Kind {
    /// The proxy, what is behind it, and what drives that.
    Ours {
        proxy: Box<Proxy>,
        _app: App,
        _runtime: Runtime,
    },
    Peer {
        child: Child,
        port: Port,
        _folder: TempDir,
    },
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.address()).finish()
    }
}

impl Server {
    /// This proxy, with an app for each certificate.
    ///
    /// # Errors
    /// When the system refuses something.
    ///
    /// # Panics
    /// When it is not built, or does not start.
    pub fn ours(cores: &Cores, certificates: &Certificates) -> Result<Self, Trouble> {
        let runtime = runtime()?;
        let (proxy, app) = runtime.block_on(async {
            let app = App::start("blue").await;
            // Healthy at the first look, and not looked at again while handshakes are measured.
            let health = "{path: /health, interval: 1h, rise: 1}";
            let mut setup = Setup::one(app.upstream())
                .proxy("threads", "1")
                .shop("hosts", &format!("[{}]", name(0)))
                .shop("tls", &certificates.tls(0))
                .shop("health", health);
            for number in 1..certificates.count {
                let (hosts, tls) = (format!("[{}]", name(number)), certificates.tls(number));
                // Fewer values than the harness gives.
                let drain = "{requests: 20s}";
                let keys = [("hosts", hosts.as_str()), ("tls", &tls), ("health", health), ("drain", drain)];
                setup = setup.another(&format!("app{number}"), app.upstream(), &keys);
            }
            let prefix = cores.server_prefix();
            let mut proxy = Proxy::spawn_within(setup, &prefix.each_ref().map(String::as_str));
            proxy.wait_ready().await;
            (Box::new(proxy), app)
        });
        Ok(Self(Kind::Ours { proxy, _app: app, _runtime: runtime }))
    }

    /// nginx, or nothing when it is not installed.
    ///
    /// # Errors
    /// When the system refuses something.
    ///
    /// # Panics
    /// When it does not start.
    pub fn nginx(cores: &Cores, certificates: &Certificates) -> Result<Option<Self>, Trouble> {
        let config = |folder: &Path, address: SocketAddr| {
            let (f, certificate, key) =
                (folder.display(), certificates.file(0, "crt"), certificates.file(0, "key"));
            format!(
                "worker_processes 1; daemon off; master_process off; pid {f}/pid; error_log stderr crit;
                events {{ worker_connections 4096; }}
                http {{
                  access_log off;
                  client_body_temp_path {f}; proxy_temp_path {f}; fastcgi_temp_path {f};
                  uwsgi_temp_path {f}; scgi_temp_path {f};
                  server {{
                    listen {address} ssl backlog=4096;
                    ssl_certificate {certificate}; ssl_certificate_key {key};
                    ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve X25519;
                    ssl_session_tickets on; ssl_session_timeout 1h;
                    location / {{ return 204; }}
                  }}
                }}\n"
            )
        };
        Self::peer(cores, &["nginx", "-p", ".", "-c"], config)
    }

    /// `HAProxy`, or nothing when it is not installed.
    ///
    /// # Errors
    /// When the system refuses something.
    ///
    /// # Panics
    /// When it does not start.
    pub fn haproxy(cores: &Cores, certificates: &Certificates) -> Result<Option<Self>, Trouble> {
        let config = |_: &Path, address: SocketAddr| {
            let pem = certificates.file(0, "pem");
            format!(
                "global\n  nbthread 1\n  maxconn 4096\n  tune.ssl.lifetime 3600\n\
                defaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n  timeout connect 5s\n  \
                option http-ignore-probes\n\
                frontend secure\n  bind {address} ssl crt {pem} curves X25519 ssl-min-ver TLSv1.2 \
                alpn http/1.1 backlog 4096\n  http-request return status 204\n"
            )
        };
        Self::peer(cores, &["haproxy", "-db", "-f"], config)
    }

    /// Starts a peer whose last argument is its configuration file.
    fn peer(
        cores: &Cores,
        command: &[&str],
        config: impl FnOnce(&Path, SocketAddr) -> String,
    ) -> Result<Option<Self>, Trouble> {
        // Debian keeps servers where only root's path leads.
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
        let program =
            std::env::split_paths(&path).map(|folder| folder.join(command[0])).find(|p| p.is_file());
        let Some(program) = program else { return Ok(None) };
        let folder = TempDir::new().map_err(Trouble::system("make a folder"))?;
        let port = Port::reserve();
        let file = folder.path().join("config");
        put(&file, &config(folder.path(), port.address()));
        let [taskset, option, core] = cores.server_prefix();
        let mut child = Command::new(taskset)
            .args([option, core])
            .arg(program)
            .args(&command[1..])
            .arg(&file)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(Trouble::system(format!("start {}", command[0])))?;
        runtime()?.block_on(until(PATIENCE, &format!("{} to listen", command[0]), || {
            let ended = child.try_wait().expect("the state of a child");
            assert!(ended.is_none(), "{} ended with {ended:?}; its words are above", command[0]);
            async { tokio::net::TcpStream::connect(port.address()).await.is_ok() }
        }));
        Ok(Some(Self(Kind::Peer { child, port, _folder: folder })))
    }

    /// Where it shakes hands.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match &self.0 {
            Kind::Ours { proxy, .. } => proxy.https(),
            Kind::Peer { port, .. } => port.address(),
        }
    }

    /// The processor time it has used so far.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu(&self) -> Result<Duration, Trouble> {
        match &self.0 {
            Kind::Ours { proxy, .. } => used_by(proxy.pid()),
            Kind::Peer { child, .. } => used_by(child.id()),
        }
    }
}

fn runtime() -> Result<Runtime, Trouble> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().map_err(Trouble::system("start the runtime"))
}

impl Drop for Kind {
    fn drop(&mut self) {
        if let Self::Peer { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
