//! Values that are filled in when they are needed: `${NAME}` from the environment, `{slot}` from the deployment.
//!
//! The file keeps them as written, because the proxy reads the same file and has neither the secrets nor the
//! deployment. Made by the parser, resolved by the deployer.

use std::fmt;

/// A text in which `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `$$` and the [`WORDS`] stand for something.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template(String);

/// The words that a deployment fills in, without their braces. Other braces stand for themselves.
pub const WORDS: [&str; 8] =
    ["app", "environment", "slot", "version", "git_commit", "deployment", "image", "replica"];

impl Template {
    /// Keeps a text as it was written.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it was written. It may hold a secret that somebody wrote in the open.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.0
    }
}

/// Never shows the text: it may hold a secret.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template(***)")
    }
}
