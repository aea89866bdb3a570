//! The Switcher data plane.

pub mod access_log;
pub mod answer;
pub mod forwarded;
pub mod health;
pub mod hop;
pub mod kind;
pub mod metrics;
pub mod request_id;
pub mod upstream;
pub mod websocket;
