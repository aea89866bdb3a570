//! How others switch: the server, running between two versions, and the act that moves its traffic.
//!
//! Each act is the one its makers recommend, and counts as done when its command or API call has returned.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use switcher::demo::load::Target;
use switcher::demo::trouble::Trouble;
use switcher_tests::certificate::put;
use switcher_tests::http1;
use switcher_tests::port::Port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::peer::config::{self, Door, HOST};
use crate::peer::{Peer, caddy, find, folder};

const PATIENCE: Duration = Duration::from_secs(20);
const SERVERS: [&str; 2] = ["blue", "green"];

/// A way to switch, with the program that has it.
#[derive(Debug, Clone)]
pub enum Way {
    /// A file with the upstream is rewritten, then `nginx -s reload`.
    NginxReload(PathBuf),
    /// `set server … state` on `HAProxy`'s runtime API.
    HaproxyRuntime(PathBuf),
    /// The configuration is rewritten and checked, then SIGUSR2 to the master, as the service unit does.
    HaproxyReload(PathBuf),
    /// `POST /load` on Caddy's admin API.
    CaddyLoad(PathBuf),
}

impl Way {
    /// The name for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NginxReload(_) => "nginx, `nginx -s reload`",
            Self::HaproxyRuntime(_) => "HAProxy, runtime API",
            Self::HaproxyReload(_) => "HAProxy, reload",
            Self::CaddyLoad(_) => "Caddy, admin API",
        }
    }

    const fn program(&self) -> &PathBuf {
        match self {
            Self::NginxReload(program)
            | Self::HaproxyRuntime(program)
            | Self::HaproxyReload(program)
            | Self::CaddyLoad(program) => program,
        }
    }
}

/// The ways that can be had, and why the rest cannot.
#[must_use]
pub fn ways() -> (Vec<Way>, Vec<String>) {
    let installed = |name: &str| find(name).ok_or_else(|| format!("{name} is not installed"));
    let found = [
        ("nginx", installed("nginx").map(|program| vec![Way::NginxReload(program)])),
        (
            "HAProxy",
            installed("haproxy").map(|p| vec![Way::HaproxyRuntime(p.clone()), Way::HaproxyReload(p)]),
        ),
        ("Caddy", caddy::program().map(|program| vec![Way::CaddyLoad(program)])),
    ];
    let (mut here, mut skipped) = (Vec::new(), Vec::new());
    for (name, ways) in found {
        match ways {
            Ok(ways) => here.extend(ways),
            Err(why) => skipped.push(format!("skipped: {name}: {why}")),
        }
    }
    (here, skipped)
}

/// A running server between two versions.
#[derive(Debug)]
pub struct Rival {
    way: Way,
    peer: Peer,
    door: Door,
    backends: [SocketAddr; 2],
    /// The fourth is Caddy's admin API.
    ports: [Port; 4],
}

impl Rival {
    /// Starts it with the first version live, and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(way: &Way, backends: [SocketAddr; 2], certificate: &Path) -> Result<Self, Trouble> {
        let (folder, ports) = (folder()?, [(); 4].map(|()| Port::reserve()));
        let [http, https, h2c, admin] = ports.each_ref().map(Port::address);
        let certificate = certificate.to_owned();
        let door = Door { folder: folder.path().to_owned(), http, https, h2c, certificate };
        configure(way, &door, admin, backends, 0);
        let file = door.folder.join("config").display().to_string();
        let arguments: &[&str] = match way {
            Way::NginxReload(_) => &["-p", ".", "-c", &file],
            Way::HaproxyRuntime(_) | Way::HaproxyReload(_) => &["-W", "-db", "-f", &file],
            Way::CaddyLoad(_) => &["run", "--adapter", "caddyfile", "--config", &file],
        };
        let program = way.program().display().to_string();
        let line: Vec<_> =
            std::iter::once(program).chain(arguments.iter().map(|a| (*a).to_owned())).collect();
        // A master takes its workers along when it is asked to end.
        let end = if matches!(way, Way::CaddyLoad(_)) { Signal::KILL } else { Signal::TERM };
        let peer = Peer::start(folder, &line, end)?;
        let mut rival = Self { way: way.clone(), peer, door, backends, ports };
        rival.wait().await?;
        Ok(rival)
    }

    async fn wait(&mut self) -> Result<(), Trouble> {
        let begun = Instant::now();
        while TcpStream::connect(self.door.https).await.is_err() {
            if self.peer.has_ended() {
                let waiting_for = format!("{} to listen", self.way.name());
                return Err(Trouble::Died { waiting_for, last_words: self.peer.last_words() });
            }
            if begun.elapsed() > PATIENCE {
                let (what, last_words) = (format!("{} listening", self.way.name()), self.peer.last_words());
                return Err(Trouble::Late { what, within: PATIENCE, last_words });
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Its front door.
    #[must_use]
    pub fn target(&self) -> Target {
        Target { plain: self.door.http, tls: Some(self.door.https), host: HOST.to_owned() }
    }

    /// Moves traffic to one of the versions. Returns when its own way says that this is done.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn switch(&self, to: usize) -> Result<(), Trouble> {
        let admin = self.ports[3].address();
        let file = self.door.folder.join("config").display().to_string();
        let failed = || Trouble::system(format!("switch by {}", self.way.name()));
        match &self.way {
            Way::NginxReload(_) => {
                configure(&self.way, &self.door, admin, self.backends, to);
                self.command(&["-p", ".", "-c", &file, "-s", "reload"]).await
            }
            Way::HaproxyReload(_) => {
                configure(&self.way, &self.door, admin, self.backends, to);
                self.command(&["-W", "-c", "-q", "-f", &file]).await?;
                self.peer.signal(Signal::USR2)
            }
            Way::HaproxyRuntime(_) => self.tell(to).await.map_err(failed()),
            Way::CaddyLoad(_) => load(admin, &self.text(to)).await.map_err(failed()),
        }
    }

    fn text(&self, to: usize) -> String {
        config::caddy(&self.door, &self.ports[3].address().to_string(), self.backends[to])
    }

    async fn command(&self, arguments: &[&str]) -> Result<(), Trouble> {
        let name = self.way.name();
        let mut command = Command::new(self.way.program());
        let output = command.args(arguments).current_dir(self.peer.folder()).output().await;
        let output = output.map_err(Trouble::system(format!("run {name}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Trouble::system(format!("switch by {name}"))(io::Error::other(said)))
    }

    /// Both versions answer for a moment, so that no request finds none.
    async fn tell(&self, to: usize) -> io::Result<()> {
        let (new, old) = (SERVERS[to], SERVERS[1 - to]);
        let mut socket = UnixStream::connect(self.door.folder.join("admin.sock")).await?;
        let line = format!("set server app/{new} state ready; set server app/{old} state drain\n");
        socket.write_all(line.as_bytes()).await?;
        let mut said = String::new();
        socket.read_to_string(&mut said).await?;
        if said.trim().is_empty() { Ok(()) } else { Err(io::Error::other(said)) }
    }
}

/// Writes the files that lead to one of the versions.
fn configure(way: &Way, door: &Door, admin: SocketAddr, backends: [SocketAddr; 2], to: usize) {
    let (folder, file) = (door.folder.display(), door.folder.join("config"));
    let live = backends[to];
    match way {
        Way::NginxReload(_) => {
            put(&door.folder.join("upstream"), &format!("server {live};\n"));
            put(&file, &config::nginx(door, "", &format!("include {folder}/upstream;")));
        }
        Way::HaproxyRuntime(_) => {
            let [blue, green] = backends;
            let servers = format!("  server blue {blue}\n  server green {green} disabled");
            put(&file, &config::haproxy(door, &socket(door), &servers));
        }
        Way::HaproxyReload(_) => {
            put(&file, &config::haproxy(door, &socket(door), &format!("  server app {live}")))
        }
        Way::CaddyLoad(_) => put(&file, &config::caddy(door, &admin.to_string(), live)),
    }
}

/// The runtime API; the next process takes the listeners over it, so that a reload refuses nobody.
fn socket(door: &Door) -> String {
    format!("  stats socket {}/admin.sock mode 600 level admin expose-fd listeners", door.folder.display())
}

async fn load(admin: SocketAddr, text: &str) -> io::Result<()> {
    let head = format!(
        "POST /load HTTP/1.1\r\nHost: {admin}\r\nContent-Type: text/caddyfile\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    let mut wire = http1::Http1::try_connect(admin).await?;
    let answer = wire.try_exchange(&[head.as_bytes(), text.as_bytes()].concat()).await?;
    if answer.status == 200 { Ok(()) } else { Err(io::Error::other(answer.text())) }
}
