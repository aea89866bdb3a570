//! The values of `mirror` and `asset_fallback`.

use std::str::FromStr;

use regex::Regex;
use serde_json::Value;

use super::{Pattern, leaf, text_schema};
use crate::node::Node;
use crate::reader::Reader;
use crate::section::{Setting, Shown};
use crate::settings::{AssetPattern, SafeMethod};
use crate::words::choice;

choice!(SafeMethod { "GET" => SafeMethod::Get, "HEAD" => SafeMethod::Head, "OPTIONS" => SafeMethod::Options }
    or_else "no other method may be asked twice (RFC 9110 section 9.2.1)");

/// What stands for itself in the default of [`AssetName`]: eight characters or more, as bundlers write hashes, and an
/// ending that no page has.
const HASHED: &str = r"[.-][0-9A-Za-z_-]{8,}(\.chunk|\.min)?\.(js|mjs|css|wasm|woff2?|ttf|otf|eot|svg|png|jpe?g|gif|webp|avif|ico|mp4|webm)(\.map)?$";

/// A regular expression that the path of an asset fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssetName(pub(crate) AssetPattern);

impl AssetName {
    /// Names with a hash in them.
    pub(crate) fn hashed() -> Option<AssetPattern> {
        Regex::new(HASHED).ok().map(AssetPattern)
    }
}

impl FromStr for AssetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Pattern(text) = text.parse()?;
        Regex::new(&text).map(|pattern| Self(AssetPattern(pattern))).map_err(|error| error.to_string())
    }
}
leaf!(AssetName, "^/build/", |v| Shown::Text(v.0.as_str().to_owned()), text_schema("^/build/"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_the_usual_bundlers_are_known_and_pages_are_none() {
        let AssetPattern(hashed) = AssetName::hashed().expect("a pattern");
        for asset in [
            "/assets/index-DiwrgTda.js",
            "/static/js/main.3f2a9b1c.chunk.js",
            "/static/js/main.3f2a9b1c.js",
            "/assets/application-0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0.css",
            "/_next/static/chunks/pages/_app-7c8b1a0d3e5f6a7b.js",
            "/fonts/inter-B3_x-9Qz.woff2",
            "/main.3f2a9b1c.js.map",
        ] {
            assert!(hashed.is_match(asset), "{asset}");
        }
        for page in [
            "/",
            "/app.js",
            "/product-description",
            "/product-description.html",
            "/a-b.css",
            "/api/v1/orders.12345678",
        ] {
            assert!(!hashed.is_match(page), "{page}");
        }
    }
}
