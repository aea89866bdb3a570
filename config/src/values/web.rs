//! Addresses of the web that the deployer asks, or tells.
//!
//! Used by the declarations in [`crate::keys`].

use serde_json::{Value, json};

use super::acme::{is_web_address, told_url};
use super::or_name;
use crate::node::Node;
use crate::reader::Reader;
use crate::section::{Setting, Shown};
use crate::template::{WORDS, fill};

/// The public address of an application, in which words such as `{version}` may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicUrl(pub(crate) String);

impl Setting for PublicUrl {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`https://shop.example.com/version`")?;
        let filled = fill(text, |word| WORDS.contains(&word).then(|| "x".to_owned()));
        if is_web_address(&filled) {
            return Some(Self(text.to_owned()));
        }
        let message = format!("{} is no http:// or https:// URL", told_url(node, text));
        let hint = "write for example `https://shop.example.com/version`, without a user, password or `#`; the words in braces are {app}, {environment}, {slot}, {version}, {git_commit}, {deployment} and {image}";
        reader.wrong(node, message, hint);
        None
    }

    /// Its query may hold a token.
    fn show(&self) -> Shown {
        match self.0.split_once('?') {
            Some((address, _)) => Shown::Text(format!("{address}?***")),
            None => Shown::Text(self.0.clone()),
        }
    }

    fn schema() -> Value {
        or_name(json!({"type": "string", "pattern": "^https?://"}))
    }
}

/// An address that is posted to. Nothing of it is told: who knows it can post there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HookUrl(pub(crate) String);

impl std::fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Setting for HookUrl {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`https://hooks.example.com/NAME`")?;
        if is_web_address(text) {
            return Some(Self(text.to_owned()));
        }
        let hint = "write for example `https://hooks.example.com/NAME`, without a user, password or `#`; or put it into a file with mode 0600 and name that as `url_file`";
        reader.wrong(node, "this is no http:// or https:// URL", hint);
        None
    }

    fn show(&self) -> Shown {
        Shown::Secret
    }

    fn schema() -> Value {
        or_name(json!({"type": "string", "pattern": "^https?://"}))
    }
}
