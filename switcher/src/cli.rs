//! What can be typed. Options stand before or after the verb; wrong usage is a [`Failure`] like any other.

mod canary;
mod certs;
mod database;
mod import;
mod init;
mod lock;
mod logs;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use switcher_config::slot::UnknownSlot;
use switcher_config::{AppName, Slot, Span, UpstreamAddress};

use crate::code::Code;
use crate::console::Console;
use crate::context::Surroundings;
use crate::demo;
use crate::deployment::DeploymentId;
use crate::failure::{Failure, Live};
use crate::progress::Progress;

pub use canary::{CanaryArgs, CanaryTarget, Then};
pub use certs::{CertsCommand, ImportArgs, ImportSource, Reason, RevokeArgs};
pub use database::{MigrateCommand, RestoreArgs, SnapshotCommand};
pub use import::{MoveArgs, MovedFrom};
pub use init::InitArgs;
pub use lock::LockCommand;
pub use logs::{LogsArgs, LogsTarget, Tail};

/// Moves traffic between two running versions of an application, and loses nothing.
#[derive(Debug, Parser)]
#[command(name = "switcher", version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "Every error has a code: `switcher explain CODE` says what it means and what to do.")]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every verb, before or after it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The configuration file [default: $SWITCHER_CONFIG, ./switcher.yaml, /etc/switcher/switcher.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The environment, whose file is laid over the configuration [default: $SWITCHER_ENVIRONMENT]
    #[arg(long, global = true, value_name = "NAME")]
    pub environment: Option<String>,
    /// The application; may be left out when there is one
    #[arg(long, global = true, value_name = "NAME")]
    pub app: Option<AppName>,
    /// The proxy's admin socket [default: $SWITCHER_ADMIN, then the configuration's]
    #[arg(long, global = true, value_name = "SOCKET")]
    pub admin: Option<PathBuf>,
    /// The Docker Engine, such as ssh://user@server, whose proxy is then reached the same way
    /// [default: the configuration's, then $DOCKER_HOST, then the local socket]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Print the result, and any error, as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How progress is shown on standard error
    #[arg(long, global = true, value_name = "HOW", value_enum, default_value_t)]
    pub progress: Progress,
}

/// `switcher top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// How often figures come [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub every: Option<Span>,
    /// How many paths are shown [default: as many as fit the terminal, or 20]
    #[arg(long, value_name = "COUNT")]
    pub paths: Option<usize>,
    /// Show it once, and end
    #[arg(long)]
    pub once: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what is live: slots, health, requests in flight, drains, certificates
    Status {
        /// Show it again and again, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Make a slot live; returns when the other one has drained, with a receipt
    Promote(PromoteArgs),
    /// Send a part of the clients to the other slot first, and take them back when it is worse
    #[command(
        after_help = "For example: switcher canary green 5%, then 25%, then promote green or canary abort"
    )]
    Canary(CanaryArgs),
    /// Deploy a release: pull, snapshot, migrate, start, probe, promote, record
    Deploy(DeployArgs),
    /// Move traffic back: at once while the slot before is warm, else by starting that release again
    Rollback(RollbackArgs),
    /// Look at Docker, proxy and journal, explain what does not fit, and mend it
    Repair(RepairArgs),
    /// Remove what no rollback needs: old images, snapshots, logs, slots past their time
    Prune {
        /// Say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// How the lease is waited for
        #[command(flatten)]
        lock: LockArgs,
    },
    /// Dump the database, and restore it
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Look at the migrations of the database
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Print a link that lets people into the slot that is not live
    Preview {
        /// How long the link holds, such as 1h or 7d, up to 30d
        #[arg(long = "for", value_name = "TIME", default_value = "1h")]
        holds: Span,
    },
    /// Hold new requests in a bounded queue
    Pause {
        /// The longest pause; after it requests are answered 503 [default: the configured one]
        #[arg(long, value_name = "TIME")]
        max: Option<Span>,
    },
    /// Serve again after `pause` or `stop`
    Resume,
    /// Answer every request with a maintenance page (503)
    Stop {
        /// A sentence for the page
        #[arg(long, short, value_name = "TEXT")]
        message: Option<String>,
    },
    /// Show what is still inside a slot, oldest first
    Drain {
        /// The slot
        #[arg(value_parser = slot())]
        slot: Slot,
        /// Show it again and again, until the slot is empty
        #[arg(long)]
        watch: bool,
    },
    /// Make the proxy read its configuration again; a bad file changes nothing
    Reload,
    /// Give the standby slot its addresses
    Register {
        /// The slot
        #[arg(value_parser = slot())]
        slot: Slot,
        /// Its upstreams, such as 127.0.0.1:8002; they replace the ones before
        #[arg(required = true, value_name = "HOST:PORT")]
        upstreams: Vec<UpstreamAddress>,
        /// The release that runs there, shown in the status and in answers
        #[arg(long, value_name = "NAME")]
        release: Option<String>,
    },
    /// Show the deployments there were, newest first
    History {
        /// Show so many at most
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print the result as YAML
        #[arg(long, conflicts_with = "json")]
        yaml: bool,
    },
    /// Show who holds the lease, or take it from them
    #[command(subcommand)]
    Lock(LockCommand),
    /// Show requests a second, errors and latency by slot and path, until Ctrl-C
    Top(TopArgs),
    /// Print what happens in the proxy, as it happens
    Events,
    /// Print what the containers of a slot wrote, or the log of a deployment
    Logs(LogsArgs),
    /// Show, check, renew, revoke and import certificates
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the completions of a shell
    #[command(
        after_help = "For example: switcher completions bash > ~/.local/share/bash-completion/completions/switcher"
    )]
    Completions {
        /// The shell
        shell: CompletionShell,
    },
    /// Deploy a tag whenever it moves, until it is told to stop: a service
    Watch(WatchArgs),
    /// Make a bare server a working host: write the configuration from a Compose file or the running containers, and
    /// with --systemd the services, with --github a workflow; what is there already is never changed
    Init(InitArgs),
    /// Write the configuration that does what another proxy's does, and list what does not come along
    Import(MoveArgs),
    /// Look for everything that could stand in the way of a deployment; changes nothing
    Doctor,
    /// Explain an error code, or list them all
    Explain {
        /// The code, such as E-HEALTH-01
        code: Option<String>,
    },
    /// Show real traffic moved between running versions with nothing lost; needs no root, no network
    Demo(demo::DemoArgs),
    /// The application of the demonstration
    #[command(hide = true)]
    DemoApp(demo::app::AppArgs),
}

/// What `promote` takes.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The slot to make live
    #[arg(value_parser = slot())]
    pub slot: Slot,
    /// Wait this long, such as 30s, for the slot to become healthy
    #[arg(long, value_name = "TIME", conflicts_with = "force")]
    pub wait_healthy: Option<Span>,
    /// Switch even to a slot that is not healthy
    #[arg(long)]
    pub force: bool,
    /// Return as soon as traffic has moved
    #[arg(long)]
    pub detach: bool,
    /// One drain time for every kind of request, such as 30s, instead of the configured ones
    #[arg(long, value_name = "TIME")]
    pub drain_timeout: Option<Span>,
    /// Do not ask the public address after the switch
    #[arg(long)]
    pub skip_verify: bool,
    /// Ask the proxy alone: no lease, no journal, no record. For a full disk or a deployment that is stuck; `repair`
    /// then records what is live
    #[arg(long)]
    pub unrecorded: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its options carry the help")]
    pub lock: LockArgs,
}

/// How the lease is waited for.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct LockArgs {
    /// Wait this long, such as 5m, for somebody else's lease to end
    #[arg(long, value_name = "TIME")]
    pub lock_wait: Option<Span>,
}

/// What `deploy` takes.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// The image, such as ghcr.io/acme/shop:v1.5.0, or its tag alone where `deploy.image` names it
    #[arg(required_unless_present = "load")]
    pub image: Option<String>,
    /// Take the image from a file of `docker save` instead of a registry
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,
    /// Bring the release up in the standby slot and leave traffic where it is
    #[arg(long)]
    pub no_promote: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: end with 11 when there is something to do
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Run no migrations
    #[arg(long)]
    pub skip_migrations: bool,
    /// Take no snapshot of the database
    #[arg(long)]
    pub skip_snapshot: bool,
    /// Let traffic move to a version that no smoke test has tried
    #[arg(long)]
    pub skip_smoke: bool,
    /// Move all clients at once, without a canary before
    #[arg(long)]
    pub skip_canary: bool,
    /// Do not judge the release on live traffic after the switch
    #[arg(long)]
    pub skip_bake: bool,
    /// Do not ask the public address after the switch
    #[arg(long)]
    pub skip_verify: bool,
    /// Take `latest`, or an image without a tag, in production as well
    #[arg(long)]
    pub allow_latest: bool,
    /// Return as soon as traffic has moved
    #[arg(long)]
    pub detach: bool,
    /// One drain time for every kind of request, such as 30s, instead of the configured ones
    #[arg(long, value_name = "TIME")]
    pub drain_timeout: Option<Span>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its options carry the help")]
    pub lock: LockArgs,
}

/// What `watch` takes.
#[derive(Debug, Clone, Copy, Args)]
pub struct WatchArgs {
    /// Look once, deploy what is new, and end as that ended
    #[arg(long)]
    pub once: bool,
}

/// What `repair` takes.
#[derive(Debug, Clone, Copy, Args)]
pub struct RepairArgs {
    /// Explain only
    #[arg(long)]
    pub dry_run: bool,
    /// Give up a deployment that cannot be brought to its end: record it as failed, leave what it started, and go on
    #[arg(long, conflicts_with = "dry_run")]
    pub abandon: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its options carry the help")]
    pub lock: LockArgs,
}

/// What `rollback` takes.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// The deployment to go back to, as `switcher history` lists it [default: the one before]
    #[arg(long, value_name = "DEPLOYMENT")]
    pub to: Option<DeploymentId>,
    /// Go back over a migration that does not suit; without a `deploy` section, even to a slot that is not healthy
    #[arg(long)]
    pub force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask the public address after the switch
    #[arg(long)]
    pub skip_verify: bool,
    /// Return as soon as traffic has moved
    #[arg(long)]
    pub detach: bool,
    /// One drain time for every kind of request, such as 30s, instead of the configured ones
    #[arg(long, value_name = "TIME")]
    pub drain_timeout: Option<Span>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its options carry the help")]
    pub lock: LockArgs,
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every problem of the configuration
    Check,
    /// Print the configuration with everything filled in and every secret hidden
    Show {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON Schema of the configuration file
    Schema,
}

/// The shells with completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompletionShell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Reads a slot, and offers both to completions.
fn slot() -> impl TypedValueParser<Value = Slot> {
    PossibleValuesParser::new(Slot::ALL.map(Slot::as_str)).try_map(|text| text.parse::<Slot>())
}

/// Prints what clap found: help and version are results, the rest is wrong usage.
#[must_use]
pub fn report_usage(error: &clap::Error, args: &[OsString], surroundings: &Surroundings) -> u8 {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if help {
        // A reader of the help that went away has read enough.
        let _ = error.print();
        return u8::try_from(error.exit_code()).unwrap_or(Code::Usage.exit() as u8);
    }
    let failure = misuse(error, args);
    let json = args.iter().any(|arg| arg == "--json");
    Console::new(json, surroundings).failure(&failure);
    failure.code.exit() as u8
}

/// Wrong usage as a failure. Pure.
fn misuse(error: &clap::Error, args: &[OsString]) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(_) | None => None,
    };
    let message = match (text(ContextKind::InvalidArg).as_deref(), text(ContextKind::InvalidValue)) {
        (Some("<SLOT>"), Some(value)) if !value.is_empty() => UnknownSlot(value).to_string(),
        (_, _) => sentence(&error.render().to_string()),
    };
    Failure::new(Code::Usage, message, Live::Unchanged, format!("{} --help", verb(args)))
}

/// The first paragraphs of clap's text, on one line: what comes before the usage.
fn sentence(rendered: &str) -> String {
    let text = rendered.strip_prefix("error: ").unwrap_or(rendered);
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|mark| text.find(mark)).min();
    let lines = text[..end.unwrap_or(text.len())].lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(String::new(), |mut sentence, line| {
        match sentence.chars().last() {
            None => {}
            Some(':') => sentence.push(' '),
            Some(_) => sentence.push_str("; "),
        }
        sentence.push_str(line);
        sentence
    })
}

/// `switcher`, or `switcher promote`, or `switcher config show`: as far as the verbs were typed well.
fn verb(args: &[OsString]) -> String {
    let mut command = Cli::command();
    let mut path = "switcher".to_owned();
    for arg in args.iter().skip(1) {
        let Some(found) = arg.to_str().and_then(|name| command.find_subcommand(name)).cloned() else {
            continue;
        };
        path = format!("{path} {}", found.get_name());
        command = found;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, Failure> {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Cli::try_parse_from(&args).map_err(|error| misuse(&error, &args))
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_verb() {
        for line in [
            "switcher --json --app shop promote green",
            "switcher promote green --json --app shop",
            "switcher promote --app=shop green --json",
        ] {
            let cli = parse(line).expect(line);
            assert!(cli.global.json, "{line}");
            assert_eq!(cli.global.app.expect("an app").as_str(), "shop");
        }
    }

    #[test]
    fn wrong_usage_is_one_sentence_and_one_command() {
        let shown: Vec<String> = [
            "switcher promote gren",
            "switcher promote",
            "switcher promot green",
            "switcher promote green --forse",
            "switcher promote green --drain-timeout soon",
            "switcher promote green --force --wait-healthy 3s",
            "switcher --app Shop status",
            "switcher register green 8002",
            "switcher config shaw",
            "switcher certs revoke",
            "switcher certs renew https://shop.example.com/",
            "switcher certs import nginx /etc/nginx",
            "switcher --progress loud status",
        ]
        .iter()
        .map(|line| {
            let failure = parse(line).expect_err(line);
            assert_eq!(failure.code.exit() as u8, 2);
            format!("{line}\n  {}\n  {}", failure.message, failure.next)
        })
        .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
