//! The id of a request: it stands in the access log, in the answer and in the proxy's own error pages.
//!
//! Invariant: an id consists of harmless characters only, so it can be printed anywhere as it is. Called by the
//! gateway once for each request.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use ulid::Ulid;

/// `X-Request-Id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static(X_REQUEST_ID_TEXT);
/// The same for Pingora, which would copy a name that it does not know.
pub const X_REQUEST_ID_TEXT: &str = "x-request-id";

/// How many ids share a block of memory.
const IN_A_BLOCK: usize = 128;

thread_local! {
    /// Where this thread writes its next ids: they are alive for about the same time, so they share an allocation.
    static BLOCK: RefCell<BytesMut> = RefCell::default();
}

/// The longest id that is taken over from a trusted proxy, in bytes.
const MAX_LENGTH: usize = 128;

/// The id of one request. Cloning it copies no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id that a trusted proxy sent, if it is sane; else a new ULID, which sorts by time.
    #[must_use]
    pub fn of(headers: &HeaderMap, trusted: bool) -> Self {
        let sent = trusted.then(|| headers.get(X_REQUEST_ID)).flatten().filter(|id| is_sane(id.as_bytes()));
        sent.map_or_else(Self::generate, |id| Self(id.clone()))
    }

    /// A new id. Its randomness comes from a generator of the thread: no lock, no system call.
    #[must_use]
    pub fn generate() -> Self {
        let mut text = [0; ulid::ULID_LEN];
        let id = Ulid::generate().array_to_str(&mut text);
        let written = BLOCK.with_borrow_mut(|block| {
            if block.capacity() < id.len() {
                *block = BytesMut::with_capacity(IN_A_BLOCK * ulid::ULID_LEN);
            }
            block.extend_from_slice(id.as_bytes());
            block.split().freeze()
        });
        let mut id =
            HeaderValue::from_maybe_shared(written).unwrap_or_else(|_| HeaderValue::from_static("-"));
        // No other request has it, so HTTP/2 had better not keep it in its table (RFC 7541 section 6.2.3).
        id.set_sensitive(true);
        Self(id)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    /// The id as the value of a header.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Letters, digits and the marks that UUIDs, ULIDs, trace ids and cloud load balancers use.
fn is_sane(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= MAX_LENGTH
        && id.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'-' | b'_' | b'.' | b':' | b'=' | b'/' | b'+' | b'@' | b'|')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap())])
    }

    #[test]
    fn a_sane_id_of_a_trusted_proxy_is_kept() {
        for id in ["a", "01JBQR2K", "0af7651916cd43dd-8448eb:1", "Root=1-67891233-abcdef", &"x".repeat(128)] {
            assert_eq!(RequestId::of(&sent(id), true).as_str(), id);
        }
    }

    #[test]
    fn any_other_id_is_replaced() {
        for (id, trusted) in [
            ("abc", false),
            ("", true),
            ("a b", true),
            ("<script>", true),
            ("é", true),
            (&"x".repeat(129), true),
        ] {
            let made = RequestId::of(&sent(id), trusted);
            assert_ne!(made.as_str(), id);
            assert_eq!(made.as_str().len(), 26);
        }
    }

    #[test]
    fn two_ids_differ() {
        assert_ne!(RequestId::generate(), RequestId::of(&HeaderMap::new(), false));
    }
}
