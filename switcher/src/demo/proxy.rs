//! The real proxy as a child process: its folder, its configuration, its death and its return.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use switcher_config::durable::{Durability, replace};
use switcher_config::{PerSlot, Span, UpstreamAddress};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::child;
use super::load::Target;
use super::trouble::Trouble;
use crate::admin::Admin;

/// The name of the one application in the demo's configuration.
pub const APP: &str = "demo";

/// How many bytes of the log are repeated when something went wrong.
const LAST_WORDS: usize = 800;

/// A running proxy in a folder of its own. Dropping it kills it and removes the folder.
#[derive(Debug)]
pub struct Proxy {
    program: PathBuf,
    child: Child,
    target: Target,
    folder: TempDir,
}

impl Proxy {
    /// Writes a configuration for the two slots, blue live, and starts the proxy on it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, slots: &PerSlot<UpstreamAddress>, drain: Span) -> Result<Self, Trouble> {
        let folder = tempfile::Builder::new()
            .prefix("switcher-demo-")
            .tempdir()
            .map_err(Trouble::system("make a temporary folder"))?;
        let (plain, tls) = free_ports().map_err(Trouble::system("find a free port on 127.0.0.1"))?;
        let text = configuration(folder.path(), plain, tls, slots, drain);
        std::fs::create_dir(folder.path().join("data")).map_err(Trouble::system("make the data folder"))?;
        replace(&folder.path().join("switcher.yaml"), text.as_bytes(), 0o600, Durability::Synced).map_err(
            |error| Trouble::System { what: "write the configuration".to_owned(), source: error.source },
        )?;
        let child = launch(program, folder.path())?;
        let target = Target { plain, tls: Some(tls), host: "demo.test".to_owned() };
        Ok(Self { program: program.to_owned(), child, target, folder })
    }

    /// Its front door.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// A client for its admin API.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.socket())
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<(), Trouble> {
        child::kill(&mut self.child).await
    }

    /// Starts it again after [`Proxy::kill`], on what the dead one left behind.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<(), Trouble> {
        self.child = launch(&self.program, self.folder.path())?;
        Ok(())
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// The end of its log, for error messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = std::fs::read(self.folder.path().join("proxy.log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LAST_WORDS)..]).trim().to_owned()
    }
}

fn launch(program: &Path, folder: &Path) -> Result<Child, Trouble> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("proxy.log"))
        .map_err(Trouble::system("open the proxy's log"))?;
    let mut command = Command::new(program);
    // The demo's folder decides alone: no setting of the user's own environment reaches this proxy.
    let own = std::env::vars_os().map(|(name, _)| name);
    own.filter(|name| name.to_string_lossy().starts_with("SWITCHER_")).for_each(|name| {
        command.env_remove(name);
    });
    command.arg("--config").arg(folder.join("switcher.yaml")).current_dir(folder);
    command.stdout(log.try_clone().map_err(Trouble::system("share the proxy's log"))?).stderr(log);
    child::spawn(command)
}

/// Two ports that are free now: taken together so that they differ, and given back at once.
fn free_ports() -> std::io::Result<(SocketAddr, SocketAddr)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (one, two) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
    Ok((one.local_addr()?, two.local_addr()?))
}

/// The configuration. Streams and WebSockets get `drain`; what ends by itself may take its time.
fn configuration(
    folder: &Path,
    plain: SocketAddr,
    tls: SocketAddr,
    slots: &PerSlot<UpstreamAddress>,
    drain: Span,
) -> String {
    let (folder, blue, green) = (folder.display(), &slots.blue, &slots.green);
    format!(
        "proxy:
  http: {plain}
  https: {tls}
  admin: {folder}/admin.sock
  data_dir: {folder}/data
  access_log: \"off\"
apps:
  {APP}:
    tls: auto
    redirect: false
    slots:
      blue: [\"{blue}\"]
      green: [\"{green}\"]
    initial: blue
    health: {{path: /health, interval: 100ms, timeout: 2s, rise: 2, fall: 2}}
    drain: {{requests: 10s, uploads: 10s, streams: {drain}, websockets: {drain}, spread: 200ms}}
"
    )
}
