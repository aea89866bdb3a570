//! What a deployment is made of, against real parts: engine, registry, database.

mod schema;
mod snapshot;
