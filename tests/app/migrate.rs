//! Schema migrations in the manner of golang-migrate: one row of version and `dirty`, and a step that breaks
//! leaves the schema dirty.
//!
//! `MIGRATIONS` is how many steps this version knows (1). `MIGRATE_FAIL` fails before anything is touched,
//! `MIGRATE_FAIL_AT` breaks within that step, `MIGRATE_SLOW_MS` is how long each step takes, and `MIGRATE_HANG`
//! never ends. Every call leaves a row in `migrate_runs`.

use std::process::ExitCode;
use std::time::Duration;

use crate::database::{Database, Trouble};
use crate::{millis, number, pause, print_secrets, variable, version};

/// Runs `up` or `down --to N`.
pub(crate) fn run(arguments: &[&str]) -> ExitCode {
    if variable("PRINT_SECRETS").is_some() {
        print_secrets();
    }
    println!("migrate: {} of {}", arguments.join(" "), version());
    let outcome = match arguments {
        [] | ["up"] => up(),
        ["down", "--to", to] => to.parse().map_err(|_| format!("{to} is no version")).and_then(down),
        other => Err(format!("there is no migrate {other:?}")),
    };
    match outcome {
        Ok(version) => {
            println!("migrate: the schema is at {version}");
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            eprintln!("migrate: {trouble}");
            ExitCode::from(1)
        }
    }
}

fn open() -> Result<Database, Trouble> {
    if variable("MIGRATE_FAIL").is_some() {
        return Err("failing on purpose, before the first statement".to_owned());
    }
    while variable("MIGRATE_HANG").is_some() {
        pause(Duration::from_secs(1));
    }
    let mut database = Database::connect()?;
    let app = version();
    database.query(&format!(
        "SET client_min_messages = warning; SELECT pg_advisory_lock(4242);
         CREATE TABLE IF NOT EXISTS schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);
         CREATE TABLE IF NOT EXISTS migrate_runs (id serial PRIMARY KEY, app text NOT NULL);
         INSERT INTO migrate_runs (app) VALUES ('{app}')"
    ))?;
    Ok(database)
}

fn current(database: &mut Database) -> Result<u64, Trouble> {
    let rows = database.query("SELECT version, dirty FROM schema_migrations")?;
    match rows.first().map(Vec::as_slice) {
        None => Ok(0),
        Some([version, dirty]) if dirty == "f" => version.parse().map_err(|_| "no version".to_owned()),
        Some(_) => Err("the schema is dirty: fix it and force a version".to_owned()),
    }
}

fn set(database: &mut Database, version: u64, dirty: bool) -> Result<(), Trouble> {
    let row = if version == 0 && !dirty {
        String::new()
    } else {
        format!("INSERT INTO schema_migrations VALUES ({version}, {dirty});")
    };
    database.query(&format!("BEGIN; TRUNCATE schema_migrations; {row} COMMIT")).map(drop)
}

fn up() -> Result<u64, Trouble> {
    let mut database = open()?;
    let newest = number("MIGRATIONS").unwrap_or(1);
    let from = current(&mut database)?;
    for step in from + 1..=newest {
        println!("migrate: {step}/u");
        set(&mut database, step, true)?;
        pause(millis("MIGRATE_SLOW_MS").unwrap_or_default());
        if number("MIGRATE_FAIL_AT") == Some(step) {
            database.query("SELECT broken_on_purpose()")?;
        }
        database.query(&format!("CREATE TABLE step_{step} (id serial PRIMARY KEY, name text)"))?;
        set(&mut database, step, false)?;
    }
    Ok(newest.max(from))
}

fn down(to: u64) -> Result<u64, Trouble> {
    let mut database = open()?;
    for step in (to + 1..=current(&mut database)?).rev() {
        println!("migrate: {step}/d");
        set(&mut database, step, true)?;
        database.query(&format!("DROP TABLE step_{step}"))?;
        set(&mut database, step - 1, false)?;
    }
    Ok(to)
}
