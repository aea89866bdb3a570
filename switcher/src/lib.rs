//! The `switcher` command line: asks the proxy over its admin socket, decides, reports.
//!
//! `cli` says what can be typed, `commands` holds one file a verb, `admin` speaks to the proxy, `failure`
//! and `code` hold everything that can go wrong. Decisions (`decide`, `aftermath`) are pure.
//! Only [`run`] turns an outcome into an exit code.

pub mod admin;
pub mod aftermath;
pub mod certificate;
pub mod cli;
pub mod code;
mod commands;
mod configuration;
pub mod console;
pub mod container;
pub mod context;
pub mod database;
pub mod decide;
pub mod demo;
pub mod deploy;
pub mod deployment;
mod diagnosis;
pub mod docker;
pub mod doctor;
pub mod environment;
pub mod failure;
mod foreign_certificates;
pub mod hook;
pub mod host;
pub mod import;
pub mod init;
mod interrupt;
pub mod layout;
pub mod log;
mod mutation;
pub mod phrase;
pub mod progress;
pub mod redact;
pub mod runtime;
pub mod signature;
pub mod snapshot;
pub mod state;
mod switch;
pub mod watch;
pub mod web;

use std::ffi::OsString;

use clap::Parser as _;

pub use context::Surroundings;

/// Runs one command line and answers the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, surroundings: Surroundings) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    match cli::Cli::try_parse_from(&args) {
        Ok(cli) => commands::dispatch(cli, &args, surroundings),
        Err(error) => cli::report_usage(&error, &args, &surroundings),
    }
}
