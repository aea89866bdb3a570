//! The style, the script and the icon: small files of our own, part of the program.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

/// Where the style is.
pub(super) const STYLE: &str = "/dashboard/style.css";
/// Where the script is.
pub(super) const SCRIPT: &str = "/dashboard/live.js";
/// Where the icon is.
pub(super) const ICON: &str = "/dashboard/icon.svg";

pub(super) async fn style(asked: HeaderMap) -> Response {
    file(&asked, "text/css; charset=utf-8", include_str!("style.css"))
}

pub(super) async fn script(asked: HeaderMap) -> Response {
    file(&asked, "text/javascript; charset=utf-8", include_str!("live.js"))
}

pub(super) async fn icon(asked: HeaderMap) -> Response {
    file(&asked, "image/svg+xml", include_str!("icon.svg"))
}

/// A file, or that the browser has it already. It is asked each time, so that nobody sees a page of this version with
/// the style of the one before.
fn file(asked: &HeaderMap, media: &'static str, text: &'static str) -> Response {
    let digest = Sha256::digest(text.as_bytes());
    let tag = format!("\"{}\"", digest[..12].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let has = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let mut headers = HeaderMap::new();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if has.is_some_and(|tags| tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    // An SVG that is opened by itself is a document too.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    (headers, text).into_response()
}
