//! Everything that can go wrong between us and a database, and who has to do something about it.
//!
//! No text carries a password: the database is named by its label, and the server's own words hold none.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use super::url::InvalidUrl;
use crate::code::Code;

/// A database that could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL is not understood.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// Nobody answers, or the connection broke.
    #[error("the database {database} cannot be reached: {why}")]
    Unreachable {
        /// `shop@db.example.com`.
        database: String,
        /// What the system said.
        why: String,
    },
    /// The server answered and lets us not in: the password, the role, the database, its certificate.
    #[error("the database {database} refuses the connection: {why}")]
    Refused {
        /// `shop@db.example.com`.
        database: String,
        /// What the server said.
        why: String,
    },
    /// The server refused a question or a command.
    #[error("the database {database} refused: {why}")]
    Query {
        /// `shop@db.example.com`.
        database: String,
        /// What the server said.
        why: String,
    },
}

impl DatabaseError {
    /// The stable code; it decides the exit code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } => Code::DatabaseUnreachable,
            Self::Refused { .. } => Code::DatabaseRefused,
            Self::Url(_) => Code::DatabaseUrl,
            Self::Query { .. } => Code::DatabaseQuery,
        }
    }

    /// An error while the connection was being made.
    pub(super) fn connecting(database: String, error: &tokio_postgres::Error) -> Self {
        let why = words(error);
        match error.code() {
            None if why.contains("certificate") || why.contains("TLS") => Self::Refused { database, why },
            None => Self::Unreachable { database, why },
            Some(state) if passing(state) => Self::Unreachable { database, why },
            Some(_) => Self::Refused { database, why },
        }
    }

    /// An error of a question.
    pub(super) fn asking(database: String, error: &tokio_postgres::Error) -> Self {
        let why = words(error);
        match error.code() {
            None => Self::Unreachable { database, why },
            Some(state) if passing(state) => Self::Unreachable { database, why },
            Some(_) => Self::Query { database, why },
        }
    }

    /// The deadline passed.
    pub(super) fn silent(database: String, seconds: u64) -> Self {
        Self::Unreachable { database, why: format!("it did not answer within {seconds} s") }
    }
}

/// Whether the server is only starting, stopping or full.
fn passing(state: &SqlState) -> bool {
    [
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::TOO_MANY_CONNECTIONS,
    ]
    .contains(state)
}

/// The server's message and hint, or the whole chain of what the system said.
fn words(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let more = said.detail().or(said.hint()).map(|more| format!(" ({more})")).unwrap_or_default();
        return format!("{}{more}", said.message());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
