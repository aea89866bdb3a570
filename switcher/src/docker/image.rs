//! The images that lie on the engine: looked at, listed for pruning, removed.

use std::collections::BTreeMap;

use bollard::models::{ImageInspect, ImageSummary};
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use jiff::Timestamp;
use switcher_config::ImageReference;

use super::{DockerError, DockerErrorKind, Engine, platform};

/// The source commit an image was built from (OCI image specification, annotations).
const REVISION: &str = "org.opencontainers.image.revision";
/// The version of what is in an image.
const VERSION: &str = "org.opencontainers.image.version";

/// An image that lies on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// The engine's id: `sha256:…`. Two engines may name the same image differently.
    pub id: String,
    /// `name@sha256:…`, one for each repository it was pulled from or pushed to.
    pub repo_digests: Vec<String>,
    /// `name:tag`.
    pub repo_tags: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it brings a `HEALTHCHECK`.
    pub healthcheck: bool,
    /// Unpacked, in bytes; what it shares with other images included.
    pub size: u64,
    /// `os/arch[/variant]`.
    pub platform: String,
}

impl LocalImage {
    /// The source commit, as far as the image says it.
    #[must_use]
    pub fn git_commit(&self) -> Option<&str> {
        self.label(REVISION)
    }

    /// The version of what is in it, as far as the image says it.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.label(VERSION)
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// An image of a repository, as pruning looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// The engine's id.
    pub id: String,
    /// Its names within the repository: `name:tag` and `name@sha256:…`. Removing every one of them removes the image,
    /// unless it has names in other repositories.
    pub names: Vec<String>,
    /// When it was built.
    pub created: Timestamp,
    /// Unpacked, in bytes; what it shares with other images included.
    pub size: u64,
}

impl Engine {
    /// Looks at an image by `name@sha256:…`, `name:tag` or id; none when it is not on the engine.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn image(&self, name: &str) -> Result<Option<LocalImage>, DockerError> {
        match self.docker.inspect_image(name).await {
            Ok(found) => Ok(Some(local(found))),
            Err(error) => {
                let error = self.failed(&format!("look at the image {name}"), &error);
                if error.kind() == DockerErrorKind::NotFound { Ok(None) } else { Err(error) }
            }
        }
    }

    /// The images of a repository (tag and digest of `repository` do not matter), newest first.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn images(&self, repository: &ImageReference) -> Result<Vec<StoredImage>, DockerError> {
        let options = ListImagesOptionsBuilder::new().all(false).build();
        let listed = self
            .docker
            .list_images(Some(options))
            .await
            .map_err(|error| self.failed("list its images", &error))?;
        let name = repository.name();
        let mut found: Vec<StoredImage> =
            listed.into_iter().filter_map(|image| stored(image, &name)).collect();
        found.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    /// Removes a name of an image, and the image with its last name; never by force. Answers whether it was there.
    ///
    /// # Errors
    /// [`DockerErrorKind::Conflict`] when a container uses it; others when the engine cannot be asked.
    pub async fn remove_image(&self, name: &str) -> Result<bool, DockerError> {
        let options = RemoveImageOptionsBuilder::new().force(false).noprune(false).build();
        match self.docker.remove_image(name, Some(options), None).await {
            Ok(_) => Ok(true),
            Err(error) => {
                let error = self.failed(&format!("remove the image {name}"), &error);
                if error.kind() == DockerErrorKind::NotFound { Ok(false) } else { Err(error) }
            }
        }
    }
}

fn local(found: ImageInspect) -> LocalImage {
    let config = found.config.unwrap_or_default();
    let check = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
    LocalImage {
        id: found.id.unwrap_or_default(),
        repo_digests: found.repo_digests.unwrap_or_default(),
        repo_tags: found.repo_tags.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        healthcheck: check.first().is_some_and(|kind| kind != "NONE"),
        size: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        platform: platform::joined(
            found.os.as_deref().unwrap_or_default(),
            found.architecture.as_deref().unwrap_or_default(),
            found.variant.as_deref(),
        ),
    }
}

/// The image with its names in the repository `name`; none without any.
fn stored(image: ImageSummary, name: &str) -> Option<StoredImage> {
    let ours = |text: &String| text.parse::<ImageReference>().is_ok_and(|image| image.name() == name);
    let names: Vec<String> = image.repo_tags.into_iter().chain(image.repo_digests).filter(ours).collect();
    (!names.is_empty()).then(|| StoredImage {
        id: image.id,
        names,
        created: Timestamp::from_second(image.created).unwrap_or(Timestamp::UNIX_EPOCH),
        size: u64::try_from(image.size).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(tags: &[&str], digests: &[&str]) -> ImageSummary {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ImageSummary { repo_tags: owned(tags), repo_digests: owned(digests), ..ImageSummary::default() }
    }

    #[test]
    fn an_image_belongs_to_a_repository_by_any_of_its_names() {
        let digest = format!("acme/shop@sha256:{}", "a".repeat(64));
        let both = summary(&["acme/shop:v1", "ghcr.io/acme/shop:v1"], &[&digest]);
        let found = stored(both, "docker.io/acme/shop").expect("an image of the repository");
        assert_eq!(found.names, ["acme/shop:v1", &digest]);
        let dangling = summary(&["<none>:<none>"], &[&digest]);
        assert_eq!(
            stored(dangling, "docker.io/acme/shop").expect("it has a digest").names,
            std::slice::from_ref(&digest)
        );
        assert_eq!(stored(summary(&["<none>:<none>"], &["<none>@<none>"]), "docker.io/acme/shop"), None);
        assert_eq!(stored(summary(&["acme/shopping:v1"], &[]), "docker.io/acme/shop"), None);
    }
}
