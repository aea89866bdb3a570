//! What the deployer remembers: `state.json`, the history, the lease, the journal of what is under way.
//!
//! One writer: whoever holds the lease. Everything else reads. The way in is [`Store`]; it gives the [`Lease`], and
//! the lease gives the [`JournalFile`].

mod audit;
mod deployments;
mod document;
mod error;
mod folder;
mod heartbeat;
mod history;
mod journal;
mod judge;
mod lease;
mod lifeline;
mod lines;
mod owner;
mod place;
pub mod record;
pub mod schema;
mod store;
#[cfg(test)]
mod tests;
mod trust;

pub use audit::AuditRecord;
pub use deployments::DeploymentFolder;
pub use error::{AcquireError, LeaseError, StateError};
pub use journal::JournalFile;
pub use judge::{Host, LONGEST, Verdict, conclusive, judge};
pub use lease::Lease;
pub use owner::Owner;
pub use place::{Place, place};
pub use store::{Release, Store};
