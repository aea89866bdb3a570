//! What `import` takes.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What `import` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
For example:
  switcher import nginx /etc/nginx/nginx.conf
  switcher import traefik traefik.yml dynamic.yml --output /etc/switcher/switcher.yaml")]
pub struct MoveArgs {
    /// The program that served until now
    #[arg(value_enum)]
    pub from: MovedFrom,
    /// Its files; several are one configuration
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where the configuration is written [default: ./switcher.yaml]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
    /// Print the configuration, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Programs whose configuration can be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MovedFrom {
    /// traefik.yml or .toml, files of the file provider, or a Compose file with labels
    Traefik,
    /// nginx.conf with what it includes, or a file of sites-enabled
    Nginx,
    /// A Caddyfile
    Caddy,
    /// config/deploy.yml
    Kamal,
    /// A Compose file whose services are to be deployed
    Compose,
}

impl fmt::Display for MovedFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traefik => "Traefik",
            Self::Nginx => "nginx",
            Self::Caddy => "Caddy",
            Self::Kamal => "Kamal",
            Self::Compose => "Compose",
        })
    }
}
