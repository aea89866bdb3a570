//! ACME (RFC 8555): how one certificate is obtained from one authority.
//!
//! `transport` speaks HTTP, `authority` keeps the account, `challenge` proves control over names, and
//! `order` goes the whole way from a new order to a stored pair. Every step that the authority remembers is
//! on disk before the next one is asked for, so a process that is killed resumes where it was. When to order,
//! from whom, and how often is the manager's business, not decided here.

pub(crate) mod authority;
pub(crate) mod challenge;
mod error;
pub(crate) mod order;
mod transport;

pub use error::AcmeError;

/// Asks again as long as the authority rejects nonces: some reject every other one, and the library gives up
/// after three. A rejected request has had no effect (RFC 8555 section 6.5), so it may be repeated.
macro_rules! patiently {
    ($call:expr) => {{
        let mut patience = 12_u8;
        loop {
            match $call.await {
                Err(error) if patience > 0 && $crate::acme::is_bad_nonce(&error) => patience -= 1,
                answer => break answer,
            }
        }
    }};
}
pub(crate) use patiently;

/// Whether the authority rejected nothing but the nonce.
pub(crate) fn is_bad_nonce(error: &instant_acme::Error) -> bool {
    problem_type(error) == Some("badNonce")
}

/// The type of a problem document without its namespace (RFC 8555 section 6.7).
pub(crate) fn problem_type(error: &instant_acme::Error) -> Option<&str> {
    let instant_acme::Error::Api(problem) = error else { return None };
    problem.r#type.as_deref()?.strip_prefix("urn:ietf:params:acme:error:")
}
