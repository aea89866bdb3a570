//! The values of `deploy.canary`.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{leaf, text_schema};
use crate::canary::{CanaryKey, OnUnjudged};
use crate::node::Node;
use crate::reader::Reader;
use crate::section::{Setting, Shown};
use crate::words::choice;
use crate::{Share, canary};

choice!(OnUnjudged { "abort" => OnUnjudged::Abort, "go_on" => OnUnjudged::GoOn });

leaf!(CanaryKey, "cookie session", |v| Shown::Text(v.to_string()), text_schema("cookie session"));

/// The shares of a canary, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CanarySteps(pub(crate) Vec<Share>);

impl Setting for CanarySteps {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let hint = "write for example `[5%, 25%, 50%]`";
        match canary::steps(Vec::<Share>::read(node, reader)?) {
            Ok(shares) if shares.first() == Some(&Share::default()) => {
                reader.wrong(node, "nobody is among 0% of the clients", hint);
                None
            }
            Ok(shares) => Some(Self(shares)),
            Err(wrong) => {
                reader.wrong(node, wrong.to_string(), hint);
                None
            }
        }
    }

    fn show(&self) -> Shown {
        self.0.show()
    }

    fn schema() -> Value {
        let most = canary::MOST_STEPS;
        let list = json!({"type": "array", "minItems": 1, "maxItems": most, "uniqueItems": true, "items": Share::schema()});
        json!({"anyOf": [Share::schema(), list]})
    }
}
