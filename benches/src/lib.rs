//! The gates and the measurements of Switcher, built on the stage and the load of `switcher demo`.

pub mod drain_gate;
pub mod handshakes;
