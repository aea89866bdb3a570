//! Which image somebody means with `deploy v1.5.0`, and whether it may be deployed here. Pure.

use switcher_config::ImageReference;

use crate::deployment::PinnedImage;

/// Why an argument names no image that may be deployed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDeployable {
    /// It is a tag, and the configuration names no repository.
    #[error(
        "\"{0}\" is a tag, and `deploy.image` of the application does not say of which image; name the whole image, such as ghcr.io/acme/shop:{0}"
    )]
    TagAlone(String),
    /// It is no image at all.
    #[error("{0:?} is no name of an image; write for example `ghcr.io/acme/shop:v1.5.0`")]
    NoImage(String),
    /// It moves: nobody can say later what was deployed.
    #[error(
        "{0} moves: whoever deploys it in production cannot say later what ran; name a version, or allow it with --allow-latest"
    )]
    Latest(ImageReference),
}

/// What is deployed where.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The repository that the configuration names.
    pub image: Option<&'a ImageReference>,
    /// The environment.
    pub environment: &'a str,
    /// Whether `latest` is allowed, by configuration or command line.
    pub allow_latest: bool,
}

/// The image that an argument means.
///
/// # Errors
/// When it means none, or one that may not be deployed here.
pub fn asked(argument: &str, ground: Ground<'_>) -> Result<ImageReference, NotDeployable> {
    let no_image = || NotDeployable::NoImage(argument.to_owned());
    let image = match (ground.image, is_tag(argument), digest(argument)) {
        (Some(image), _, Some(digest)) => {
            let whole = format!("{}@{digest}", image.name());
            whole.parse().map_err(|_| no_image())?
        }
        (Some(image), true, None) => image.at_tag(argument),
        (None, true, None) if looks_like_a_version(argument) => {
            return Err(NotDeployable::TagAlone(argument.to_owned()));
        }
        (None, _, _) | (Some(_), false, None) => {
            argument.parse::<ImageReference>().map_err(|_| no_image())?
        }
    };
    let moves = image.digest().is_none() && matches!(image.tag(), None | Some("latest"));
    if moves && is_production(ground.environment) && !ground.allow_latest {
        return Err(NotDeployable::Latest(image));
    }
    Ok(image)
}

/// Whether an environment is one where customers are.
#[must_use]
pub fn is_production(environment: &str) -> bool {
    matches!(environment.to_ascii_lowercase().as_str(), "production" | "prod" | "live")
}

/// The version people call an image by: its tag, else the beginning of its digest.
#[must_use]
pub fn version(image: &ImageReference, digest: &str) -> String {
    match image.tag() {
        Some(tag) if image.digest().is_none() => tag.to_owned(),
        Some(_) | None => short(digest),
    }
}

/// The beginning of a digest, which people can tell images apart by.
fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}

/// What an image that was asked for by its digest alone calls itself, once that is known: its label
/// `org.opencontainers.image.version`. None when somebody named a version, and when the label is none.
#[must_use]
pub fn named(version: &str, image: &PinnedImage, label: &str) -> Option<String> {
    let (_, digest) = image.pinned.split_once('@')?;
    (version == short(digest) && is_tag(label)).then(|| label.to_owned())
}

/// The grammar of a tag (OCI distribution specification, "Pulling manifests").
fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = text.bytes().next().is_some_and(word);
    first && text.len() <= 128 && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// A bare digest, with or without `@` in front.
fn digest(text: &str) -> Option<&str> {
    let text = text.strip_prefix('@').unwrap_or(text);
    text.starts_with("sha256:").then_some(text)
}

/// `v1.5.0`, `1.5`, a commit: nothing that is the name of an image on Docker Hub.
fn looks_like_a_version(text: &str) -> bool {
    let digits = text.strip_prefix('v').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit()) || text == "latest"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(argument: &str, image: Option<&str>, environment: &str) -> Result<String, NotDeployable> {
        let image: Option<ImageReference> = image.map(|image| image.parse().expect("an image"));
        let ground = Ground { image: image.as_ref(), environment, allow_latest: false };
        asked(argument, ground).map(|image| image.to_string())
    }

    #[test]
    fn a_tag_is_enough_where_the_image_is_known() {
        let digest = format!("sha256:{}", "b".repeat(64));
        let shop = Some("ghcr.io/acme/shop");
        for (argument, image, meant) in [
            ("v1.5.0", shop, "ghcr.io/acme/shop:v1.5.0".to_owned()),
            (digest.as_str(), shop, format!("ghcr.io/acme/shop@{digest}")),
            ("ghcr.io/acme/other:v2", shop, "ghcr.io/acme/other:v2".to_owned()),
            ("shop:v2", None, "docker.io/library/shop:v2".to_owned()),
        ] {
            assert_eq!(ask(argument, image, "production"), Ok(meant));
        }
    }

    #[test]
    fn what_cannot_be_deployed_is_refused_with_the_way_out() {
        let refused =
            |argument, image, environment| ask(argument, image, environment).expect_err(argument).to_string();
        let texts = [
            refused("v1.5.0", None, "production"),
            refused("Shop:1", None, "production"),
            refused("ghcr.io/acme/shop", None, "production"),
            refused("latest", Some("ghcr.io/acme/shop"), "prod"),
        ];
        insta::assert_snapshot!(texts.join("\n"));
        assert!(ask("latest", Some("ghcr.io/acme/shop"), "staging").is_ok());
    }

    #[test]
    fn an_image_asked_for_by_digest_is_called_as_it_calls_itself() {
        let digest = format!("sha256:{}", "0123456789ab".repeat(6));
        let image = PinnedImage {
            asked: "ghcr.io/acme/shop".parse().expect("an image"),
            pinned: format!("ghcr.io/acme/shop@{digest}"),
            platform: String::new(),
        };
        assert_eq!(named("0123456789ab", &image, "v1.5.0").as_deref(), Some("v1.5.0"));
        assert_eq!(named("v1.4.9", &image, "v1.5.0"), None, "whoever named a version meant it");
        for label in ["", "two words", "-", "v1\n"] {
            assert_eq!(named("0123456789ab", &image, label), None, "{label:?}");
        }
    }

    #[test]
    fn a_version_is_the_tag_or_the_beginning_of_the_digest() {
        let digest = format!("sha256:{}", "0123456789ab".repeat(6));
        let image: ImageReference = "ghcr.io/acme/shop:v1".parse().expect("an image");
        assert_eq!(version(&image, &digest), "v1");
        assert_eq!(version(&image.at_digest(&digest[..71]), &digest), "0123456789ab");
    }
}
