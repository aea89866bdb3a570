//! The application that runs in the containers of the tests: one static program that needs nothing but a kernel.
//!
//! Made by `rustc` alone, without a crate, so that its image is this one file. What it does is said by its
//! environment, which a test bakes into an image or gives to a container:
//!
//! | variable | effect |
//! |---|---|
//! | `APP_VERSION`, `PORT` | what it calls itself (`dev`), where it listens (8080) |
//! | `START_DELAY_MS`, `READY_DELAY_MS` | listens, is healthy, only after that |
//! | `HEALTH_STATUS`, `HEALTH_TEXT` | what `/health` answers from the beginning on |
//! | `CRASH_AT_START`, `CRASH_AFTER_MS` | ends with that exit code before it listens; with 3, after that time |
//! | `FAIL_REQUESTS` | answers 500 to everything but `/health`: broken under live traffic alone |
//! | `MEMORY_AT_START_MB` | takes so much memory before it listens, after a second |
//! | `REQUIRE` | names, with commas, of variables without which it does not start (exit code 78) |
//! | `PRINT_SECRETS` | writes its environment and `/run/secrets` to its log |
//! | `IGNORE_TERM`, `DRAIN_MS` | does not end at SIGTERM; how long it waits for what is in flight |
//! | `MIGRATIONS`, `MIGRATE_FAIL`, `MIGRATE_FAIL_AT`, `MIGRATE_SLOW_MS`, `MIGRATE_HANG` | see `migrate` |
//!
//! `/ready` is ready when the database of `DATABASE_URL`, if there is one, answers.
//!
//! Called as `app`, `app healthcheck`, `app migrate up`, `app migrate down --to N` and `app print TEXT…`.

mod answer;
mod database;
mod migrate;
mod pattern;
mod request;
mod serve;
mod websocket;

use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] | ["serve"] => serve::run(),
        ["healthcheck"] => serve::check_health(),
        ["migrate", rest @ ..] => migrate::run(rest),
        ["print", words @ ..] => {
            println!("{}", words.join(" "));
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("app: there is no command {other:?}");
            ExitCode::from(2)
        }
    }
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable as a number.
fn number(name: &str) -> Option<u64> {
    variable(name)?.parse().ok()
}

/// A variable as a time in milliseconds.
fn millis(name: &str) -> Option<Duration> {
    number(name).map(Duration::from_millis)
}

/// What this version calls itself.
fn version() -> String {
    variable("APP_VERSION").unwrap_or_else(|| "dev".to_owned())
}

/// Waits: this program is to be slow where a test says so.
#[allow(
    clippy::disallowed_methods,
    reason = "a thread for each connection, and slowness is what is asked for"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Writes everything secret to both streams, as a careless application does.
fn print_secrets() {
    for (name, value) in std::env::vars() {
        println!("environment {name}={value}");
        eprintln!("environment {name}={value}");
    }
    for (name, value) in secrets() {
        println!("secret {name}={value}");
        eprintln!("secret {name}={value}");
    }
}

/// Every file of `/run/secrets`: its name and its content.
fn secrets() -> Vec<(String, String)> {
    let Ok(folder) = std::fs::read_dir("/run/secrets") else { return Vec::new() };
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(entry.path()).unwrap_or_else(|error| format!("unreadable: {error}")))
    };
    folder.flatten().map(read).collect()
}
