//! Deployments on real parts: an engine, a registry, a database and a proxy for each test.

mod images;
mod load;
mod remote;
