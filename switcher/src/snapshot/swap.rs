//! Putting a restored database in the place of the live one, by their names: both change, or neither does.
//!
//! One transaction renames both. While it waits for the live database to be left, everybody in it is sent away again
//! and again; who comes anew waits for the transaction's lock, and then finds the restored one.

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::error::SnapshotError;
use super::restore::{maintenance, named};
use crate::database::{DatabaseError, DatabaseUrl, Patience, Session, literal, name};

/// How long the exchange may take; the server itself gives up after 5 s when somebody does not leave.
const LIMIT: Duration = Duration::from_secs(30);
/// How often those who are still there are sent away.
const AGAIN: Duration = Duration::from_millis(50);

/// What is where now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Swapped {
    /// The live database: what was restored.
    pub live: String,
    /// What was live before; none when there was no such database.
    pub before: Option<String>,
}

/// Makes `restored` the live database. The one before stays, under another name.
///
/// # Errors
/// When the names were not exchanged; then neither was.
pub async fn swap(url: &DatabaseUrl, restored: &str, now: Timestamp) -> Result<Swapped, SnapshotError> {
    let live = url.database.as_str();
    let before = named(live, "before", now);
    let (renaming, ending) = (maintenance(url).await?, maintenance(url).await?);
    let exists = format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = {}", literal(live));
    let was_there = renaming.value(&exists).await?.is_some();
    let rename = |from: &str, to: &str| format!("ALTER DATABASE {} RENAME TO {};", name(from), name(to));
    let first = if was_there { rename(live, &before) } else { String::new() };
    // A simple query of several commands is one transaction, and BEGIN says so to whoever reads the server's log.
    let sql = format!("BEGIN; {first} {} COMMIT", rename(restored, live));
    let mut refused = None;
    let exchanged = tokio::select! {
        biased;
        exchanged = renaming.run(&sql, Patience::Work(LIMIT)) => exchanged,
        never = send_away(&ending, [live, restored], &mut refused) => match never {},
    };
    let Err(error) = exchanged else {
        return Ok(Swapped { live: live.to_owned(), before: was_there.then_some(before) });
    };
    let error = refused.map_or_else(|| error.to_string(), |refused| format!("{error}; {refused}"));
    // Ends the transaction where it is still open; a connection that is gone has ended it.
    let _ = renaming.run("ROLLBACK", Patience::Look).await;
    let mark = if was_there { before.as_str() } else { live };
    let why = settled(url, mark, &error).await;
    Err(SnapshotError::Swap { live: live.to_owned(), restored: restored.to_owned(), why })
}

/// Ends every other connection to these databases, for as long as it is polled. What the server says against it is
/// kept: those who stay may leave by themselves.
async fn send_away(
    session: &Session,
    databases: [&str; 2],
    refused: &mut Option<DatabaseError>,
) -> Infallible {
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE datname IN ({}) AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()",
        databases.map(literal).join(", ")
    );
    let mut again = interval(AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        *refused = session.rows(&sql).await.err();
    }
}

/// What an exchange that failed has left: nothing, unless the reply to COMMIT was lost. `mark` is a name that only an
/// exchange makes.
async fn settled(url: &DatabaseUrl, mark: &str, error: &str) -> String {
    let question = format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = {}", literal(mark));
    let looked = match maintenance(url).await {
        Ok(session) => session.value(&question).await,
        Err(error) => Err(error),
    };
    match looked {
        Ok(None) => error.to_owned(),
        Ok(Some(_)) => format!("{error}; yet {mark} is there, so the exchange happened all the same"),
        Err(_) => format!("{error}; whether it happened is not known, since the server does not answer"),
    }
}
