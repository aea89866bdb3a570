//! Request hygiene: what a request must look like before anything of it reaches Pingora or an upstream.
//!
//! Pure rules over bytes, each with the section of the RFC that it comes from. Invariant: what passes is read in the
//! same way by every parser, strict or lax, so the request that is routed is the request that the upstream gets. What is
//! malformed or ambiguous is refused, not repaired; only what the RFCs demand to take is taken.
//!
//! The connection loop calls [`check_head`] on the bytes of every HTTP/1.1 head and follows chunked bodies with
//! [`Chunks`]; the gateway calls [`check_request`] on what Pingora made of a request, which is the only look at HTTP/2.

mod authority;
mod chunks;
mod field;
mod head;
mod line;
mod request;
mod violation;

#[cfg(test)]
mod properties;

pub use chunks::Chunks;
pub(crate) use field::is_token;
pub use head::{check_head, check_start, end_of_head, skip_blank};
pub use request::{check_request, check_sizes};
pub use violation::Violation;

/// How much a head may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head, in bytes (RFC 9110 section 5.4).
    pub size: usize,
    /// The number of its header lines.
    pub count: usize,
    /// Its target, in bytes (RFC 9112 section 3).
    pub target: usize,
}

/// How the body of a request is framed (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks until an empty one; follow them with [`Chunks`].
    Chunked,
}
