//! What a container is given: mounts, lines for `/etc/hosts`, bounds.
//!
//! Used by the declarations in [`crate::keys`].

use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Value, json};

use super::deploy::is_name;
use super::{leaf, or_name, text_schema};
use crate::Bytes;
use crate::address::is_dns_name;
use crate::keys::LEAST_MEMORY;
use crate::node::Node;
use crate::reader::Reader;
use crate::section::{Setting, Shown};

/// A mount as Docker writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume(pub(crate) String);

/// What may stand behind the second colon, besides a list of them.
const MOUNT_OPTIONS: [&str; 14] = [
    "ro",
    "rw",
    "z",
    "Z",
    "nocopy",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "cached",
    "delegated",
    "consistent",
];

impl Volume {
    /// The path inside the container.
    pub(crate) fn target(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default().trim_end_matches('/')
    }
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "`/srv/shop/uploads:/app/uploads` or `uploads:/app/uploads:ro`";
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [source, target] => (*source, *target, ""),
            [source, target, options] if !options.is_empty() => (*source, *target, *options),
            _ => return Err(format!("{text:?} is no mount; write for example {EXAMPLE}")),
        };
        if source.starts_with(['.', '~']) {
            return Err(format!("{text:?} begins with no absolute path; write for example {EXAMPLE}"));
        }
        let known = |option: &str| option.is_empty() || MOUNT_OPTIONS.contains(&option);
        if let Some(odd) = options.split(',').find(|option| !known(option)) {
            return Err(format!(
                "{text:?} ends with {odd:?}, which is no option of a mount; write `ro` for read-only, or nothing"
            ));
        }
        let named = is_name(source) && !source.starts_with('_') && source.len() > 1;
        let path = |path: &str| path.starts_with('/') && !path.contains(['\0', '\n']);
        if (named || path(source)) && path(target) && !target.trim_end_matches('/').is_empty() {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no mount; write for example {EXAMPLE}"))
        }
    }
}
leaf!(
    Volume,
    "uploads:/app/uploads",
    |v| Shown::Text(v.0.clone()),
    text_schema("/srv/shop/uploads:/app/uploads:ro")
);

/// A line for `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtraHost(pub(crate) String);

impl FromStr for ExtraHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |text: &str| {
            let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
            bare == "host-gateway" || bare.parse::<IpAddr>().is_ok()
        };
        if text.split_once(':').is_some_and(|(name, ip)| is_dns_name(name) && address(ip)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no host with its address; write for example `db.internal:10.0.0.7` or `host.docker.internal:host-gateway`"
            ))
        }
    }
}
leaf!(ExtraHost, "db.internal:10.0.0.7", |v| Shown::Text(v.0.clone()), text_schema("db.internal:10.0.0.7"));

/// How much memory a container may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryLimit(pub(crate) Bytes);

impl FromStr for MemoryLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes: Bytes = text.parse().map_err(|error: crate::units::InvalidBytes| error.to_string())?;
        if bytes < LEAST_MEMORY {
            return Err(format!(
                "{text:?} is less than an engine gives; {LEAST_MEMORY} is the least, for example `512MiB`"
            ));
        }
        Ok(Self(bytes))
    }
}
leaf!(
    MemoryLimit,
    "512MiB",
    |v| Shown::Text(v.0.to_string()),
    json!({"type": ["string", "integer"], "examples": ["512MiB"]})
);

/// Processors, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) u32);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let millis = if digits(whole) && digits(part) && part.len() <= 3 {
            format!("{whole}{part:0<3}").parse::<u32>().ok()
        } else {
            None
        };
        millis.filter(|millis| *millis >= 10).map(Self).ok_or_else(|| {
            format!(
                "{text:?} is no number of processors; write for example `2`, `1.5` or `0.25`, at least `0.01`"
            )
        })
    }
}
leaf!(
    Cpus,
    "1.5",
    |v| {
        let whole = v.0 / 1000;
        let exact = v.0.is_multiple_of(1000);
        Shown::Bare(if exact { whole.into() } else { (f64::from(v.0) / 1000.0).into() })
    },
    or_name(json!({"type": ["number", "string"], "examples": [1.5]}))
);
