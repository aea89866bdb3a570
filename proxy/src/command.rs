//! The command line of `switcher-proxy`.

use std::path::PathBuf;

use clap::Parser;

/// A reverse proxy with blue/green switching inside.
#[derive(Debug, Clone, Parser)]
#[command(name = "switcher-proxy", version, about, long_about = None)]
pub struct Command {
    /// The configuration file [default: $SWITCHER_CONFIG, ./switcher.yaml, /etc/switcher/switcher.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The environment, whose switcher.NAME.yaml is read too [default: $SWITCHER_ENVIRONMENT]
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Check the configuration and exit
    #[arg(long)]
    pub check: bool,
    /// Take the listening sockets over from the running proxy, as soon as it gets SIGQUIT
    #[arg(long, conflicts_with = "check")]
    pub upgrade: bool,
    /// Go on from the last good copy of an unreadable routing.json
    #[arg(long, conflicts_with_all = ["check", "upgrade"])]
    pub recover_routing: bool,
}
