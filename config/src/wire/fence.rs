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

/// A lease that is shown before anything is changed. Operators whose leases are kept in the same place exclude each
/// other there; those of different places exclude each other here, for as long as the claim is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// As in [`Fence`].
    pub number: u64,
    /// As in [`Fence`].
    pub holder: String,
    /// Where the lease is kept: a word that no other place has. Without one nobody is excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// For how many seconds nobody of another place gets a claim; 0 gives it back.
    #[serde(default)]
    pub seconds: u64,
}

impl Claim {
    /// The lease itself.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { number: self.number, holder: self.holder.clone() }
    }
}

/// A claim that excludes nobody.
impl From<Fence> for Claim {
    fn from(Fence { number, holder }: Fence) -> Self {
        Self { number, holder, place: None, seconds: 0 }
    }
}
