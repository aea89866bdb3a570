//! The commands that make this machine a host: a user, a folder, and with `--start` the services.

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
pub(super) fn steps(ctx: &Context, args: &InitArgs, settings: &Settings) -> Result<Ran, Failure> {
    let machine = look();
    let watches = units::watches(settings);
    let (prepare, start) = units::steps(machine, watches);
    let here = args.prefix.is_none();
    let mut ran = Ran::default();
    perform(ctx, &mut ran, &prepare, here && machine.root && !args.dry_run)?;
    perform(ctx, &mut ran, &start, here && machine.root && machine.systemd && args.start && !args.dry_run)?;
    if !watches {
        let later = "systemctl enable --now switcher-watch.service   # once an application has `watch`";
        ran.next.push(later.to_owned());
    }
    Ok(ran)
}

fn look() -> Machine {
    let state = Path::new(units::STATE);
    Machine {
        root: rustix::process::geteuid().is_root(),
        user: quiet(&["id", "-u", "switcher"]),
        state: state.is_dir(),
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
