//! The words of a deployment: its id, the release it brings, and what fills the templates of the configuration.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switcher_config::{AppName, ImageReference, Slot};
use ulid::Ulid;

/// The name of a deployment: `dep_` and a ULID, so that ids sort by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeploymentId(String);

impl DeploymentId {
    /// A new one; `now` is its time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        Self(format!("dep_{}", Ulid::from_parts(millis, rand())))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it was made, to the millisecond.
    #[must_use]
    pub fn began_at(&self) -> Timestamp {
        let ulid = self.0.strip_prefix("dep_").and_then(|ulid| ulid.parse::<Ulid>().ok());
        let millis = ulid.and_then(|ulid| i64::try_from(ulid.timestamp_ms()).ok());
        millis.and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The random part of a ULID.
fn rand() -> u128 {
    Ulid::generate().random()
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that is no id of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no id of a deployment; `switcher history` lists them, such as dep_01JBQR2K3M4N5P6Q7R8S9T0VWX"
)]
pub struct InvalidDeploymentId(pub String);

impl FromStr for DeploymentId {
    type Err = InvalidDeploymentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDeploymentId(text.to_owned());
        let ulid = text.strip_prefix("dep_").ok_or_else(invalid)?;
        ulid.parse::<Ulid>().map_err(|_| invalid())?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for DeploymentId {
    type Error = InvalidDeploymentId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DeploymentId> for String {
    fn from(id: DeploymentId) -> Self {
        id.0
    }
}

/// What is deployed: fixed when the deployment begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version people call it by: the tag, or the digest's first twelve digits.
    pub version: String,
    /// The image, pinned by digest (or by local id when it was loaded from a file); none without containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<PinnedImage>,
    /// The source commit, from the image's `org.opencontainers.image.revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
}

/// An image that cannot change under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// As it was asked for, with its tag.
    pub asked: ImageReference,
    /// `name@sha256:…` (the index's digest for images of several platforms), or `sha256:…`, the local id of an image
    /// that was loaded from a file. Either is what the engine is given.
    pub pinned: String,
    /// `os/arch[/variant]` that was chosen for the host.
    pub platform: String,
}

/// What fills the words of a template (`{slot}`), as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// `{app}`.
    pub app: AppName,
    /// `{environment}`.
    pub environment: String,
    /// `{slot}`.
    pub slot: Slot,
    /// `{version}`.
    pub version: String,
    /// `{git_commit}`; empty when it is not known.
    pub git_commit: String,
    /// `{deployment}`.
    pub deployment: DeploymentId,
    /// `{image}`: the pinned image; empty without containers.
    pub image: String,
    /// `{replica}`, from 1; 0 where no replica is meant.
    pub replica: u16,
}
