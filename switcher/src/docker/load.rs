//! Images that come as a file, as `docker save` writes it: for machines that reach no registry.
//!
//! Such an image has no digest of a registry, so what pins it is the engine's own id.

use std::io;
use std::path::Path;

use bollard::models::BuildInfo;
use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use switcher_config::ImageReference;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::{DockerError, DockerErrorKind, Engine, LocalImage, platform};
use crate::deployment::PinnedImage;

/// Bytes read from the file at once.
const CHUNK: usize = 256 * 1024;

/// How far a load got, in bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Sent to the engine.
    pub bytes: u64,
    /// The whole file.
    pub bytes_total: u64,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The engine's id: `sha256:…`.
    pub id: String,
    /// The tags that the file gave it.
    pub tags: Vec<String>,
    /// The image.
    pub image: LocalImage,
}

impl Loaded {
    /// The image pinned by its id. `asked` is what it is called: one of its tags, or the application's repository.
    #[must_use]
    pub fn pinned(&self, asked: ImageReference) -> PinnedImage {
        PinnedImage { asked, pinned: self.id.clone(), platform: self.image.platform.clone() }
    }
}

impl Engine {
    /// Streams a file of `docker save` (also compressed) to the engine.
    ///
    /// # Errors
    /// When the file cannot be read, holds no image or several, or there is no room for it.
    pub async fn load(&self, file: &Path, on: &mut dyn FnMut(LoadProgress)) -> Result<Loaded, DockerError> {
        let unread = |error: &io::Error| {
            let message = format!("the image file {} cannot be read: {error}", file.display());
            DockerError::new(DockerErrorKind::File, message)
        };
        let open = File::open(file).await.map_err(|error| unread(&error))?;
        let about = open.metadata().await.map_err(|error| unread(&error))?;
        if about.is_dir() {
            return Err(unread(&io::ErrorKind::IsADirectory.into()));
        }
        let bytes_total = about.len();
        self.room().await?.fits(bytes_total)?;
        let (sent, mut heard) = mpsc::unbounded_channel();
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let mut events = Box::pin(self.docker.import_image_stream(options, chunks(open, sent), None));
        let mut names = Names::default();
        loop {
            tokio::select! {
                Some(bytes) = heard.recv() => on(LoadProgress { bytes, bytes_total }),
                event = events.next() => match event {
                    None => break,
                    Some(Ok(event)) => names.hear(&event),
                    Some(Err(error)) => return Err(no_image(file, &self.failed("load the image", &error))),
                },
            }
        }
        self.loaded(file, names).await
    }

    /// Whether an image that is here can run on the engine, or on `wanted` when a platform was chosen.
    ///
    /// # Errors
    /// [`DockerErrorKind::Platform`] when it cannot.
    pub fn suits(&self, image: &LocalImage, wanted: Option<&str>) -> Result<(), DockerError> {
        let wanted = wanted.unwrap_or_else(|| self.platform());
        if platform::choose(wanted, std::slice::from_ref(&image.platform)).is_some() {
            return Ok(());
        }
        let message = format!(
            "the image is made for {}, and not for {wanted}; save one that is made for it",
            image.platform
        );
        Err(DockerError::new(DockerErrorKind::Platform, message))
    }

    async fn loaded(&self, file: &Path, names: Names) -> Result<Loaded, DockerError> {
        let mut found: Vec<LocalImage> = Vec::new();
        for name in names.tags.iter().chain(&names.ids) {
            if let Some(image) = self.image(name).await?
                && found.iter().all(|other| other.id != image.id)
            {
                found.push(image);
            }
        }
        match <[LocalImage; 1]>::try_from(found) {
            Ok([image]) => Ok(Loaded { id: image.id.clone(), tags: names.tags, image }),
            Err(none) if none.is_empty() => {
                let nothing = DockerError::new(DockerErrorKind::Refused, "it named no image".to_owned());
                Err(no_image(file, &nothing))
            }
            Err(several) => {
                let message = format!(
                    "{} holds {} images ({}); save the one to deploy alone: `docker save -o FILE IMAGE`",
                    file.display(),
                    several.len(),
                    names.tags.join(", ")
                );
                Err(DockerError::new(DockerErrorKind::File, message))
            }
        }
    }
}

/// What the engine says it loaded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    tags: Vec<String>,
    ids: Vec<String>,
}

impl Names {
    fn hear(&mut self, event: &BuildInfo) {
        for line in event.stream.as_deref().unwrap_or_default().lines() {
            if let Some(tag) = line.strip_prefix("Loaded image: ") {
                self.tags.push(tag.trim().to_owned());
            } else if let Some(id) = line.strip_prefix("Loaded image ID: ") {
                self.ids.push(id.trim().to_owned());
            }
        }
    }
}

/// The file in pieces; tells how much of it has gone.
fn chunks(file: File, sent: mpsc::UnboundedSender<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some((file, 0_u64)), move |state| {
        let sent = sent.clone();
        async move {
            let (mut file, before) = state?;
            let mut chunk = vec![0; CHUNK];
            match file.read(&mut chunk).await {
                Ok(0) => None,
                Ok(read) => {
                    chunk.truncate(read);
                    let now = before + read as u64;
                    // Whoever no longer listens wants no progress.
                    let _ = sent.send(now);
                    Some((Ok(Bytes::from(chunk)), Some((file, now))))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}

/// A file that the engine does not take; other trouble stays what it is.
fn no_image(file: &Path, error: &DockerError) -> DockerError {
    if matches!(error.kind(), DockerErrorKind::Refused | DockerErrorKind::NotFound) {
        let message = format!("{} is no image as `docker save` writes it: {error}", file.display());
        return DockerError::new(DockerErrorKind::File, message);
    }
    error.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_ids_are_read_from_the_engines_words() {
        let mut names = Names::default();
        for text in ["Loaded image: acme/shop:v1\n", "Loaded image ID: sha256:aaa\n", "Loading layer\n"] {
            names.hear(&BuildInfo { stream: Some(text.to_owned()), ..BuildInfo::default() });
        }
        assert_eq!(
            names,
            Names { tags: vec!["acme/shop:v1".to_owned()], ids: vec!["sha256:aaa".to_owned()] }
        );
    }
}
