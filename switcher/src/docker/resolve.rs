//! From the name of an image to the one thing it means now: a digest, and the platform for this engine.
//!
//! The registry is asked through the engine, which knows its mirrors, its proxies and its certificates. The digest of
//! an image for several platforms is that of its index: the same for every engine, so that like is compared with like.

use bollard::models::DistributionInspect;
use switcher_config::ImageReference;

use super::{DockerError, DockerErrorKind, Engine, LocalImage, credentials, platform};
use crate::deployment::PinnedImage;

/// What a name means now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The image to pull.
    pub image: PinnedImage,
    /// The digest of the image, or of its index when it is made for several platforms.
    pub digest: String,
    /// Every platform it is made for.
    pub platforms: Vec<String>,
    /// What people should know: that the registry was not asked.
    pub note: Option<String>,
}

impl Engine {
    /// Asks the registry what `asked` means now; pulls nothing. Without a tag and a digest `latest` is meant.
    ///
    /// An image that is asked for by digest and lies on the engine already needs no registry.
    ///
    /// # Errors
    /// When the registry does not answer, does not know the image, wants a login, or the image is not made for the
    /// platform (`wanted`, else the engine's own).
    pub async fn resolve(
        &self,
        asked: &ImageReference,
        wanted: Option<&str>,
    ) -> Result<Resolved, DockerError> {
        let wanted_here = wanted.unwrap_or_else(|| self.platform());
        match self.ask_registry(asked).await {
            Ok(found) => self.chosen(asked, &found, wanted_here),
            Err(error) if error.kind() == DockerErrorKind::RegistryUnreachable => {
                self.without_registry(asked, wanted_here, error).await
            }
            Err(error) => Err(error),
        }
    }

    async fn ask_registry(&self, asked: &ImageReference) -> Result<DistributionInspect, DockerError> {
        let login = credentials::login(self.credentials_folder(), asked.registry()).await?;
        let known = login.is_some();
        self.docker
            .inspect_registry_image(&sought(asked), login)
            .await
            .map_err(|error| self.refused_image(asked, known, &error))
    }

    fn chosen(
        &self,
        asked: &ImageReference,
        found: &DistributionInspect,
        wanted: &str,
    ) -> Result<Resolved, DockerError> {
        let digest = asked.digest().or(found.descriptor.digest.as_deref()).ok_or_else(|| {
            let message = format!("the engine at {} did not say the digest of {asked}", self.name());
            DockerError::new(DockerErrorKind::Gibberish, message)
        })?;
        let platforms: Vec<String> = found.platforms.iter().filter_map(platform::of_image).collect();
        let platform = choose(asked, &platforms, wanted)?;
        Ok(Resolved {
            image: pinned(asked, digest, platform),
            digest: digest.to_owned(),
            platforms,
            note: None,
        })
    }

    /// The registry does not answer: the very digest may be on the engine already.
    async fn without_registry(
        &self,
        asked: &ImageReference,
        wanted: &str,
        error: DockerError,
    ) -> Result<Resolved, DockerError> {
        let Some(local) = self.image(&sought(asked)).await? else { return Err(error) };
        let Some(digest) = asked.digest() else { return Err(offered(asked, &local, error)) };
        let platform = choose(asked, std::slice::from_ref(&local.platform), wanted)?;
        Ok(Resolved {
            image: pinned(asked, digest, platform),
            digest: digest.to_owned(),
            platforms: vec![local.platform],
            note: Some(format!(
                "the registry {} does not answer; {asked} lies on the engine already, and a digest is always the same \
                 image",
                asked.registry()
            )),
        })
    }
}

/// The registry's failure, with the digest that could be deployed without it.
fn offered(asked: &ImageReference, local: &LocalImage, error: DockerError) -> DockerError {
    let name = asked.name();
    let ours = |digest: &&String| digest.parse::<ImageReference>().is_ok_and(|image| image.name() == name);
    match local.repo_digests.iter().find(ours) {
        Some(digest) => DockerError::new(
            error.kind(),
            format!(
                "{error}. What the engine has under that name, perhaps not the newest, can be deployed as {digest}"
            ),
        ),
        None => error,
    }
}

/// What the engine is asked for: the digest wins over the tag, and without either `latest` is meant.
fn sought(asked: &ImageReference) -> String {
    match (asked.tag(), asked.digest()) {
        (_, Some(digest)) => asked.at_digest(digest).to_string(),
        (Some(_), None) => asked.to_string(),
        (None, None) => asked.at_tag("latest").to_string(),
    }
}

fn pinned(asked: &ImageReference, digest: &str, platform: String) -> PinnedImage {
    PinnedImage { asked: asked.clone(), pinned: asked.at_digest(digest).to_string(), platform }
}

/// The platform to pull. A registry that names none (old formats) leaves it to the engine.
fn choose(asked: &ImageReference, offered: &[String], wanted: &str) -> Result<String, DockerError> {
    if offered.is_empty() {
        return Ok(wanted.to_owned());
    }
    platform::choose(wanted, offered).ok_or_else(|| {
        let message = format!(
            "{asked} is not made for {wanted}; it is made for {}. Build it for {wanted} too (`docker buildx build \
             --platform {wanted}`), or set `platform` to one that the engine can run",
            offered.join(", ")
        );
        DockerError::new(DockerErrorKind::Platform, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_for_other_platforms_is_refused_with_their_list() {
        let asked: ImageReference = "ghcr.io/acme/shop:v1".parse().expect("an image");
        let offered = ["linux/arm64", "linux/arm/v7"].map(str::to_owned);
        assert_eq!(choose(&asked, &offered, "linux/arm64"), Ok("linux/arm64".to_owned()));
        let error = choose(&asked, &offered, "linux/amd64").expect_err("it is not made for that");
        assert_eq!(error.kind(), DockerErrorKind::Platform);
        assert!(error.to_string().contains("linux/arm64, linux/arm/v7"), "{error}");
        assert_eq!(choose(&asked, &[], "linux/amd64"), Ok("linux/amd64".to_owned()));
    }

    #[test]
    fn a_digest_wins_over_the_tag_and_latest_is_meant_without_both() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("shop", "docker.io/library/shop:latest".to_owned()),
            ("shop:v1", "docker.io/library/shop:v1".to_owned()),
            (&format!("shop:v1@{digest}"), format!("docker.io/library/shop@{digest}")),
        ] {
            assert_eq!(sought(&text.parse().expect(text)), expected);
        }
    }

    #[test]
    fn without_the_registry_the_digest_that_is_there_is_offered() {
        let asked: ImageReference = "ghcr.io/acme/shop:v1".parse().expect("an image");
        let digest = format!("ghcr.io/acme/shop@sha256:{}", "a".repeat(64));
        let local = LocalImage {
            id: String::new(),
            repo_digests: vec![format!("acme/shop@sha256:{}", "b".repeat(64)), digest.clone()],
            repo_tags: Vec::new(),
            labels: std::collections::BTreeMap::new(),
            healthcheck: false,
            size: 0,
            platform: "linux/amd64".to_owned(),
        };
        let down = DockerError::new(DockerErrorKind::RegistryUnreachable, "it is down".to_owned());
        let error = offered(&asked, &local, down.clone());
        assert_eq!(error.kind(), DockerErrorKind::RegistryUnreachable);
        assert!(error.to_string().ends_with(&digest), "{error}");
        assert_eq!(offered(&asked, &LocalImage { repo_digests: Vec::new(), ..local }, down.clone()), down);
    }
}
