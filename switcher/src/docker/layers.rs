//! The progress of a pull, layer by layer, added up. Pure.

use std::collections::BTreeMap;

use bollard::models::CreateImageInfo;

/// How far a pull got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullProgress {
    /// Layers of the image, as far as they are known.
    pub layers: usize,
    /// Layers that are unpacked, or were there already.
    pub layers_done: usize,
    /// Bytes that came.
    pub bytes: u64,
    /// Bytes to come altogether, as far as the registry said it; grows when a layer begins.
    pub bytes_total: u64,
}

/// One layer.
#[derive(Debug, Clone, Copy, Default)]
struct Layer {
    done: bool,
    bytes: u64,
    total: u64,
}

/// The layers of one pull.
#[derive(Debug, Default)]
pub(super) struct Layers {
    layers: BTreeMap<String, Layer>,
}

impl Layers {
    /// Takes an event; answers the new progress when the event was about a layer.
    pub(super) fn hear(&mut self, event: &CreateImageInfo) -> Option<PullProgress> {
        let (id, status) = (event.id.as_deref()?, event.status.as_deref()?);
        // `Pulling from acme/shop` carries the tag where other events carry the layer.
        if status.starts_with("Pulling from") {
            return None;
        }
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let detail = event.progress_detail.as_ref();
        let current = detail.and_then(|detail| number(detail.current)).unwrap_or_default();
        let total = detail.and_then(|detail| number(detail.total));
        let layer = match status {
            "Pulling fs layer" | "Waiting" | "Already exists" | "Pull complete" | "Download complete"
            | "Verifying Checksum" | "Downloading" | "Extracting" => {
                self.layers.entry(id.to_owned()).or_default()
            }
            _ => return None,
        };
        match status {
            "Downloading" => {
                layer.bytes = current.max(layer.bytes);
                layer.total = total.unwrap_or(layer.total).max(layer.bytes);
            }
            "Download complete" | "Verifying Checksum" | "Extracting" => layer.bytes = layer.total,
            "Pull complete" | "Already exists" => {
                layer.bytes = layer.total;
                layer.done = true;
            }
            _ => {}
        }
        Some(self.progress())
    }

    fn progress(&self) -> PullProgress {
        self.layers.values().fold(PullProgress::default(), |sum, layer| PullProgress {
            layers: sum.layers + 1,
            layers_done: sum.layers_done + usize::from(layer.done),
            bytes: sum.bytes + layer.bytes,
            bytes_total: sum.bytes_total + layer.total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(lines: &str) -> Option<PullProgress> {
        let mut layers = Layers::default();
        lines
            .lines()
            .map(|line| serde_json::from_str::<CreateImageInfo>(line).expect(line))
            .filter_map(|event| layers.hear(&event))
            .last()
    }

    #[test]
    fn layers_and_bytes_are_added_up() {
        let progress = events(
            r#"{"status":"Pulling from acme/shop","id":"v1"}
{"status":"Pulling fs layer","progressDetail":{},"id":"aaa"}
{"status":"Pulling fs layer","progressDetail":{},"id":"bbb"}
{"status":"Already exists","progressDetail":{},"id":"ccc"}
{"status":"Downloading","progressDetail":{"current":10,"total":100},"progress":"[>]","id":"aaa"}
{"status":"Downloading","progressDetail":{"current":50,"total":100},"progress":"[>]","id":"aaa"}
{"status":"Downloading","progressDetail":{"current":7,"total":70},"progress":"[>]","id":"bbb"}
{"status":"Download complete","progressDetail":{},"id":"bbb"}
{"status":"Extracting","progressDetail":{"current":3,"total":70},"progress":"[>]","id":"bbb"}
{"status":"Pull complete","progressDetail":{},"id":"bbb"}"#,
        );
        let expected = PullProgress { layers: 3, layers_done: 2, bytes: 120, bytes_total: 170 };
        assert_eq!(progress, Some(expected));
    }

    #[test]
    fn what_is_about_no_layer_is_no_progress() {
        let progress = events(
            r#"{"status":"Pulling from acme/shop","id":"sha256:decb2cf3"}
{"status":"Digest: sha256:decb2cf3"}
{"status":"Status: Image is up to date for acme/shop@sha256:decb2cf3"}"#,
        );
        assert_eq!(progress, None);
    }
}
