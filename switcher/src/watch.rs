//! `switcher watch`: a push to a registry becomes a deployment, with nobody watching.
//!
//! [`decide`] says what to do, from what is remembered ([`memory`]), what the registry answered ([`registry`]) and the
//! clock; it is pure. `application` does it, an application each; deployments are made by `switcher deploy` as a
//! process of its own (`child`), so that neither's crash ends the other. `webhook` only makes it look earlier.
//! Called by `commands::watch`.

pub(crate) mod application;
pub(crate) mod bell;
pub(crate) mod child;
pub mod decide;
pub mod memory;
pub mod registry;
pub(crate) mod voice;
pub(crate) mod webhook;
