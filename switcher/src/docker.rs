//! The Docker Engine, in our own words. The only folder that knows the engine's client library.
//!
//! [`Engine`] is one engine that answered; its methods lie beside what they are about: `resolve` asks a registry,
//! `pull` and `load` bring an image, `image` looks at what is there, `room` at the disk. Every error is a
//! [`DockerError`]: a sentence and a kind.

mod connect;
mod container;
mod credentials;
mod deadline;
mod error;
mod image;
mod info;
mod layers;
mod load;
pub mod logs;
pub mod network;
mod platform;
mod pull;
mod registry;
mod resolve;
mod room;
mod run;
mod services;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::Docker;

use crate::host::Tunnel;

pub use credentials::{RegistryLogin, folder as credentials_folder, registry_login};
pub use error::{DockerError, DockerErrorKind};
pub use image::{LocalImage, StoredImage};
pub use info::Info;
pub use layers::PullProgress;
pub use load::{LoadProgress, Loaded};
pub use resolve::Resolved;
pub use room::Room;

/// A Docker Engine that answered. Clones share it.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    about: Arc<About>,
    /// Docker's configuration folder, where the logins of registries are kept.
    credentials: Option<Arc<Path>>,
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
    /// What the engine is reached through; it ends with the last clone.
    _tunnel: Option<Arc<Tunnel>>,
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

    /// The same engine, with the logins of Docker's configuration folder ([`credentials_folder`] finds it). Without
    /// one, registries are asked without a login.
    #[must_use]
    pub fn with_credentials(self, folder: Option<PathBuf>) -> Self {
        Self { credentials: folder.map(Arc::from), ..self }
    }

    fn credentials_folder(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }

    /// What went wrong with `doing` (`pull ghcr.io/acme/shop:v1`), as people read it.
    fn failed(&self, doing: &str, error: &bollard::errors::Error) -> DockerError {
        DockerError::of(&self.about.name, doing, error)
    }
}
