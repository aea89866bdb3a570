//! Deployments on real parts: an engine, a registry, a database and a proxy for each test.

mod backup;
mod bake;
mod containers;
mod crash;
mod failures;
mod fixed;
mod hooks;
mod images;
mod load;
mod migrate;
mod outage;
mod prune;
mod remote;
mod rivals;
mod rollback;
mod schema;
mod secrets;
mod snapshot;
mod succession;
