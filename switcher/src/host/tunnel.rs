//! One `ssh` that brings two sockets of a server to this machine: the engine's and the proxy's.
//!
//! Its invariant: the child and the folder with its sockets end with this value, and the kernel ends the child when
//! this process dies without a chance to clean up. `ssh` uses the user's own keys, known hosts and jump hosts; it never
//! asks anything, so what it cannot do without a person is an error with its own words.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Signal, set_parent_process_death_signal};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use super::SshHost;

/// How long `ssh` may take to log in.
const LOGIN: Duration = Duration::from_secs(30);
/// How long what is behind a socket may take to say its first word.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// How often it is looked whether `ssh` is through.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of its words that are kept.
const WORDS: usize = 4;

/// Why there is no tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// There is no `ssh`.
    #[error(
        "ssh://{host} is reached by the program `ssh`, which is not on the PATH; install it (openssh-client)"
    )]
    NoSsh {
        /// The server.
        host: String,
    },
    /// `ssh` ended.
    #[error("the server {host} cannot be reached by ssh: {words}; try `ssh {command}` by hand{hint}")]
    Refused {
        /// The server.
        host: String,
        /// The last words of `ssh`.
        words: String,
        /// How to try it by hand.
        command: String,
        /// What else to do, or nothing.
        hint: &'static str,
    },
    /// `ssh` neither logged in nor gave up.
    #[error("the server {host} did not let ssh in within {}s: {words}; try `ssh {command}` by hand", LOGIN.as_secs())]
    Slow {
        /// The server.
        host: String,
        /// The last words of `ssh`.
        words: String,
        /// How to try it by hand.
        command: String,
    },
    /// This machine has no place for the sockets.
    #[error("there is no place for the sockets of ssh://{host}: {words}")]
    NoPlace {
        /// The server.
        host: String,
        /// What the system said.
        words: String,
    },
}

/// A running tunnel.
#[derive(Debug)]
pub struct Tunnel {
    host: SshHost,
    admin: PathBuf,
    /// Before the folder: its sockets are no longer used when they go.
    _child: Child,
    folder: TempDir,
}

impl Tunnel {
    /// Logs in and waits until both sockets are there. `admin` is the path of the proxy's admin socket on the server;
    /// the sockets of this end are made in a new folder in `place` that nobody else may enter.
    ///
    /// # Errors
    /// When `ssh` is missing, gives up, or is not through in time.
    pub async fn open(host: &SshHost, admin: &Path, place: &Path) -> Result<Self, TunnelError> {
        let folder = tempfile::Builder::new()
            .prefix("switcher-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(place)
            .map_err(|error| TunnelError::NoPlace {
                host: host.to_string(),
                words: format!("{}: {error}", place.display()),
            })?;
        let mut child = spawn(host, admin, folder.path())?;
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let listener = child.stderr.take().map(|stderr| listen(stderr, Arc::clone(&words)));
        match timeout(LOGIN, through(&mut child, folder.path())).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                if let Some(listener) = listener {
                    // Its last words may still be on their way; they end with it.
                    let _ = timeout(Duration::from_secs(1), listener).await;
                }
                return Err(refused(host, joined(&words)));
            }
            Ok(Err(error)) => return Err(refused(host, error.to_string())),
            Err(_) => {
                let (host, command) = (host.to_string(), by_hand(host));
                return Err(TunnelError::Slow { host, words: joined(&words), command });
            }
        }
        Ok(Self { host: host.clone(), admin: admin.to_owned(), _child: child, folder })
    }

    /// The server.
    #[must_use]
    pub const fn host(&self) -> &SshHost {
        &self.host
    }

    /// This end of the engine's socket.
    #[must_use]
    pub fn engine(&self) -> PathBuf {
        self.folder.path().join(ENGINE)
    }

    /// This end of the proxy's admin socket.
    #[must_use]
    pub fn admin(&self) -> PathBuf {
        self.folder.path().join(ADMIN)
    }

    /// Whether the engine behind the tunnel answers.
    ///
    /// # Errors
    /// A sentence that names the server and its socket.
    pub async fn engine_answers(&self) -> Result<(), String> {
        self.answers(&self.engine(), "/_ping").await.map_err(|why| {
            format!(
                "there is no Docker Engine at {} on the server {}: {why}; is Docker running there, and may this user \
                 use it (group `docker`, or root)?",
                self.host.socket.display(),
                self.host
            )
        })
    }

    /// Whether the proxy behind the tunnel answers.
    ///
    /// # Errors
    /// A sentence that names the server and its socket.
    pub async fn admin_answers(&self) -> Result<(), String> {
        self.answers(&self.admin(), "/health").await.map_err(|why| {
            format!(
                "no proxy answers at {} on the server {}: {why}; is `switcher-proxy` running there, and may this user \
                 open its admin socket (the proxy's user, or root)?",
                self.admin.display(),
                self.host
            )
        })
    }

    /// The far end is opened when this one is, so only an answer tells whether somebody is there.
    async fn answers(&self, socket: &Path, path: &str) -> Result<(), String> {
        let first = async {
            let mut stream = listened(socket).await?;
            let question = format!("GET {path} HTTP/1.1\r\nHost: switcher\r\nConnection: close\r\n\r\n");
            stream.write_all(question.as_bytes()).await?;
            stream.read(&mut [0; 1]).await
        };
        match timeout(FIRST_WORD, first).await {
            Ok(Ok(1..)) => Ok(()),
            // The words of `ssh` about it ("open failed") say no more.
            Ok(Ok(0) | Err(_)) => Err("the server closed the connection at once".to_owned()),
            Err(_) => Err(format!("it said nothing within {}s", FIRST_WORD.as_secs())),
        }
    }
}

/// Connects to a socket that exists, and may not be listened on for another moment.
async fn listened(socket: &Path) -> io::Result<UnixStream> {
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            result => return result,
        }
    }
}

/// Names of the sockets in the folder.
const ENGINE: &str = "engine.sock";
const ADMIN: &str = "admin.sock";

fn spawn(host: &SshHost, admin: &Path, folder: &Path) -> Result<Child, TunnelError> {
    let mut command = Command::new("ssh");
    command
        .args(options(host, admin, folder))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is for us: what is under way needs the connection until it is safe to stop.
        .process_group(0)
        .kill_on_drop(true);
    // SAFETY: between fork and exec only async-signal-safe work is allowed; this is one prctl system call.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
    command.spawn().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            TunnelError::NoSsh { host: host.to_string() }
        } else {
            refused(host, error.to_string())
        }
    })
}

/// The arguments of `ssh`; pure. What the user's configuration might add to the connection is turned off.
fn options(host: &SshHost, admin: &Path, folder: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["-N", "-T"].map(OsString::from).into();
    for option in [
        "BatchMode=yes",
        "ExitOnForwardFailure=yes",
        "StreamLocalBindUnlink=yes",
        "StreamLocalBindMask=0177",
        "ConnectTimeout=15",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        // A shared connection would outlive us, and the sockets with it.
        "ControlMaster=no",
        "ControlPath=none",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
    ] {
        args.extend(["-o".into(), option.into()]);
    }
    for (name, remote) in [(ENGINE, host.socket.as_path()), (ADMIN, admin)] {
        let mut forward = escaped(&folder.join(name));
        forward.push(b':');
        forward.extend(escaped(remote));
        args.extend(["-L".into(), OsString::from_vec(forward)]);
    }
    if let Some(port) = host.port {
        args.extend(["-p".into(), port.to_string().into()]);
    }
    if let Some(user) = &host.user {
        args.extend(["-l".into(), user.into()]);
    }
    args.extend(["--".into(), OsString::from(&host.host)]);
    args
}

/// A path as `-L` takes it: colons part its fields, and per cent signs begin its words.
fn escaped(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.as_os_str().len());
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b':' | b'\\' => bytes.extend([b'\\', *byte]),
            b'%' => bytes.extend(b"%%"),
            other => bytes.push(*other),
        }
    }
    bytes
}

/// Waits until both sockets are there; false when `ssh` ended first.
async fn through(child: &mut Child, folder: &Path) -> io::Result<bool> {
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map(|_| false),
            _ = look.tick() => {}
        }
        // They are made after the login.
        if [ENGINE, ADMIN].iter().all(|name| folder.join(name).exists()) {
            return Ok(true);
        }
    }
}

/// Keeps the last words of `ssh`.
fn listen(stderr: ChildStderr, words: Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let line = line.trim();
            if !line.is_empty() {
                let mut words = words.lock();
                words.push_back(line.to_owned());
                if words.len() > WORDS {
                    words.pop_front();
                }
            }
        }
    })
}

fn joined(words: &Mutex<VecDeque<String>>) -> String {
    let words = words.lock();
    if words.is_empty() {
        return "ssh said nothing".to_owned();
    }
    words.iter().map(|line| line.trim_end_matches('.')).collect::<Vec<_>>().join("; ")
}

fn refused(host: &SshHost, words: String) -> TunnelError {
    let hint = if words.contains("Host key verification failed") {
        ", which shows the server's key and remembers it"
    } else if words.contains("Permission denied") {
        "; ssh asks for no password here: use a key, or an agent that holds it"
    } else {
        ""
    };
    TunnelError::Refused { host: host.to_string(), words, command: by_hand(host), hint }
}

fn by_hand(host: &SshHost) -> String {
    let at = host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = host.port.map(|port| format!("-p {port} ")).unwrap_or_default();
    format!("{port}{at}{}", host.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_name_both_sockets_and_end_the_options_before_the_host() {
        let host = SshHost {
            user: Some("deploy".to_owned()),
            host: "shop.example.com".to_owned(),
            port: Some(2222),
            socket: PathBuf::from("/var/run/docker.sock"),
        };
        let args: Vec<String> =
            options(&host, Path::new("/run/a:b%.sock"), Path::new("/run/user/0/switcher-x"))
                .into_iter()
                .map(|arg| arg.into_string().expect("UTF-8"))
                .collect();
        let line = args.join(" ");
        assert!(line.contains("-L /run/user/0/switcher-x/engine.sock:/var/run/docker.sock "), "{line}");
        assert!(line.contains(r"-L /run/user/0/switcher-x/admin.sock:/run/a\:b%%.sock "), "{line}");
        assert!(line.ends_with("-p 2222 -l deploy -- shop.example.com"), "{line}");
    }

    #[test]
    fn what_ssh_says_comes_with_what_to_try() {
        let host = SshHost {
            user: None,
            host: "shop.example.com".to_owned(),
            port: Some(2222),
            socket: PathBuf::from("/var/run/docker.sock"),
        };
        let text = refused(&host, "Host key verification failed".to_owned()).to_string();
        assert!(
            text.ends_with(
                "try `ssh -p 2222 shop.example.com` by hand, which shows the server's key and remembers it"
            ),
            "{text}"
        );
        let text = refused(&host, "deploy@shop: Permission denied (publickey)".to_owned()).to_string();
        assert!(text.contains("Permission denied (publickey)") && text.contains("use a key"), "{text}");
    }
}
