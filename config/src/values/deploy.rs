//! What the `deploy` section is made of: images, names, lists of them, and where the engine is. What a container is
//! given stands in `container`.
//!
//! Used by the declarations in [`crate::keys`].

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Value, json};

use super::{Authority, leaf, number_schema, or_name, span_schema, text_schema, whole};
use crate::node::{Node, Value as Written};
use crate::reader::{Reader, shown};
use crate::section::{Setting, Shown};
use crate::{Factor, ImageReference, Share, Span};

/// A port that something listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port(pub(crate) u16);

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole(text, 1, u32::from(u16::MAX)).map(Self)
    }
}
leaf!(Port, "8080", |v| Shown::Bare(v.0.into()), number_schema(1, u32::from(u16::MAX)));

/// How long a lease holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseSpan(pub(crate) Span);

impl FromStr for LeaseSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span = text.parse().map_err(|error: crate::units::InvalidSpan| error.to_string())?;
        if span < Span::seconds(5) {
            return Err(format!(
                "{text:?} is too short; a lease of less than 5s would be lost by a short pause of its owner"
            ));
        }
        if span > Span::seconds(1800) {
            return Err(format!(
                "{text:?} is too long; 30m is the most, because a lease outlives an owner that crashed"
            ));
        }
        Ok(Self(span))
    }
}
leaf!(LeaseSpan, "2m", |v| Shown::Text(v.0.to_string()), span_schema());

/// How long a new version is judged: above zero, at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BakeSpan(pub(crate) Span);

impl FromStr for BakeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span = text.parse().map_err(|error: crate::units::InvalidSpan| error.to_string())?;
        if span < Span::seconds(1) || span > Span::seconds(86_400) {
            return Err(format!(
                "{text:?} is no time to judge a version for; write 1s to 24h, for example `60s`"
            ));
        }
        Ok(Self(span))
    }
}
leaf!(BakeSpan, "60s", |v| Shown::Text(v.0.to_string()), span_schema());

leaf!(
    Share,
    "1%",
    |v| Shown::Text(v.to_string()),
    or_name(json!({"type": "string", "pattern": "^\\d+(\\.\\d{1,2})?%$", "examples": ["1%"]}))
);
leaf!(
    Factor,
    "2.0",
    |v| Shown::Text(v.to_string()),
    or_name(json!({"type": ["number", "string"], "minimum": 1, "maximum": 1000, "examples": [2.0]}))
);

/// Where the engine is. Nothing of it is told, because it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DockerHost(pub(crate) String);

impl Setting for DockerHost {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`unix:///var/run/docker.sock`")?;
        if is_docker_host(text) {
            return Some(Self(text.to_owned()));
        }
        let hint =
            "write `unix:///var/run/docker.sock`, `tcp://HOST:2376` or `ssh://USER@HOST`, without a password";
        reader.wrong(node, "this is no address of a Docker Engine", hint);
        None
    }

    fn show(&self) -> Shown {
        Shown::Text(self.0.clone())
    }

    fn schema() -> Value {
        or_name(json!({"type": "string", "pattern": "^(unix|tcp|ssh)://"}))
    }
}

fn is_docker_host(text: &str) -> bool {
    let server = |text: &str| text.parse::<Authority>().is_ok();
    match text.split_once("://") {
        Some(("unix", path)) => path.starts_with('/') && path.len() > 1 && !path.contains(['\0', '\n']),
        Some(("tcp", authority)) => server(authority),
        Some(("ssh", target)) => {
            let (target, path) = target.split_once('/').unwrap_or((target, ""));
            let user_and_host = target.rsplit_once('@');
            let user = user_and_host.map_or("none", |(user, _)| user);
            let plain = |text: &str| !text.contains(|c: char| c.is_whitespace() || c.is_control());
            // A colon would begin a password, a hyphen an option of `ssh`.
            !user.is_empty()
                && !user.contains(':')
                && !user.starts_with('-')
                && plain(user)
                && plain(path)
                && server(user_and_host.map_or(target, |(_, host)| host))
        }
        Some(_) | None => false,
    }
}

/// Letters, digits, `_`, `.` and `-`, beginning with none of the last two.
pub(super) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    text.bytes().all(inner) && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

/// The repository of an application: which tag or digest is said by `switcher deploy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repository(pub(crate) ImageReference);

impl FromStr for Repository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let image: ImageReference =
            text.parse().map_err(|error: crate::image::InvalidImage| error.to_string())?;
        let too_much = match (image.tag(), image.digest()) {
            (_, Some(_)) => "a digest",
            (Some(_), None) => "a tag",
            (None, None) => return Ok(Self(image)),
        };
        Err(format!(
            "{text:?} has {too_much}, and what to deploy is said by `switcher deploy`; write the repository alone: `{}`",
            image.name()
        ))
    }
}
leaf!(Repository, "ghcr.io/acme/shop", |v| Shown::Text(v.0.to_string()), text_schema("ghcr.io/acme/shop"));

/// The tag of an image (OCI distribution specification, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag(pub(crate) String);

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let inner = |b: u8| word(b) || b == b'.' || b == b'-';
        if text.len() <= 128 && text.bytes().next().is_some_and(word) && text.bytes().all(inner) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no tag of an image; write the tag alone, for example `production`, and the repository as `deploy.image`"
            ))
        }
    }
}
leaf!(Tag, "production", |v| Shown::Text(v.0.clone()), text_schema("production"));

/// From one look at a registry to the next: no flood, and no more than a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LookSpan(pub(crate) Span);

impl FromStr for LookSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span = text.parse().map_err(|error: crate::units::InvalidSpan| error.to_string())?;
        if span < Span::seconds(1) || span > Span::seconds(86_400) {
            return Err(format!(
                "{text:?} is no time between two looks at a registry; write 1s to 24h, for example `5m`"
            ));
        }
        Ok(Self(span))
    }
}
leaf!(LookSpan, "5m", |v| Shown::Text(v.0.to_string()), span_schema());

/// An image, with a tag or digest or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName(pub(crate) ImageReference);

impl FromStr for ImageName {
    type Err = crate::image::InvalidImage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
leaf!(ImageName, "postgres:17", |v| Shown::Text(v.0.to_string()), text_schema("postgres:17"));

/// `os/arch[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Platform(pub(crate) String);

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = |part: &str| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.".contains(&b);
            !part.is_empty() && part.bytes().all(inner)
        };
        let parts = text.split('/').count();
        if (2..=3).contains(&parts) && text.split('/').all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no platform; write for example `linux/amd64` or `linux/arm64/v8`"))
        }
    }
}
leaf!(Platform, "linux/amd64", |v| Shown::Text(v.0.clone()), text_schema("linux/amd64"));

/// A network of the engine. Containers are dialled by their addresses in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) String);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "host" | "none") {
            return Err(format!(
                "{text:?} gives containers no address of their own, so two slots could not run side by side; name a network, for example `shop`"
            ));
        }
        if is_name(text) && !text.starts_with('_') {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no name of a network; use letters, digits, `_`, `.` and `-`, for example `shop`"
            ))
        }
    }
}
leaf!(Network, "shop", |v| Shown::Text(v.0.clone()), text_schema("shop"));

/// The name of an environment variable. Dots and hyphens are taken too, as some programs want them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VariableName(pub(crate) String);

impl VariableName {
    pub(crate) const HINT: &'static str = "use letters, digits and `_`, with no digit in front, for example `DATABASE_URL`; values stand in `env`, in `env_files` or in the environment";

    /// The name, when it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (is_name(text) && !text.starts_with(|c: char| c.is_ascii_digit())).then(|| Self(text.to_owned()))
    }
}

impl Display for VariableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is no name may be a value in the wrong place, so it is not told.
impl Setting for VariableName {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let name = Self::parse(reader.text(node, "`DATABASE_URL`")?);
        if name.is_none() {
            reader.wrong(node, "this is no name of a variable", Self::HINT);
        }
        name
    }

    fn show(&self) -> Shown {
        Shown::Text(self.0.clone())
    }

    fn schema() -> Value {
        text_schema("DATABASE_URL")
    }
}

/// The name of a secret, which is the name of a file. What is no name may be the secret itself, so it is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretName(pub(crate) String);

impl Setting for SecretName {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`database_url`")?;
        if is_name(text) && !text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Some(Self(text.to_owned()));
        }
        let hint = "use lower-case letters, digits, `_`, `.` and `-`, for example `database_url`; the secret itself stands in the file `/run/secrets/database_url` or in the variable DATABASE_URL";
        reader.wrong(node, "this is no name of a secret", hint);
        None
    }

    fn show(&self) -> Shown {
        Shown::Text(self.0.clone())
    }

    fn schema() -> Value {
        or_name(json!({"type": "string", "pattern": "^[a-z0-9_][a-z0-9_.-]*$"}))
    }
}

/// Who a process runs as: a name or number, with a group or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User(pub(crate) String);

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.split(':').count() <= 2 && text.split(':').all(is_name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no user; write for example `app`, `1000` or `1000:1000`"))
        }
    }
}
leaf!(
    User,
    "1000:1000",
    |v| Shown::Text(v.0.clone()),
    json!({"type": ["string", "integer"], "examples": ["1000:1000"]})
);

/// A list, perhaps empty, with nothing twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unique<T>(pub(crate) Vec<T>);

impl<T: Setting + PartialEq> Setting for Unique<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let read = Vec::<T>::read(node, reader)?;
        for (index, (value, item)) in read.iter().zip(node.items()).enumerate() {
            if read[..index].contains(value) {
                let message = match &item.value {
                    Written::Scalar { text, .. } => {
                        format!("{} stands in the list already", shown(item, text))
                    }
                    Written::Sequence(_) | Written::Mapping(_) => {
                        "this stands in the list already".to_owned()
                    }
                };
                reader.under(&format!("[{index}]"), |reader| {
                    reader.wrong(item, message, "keep one of the two")
                });
                return None;
            }
        }
        Some(Self(read))
    }

    fn show(&self) -> Shown {
        self.0.show()
    }

    fn schema() -> Value {
        json!({"anyOf": [T::schema(), {"type": "array", "uniqueItems": true, "items": T::schema()}]})
    }
}

#[cfg(test)]
mod tests;
