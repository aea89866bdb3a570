//! What is kept on disk and told over the admin API: a damaged file is refused with a reason, never taken for none.

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use switcher_config::wire;
use switcher_proxy::routing::RoutingFile;

use super::configuration::in_folder;

/// A routing file of any content, as it stands and under the right checksum: refused, or written and read back the same.
pub(super) fn routing(data: &[u8]) {
    file(data);
    let Ok(apps) = serde_json::from_slice::<Box<RawValue>>(data) else { return };
    let digest = Sha256::digest(apps.get());
    let checksum: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    file(format!(r#"{{"schema":1,"checksum":"sha256:{checksum}","apps":{}}}"#, apps.get()).as_bytes());
}

fn file(content: &[u8]) {
    in_folder("data/routing.json", content, |folder| {
        // A copy from before would be another state.
        let _ = std::fs::remove_file(folder.join("data/routing.json.last-good"));
        let file = RoutingFile::in_folder(&folder.join("data"));
        let Ok(loaded) = file.load() else { return };
        let loaded = loaded.expect("a file that is there is never taken for none");
        file.save(&loaded).expect("room for it");
        assert_eq!(file.load().expect("what was saved").as_ref(), Some(&loaded));
    });
}

/// What the deployer remembers: held against its schema without a panic.
pub(super) fn deployments(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice(data) {
        // A violation is an answer.
        let _ = switcher::state::schema::check(&value);
    }
}

/// What the proxy tells: what is understood is written and read back the same.
pub(super) fn receipts(data: &[u8]) {
    again::<wire::DrainReceipt>(data);
    again::<wire::Status>(data);
    again::<wire::Event>(data);
    again::<wire::PromoteRequest>(data);
    again::<wire::RegisterRequest>(data);
}

fn again<T: serde::Serialize + serde::de::DeserializeOwned>(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_value(&value).expect("what was read can be written");
    let read: T = serde_json::from_value(written.clone()).expect("what was written can be read");
    assert_eq!(serde_json::to_value(&read).expect("the same"), written);
}
