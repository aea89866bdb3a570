//! What the deployer remembers: `state.json`, the history, the lease, the journal of what is under way.
//!
//! One writer: whoever holds the lease. Everything else reads.

pub mod record;
