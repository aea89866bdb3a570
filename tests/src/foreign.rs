//! Programs of others that a test runs beside ours: nginx, Caddy, Traefik, a collector of traces.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::until::{PATIENCE, until};

/// A process of this test alone, ended with its value.
#[derive(Debug)]
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// Where `./setup --tests` puts a current program, which is where the benches put it too.
#[must_use]
pub fn at_target(program: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let folders = fs::read_dir(target).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let named = format!("{program}-");
    let own =
        folders.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&named)));
    own.map(|path| path.join("bin").join(program)).find(|file| file.is_file())
}

/// Waits until somebody listens there.
pub async fn served(address: SocketAddr) {
    until(PATIENCE, "a listener", || async { tokio::net::TcpStream::connect(address).await.is_ok() }).await;
}

/// Starts a program in a folder.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn start(folder: &Path, program: &Path, arguments: &[&str]) -> Server {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    Server(command.spawn().expect("it starts"))
}
