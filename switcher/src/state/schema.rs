//! The committed JSON Schema of `state.json`: what is read and what is written is held against it.
//!
//! `schema.json` is made from [`super::record`]; a test keeps both equal.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

/// The schema as it is committed.
pub const TEXT: &str = include_str!("schema.json");

/// Where a value and the schema part ways: the place in the value, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Violation {
    /// Such as `/lock/fence`; `the file` for the whole.
    pub place: String,
    /// A sentence.
    pub why: String,
}

/// Holds a value against the schema.
///
/// # Errors
/// The first place at which it is not what the schema says.
pub fn check(value: &Value) -> Result<(), Violation> {
    validator().as_ref().map_err(Clone::clone)?.validate(value).map_err(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the file".to_owned() } else { place };
        Violation { place, why: error.to_string() }
    })
}

/// Made once; a schema that cannot be used is a violation of everything.
fn validator() -> &'static Result<Validator, Violation> {
    static VALIDATOR: OnceLock<Result<Validator, Violation>> = OnceLock::new();
    VALIDATOR.get_or_init(|| {
        let unusable = |why: String| Violation { place: "the schema".to_owned(), why };
        let schema = serde_json::from_str(TEXT).map_err(|error| unusable(error.to_string()))?;
        jsonschema::validator_for(&schema).map_err(|error| unusable(error.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use switcher_config::durable::{Durability, replace};

    use super::*;
    use crate::state::record::State;

    fn empty() -> Value {
        let app = "shop".parse().expect("a name");
        serde_json::to_value(State::new("production", &app)).expect("JSON")
    }

    #[test]
    fn the_committed_schema_is_the_one_of_the_records() {
        let generated = format!("{:#}\n", schemars::schema_for!(State).to_value());
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state/schema.json");
            replace(&path, generated.as_bytes(), 0o644, Durability::Unsynced).expect("written");
        } else {
            assert!(TEXT == generated, "the records changed: run this test with UPDATE_SCHEMA=1");
        }
    }

    #[test]
    fn what_nobody_knows_is_refused_and_its_place_is_named() {
        check(&empty()).expect("a new state");
        for (pointer, value) in [
            ("/schema", json!(2)),
            ("/lock/locked", json!("false")),
            ("/lock/fence", json!(-1)),
            ("/lock/lock_id", json!("../../etc/passwd")),
            ("/deployment_history", json!({})),
        ] {
            let mut state = empty();
            *state.pointer_mut(pointer).expect(pointer) = value;
            assert_eq!(check(&state).expect_err(pointer).place, pointer);
        }
        let mut state = empty();
        state["mine"] = json!(1);
        assert!(check(&state).expect_err("a field more").why.contains("mine"));
    }
}
