//! The cookie by which a visitor comes back to the same upstream: `NAME=MARK`.
//!
//! Invariant: a mark tells nothing of an upstream's address. It is a keyed hash of application, slot and address; the
//! key is made once and kept in `<data_dir>/sticky.key`, so that marks outlive restarts. The same address in the other
//! slot has another mark: a switch moves everybody. Marks are made by [`crate::watched`], read and set by the gateway.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::hmac;
use http::header::{self, HeaderMap, HeaderValue};
use switcher_config::durable::{self, Durability};
use switcher_config::{AppName, Generation, PathPrefix, Slot, UpstreamAddress};

const FILE: &str = "sticky.key";
const KEY_BYTES: usize = 32;

/// What a cookie holds of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u64);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Makes marks. The key is read, or made, when the first is asked for.
pub struct Marks {
    path: PathBuf,
    key: OnceLock<hmac::Key>,
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Marks {
    /// Marks by the key in a folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE), key: OnceLock::new() }
    }

    /// The mark of an upstream.
    #[must_use]
    pub fn mark(&self, app: &AppName, slot: Slot, address: &UpstreamAddress) -> Mark {
        self.of(&format!("{app} {slot} {address}"))
    }

    /// The mark of the release that a switch made live, or a canary tries.
    #[must_use]
    pub fn release(&self, app: &AppName, slot: Slot, generation: Generation) -> Mark {
        self.of(&format!("release {app} {slot} {generation}"))
    }

    fn of(&self, text: &str) -> Mark {
        let key = self.key.get_or_init(|| hmac::Key::new(hmac::HMAC_SHA256, &key(&self.path)));
        let tag = hmac::sign(key, text.as_bytes());
        let first = tag.as_ref().first_chunk().copied().unwrap_or_default();
        Mark(u64::from_be_bytes(first))
    }
}

/// The key that is kept, or a new one. When it cannot be kept, visitors change their upstream at the next restart.
fn key(path: &Path) -> [u8; KEY_BYTES] {
    match fs::read(path) {
        Ok(bytes) => match bytes.try_into() {
            Ok(key) => return key,
            Err(_) => {
                tracing::warn!(path = %path.display(), "the key of sticky cookies was damaged; a new one is made")
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the key of sticky cookies cannot be read; a new one is made");
        }
    }
    let mut key = [0; KEY_BYTES];
    if aws_lc_rs::rand::fill(&mut key).is_err() {
        tracing::warn!("the system gives no random numbers; sticky cookies can be foretold");
    }
    if let Err(error) = durable::replace(path, &key, 0o600, Durability::Synced) {
        tracing::warn!(path = %path.display(), %error, "the key of sticky cookies cannot be kept; visitors change their upstream at the next restart");
    }
    key
}

/// The value of a cookie, from all fields of `Cookie` (RFC 6265 section 4.2.1). The first one counts.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let crumbs =
        headers.get_all(header::COOKIE).iter().flat_map(|field| field.as_bytes().split(|b| *b == b';'));
    crumbs.map(<[u8]>::trim_ascii).find_map(|crumb| crumb.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The mark that a request brings.
#[must_use]
pub fn brought(headers: &HeaderMap, name: &str) -> Option<Mark> {
    let value = cookie(headers, name)?;
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()) && text.len() == 16)?;
    u64::from_str_radix(text, 16).ok().map(Mark)
}

/// The cookie as it is set: until the browser is closed, for this site's own requests, out of reach of scripts.
#[must_use]
pub fn set(name: &str, mark: Mark, path: &PathPrefix, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    HeaderValue::try_from(format!("{name}={mark}; Path={path}; HttpOnly; SameSite=Lax{secure}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (AppName, UpstreamAddress) {
        ("shop".parse().expect("a name"), "127.0.0.1:8001".parse().expect("an address"))
    }

    #[test]
    fn a_mark_outlives_a_restart_and_is_another_one_elsewhere() {
        let (folder, other) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (app, address) = names();
        let mark = Marks::in_folder(folder.path()).mark(&app, Slot::Blue, &address);
        let again = Marks::in_folder(folder.path());
        assert_eq!(again.mark(&app, Slot::Blue, &address), mark);
        assert_ne!(again.mark(&app, Slot::Green, &address), mark);
        assert_ne!(Marks::in_folder(other.path()).mark(&app, Slot::Blue, &address), mark);
    }

    #[test]
    fn a_cookie_that_was_set_is_understood_and_nothing_else_is() {
        let mark = Mark(0x0123_4567_89ab_cdef);
        let set = set("at", mark, &PathPrefix::default(), true).expect("a header");
        assert_eq!(set, "at=0123456789abcdef; Path=/; HttpOnly; SameSite=Lax; Secure");
        for (field, found) in [
            ("at=0123456789abcdef", Some(mark)),
            ("a=1; at=0123456789abcdef; b=2", Some(mark)),
            ("at=0123456789abcde", None),
            ("at=+123456789abcdef", None),
            ("hat=0123456789abcdef", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(field))]);
            assert_eq!(brought(&headers, "at"), found, "{field:?}");
        }
    }
}
