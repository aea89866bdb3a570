//! The commands that make this machine a host: a user, a folder, and with `--start` the services.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use switcher_config::settings::Settings;

use crate::cli::InitArgs;
use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::init::units::{self, Machine, Step};

/// What was run, and what is left to be run.
#[derive(Debug, Default)]
pub(super) struct Ran {
    /// The commands that were run.
    pub(super) done: Vec<String>,
    /// Those that a person runs.
    pub(super) next: Vec<String>,
}

/// Runs what is to be run here, as far as this user may and `--start` says so.
pub(super) fn steps(
    ctx: &Context,
    args: &InitArgs,
    config: &Path,
    settings: &Settings,
) -> Result<Ran, Failure> {
    if let Some(prefix) = &args.prefix {
        // This machine's users and services say nothing about the image's.
        return Ok(Ran { done: Vec::new(), next: units::image_steps(prefix) });
    }
    let machine = look(config);
    let watches = units::watches(settings);
    let (prepare, start) = units::steps(machine, &config.to_string_lossy(), watches);
    let mut ran = Ran::default();
    perform(ctx, &mut ran, &prepare, machine.root && !args.dry_run)?;
    perform(ctx, &mut ran, &start, machine.root && machine.systemd && args.start && !args.dry_run)?;
    if !watches {
        let later = "systemctl enable --now switcher-watch.service   # once an application has `watch`";
        ran.next.push(later.to_owned());
    }
    Ok(ran)
}

fn look(config: &Path) -> Machine {
    let there = |path: &str| Path::new(path).is_dir();
    // It is made for root and one group, which is root's until the proxy's user is there.
    let readable = config.metadata().is_ok_and(|file| file.mode() & 0o004 != 0 || file.gid() != 0);
    Machine {
        root: rustix::process::geteuid().is_root(),
        user: quiet(&["id", "-u", "switcher"]),
        state: there(units::STATE),
        deployments: there(units::DEPLOYMENTS),
        readable,
        systemd: Path::new("/run/systemd/system").is_dir(),
    }
}

/// Whether a command succeeds; its words do not matter.
fn quiet(words: &[&str]) -> bool {
    let [program, arguments @ ..] = words else { return false };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn perform(ctx: &Context, ran: &mut Ran, steps: &[Step], really: bool) -> Result<(), Failure> {
    for step in steps {
        let line = step.line();
        if !really {
            ran.next.push(line);
            continue;
        }
        let failed = |why: &str| {
            Failure::new(Code::InitStep, format!("`{line}` failed: {why}"), Live::Unchanged, ctx.again())
        };
        let [program, arguments @ ..] = step.words.as_slice() else { continue };
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| failed(&error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim()));
        }
        ran.done.push(line);
    }
    Ok(())
}
