//! The Docker Engine, in our own words. The only folder that knows the engine's client library.
//!
//! [`Engine`] is one engine that answered; its methods lie beside what they are about: images here and in `pull`,
//! containers, networks and logs in their own files. Every error is a [`DockerError`]: a sentence and a kind.

mod connect;
mod container;
mod deadline;
mod error;
mod info;
pub mod logs;
pub mod network;
mod run;

use std::sync::Arc;

use bollard::Docker;

pub use error::{DockerError, DockerErrorKind};
pub use info::Info;

/// A Docker Engine that answered. Clones share it.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    about: Arc<About>,
}

/// What stays the same for as long as the connection is used.
#[derive(Debug)]
struct About {
    /// How messages name the engine, such as `unix:///var/run/docker.sock`.
    name: String,
    /// Whether the engine shares this machine's disks.
    local: bool,
    /// `1.41` is (1, 41).
    api: (u32, u32),
    /// The engine's own platform, `os/arch`.
    platform: String,
}

impl Engine {
    /// How messages name the engine, such as `unix:///var/run/docker.sock`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.about.name
    }

    /// Whether the engine shares this machine's disks.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.about.local
    }

    /// Whether the engine speaks this version of the API or a newer one; `1.44` is (1, 44).
    #[must_use]
    pub fn speaks(&self, version: (u32, u32)) -> bool {
        self.about.api >= version
    }

    /// What went wrong with `doing` (`pull ghcr.io/acme/shop:v1`), as people read it.
    fn failed(&self, doing: &str, error: &bollard::errors::Error) -> DockerError {
        DockerError::of(&self.about.name, doing, error)
    }
}
