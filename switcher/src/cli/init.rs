//! What `init` takes.

use std::path::PathBuf;

use clap::Args;
use switcher_config::HostPattern;

/// What `init` takes.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
What exists is never changed, so running it again is harmless:
  switcher init --compose compose.yaml --host-name shop.example.com --email ops@example.com
  sudo switcher init --systemd --start")]
pub struct InitArgs {
    /// The Compose file to take the applications from [default: the one of this folder, else the running containers]
    #[arg(long, value_name = "FILE")]
    pub compose: Option<PathBuf>,
    /// A domain of the application; without any, it is served by IP and without TLS
    #[arg(long, value_name = "NAME")]
    pub host_name: Vec<HostPattern>,
    /// Where the certificate authority writes to
    #[arg(long, value_name = "ADDRESS", value_parser = email)]
    pub email: Option<String>,
    /// Prepare this machine: folders, programs, and the services switcher-proxy and switcher-watch of systemd
    #[arg(long)]
    pub systemd: bool,
    /// Put everything of --systemd below this folder instead of /
    #[arg(long, value_name = "DIR", requires = "systemd")]
    pub prefix: Option<PathBuf>,
    /// Start the services, and at every boot
    #[arg(long, requires = "systemd", conflicts_with = "prefix")]
    pub start: bool,
    /// Write a GitHub Actions workflow that builds, pushes and deploys: .github/workflows/deploy.yml
    #[arg(long)]
    pub github: bool,
    /// Show where a file that exists differs from what would be written
    #[arg(long)]
    pub diff: bool,
    /// Say what would be done, print the new files, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn email(text: &str) -> Result<String, String> {
    match text.split_once('@') {
        Some((user, host))
            if !user.is_empty() && host.contains('.') && !text.contains(char::is_whitespace) =>
        {
            Ok(text.to_owned())
        }
        Some(_) | None => Err("it is no e-mail address; write for example ops@example.com".to_owned()),
    }
}
