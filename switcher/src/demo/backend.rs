//! One running version of the demo's application, as a child process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use switcher_config::UpstreamAddress;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::app::LISTENING;
use super::child;
use super::trouble::Trouble;

const START: Duration = Duration::from_secs(15);

/// A running version. Dropping it kills it.
#[derive(Debug)]
pub struct Backend {
    program: PathBuf,
    version: String,
    broken: bool,
    address: SocketAddr,
    child: Child,
}

impl Backend {
    /// Starts a version on a free loopback port and waits until it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(switcher: &Path, version: &str, broken: bool) -> Result<Self, Trouble> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (child, address) = launch(switcher, version, broken, anywhere).await?;
        Ok(Self { program: switcher.to_owned(), version: version.to_owned(), broken, address, child })
    }

    /// Where it listens.
    #[must_use]
    pub fn upstream(&self) -> UpstreamAddress {
        UpstreamAddress::from_socket(self.address)
    }

    /// The version that its answers name.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<(), Trouble> {
        child::kill(&mut self.child).await
    }

    /// Starts it again after [`Backend::kill`], at the same address.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<(), Trouble> {
        (self.child, self.address) = launch(&self.program, &self.version, self.broken, self.address).await?;
        Ok(())
    }

    /// How many requests other than health checks it was sent, asked directly.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn served(&self) -> Result<u64, Trouble> {
        let answer = timeout(START, ask_served(self.address)).await;
        let answer = answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        answer.map_err(Trouble::system(format!("ask {} how much it served", self.version)))
    }
}

async fn launch(
    switcher: &Path,
    version: &str,
    broken: bool,
    listen: SocketAddr,
) -> Result<(Child, SocketAddr), Trouble> {
    let mut command = Command::new(switcher);
    command.args(["demo-app", "--version", version, "--listen", &listen.to_string()]);
    if broken {
        command.arg("--broken");
    }
    command.stdout(Stdio::piped());
    let mut child = child::spawn(command)?;
    let mut lines = BufReader::new(child.stdout.take().ok_or_else(no_output)?).lines();
    let first = timeout(START, lines.next_line()).await;
    let first = first.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let line = first.map_err(Trouble::system(format!("start {version} of the demo's application")))?;
    let address = line.as_deref().and_then(|line| line.strip_prefix(LISTENING)).and_then(|a| a.parse().ok());
    Ok((child, address.ok_or_else(no_output)?))
}

fn no_output() -> Trouble {
    Trouble::System {
        what: "start the demo's application".to_owned(),
        source: std::io::Error::other("it did not say where it listens"),
    }
}

async fn ask_served(address: SocketAddr) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /served HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let number = answer.rsplit_once("\r\n\r\n").and_then(|(_, body)| body.trim().parse().ok());
    number.ok_or_else(|| std::io::Error::other(format!("the answer was {answer:?}")))
}
