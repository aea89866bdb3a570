//! The `switcher` command line: asks the proxy over its admin socket, decides, reports.
//!
//! `admin` speaks to the proxy; decisions (`decide`, `aftermath`) are pure, and so is `layout`.

pub mod admin;
pub mod aftermath;
pub mod decide;
pub mod layout;
pub mod phrase;
