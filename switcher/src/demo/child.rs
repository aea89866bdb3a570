//! Child processes that never outlive the demo.
//!
//! Dropping a child kills it, and the kernel kills it when the demo itself dies without a chance to
//! clean up. That signal is tied to the thread that spawned the child, so children are spawned from the
//! thread that runs the whole demo, never from a worker of the runtime.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::process::{Child, Command};

use super::trouble::Trouble;

/// Starts `command`, without input, bound to the life of this process and this value.
pub(super) fn spawn(mut command: Command) -> Result<Child, Trouble> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    // SAFETY: between fork and exec only async-signal-safe work is allowed; this is one prctl system call.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.spawn().map_err(Trouble::system(format!("start {name}")))
}

/// Kills a child with SIGKILL and waits until it is gone, so that its ports are free again.
pub(super) async fn kill(child: &mut Child) -> Result<(), Trouble> {
    child.kill().await.map_err(Trouble::system("kill a child process"))
}

/// The programs that the demo plays with.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The command line, which is also the demo's application.
    pub switcher: PathBuf,
    /// The proxy.
    pub proxy: PathBuf,
}

impl Programs {
    /// This very program, and the proxy beside it or on the `PATH`.
    ///
    /// # Errors
    /// When the proxy is in neither place.
    pub fn of_this_process() -> Result<Self, Trouble> {
        let switcher = std::env::current_exe().map_err(Trouble::system("find this program"))?;
        let proxy = find("switcher-proxy", &folder_of(&switcher))?;
        Ok(Self { switcher, proxy })
    }

    /// Both programs from a folder, or from the `PATH`.
    ///
    /// # Errors
    /// When one is in neither place.
    pub fn in_folder(folder: &Path) -> Result<Self, Trouble> {
        Ok(Self { switcher: find("switcher", folder)?, proxy: find("switcher-proxy", folder)? })
    }
}

fn folder_of(program: &Path) -> PathBuf {
    program.parent().map(Path::to_owned).unwrap_or_default()
}

fn find(program: &'static str, beside: &Path) -> Result<PathBuf, Trouble> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside.to_owned())
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| Trouble::Missing { program, beside: beside.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_way_to_build_it() {
        let error = find("switcher-of-nobody", Path::new("/nonexistent")).expect_err("it is nowhere");
        let text = error.to_string();
        assert!(text.starts_with("switcher-of-nobody is neither in /nonexistent nor on the PATH"), "{text}");
        assert!(text.contains("cargo build"), "{text}");
    }

    #[tokio::test]
    async fn a_killed_child_is_gone() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut child = spawn(command).expect("started");
        assert!(child.try_wait().expect("asked").is_none());
        kill(&mut child).await.expect("killed");
        assert!(child.try_wait().expect("asked").is_some());
    }
}
