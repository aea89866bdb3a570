//! The application's database, as far as the deployer looks at it: where it is, and what its schema says.
//!
//! Nothing here changes a database; every look is one read-only transaction with a deadline. `snapshot` dumps and
//! restores. Called before and after migrations, and by `switcher migrate status`.

mod error;
mod libpq;
pub mod schema;
mod session;
mod tls;
mod tool;
mod url;

pub use error::DatabaseError;
pub(crate) use libpq::plain;
pub use libpq::{Libpq, Unwritable};
pub use schema::{Dirty, SchemaState, migrations_run, probe};
pub(crate) use session::{Patience, Session, literal, name};
pub(crate) use tls::unproven as unproven_tls;
pub use tool::Tool;
pub use url::{DatabaseUrl, Host, InvalidUrl, Password, SslFiles, SslMode};
