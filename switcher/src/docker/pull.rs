//! Brings a pinned image onto the engine, and tells how far it got.

use std::time::Duration;

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt as _;
use switcher_config::ImageReference;
use tokio::time::timeout;

use super::layers::Layers;
use super::{DockerError, DockerErrorKind, Engine, LocalImage, PullProgress, credentials, platform};
use crate::deployment::PinnedImage;

/// How long the engine may say nothing during a pull. It is silent while it verifies a large layer.
const SILENCE: Duration = Duration::from_secs(600);

impl Engine {
    /// Pulls the image by its digest for its platform, and answers what then lies on the engine. No tag is made or
    /// moved. An image that is there already is not asked for again: a digest is always the same image.
    ///
    /// # Errors
    /// When the registry or the engine refuses, when there is no room, or when what came is made for another platform.
    pub async fn pull(
        &self,
        image: &PinnedImage,
        on: &mut dyn FnMut(PullProgress),
    ) -> Result<LocalImage, DockerError> {
        if let Some(there) = self.image(&image.pinned).await?
            && platform::same(&image.platform, &there.platform)
        {
            return Ok(there);
        }
        let Some((name, digest)) = image.pinned.split_once('@') else {
            let message = format!("the image {} is no longer on the engine; load it once more", image.pinned);
            return Err(DockerError::new(DockerErrorKind::NotFound, message));
        };
        let room = self.room().await?;
        room.fits(0)?;
        let login = credentials::login(self.credentials_folder(), image.asked.registry()).await?;
        let known = login.is_some();
        let options =
            CreateImageOptionsBuilder::new().from_image(name).tag(digest).platform(&image.platform).build();
        let mut events = self.docker.create_image(Some(options), None, login);
        let mut layers = Layers::default();
        let mut told = PullProgress::default();
        loop {
            let event = match timeout(SILENCE, events.next()).await {
                Ok(None) => break,
                Ok(Some(event)) => event.map_err(|error| self.refused_image(&image.asked, known, &error))?,
                Err(_) => return Err(silent(&image.asked)),
            };
            if let Some(progress) = layers.hear(&event)
                && progress != told
            {
                if progress.bytes_total > told.bytes_total {
                    // Dropping the events makes the engine stop.
                    room.fits(progress.bytes_total)?;
                }
                told = progress;
                on(progress);
            }
        }
        self.pulled(image).await
    }

    /// What came.
    async fn pulled(&self, image: &PinnedImage) -> Result<LocalImage, DockerError> {
        let Some(found) = self.image(&image.pinned).await? else {
            let message = format!(
                "the engine at {} pulled {} and does not have it: somebody removed it meanwhile",
                self.name(),
                image.pinned
            );
            return Err(DockerError::new(DockerErrorKind::NotFound, message));
        };
        if platform::same(&image.platform, &found.platform) {
            return Ok(found);
        }
        let message = format!(
            "{} is made for {}, and {} was asked for; build it for {}, or set `platform`",
            image.asked, found.platform, image.platform, image.platform
        );
        Err(DockerError::new(DockerErrorKind::Platform, message))
    }
}

fn silent(asked: &ImageReference) -> DockerError {
    let message = format!(
        "the engine said nothing about the pull of {asked} for {} minutes; is the registry {} reachable?",
        SILENCE.as_secs() / 60,
        asked.registry()
    );
    DockerError::new(DockerErrorKind::RegistryUnreachable, message)
}
