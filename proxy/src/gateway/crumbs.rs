//! Cookies of HTTP/2, which clients may send in several fields so that each is compressed by itself.
//!
//! Invariant: behind the proxy there is one `Cookie` field. Programs that get several join them with a comma, or take one of
//! them, and the visitor is logged out. Called by [`super::forward`] for requests of HTTP/2 alone.

use bytes::BytesMut;
use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use pingora::{ErrorType, OrErr as _, Result};

/// Joins what came in several fields (RFC 9113 section 8.2.3).
///
/// # Errors
/// Never in truth: what is joined was valid before.
pub(super) fn join(headers: &mut HeaderMap) -> Result<()> {
    let crumbs = headers.get_all(COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return Ok(());
    }
    let mut whole = BytesMut::with_capacity(crumbs.iter().map(|crumb| crumb.len() + 2).sum());
    for crumb in crumbs {
        if !whole.is_empty() {
            whole.extend_from_slice(b"; ");
        }
        whole.extend_from_slice(crumb.as_bytes());
    }
    let whole = HeaderValue::from_maybe_shared(whole.freeze())
        .or_err(ErrorType::InvalidHTTPHeader, "the cookies of a request")?;
    headers.insert(COOKIE, whole);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(crumbs: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for crumb in crumbs {
            headers.append(COOKIE, crumb.parse().expect("a cookie"));
        }
        join(&mut headers).expect("valid");
        let left = headers.get_all(COOKIE).iter();
        left.map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn several_fields_become_one_and_one_stays_as_it_is() {
        assert_eq!(joined(&["a=1", "b=2", "c=3; d=4"]), ["a=1; b=2; c=3; d=4"]);
        assert_eq!(joined(&["a=1"]), ["a=1"]);
        assert!(joined(&[]).is_empty());
    }
}
