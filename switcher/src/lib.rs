//! The Switcher command line.

pub mod demo;
pub mod progress;
