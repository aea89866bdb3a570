//! The name of a container image: `ghcr.io/acme/shop:v1.5.0`, with a tag, a digest, both or neither.
//!
//! The grammar and Docker's short forms (`shop` is `docker.io/library/shop`) are those of the OCI library.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;
use serde::{Deserialize, Serialize};

/// Where an image is, as far as somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageReference {
    /// The registry's host, such as `ghcr.io` or `docker.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry, such as `acme/shop`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was given: `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Registry and repository, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository at one digest, without the tag.
    #[must_use]
    pub fn at_digest(&self, digest: &str) -> Self {
        Self { tag: None, digest: Some(digest.to_owned()), ..self.clone() }
    }

    /// The same repository at one tag, without a digest.
    #[must_use]
    pub fn at_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an image; write for example `ghcr.io/acme/shop:v1.5.0`")]
pub struct InvalidImage(pub String);

impl FromStr for ImageReference {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found: Reference = text.parse().map_err(|_| InvalidImage(text.to_owned()))?;
        // Repositories are lower case; the library takes an upper-case host without a dot for a part of one.
        if found.repository().bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidImage(text.to_owned()));
        }
        // The library fills in `latest`; whether somebody wrote it makes a difference to us.
        let after_host = text.rsplit('/').next().unwrap_or(text);
        let tagged = after_host.split('@').next().is_some_and(|name| name.contains(':'));
        Ok(Self {
            registry: found.registry().to_owned(),
            repository: found.repository().to_owned(),
            tag: found.tag().filter(|_| tagged).map(str::to_owned),
            digest: found.digest().map(str::to_owned),
        })
    }
}

impl TryFrom<String> for ImageReference {
    type Error = InvalidImage;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(image: ImageReference) -> Self {
        image.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_dockers_own() {
        for (text, whole, tag) in [
            ("shop", "docker.io/library/shop", None),
            ("shop:v1", "docker.io/library/shop:v1", Some("v1")),
            ("acme/shop", "docker.io/acme/shop", None),
            ("127.0.0.1:5000/shop", "127.0.0.1:5000/shop", None),
            ("ghcr.io/acme/shop:v1", "ghcr.io/acme/shop:v1", Some("v1")),
        ] {
            let image: ImageReference = text.parse().expect(text);
            assert_eq!((image.to_string().as_str(), image.tag()), (whole, tag));
        }
        for bad in ["", "Shop", "HOST/shop", "a b", "ghcr.io/acme/shop:", "shop@sha256:12"] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image: ImageReference = "ghcr.io/acme/shop:v1".parse().expect("an image");
        assert_eq!(image.at_digest(&digest).to_string(), format!("ghcr.io/acme/shop@{digest}"));
        assert_eq!(image.at_digest(&digest).at_tag("v2").tag(), Some("v2"));
    }
}
