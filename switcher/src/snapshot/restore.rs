//! Restoring a snapshot into a fresh database beside the live one, which is never written to.
//!
//! The fresh one is made like the live one (owner, encoding, locale, settings, rights), so that it can take its place.
//! When anything fails it is dropped again.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio_postgres::SimpleQueryRow;

use super::error::SnapshotError;
use super::program::{Archive, Client, End, Job, Tools, major};
use super::sink::Text;
use super::{SnapshotId, Snapshotter, verify};
use crate::database::{DatabaseError, DatabaseUrl, Patience, Session, literal, name};

/// The longest name PostgreSQL keeps, in bytes (`NAMEDATALEN` - 1).
const LONGEST_NAME: usize = 63;

/// What was restored, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The fresh database.
    pub database: String,
    /// How many tables the snapshot holds.
    pub tables: u64,
    /// Settings and rights of the live one that our role may not give to the fresh one, a sentence each.
    pub warnings: Vec<String>,
}

/// Restores a snapshot into a database that does not exist yet: `into`, or a name made of the live one's and the time.
///
/// # Errors
/// When the snapshot is damaged, the database exists already, or restoring fails; then the fresh database is gone.
pub async fn restore(
    with: &Snapshotter,
    id: &SnapshotId,
    into: Option<&str>,
    now: Timestamp,
) -> Result<Restored, SnapshotError> {
    let path = with.folder.dump(id);
    if let Tools::Container(container) = &with.tools
        && !container.local
    {
        return Err(SnapshotError::Tool(
            "a container on another machine cannot read the dump, which is on this one; leave out `snapshot.image`, so \
             that the pg_restore of this machine is used"
                .to_owned(),
        ));
    }
    let snapshot = verify(&with.folder, &with.tools, with.timeout, id).await?;
    let server = maintenance(&with.url).await?;
    let database = match into {
        Some(database) => database.to_owned(),
        None => unused(&server, &with.url.database, now).await?,
    };
    let version: u32 = server
        .value("SELECT pg_catalog.current_setting('server_version_num')::int / 10000")
        .await?
        .and_then(|n| n.parse().ok())
        .unwrap_or_default();
    let client = with.tools.client(version.max(major(&snapshot.tool).unwrap_or_default())).await?;
    create(&server, &with.url.database, &database).await?;
    let fresh = with.url.with_database(&database);
    let filled = match fill(with, &client, &fresh, Archive::Whole(&path)).await {
        Ok(()) => like(&server, &with.url.database, &database).await.map_err(SnapshotError::from),
        Err(error) => Err(error),
    };
    match filled {
        Ok(warnings) => Ok(Restored { snapshot: snapshot.id, database, tables: snapshot.tables, warnings }),
        Err(error) => {
            // Nobody but us knows of it; what a broken connection leaves is named in the error.
            let force = if version >= 13 { " WITH (FORCE)" } else { "" };
            let drop = format!("DROP DATABASE IF EXISTS {}{force}", name(&database));
            match server.run(&drop, Patience::Work(with.timeout)).await {
                Ok(()) => Err(error),
                Err(left) => Err(SnapshotError::Restore {
                    why: format!("{error}; it is still there, half filled: {left}"),
                    database,
                }),
            }
        }
    }
}

/// `shop_restored_20261121_140307`, cut to what PostgreSQL keeps.
pub(super) fn named(live: &str, what: &str, now: Timestamp) -> String {
    let tail = format!("_{what}_{}", now.strftime("%Y%m%d_%H%M%S"));
    let mut end = live.len().min(LONGEST_NAME - tail.len());
    while !live.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tail}", &live[..end])
}

/// A name for a restored database that is nobody's yet: that of this second, or of one of the next, since two may be
/// restored within the same.
async fn unused(server: &Session, live: &str, now: Timestamp) -> Result<String, SnapshotError> {
    const TRIES: i64 = 60;
    let mut database = String::new();
    for later in 0..TRIES {
        database =
            named(live, "restored", now.saturating_add(SignedDuration::from_secs(later)).unwrap_or(now));
        if !is_there(server, &database).await? {
            break;
        }
    }
    Ok(database)
}

async fn is_there(server: &Session, database: &str) -> Result<bool, SnapshotError> {
    let exists = format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = {}", literal(database));
    Ok(server.value(&exists).await?.is_some())
}

/// Connects to another database of the server, since nobody can stand in the one whose name changes.
pub(super) async fn maintenance(url: &DatabaseUrl) -> Result<Session, DatabaseError> {
    let first = if url.database == "postgres" { "template1" } else { "postgres" };
    match Session::open(&url.with_database(first)).await {
        // Some providers have no `postgres`.
        Err(DatabaseError::Refused { .. }) if first == "postgres" => {
            Session::open(&url.with_database("template1")).await
        }
        other => other,
    }
}

/// Makes the fresh database like the live one; like the server's default where there is no live one any more.
async fn create(server: &Session, live: &str, fresh: &str) -> Result<(), SnapshotError> {
    if is_there(server, fresh).await? {
        return Err(SnapshotError::Restore {
            database: fresh.to_owned(),
            why: "there is a database of that name already, and none is overwritten; name another one with --into"
                .to_owned(),
        });
    }
    // Columns that only some versions have are read by way of JSON.
    let question = format!(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, \
         d.datctype, pg_catalog.to_jsonb(d)->>'datlocprovider', \
         COALESCE(pg_catalog.to_jsonb(d)->>'datlocale', pg_catalog.to_jsonb(d)->>'daticulocale'), \
         pg_catalog.to_jsonb(d)->>'daticurules', t.spcname, d.datconnlimit \
         FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace \
         WHERE d.datname = {}",
        literal(live)
    );
    let rows = server.rows(&question).await?;
    let sql = statement(fresh, rows.first().map(Definition::of).as_ref());
    server.run(&sql, Patience::Look).await.map_err(|error| match error {
        error @ DatabaseError::Query { .. } => {
            SnapshotError::Restore { database: fresh.to_owned(), why: error.to_string() }
        }
        error @ (DatabaseError::Url(_)
        | DatabaseError::Unreachable { .. }
        | DatabaseError::Refused { .. }) => error.into(),
    })
}

/// What cannot be changed, or not easily, once a database is made.
#[derive(Debug, Clone, Default)]
struct Definition {
    owner: String,
    encoding: String,
    collate: String,
    ctype: String,
    /// `c`, `i` or `b`: libc, ICU, the server's own.
    provider: Option<String>,
    locale: Option<String>,
    icu_rules: Option<String>,
    tablespace: String,
    connections: String,
}

impl Definition {
    fn of(row: &SimpleQueryRow) -> Self {
        let optional = |at: usize| row.get(at).map(str::to_owned);
        let cell = |at: usize| optional(at).unwrap_or_default();
        Self {
            owner: cell(0),
            encoding: cell(1),
            collate: cell(2),
            ctype: cell(3),
            provider: optional(4),
            locale: optional(5),
            icu_rules: optional(6),
            tablespace: cell(7),
            connections: cell(8),
        }
    }
}

/// Pure. From `template0`, since only it may have another encoding and holds nothing of anybody's.
fn statement(fresh: &str, live: Option<&Definition>) -> String {
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", name(fresh));
    let Some(live) = live else { return sql };
    sql.push_str(&format!(
        " OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {} CONNECTION LIMIT {}",
        name(&live.owner),
        literal(&live.encoding),
        literal(&live.collate),
        literal(&live.ctype),
        live.connections
    ));
    // Naming the default one needs a right that nobody has by default.
    if live.tablespace != "pg_default" {
        sql.push_str(&format!(" TABLESPACE {}", name(&live.tablespace)));
    }
    let locale = live.locale.as_deref().unwrap_or_default();
    match live.provider.as_deref() {
        Some("i") => {
            sql.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale)));
            if let Some(rules) = &live.icu_rules {
                sql.push_str(&format!(" ICU_RULES {}", literal(rules)));
            }
        }
        Some("b") => sql.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(locale))),
        Some(_) | None => {}
    }
    sql
}

/// Fills the fresh database and gathers its statistics, without which its first queries would be slow.
async fn fill(
    with: &Snapshotter,
    client: &Client<'_>,
    fresh: &DatabaseUrl,
    archive: Archive<'_>,
) -> Result<(), SnapshotError> {
    let mut text = Text::default();
    // A bare name with a = in it would be taken for a connection string.
    let quoted = fresh.database.replace('\\', r"\\").replace('\'', r"\'");
    let args =
        vec!["--exit-on-error".to_owned(), "--no-password".to_owned(), format!("--dbname=dbname='{quoted}'")];
    let job = Job { program: "pg_restore", args, url: Some(fresh), archive: Some(archive) };
    let why = match client.run(job, with.timeout, &mut text).await? {
        End::Well => {
            let session = Session::open(fresh).await?;
            let analyzed = session.run("ANALYZE", Patience::Work(with.timeout)).await;
            // Nobody may be in it when its name is changed.
            session.close().await;
            return Ok(analyzed?);
        }
        End::Badly(how) => format!("{how}: {}", fresh.redact(&text.words.sentence())),
        End::TimedOut => {
            return Err(SnapshotError::TimedOut {
                what: "restore",
                database: fresh.label(),
                after: with.timeout,
            });
        }
    };
    Err(SnapshotError::Restore { database: fresh.database.clone(), why })
}

/// Gives the fresh database the live one's settings and rights, which belong to a database and stand in no dump of it.
/// Answers what the server refused: somebody with more rights had given it.
async fn like(server: &Session, live: &str, fresh: &str) -> Result<Vec<String>, DatabaseError> {
    let fresh = name(fresh);
    let database = format!("(SELECT oid FROM pg_catalog.pg_database WHERE datname = {})", literal(live));
    let settings = format!(
        "SELECT CASE WHEN s.setrole <> 0 THEN pg_catalog.pg_get_userbyid(s.setrole)::text END, c \
         FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c WHERE s.setdatabase = {database}"
    );
    let mut commands = Vec::new();
    for row in server.rows(&settings).await? {
        let (parameter, value) = row.get(1).and_then(|c| c.split_once('=')).unwrap_or_default();
        commands.push(match row.get(0) {
            None => format!("ALTER DATABASE {fresh} SET {}", setting(parameter, value)),
            Some(role) => {
                format!("ALTER ROLE {} IN DATABASE {fresh} SET {}", name(role), setting(parameter, value))
            }
        });
    }
    let rights = format!(
        "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, \
         a.privilege_type, a.is_grantable FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a \
         WHERE d.oid = {database}"
    );
    let rows = server.rows(&rights).await?;
    if !rows.is_empty() {
        commands.push(format!("REVOKE ALL ON DATABASE {fresh} FROM PUBLIC"));
    }
    for row in rows {
        let cell = |at: usize| row.get(at).unwrap_or_default();
        let option = if cell(2) == "t" { " WITH GRANT OPTION" } else { "" };
        commands.push(format!("GRANT {} ON DATABASE {fresh} TO {}{option}", cell(1), cell(0)));
    }
    let mut warnings = Vec::new();
    for command in commands {
        match server.run(&command, Patience::Look).await {
            Ok(()) => {}
            Err(DatabaseError::Query { why, .. }) => warnings.push(format!("`{command}` was refused: {why}")),
            Err(
                error @ (DatabaseError::Url(_)
                | DatabaseError::Unreachable { .. }
                | DatabaseError::Refused { .. }),
            ) => return Err(error),
        }
    }
    Ok(warnings)
}

/// `name = value` for `SET`. Lists of names are kept with their own quotes, as `pg_dumpall` does it.
fn setting(parameter: &str, value: &str) -> String {
    const LISTS: [&str; 4] =
        ["search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"];
    let value =
        if LISTS.contains(&parameter) && !value.is_empty() { value.to_owned() } else { literal(value) };
    let parameter = parameter.split('.').map(name).collect::<Vec<_>>().join(".");
    format!("{parameter} = {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_name_says_what_it_is_and_is_never_too_long() {
        let now = "2026-11-21T14:03:07Z".parse().expect("a moment");
        assert_eq!(named("shop", "restored", now), "shop_restored_20261121_140307");
        let long = named(&"ß".repeat(40), "before", now);
        assert!(long.len() <= LONGEST_NAME && long.ends_with("ß_before_20261121_140307"), "{long}");
    }

    #[test]
    fn the_fresh_database_is_made_like_the_live_one() {
        let definition = Definition {
            owner: "o\"x".to_owned(),
            encoding: "UTF8".to_owned(),
            collate: "C".to_owned(),
            ctype: "C".to_owned(),
            provider: Some("i".to_owned()),
            locale: Some("de-DE".to_owned()),
            icu_rules: None,
            tablespace: "fast".to_owned(),
            connections: "-1".to_owned(),
        };
        insta::assert_snapshot!(statement("a b", Some(&definition)), @r#"CREATE DATABASE "a b" TEMPLATE template0 OWNER "o""x" ENCODING E'UTF8' LC_COLLATE E'C' LC_CTYPE E'C' CONNECTION LIMIT -1 TABLESPACE "fast" LOCALE_PROVIDER icu ICU_LOCALE E'de-DE'"#);
        assert_eq!(statement("x", None), r#"CREATE DATABASE "x" TEMPLATE template0"#);
    }

    #[test]
    fn lists_of_names_keep_their_quotes_and_texts_get_some() {
        assert_eq!(setting("search_path", r#""$user", public"#), r#""search_path" = "$user", public"#);
        assert_eq!(setting("app.name", "it's"), r#""app"."name" = E'it''s'"#);
    }
}
