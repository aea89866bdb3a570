//! `switcher init`: what a Compose file, a running container or a bare server becomes. Pure, but for `place` and `steps`.
//!
//! [`compose`] reads services, as `docker` does from containers; [`kind`] says which of them are applications; [`draft`] writes the
//! configuration and [`settle`] makes sure that it loads. What cannot be carried over is a [`Leftover`]: it is listed
//! and never silently lost. No value that looks like a secret is copied. Called by `commands::init`.

pub mod arguments;
pub mod compose;
pub mod diff;
pub mod draft;
pub mod interpolation;
pub mod kind;
pub mod place;
pub mod probe;
pub mod secret;
pub mod service;
pub mod settle;
pub mod traefik;
pub mod units;
pub mod workflow;
pub mod yaml;

pub use service::{Check, Leftover, Placed, Service, Stack, Variable, Words};

#[cfg(test)]
mod tests;
