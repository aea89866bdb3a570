//! The `switcher` program against a scripted proxy: a real process, a real unix socket, every word checked.

mod certs;
mod configuration;
mod errors;
mod imports;
mod lost;
mod memory;
mod offline;
mod proxy;
mod run;
mod switching;
mod views;
mod watch;
