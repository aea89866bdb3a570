//! A server behind a real SSH service on the loopback address, and an `ssh` that knows it as `server`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::certificate::put;
use crate::daemon::{Daemon, lacking, program};
use crate::http1::Http1;
use crate::port::Port;
use crate::switcher::Switcher;
use crate::until::{PATIENCE, until};

/// An SSH service on the loopback address, and an `ssh` that knows it as `server`.
pub struct SshServer {
    folder: TempDir,
    _daemon: Daemon,
}

impl SshServer {
    /// Why this machine cannot run one, if it cannot.
    #[must_use]
    pub fn lacks() -> Option<String> {
        lacking(&["sshd", "ssh", "ssh-keygen"])
    }

    /// Starts it, with a key of its own for whoever may come in.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("switcher-sshd-").tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["host", "key"] {
            let file = at(name);
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
            assert!(made.expect("ssh-keygen").success());
        }
        let port = Port::reserve();
        let address = port.address();
        let service = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPasswordAuthentication no\n",
            at("host").display(),
            at("key.pub").display()
        );
        put(&at("sshd_config"), &service);
        let host_key = std::fs::read_to_string(at("host.pub")).expect("a key");
        put(&at("known"), &format!("[{}]:{} {host_key}", address.ip(), address.port()));
        let client = format!(
            "Host server stranger\n  HostName {}\n  Port {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n\
             Host server\n  IdentityFile {}\n",
            address.ip(),
            address.port(),
            at("known").display(),
            at("key").display()
        );
        put(&at("ssh_config"), &client);
        let real = program("ssh").expect("ssh");
        let wrapper =
            format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", real.display(), at("ssh_config").display());
        std::fs::create_dir(at("bin")).expect("a folder");
        executable(&at("bin/ssh"), &wrapper);
        // It insists on this folder, which a machine without a running service lacks.
        std::fs::create_dir_all("/run/sshd").expect("a folder");
        let mut command = Command::new(program("sshd").expect("sshd"));
        command.args(["-D", "-e", "-f"]).arg(at("sshd_config"));
        let mut daemon = Daemon::spawn("sshd", command);
        until(PATIENCE, "sshd to answer", || {
            daemon.insist();
            async { Http1::try_connect(address).await.is_ok() }
        })
        .await;
        Self { folder, _daemon: daemon }
    }

    /// The command line with this `ssh` before the machine's own, and its sockets in a folder of the test.
    ///
    /// # Panics
    /// When that folder cannot be made.
    #[must_use]
    pub fn reached_by(&self, switcher: Switcher) -> Switcher {
        let path = std::env::var("PATH").unwrap_or_default();
        std::fs::create_dir_all(self.sockets()).expect("a folder");
        switcher
            .with("PATH", &format!("{}:{path}", self.folder.path().join("bin").display()))
            .with("XDG_RUNTIME_DIR", &self.sockets().display().to_string())
    }

    /// The folder of those sockets.
    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.folder.path().join("run")
    }
}

fn executable(path: &Path, text: &str) {
    use switcher_config::durable::{Durability, replace};
    replace(path, text.as_bytes(), 0o755, Durability::Unsynced).expect("a written file");
}
