//! The gates and the measurements of Switcher, built on the stage and the load of `switcher demo`.

use std::path::{Path, PathBuf};

pub mod compare;
pub mod compare_swap;
pub mod drain_gate;
pub mod features;
pub mod handshakes;
pub mod mirror;
pub mod options;
pub mod peer;
pub mod quiet;
pub mod readme;

/// The root of the repository.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The folder of what is built.
fn target() -> PathBuf {
    root().join("target")
}
