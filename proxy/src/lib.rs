//! The Switcher data plane: a reverse proxy that owns both the traffic and the switch.
//!
//! `compose` builds everything; `listen` accepts connections, which the [`edge`] reads requests from for the
//! [`gateway`]; the gateway asks [`route`] which application, takes a lease from its [`app`], and
//! forwards through an [`epoch`]. [`control`] alone changes what is live: [`decide`], save to
//! [`routing`], swap, answer; [`drain`] then waits for what the old epoch still holds. [`health`]
//! probes both slots for ever. [`admin`] is how the world talks to `control`.

pub mod access_log;
pub mod admin;
pub mod adopt;
pub mod affinity;
pub mod answer;
pub mod app;
pub mod apply;
pub mod bake;
pub mod balance;
pub mod budget;
pub mod cache;
pub mod canary;
pub mod certificates;
pub mod command;
pub mod compose;
pub mod conditions;
pub mod connection;
pub mod control;
pub mod dashboard;
pub mod decide;
pub mod drain;
pub mod edge;
pub mod epoch;
pub mod fence;
pub mod folder;
pub mod forwarded;
pub mod gateway;
pub mod health;
pub mod history;
pub mod hold;
pub mod hop;
pub mod hsts;
pub mod hygiene;
pub mod kind;
pub mod ledger;
pub mod lent;
pub mod limits;
pub mod listen;
pub mod memory;
pub mod metrics;
pub mod middleware;
pub mod mirror;
pub mod outlier;
pub mod page;
pub mod pages;
pub mod preview;
pub mod raw;
pub mod reload;
pub mod request_id;
pub mod route;
pub mod routing;
pub mod rules;
pub mod shutdown;
pub mod smoke;
pub mod spare;
pub mod standby;
pub mod sticky;
pub mod sweep;
pub mod tick;
pub mod tls;
pub mod top;
pub mod traces;
pub mod upgrade;
pub mod upstream;
pub mod view;
pub mod watched;
pub mod websocket;

#[cfg(test)]
mod testing;
