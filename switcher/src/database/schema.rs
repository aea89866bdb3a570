//! What a database's schema says of itself: which tool migrates it, how far it got, and whether it got stuck.
//!
//! Read only. Tools are told apart by table and columns (`tool`), in every schema that the role may read; those of
//! the search path come first. Called around migrations and by `switcher migrate status`.

use serde::Serialize;

use super::error::DatabaseError;
use super::session::Session;
use super::tool::{self, Table, Tool};
use super::url::DatabaseUrl;

/// Tables of migrations that are looked at; a database with a schema for each customer has more.
const MOST: usize = 64;

/// How far the migrations of a schema got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaState {
    /// Whose table it is.
    pub tool: Tool,
    /// The table, with its schema: `public.schema_migrations`.
    pub table: String,
    /// The newest migration; none before the first. Alembic's several heads stand side by side.
    pub version: Option<String>,
    /// How many are applied; none where the tool keeps its current version only (golang-migrate, Alembic).
    pub applied: Option<u64>,
    /// What got stuck.
    pub dirty: Option<Dirty>,
}

/// A migration that ended halfway: running others on top of it makes it worse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dirty {
    /// What got stuck, as a sentence.
    pub what: String,
    /// The way out, with the tool's own command.
    pub way_out: String,
}

/// Looks at the schema; none when no known tool has left its table there.
///
/// The state is that of the first table on the search path. A table elsewhere still makes it dirty: its migration got
/// stuck in the same database.
///
/// # Errors
/// When the database cannot be reached, or does not let us look.
pub async fn probe(url: &DatabaseUrl) -> Result<Option<SchemaState>, DatabaseError> {
    let session = Session::read(url).await?;
    let state = state(&session).await;
    // A migration may follow at once, and must not wait for our locks.
    session.close().await;
    state
}

async fn state(session: &Session) -> Result<Option<SchemaState>, DatabaseError> {
    let mut first: Option<SchemaState> = None;
    for (tool, table) in tables(session).await? {
        let state = look(session, tool, &table).await?;
        match &mut first {
            None => first = Some(state),
            Some(first) => first.dirty = first.dirty.take().or(state.dirty),
        }
    }
    Ok(first)
}

/// How many migrations ran between two looks. A tool that keeps only its current version cannot tell: there it is 1
/// when the version moved.
#[must_use]
pub fn migrations_run(before: Option<&SchemaState>, after: Option<&SchemaState>) -> u64 {
    let Some(after) = after else { return 0 };
    let applied_before = before.map_or(Some(0), |before| before.applied);
    match (applied_before, after.applied) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        (_, None) | (None, _) => {
            u64::from(before.and_then(|before| before.version.as_ref()) != after.version.as_ref())
        }
    }
}

/// The tables of known tools, the search path's first.
async fn tables(session: &Session) -> Result<Vec<(Tool, Table)>, DatabaseError> {
    let mut found: Vec<Table> = Vec::new();
    for row in session.rows(&tool::catalog()).await? {
        let cell = |at: usize| row.get(at).unwrap_or_default().to_owned();
        let (schema, name, column) = (cell(0), cell(1), (cell(2), cell(3)));
        match found.last_mut() {
            Some(table) if table.schema == schema && table.name == name => table.columns.push(column),
            Some(_) | None => found.push(Table { schema, name, columns: vec![column] }),
        }
    }
    let known = |table: &Table| Tool::of(table, &found);
    Ok(found.iter().filter_map(|table| Some((known(table)?, table.clone()))).take(MOST).collect())
}

async fn look(session: &Session, tool: Tool, table: &Table) -> Result<SchemaState, DatabaseError> {
    let rows = session.rows(&tool.question(table)).await?;
    let cell = |at: usize| rows.first().and_then(|row| row.get(at)).map(str::to_owned);
    Ok(tool.state(table, cell(0), cell(1), cell(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(applied: Option<u64>, version: Option<&str>) -> SchemaState {
        SchemaState {
            tool: Tool::GolangMigrate,
            table: "public.schema_migrations".to_owned(),
            version: version.map(str::to_owned),
            applied,
            dirty: None,
        }
    }

    #[test]
    fn the_migrations_between_two_looks_are_counted() {
        for (before, after, run) in [
            (None, None, 0),
            (None, Some(state(Some(3), Some("3"))), 3),
            (Some(state(Some(3), Some("3"))), Some(state(Some(5), Some("5"))), 2),
            (Some(state(Some(5), Some("5"))), Some(state(Some(3), Some("3"))), 0),
            (None, Some(state(None, Some("7"))), 1),
            (Some(state(None, Some("7"))), Some(state(None, Some("7"))), 0),
            (Some(state(None, Some("7"))), Some(state(None, Some("9"))), 1),
            (Some(state(Some(1), Some("1"))), None, 0),
        ] {
            assert_eq!(migrations_run(before.as_ref(), after.as_ref()), run, "{before:?} {after:?}");
        }
    }
}
