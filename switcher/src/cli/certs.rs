//! What can be typed after `switcher certs`.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use switcher_config::wire::RevocationReason;

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// Show every served certificate: where it comes from, when it expires and when it is renewed
    List,
    /// Look for what stands between names and their certificates, without asking the authority for any
    Check {
        /// The names [default: every name that a certificate is wanted for]
        #[arg(value_name = "NAME", value_parser = name)]
        names: Vec<String>,
    },
    /// Renew certificates that are due; returns when the authority has answered
    Renew {
        /// Names of the certificates [default: all]
        #[arg(value_name = "NAME", value_parser = name)]
        names: Vec<String>,
        /// Also those that are not due; the authority's limits are kept all the same
        #[arg(long)]
        force: bool,
    },
    /// Revoke a certificate and replace it by one with a new key
    Revoke(RevokeArgs),
    /// Take certificates over from another program, so that moving here orders none; changes nothing there
    Import(ImportArgs),
    /// Print the root of the internal authority, and how to trust it
    #[command(after_help = "For example: switcher certs trust > switcher-root.crt")]
    Trust,
}

/// What `certs revoke` takes.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// A name that the certificate is shown for
    #[arg(value_parser = name)]
    pub name: String,
    /// Why; the authority publishes it
    #[arg(long, value_enum, default_value_t)]
    pub reason: Reason,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// What `certs import` takes.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The program
    #[arg(value_enum)]
    pub from: ImportSource,
    /// Caddy's data folder, Traefik's acme.json, or certbot's folder such as /etc/letsencrypt
    pub path: PathBuf,
    /// Only show what would be imported
    #[arg(long)]
    pub dry_run: bool,
}

/// The programs whose certificates are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportSource {
    /// Caddy 2: its data folder, such as /var/lib/caddy/.local/share/caddy
    Caddy,
    /// Traefik: its acme.json
    Traefik,
    /// certbot: its folder, such as /etc/letsencrypt
    Certbot,
}

impl fmt::Display for ImportSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
            Self::Certbot => "certbot",
        })
    }
}

/// Why a certificate is revoked (RFC 5280 section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Reason {
    /// No reason given
    #[default]
    Unspecified,
    /// Somebody else has the key
    KeyCompromise,
    /// It was replaced by another
    Superseded,
    /// The name is not served any more
    CessationOfOperation,
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
        }
    }
}

/// A name as certificates carry it: lower case, without the dot of the DNS root.
fn name(text: &str) -> Result<String, String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    if name.is_empty() || name.contains(['/', '@']) || name.contains(char::is_whitespace) {
        return Err("write the name alone, such as shop.example.com or *.example.com".to_owned());
    }
    Ok(name)
}
