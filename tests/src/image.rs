//! Images of the tests' application, made without any build: a configuration and two layers, as bytes.
//!
//! [`crate::Registry`] takes them over its API; [`Image::save`] writes the file that `docker load` takes.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

pub use self::archive::Archive;
pub use self::program::program;

mod archive;
mod program;

/// An image in the making: the application, and how it is to behave.
#[derive(Debug, Clone)]
pub struct Image {
    version: String,
    env: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    healthcheck: Option<Value>,
    platform: (String, String, Option<String>),
    padding: usize,
    user: Option<String>,
}

/// A part of an image: its digest and its bytes.
#[derive(Debug, Clone)]
pub struct Blob {
    /// `sha256:…`.
    pub digest: String,
    /// What it is.
    pub bytes: Vec<u8>,
}

/// An image as a registry keeps it.
#[derive(Debug, Clone)]
pub struct Built {
    /// The configuration; its digest is the image's local id.
    pub config: Blob,
    /// The layers, the lowest first.
    pub layers: Vec<Blob>,
    /// The manifest; its digest is what a deployment pins.
    pub manifest: Blob,
    /// `os` and `architecture` (and `variant`), as an index has them.
    pub platform: Value,
}

/// The media type of a manifest of one platform.
pub const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of an index of several platforms.
pub const INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

impl Blob {
    /// Bytes and their digest.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        use sha2::{Digest as _, Sha256};
        use std::fmt::Write as _;
        let mut digest = "sha256:".to_owned();
        for byte in Sha256::digest(&bytes) {
            let _ = write!(digest, "{byte:02x}");
        }
        Self { digest, bytes }
    }

    fn of_json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn described(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "size": self.bytes.len(), "digest": self.digest})
    }
}

impl Image {
    /// A version of the application. It listens on 8080 and has no HEALTHCHECK.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let env = [("APP_VERSION", version), ("PORT", "8080")];
        Self {
            version: version.to_owned(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            labels: BTreeMap::new(),
            healthcheck: None,
            platform: ("linux".to_owned(), architecture().to_owned(), None),
            padding: 0,
            user: None,
        }
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Bakes a variable in; `tests/app/main.rs` lists what they do.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Says which source commit it was made from.
    #[must_use]
    pub fn commit(self, commit: &str) -> Self {
        self.label("org.opencontainers.image.revision", commit)
    }

    /// Has a HEALTHCHECK that asks `/health` every second, with so many retries.
    #[must_use]
    pub fn healthcheck(mut self, retries: u32) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let test = ["CMD", "/app", "healthcheck"];
        let times = json!({"Test": test, "Interval": SECOND, "Timeout": 2 * SECOND, "Retries": retries});
        self.healthcheck = Some(times);
        self
    }

    /// Claims to be for another platform: `linux/arm64` or `linux/arm/v7`.
    #[must_use]
    pub fn platform(mut self, platform: &str) -> Self {
        let mut words = platform.split('/').map(str::to_owned);
        let (os, architecture) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.platform = (os, architecture, words.next());
        self
    }

    /// Is larger by so many bytes, which do not compress.
    #[must_use]
    pub const fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Runs as another user than root.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// The image as a registry keeps it.
    #[must_use]
    pub fn build(&self) -> Built {
        let layers = vec![Blob::new(base()), Blob::new(self.own())];
        let config = Blob::of_json(&self.config(&layers));
        let described: Vec<Value> = layers.iter().map(|layer| layer.described(LAYER)).collect();
        let manifest = Blob::of_json(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config.described(CONFIG), "layers": described,
        }));
        let (os, architecture, variant) = &self.platform;
        let mut platform = json!({"os": os, "architecture": architecture});
        if let Some(variant) = variant {
            platform["variant"] = variant.as_str().into();
        }
        Built { config, layers, manifest, platform }
    }

    /// What only this version has: it makes the layer another one for each version.
    fn own(&self) -> Vec<u8> {
        let mut archive = Archive::default();
        archive.file("version", 0o644, self.version.as_bytes());
        if self.padding > 0 {
            archive.file("padding", 0o644, &noise(self.padding));
        }
        archive.finish()
    }

    fn config(&self, layers: &[Blob]) -> Value {
        let env: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (os, architecture, variant) = &self.platform;
        let mut config = json!({
            "Env": env, "Entrypoint": ["/app"], "ExposedPorts": {"8080/tcp": {}}, "Labels": self.labels,
            "WorkingDir": "/", "StopSignal": "SIGTERM",
        });
        if let Some(healthcheck) = &self.healthcheck {
            config["Healthcheck"] = healthcheck.clone();
        }
        if let Some(user) = &self.user {
            config["User"] = user.as_str().into();
        }
        let digests: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let mut whole = json!({
            "os": os, "architecture": architecture, "created": "2026-01-01T00:00:00Z", "config": config,
            "rootfs": {"type": "layers", "diff_ids": digests},
            "history": layers.iter().map(|_| json!({"created_by": "switcher-tests"})).collect::<Vec<_>>(),
        });
        if let Some(variant) = variant {
            whole["variant"] = variant.as_str().into();
        }
        whole
    }

    /// Writes the image, under a name with a tag, as the file that `docker load` takes.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn save(&self, path: &Path, name: &str) {
        let built = self.build();
        let file = |blob: &Blob, ending: &str| {
            let digest = blob.digest.trim_start_matches("sha256:");
            format!("{digest}{ending}")
        };
        let layers: Vec<String> = built.layers.iter().map(|layer| file(layer, ".tar")).collect();
        let config = file(&built.config, ".json");
        let manifest = json!([{"Config": config, "RepoTags": [name], "Layers": layers}]);
        let mut archive = Archive::default();
        archive.file(&config, 0o644, &built.config.bytes);
        for (name, layer) in layers.iter().zip(&built.layers) {
            archive.file(name, 0o644, &layer.bytes);
        }
        archive.file("manifest.json", 0o644, manifest.to_string().as_bytes());
        put(path, &archive.finish());
    }
}

fn put(path: &Path, bytes: &[u8]) {
    use switcher_config::durable::{Durability, replace};
    replace(path, bytes, 0o644, Durability::Unsynced).expect("a written file");
}

/// An index of one image for each platform.
#[must_use]
pub fn index(images: &[Built]) -> Blob {
    let described = images.iter().map(|image| {
        let mut described = image.manifest.described(MANIFEST);
        described["platform"] = image.platform.clone();
        described
    });
    let manifests: Vec<Value> = described.collect();
    Blob::of_json(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
}

/// What every version has.
fn base() -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file("app", 0o755, program());
    archive.folder("etc", 0o755);
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/app\nshop:x:1000:1000:shop:/tmp:/app\n");
    archive.file("etc/group", 0o644, b"root:x:0:\nshop:x:1000:\n");
    archive.folder("tmp", 0o1777);
    archive.finish()
}

/// This machine's architecture, as images name it.
#[must_use]
pub const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Bytes without a pattern (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.flatten().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_bytes_and_follows_the_version() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Blob::new(Vec::new()).digest, empty);
        let [v1, again, v2] = ["v1", "v1", "v2"].map(|version| Image::new(version).build());
        assert_eq!(v1.manifest.digest, again.manifest.digest);
        assert_ne!(v1.manifest.digest, v2.manifest.digest);
        assert_eq!(v1.layers[0].digest, v2.layers[0].digest);
        assert_ne!(v1.layers[1].digest, v2.layers[1].digest);
    }
}
