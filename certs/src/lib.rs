//! Certificates: which one is shown to whom, and where it comes from.
//!
//! [`store`] is the one writer: it reads the wanted [`pair`]s from files, stands a [`placeholder`] in where
//! there is none, and swaps the finished table into the [`resolver`], which every handshake reads without a
//! lock. [`server`] makes the rustls configuration around it. Nothing here knows of slots or of the proxy
//! library; a slot switch never touches TLS.

pub mod acme;
pub mod challenges;
pub mod check;
pub mod dns;
pub mod folder;
pub mod internal;
pub mod ledger;
pub mod lineage;
pub mod manager;
pub mod on_demand;
pub mod pair;
pub mod placeholder;
pub mod plan;
pub mod record;
pub mod renewal;
pub mod resolver;
pub mod server;
pub mod store;

pub use challenges::Challenges;
pub use lineage::{Issuer, KeyType, Lineage};
pub use manager::Manager;
pub use pair::{Pair, PairError};
pub use plan::Plan;
pub use resolver::Resolver;
pub use server::client_ca::{ClientCa, ClientCaError, RootsId};
pub use server::sessions::Sessions;
pub use server::{Configurations, install_provider};
pub use store::{Note, Source, Store, Wanted};

#[cfg(test)]
mod error_texts;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod part;
