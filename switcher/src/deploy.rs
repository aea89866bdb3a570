//! A deployment, from an image to live traffic and back: the machine, its journal and its recovery.
//!
//! The cores are pure: `order` says what is wanted and in which stages, `machine` moves from stage to stage,
//! `undo` says how to leave no trace, `recover` says what to do after a crash, `plan` says it all beforehand.
//! `runner` performs one effect at a time: it journals the intent, performs, journals the outcome.
//!
//! Invariant: before traffic moves every failure is undone, and users notice nothing; after it has moved
//! nothing is undone, and what fails is a warning; traffic goes back when the proxy's bake or the public address says so.

pub mod asked;
pub mod canary;
pub mod conclude;
mod data;
pub mod journal;
pub mod machine;
pub(crate) mod messenger;
pub(crate) mod migration;
pub mod notice;
pub(crate) mod operation;
pub mod order;
pub mod plan;
pub mod prune;
pub mod record;
pub mod recover;
pub mod repair;
pub mod rollback;
pub(crate) mod runner;
#[cfg(test)]
mod simulation;
pub(crate) mod site;
pub mod smoke;
pub mod undo;
pub mod verify;
pub(crate) mod world;
