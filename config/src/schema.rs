//! The JSON Schema of the configuration, for editors: made from the declarations in [`crate::keys`].
//!
//! The committed copy is `config/schema.json`; a test keeps the two equal.

use serde_json::{Value, json};

use crate::keys::RootKeys;
use crate::section::Setting as _;

/// The JSON Schema (draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Switcher",
    });
    if let (Value::Object(root), Value::Object(keys)) = (&mut root, RootKeys::schema()) {
        root.extend(keys);
        root.insert("type".into(), "object".into());
    }
    root
}
