//! The servers that are compared, each alone on the core of the servers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use switcher::demo::trouble::Trouble;
use switcher_tests::certificate::{Certificate, put};
use switcher_tests::port::Port;
use switcher_tests::program;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use super::backend;
use super::load::{Body, Errand, Protocol, connect, request};
use super::wire::Wire;
use crate::handshakes::cores::{Cores, used_by};
use crate::peer::config::{self, Door, HOST, Ours};
use crate::peer::{Peer, caddy, find, folder};

/// How long a server may take to start; one with thousands of applications takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server is watched to see whether it is at rest.
const WATCH: Duration = Duration::from_millis(300);

/// A program that can be started as a server.
#[derive(Debug, Clone)]
pub enum Maker {
    /// This proxy.
    Ours(Ours),
    /// nginx.
    Nginx(PathBuf),
    /// `HAProxy`.
    Haproxy(PathBuf),
    /// Caddy.
    Caddy(PathBuf),
}

/// The others that can be had, with their names; and why the rest cannot.
#[must_use]
pub fn others() -> (Vec<(&'static str, Maker)>, Vec<String>) {
    let installed = |name: &str| find(name).ok_or_else(|| format!("{name} is not installed"));
    let found = [
        ("nginx", installed("nginx").map(Maker::Nginx)),
        ("HAProxy", installed("haproxy").map(Maker::Haproxy)),
        ("Caddy", caddy::program().map(Maker::Caddy)),
    ];
    let (mut here, mut skipped) = (Vec::new(), Vec::new());
    for (name, maker) in found {
        match maker {
            Ok(maker) => here.push((name, maker)),
            Err(why) => skipped.push(format!("skipped: {name}: {why}")),
        }
    }
    (here, skipped)
}

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct Server {
    peer: Peer,
    door: Door,
    /// Whether HTTP/2 in clear text has a door of its own.
    apart: bool,
    _ports: [Port; 3],
}

/// What all servers of a run share.
#[derive(Debug)]
pub struct Place {
    /// Whose core is whose.
    pub cores: Cores,
    /// The application.
    pub backend: SocketAddr,
    /// The certificate, without extension.
    pub certificate: PathBuf,
    _folder: TempDir,
}

impl Place {
    /// Cores, application and certificate. Whatever this process starts from here on stays on the core of the load.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make() -> Result<Self, Trouble> {
        let cores = Cores::of_this_machine()?;
        cores.pin_to_load()?;
        let folder = folder()?;
        let (certificate, key) = Certificate::of(&[HOST]).write(folder.path(), "shop");
        let read = |path| std::fs::read_to_string(path).map_err(Trouble::system("read a certificate"));
        put(&folder.path().join("shop.pem"), &(read(certificate)? + &read(key)?));
        let certificate = folder.path().join("shop");
        Ok(Self { cores, backend: backend::start()?, certificate, _folder: folder })
    }
}

/// A runtime for the load, on the thread that asks.
///
/// # Errors
/// When the system refuses.
pub fn runtime() -> Result<Runtime, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Trouble::system("start the runtime"))
}

impl Server {
    /// Starts it and waits until a request comes back from the application.
    ///
    /// # Errors
    /// When that does not happen.
    ///
    /// # Panics
    /// When this proxy is not built, or is older than its sources.
    pub async fn start(maker: &Maker, place: &Place) -> Result<Self, Trouble> {
        let apart = matches!(maker, Maker::Nginx(_));
        let asked = request(Body::Small);
        Self::with(place, apart, &asked, |door, file| maker.line(door, place.backend, file)).await
    }

    /// Starts what `write` makes of its door and the name of its configuration: that one's text, and the command line. It
    /// is there once `asked` is answered.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn with(
        place: &Place,
        apart: bool,
        asked: &[u8],
        write: impl FnOnce(&Door, &str) -> (String, Vec<String>),
    ) -> Result<Self, Trouble> {
        let (folder, ports) = (folder()?, [(); 3].map(|()| Port::reserve()));
        let [http, https, h2c] = ports.each_ref().map(Port::address);
        let certificate = place.certificate.clone();
        let door = Door { folder: folder.path().to_owned(), http, https, h2c, certificate };
        let file = door.folder.join("config");
        let (text, line) = write(&door, &file.display().to_string());
        put(&file, &text);
        let words = place.cores.server_prefix().into_iter().chain(line).collect::<Vec<_>>();
        let peer = Peer::start(folder, &words, Signal::KILL)?;
        let mut server = Self { peer, door, apart, _ports: ports };
        server.wait(asked).await?;
        server.settle().await?;
        Ok(server)
    }

    /// Waits until it does nothing of its own any more, such as the first look at thousands of applications.
    async fn settle(&self) -> Result<(), Trouble> {
        let begun = Instant::now();
        let mut before = self.cpu()?;
        while begun.elapsed() < PATIENCE {
            sleep(WATCH).await;
            let now = self.cpu()?;
            if now.saturating_sub(before) < WATCH / 100 {
                return Ok(());
            }
            before = now;
        }
        let (what, last_words) = ("a server at rest".to_owned(), self.peer.last_words());
        Err(Trouble::Late { what, within: PATIENCE, last_words })
    }

    async fn wait(&mut self, asked: &[u8]) -> Result<(), Trouble> {
        let begun = Instant::now();
        loop {
            let Err(why) = self.answers(asked).await else { return Ok(()) };
            if self.peer.has_ended() {
                let waiting_for = "its first answer".to_owned();
                return Err(Trouble::Died { waiting_for, last_words: self.peer.last_words() });
            }
            if begun.elapsed() > PATIENCE {
                let last_words = format!("{why}; {}", self.peer.last_words());
                return Err(Trouble::Late {
                    what: "a first answer".to_owned(),
                    within: PATIENCE,
                    last_words,
                });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answers(&self, asked: &[u8]) -> std::io::Result<()> {
        for tls in [false, true] {
            let errand = Errand { protocol: Protocol::Http1, tls, body: Body::Small };
            let mut wire = Wire::over(connect(self.door(errand), errand).await?);
            let (head, _) = wire.ask(asked).await?;
            if head.word != "200" {
                return Err(std::io::Error::other(format!("{head:?} came")));
            }
        }
        Ok(())
    }

    /// Where an errand is run.
    #[must_use]
    pub const fn door(&self, errand: Errand) -> SocketAddr {
        match errand {
            Errand { tls: true, .. } => self.door.https,
            Errand { protocol: Protocol::Http2(_), .. } if self.apart => self.door.h2c,
            Errand { .. } => self.door.http,
        }
    }

    /// Where it shakes hands.
    #[must_use]
    pub const fn https(&self) -> SocketAddr {
        self.door.https
    }

    /// Its process, which is its only one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.peer.pid()
    }

    /// The processor time it has used so far.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu(&self) -> Result<Duration, Trouble> {
        used_by(self.pid())
    }
}

impl Maker {
    /// The configuration, and the command line that reads it from `file`.
    fn line(&self, door: &Door, backend: SocketAddr, file: &str) -> (String, Vec<String>) {
        let words = |program: &PathBuf, arguments: &[&str]| {
            let program = program.display().to_string();
            std::iter::once(program).chain(arguments.iter().map(|word| (*word).to_owned())).collect()
        };
        match self {
            Self::Ours(how) => {
                let program = program::find("switcher-proxy");
                (config::ours(door, backend, *how), words(&program, &["--config", file]))
            }
            Self::Nginx(program) => {
                let text = config::nginx(door, "master_process off;", &format!("server {backend};"));
                (text, words(program, &["-p", ".", "-c", file]))
            }
            Self::Haproxy(program) => {
                let text = config::haproxy(door, "", &format!("  server app {backend}"));
                (text, words(program, &["-db", "-f", file]))
            }
            Self::Caddy(program) => {
                let text = config::caddy(door, "off", backend);
                (text, words(program, &["run", "--adapter", "caddyfile", "--config", file]))
            }
        }
    }
}
