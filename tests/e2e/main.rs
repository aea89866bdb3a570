//! The end-to-end tests: the real programs, real sockets, a module a noun.
//!
//! They need both programs: `cargo build -p switcher-proxy -p switcher`.

mod access_log;
mod acme;
mod admin;
mod answer;
mod bake;
mod balance;
mod canonical;
mod challenge_http;
mod cli;
mod client_ca;
mod compliance;
mod config;
mod dashboard;
mod deploy;
mod doctor;
mod drain;
mod ending;
mod examples;
mod exhaustion;
mod handshake;
mod header;
mod health;
mod hsts;
mod http1;
mod http2;
mod hygiene;
mod init;
mod limits;
mod middleware;
mod pages;
mod pause;
mod persistence;
mod preview;
mod process;
mod promote;
mod proxy_protocol;
mod register;
mod routing;
mod stream;
mod tcp_option;
mod timeout;
mod tls;
mod unix_socket;
mod websocket;
