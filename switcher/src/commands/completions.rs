//! `switcher completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Outcome;
use crate::cli::{Cli, CompletionShell};
use crate::context::Context;

/// Prints the script; `--json` changes nothing, since a script is the result.
pub(super) fn run(ctx: &Context, shell: CompletionShell) -> Outcome {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "switcher", &mut script);
    ctx.console.write(&String::from_utf8_lossy(&script)).map(drop)
}
