//! The value of `cache`: a word.

use std::str::FromStr;

use serde_json::{Value, json};

use super::leaf;
use crate::node::Node;
use crate::reader::Reader;
use crate::section::{Setting, Shown};
use crate::settings::Cached;

impl FromStr for Cached {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "on" | "true") {
            return Ok(Self);
        }
        Err(format!(
            "{text:?} is neither `on` nor `off`; how much is held stands in `proxy.cache`, and for how long in the answers' Cache-Control"
        ))
    }
}
leaf!(Cached, "on", |_v| Shown::Text("on".to_owned()), json!({"enum": ["on", true]}));
