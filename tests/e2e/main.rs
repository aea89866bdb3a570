//! The end-to-end tests: the real programs, real sockets, a module a noun.
//!
//! They need both programs: `cargo build -p switcher-proxy -p switcher`.

mod access_log;
mod admin;
mod answer;
mod balance;
mod cli;
mod compliance;
mod config;
mod drain;
mod header;
mod health;
mod http1;
mod http2;
mod pause;
mod persistence;
mod process;
mod promote;
mod register;
mod routing;
mod stream;
mod timeout;
mod tls;
mod websocket;
