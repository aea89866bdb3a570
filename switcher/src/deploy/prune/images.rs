//! Which images of the history lie on the engine, and by which of its names. Pure.

use switcher_config::ImageReference;

use crate::docker::{LocalImage, StoredImage};
use crate::state::record::DeploymentRecord;

/// An image of the history that lies on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnEngine {
    /// As the history has it: `name@sha256:…`, or the local id of one that came from a file.
    pub recorded: String,
    /// As the engine calls it.
    pub name: String,
    /// The version that it was deployed as last.
    pub version: String,
    /// The engine's id of it.
    pub id: String,
    /// Unpacked, in bytes.
    pub bytes: u64,
}

/// The images of the history, each once: what was recorded, and the newest version it was deployed as. `newest_first`.
#[must_use]
pub fn recorded(newest_first: &[DeploymentRecord]) -> Vec<(&str, &str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for record in newest_first.iter().filter(|record| !record.image.is_empty()) {
        if !found.iter().any(|(image, _)| *image == record.image) {
            found.push((&record.image, &record.version));
        }
    }
    found
}

/// Finds the images of the history among those of their repositories (`stored`) and those that are known by their
/// local id (`loaded`).
#[must_use]
pub fn on_engine(recorded: &[(&str, &str)], stored: &[StoredImage], loaded: &[LocalImage]) -> Vec<OnEngine> {
    let found = |(image, version): &(&str, &str)| {
        let here = |name: &str, id: &str, bytes: u64| OnEngine {
            recorded: (*image).to_owned(),
            name: name.to_owned(),
            version: (*version).to_owned(),
            id: id.to_owned(),
            bytes,
        };
        if !image.contains('@') {
            return loaded.iter().find(|there| there.id == *image).map(|t| here(&t.id, &t.id, t.size));
        }
        let wanted: ImageReference = image.parse().ok()?;
        stored.iter().find_map(|there| {
            let name = there.names.iter().find(|name| same(name, &wanted))?;
            Some(here(name, &there.id, there.size))
        })
    };
    recorded.iter().filter_map(found).collect()
}

/// The engine writes names the short way: `shop@sha256:…` for `docker.io/library/shop@sha256:…`.
fn same(name: &str, wanted: &ImageReference) -> bool {
    name.parse::<ImageReference>().is_ok_and(|name| {
        name.name() == wanted.name() && name.digest().is_some() && name.digest() == wanted.digest()
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn digest(of: char) -> String {
        format!("sha256:{}", of.to_string().repeat(64))
    }

    fn stored(id: char, names: &[String]) -> StoredImage {
        StoredImage { id: digest(id), names: names.to_vec(), created: Timestamp::UNIX_EPOCH, size: 7 }
    }

    #[test]
    fn an_image_is_found_by_its_digest_and_never_by_its_tag() {
        let (a, b) = (digest('a'), digest('b'));
        let there = [
            stored('1', &["acme/shop:v1".to_owned(), format!("acme/shop@{a}")]),
            stored('2', &["acme/shop:v2".to_owned()]),
            stored('3', &[format!("acme/other@{b}")]),
        ];
        let (shop_a, shop_b) = (format!("docker.io/acme/shop@{a}"), format!("docker.io/acme/shop@{b}"));
        let found = on_engine(&[(&shop_a, "v1"), (&shop_b, "v2")], &there, &[]);
        let expected = OnEngine {
            recorded: shop_a.clone(),
            name: format!("acme/shop@{a}"),
            version: "v1".to_owned(),
            id: digest('1'),
            bytes: 7,
        };
        assert_eq!(found, [expected], "a tag may have moved, and another repository is another's");
    }

    #[test]
    fn an_image_from_a_file_is_found_by_its_id() {
        let there = LocalImage {
            id: digest('c'),
            repo_digests: Vec::new(),
            repo_tags: vec!["shop:v3".to_owned()],
            labels: std::collections::BTreeMap::new(),
            healthcheck: false,
            size: 9,
            platform: String::new(),
        };
        let (here, gone) = (digest('c'), digest('d'));
        let found = on_engine(&[(&here, "v3"), (&gone, "v4")], &[], &[there]);
        assert_eq!(
            found.iter().map(|f| (f.name.as_str(), f.bytes)).collect::<Vec<_>>(),
            [(here.as_str(), 9)]
        );
    }
}
