//! The words both Switcher programs share.
//!
//! Vocabulary first ([`slot`], [`address`], [`host`], [`units`]), then the [`settings`] that the YAML
//! file is parsed into, the admin API's [`wire`] types, and [`durable`] file replacement.
//! Nothing here knows of sockets, threads or a runtime.
//!
//! The way of a configuration: [`load()`] finds the layers, `yaml` turns each into `node`s, `layers` lays them
//! over each other and has `substitute` replace `${NAME}`, the sections declared in `keys` read the tree,
//! `checks` compares what stands in different places, `parse` makes the settings. Every step adds its
//! [`problem`]s, so that one run tells all of them.

pub mod address;
pub mod bake;
pub mod canary;
mod checks;
#[cfg(test)]
mod corpus;
pub mod document;
pub mod durable;
pub mod host;
pub mod image;
mod keys;
mod layers;
pub mod load;
mod node;
pub mod pages;
mod parse;
pub mod place;
pub mod problem;
pub mod providers;
mod reader;
pub mod request;
mod schema;
pub mod secret_file;
mod section;
pub mod settings;
mod show;
pub mod slot;
mod substitute;
pub mod template;
pub mod units;
mod values;
mod variables;
mod weight;
pub mod wire;
mod words;
mod yaml;

pub use address::{ListenAddress, UpstreamAddress, UpstreamProtocol};
pub use bake::{BakeLimits, Factor, OnInconclusive, Share};
pub use canary::{CanaryKey, CanaryRules, NamedValue, OnUnjudged};
pub use host::{HostPattern, PathPrefix};
pub use image::ImageReference;
pub use load::{Loaded, Sources, load};
pub use place::{ListenPlace, SocketPath};
pub use problem::{Problem, Report};
pub use schema::schema;
pub use slot::{AppName, Generation, PerSlot, Slot};
pub use template::{Resolved, Template, TemplateError, fill};
pub use units::{Bytes, Span};
pub use weight::{Weight, WeightedAddress};
