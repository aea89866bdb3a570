//! `switcher demo`.
pub mod app;
pub mod load;
pub mod pattern;
