//! Deployments on real parts: an engine, a registry, a database and a proxy for each test.

mod crash;
mod failures;
mod load;
mod outage;
mod rivals;
mod rollback;
mod schema;
mod secrets;
mod snapshot;
mod succession;
