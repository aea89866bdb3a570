//! The fencing token of a lease: which of two owners came later.
//!
//! A lease that ran out cannot call its owner back: one that was asleep wakes up and acts as if it still held
//! it. So every lease has a number, greater than those before it, which travels with each change; the proxy
//! remembers the greatest and refuses smaller ones (Martin Kleppmann, "How to do distributed locking", 2016).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One lease, as it is shown to the proxy: with a change, or with `POST /v1/apps/{app}/claim`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// Its number: each lease of an application has a greater one than the lease before.
    pub number: u64,
    /// Who holds it, as an id that no other lease ever has: `lock_01J…`.
    pub holder: String,
}
