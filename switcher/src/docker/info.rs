//! What the engine says of itself.

use super::{DockerError, Engine};

/// An engine, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The machine's name.
    pub name: String,
    /// Docker's version, such as `20.10.24`.
    pub version: String,
    /// The newest API it speaks, such as `1.41`.
    pub api_version: String,
    /// `os/arch`, in the words of images: `linux/amd64`, `linux/arm64`.
    pub platform: String,
    /// Where it keeps images and containers, on its own machine.
    pub root_dir: String,
    /// Whether containers outlive a restart of the engine.
    pub live_restore: bool,
}

impl Engine {
    /// Asks the engine what it is.
    ///
    /// # Errors
    /// When it cannot be reached or is not understood.
    pub async fn info(&self) -> Result<Info, DockerError> {
        let info = self.docker.info().await.map_err(|error| self.failed("describe itself", &error))?;
        let (major, minor) = self.about.api;
        Ok(Info {
            name: info.name.unwrap_or_default(),
            version: info.server_version.unwrap_or_default(),
            api_version: format!("{major}.{minor}"),
            platform: self.about.platform.clone(),
            root_dir: info.docker_root_dir.unwrap_or_default(),
            live_restore: info.live_restore_enabled.unwrap_or_default(),
        })
    }

    /// The engine's own platform, such as `linux/amd64`.
    #[must_use]
    pub fn platform(&self) -> &str {
        &self.about.platform
    }
}
