//! `switcher init`: looks at what is there, writes the configuration that fits, and changes nothing that exists.

mod host;
mod report;
mod source;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switcher_config::settings::Settings;
use switcher_config::{Sources, load};

use super::Outcome;
use crate::cli::InitArgs;
use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::init::draft::{Wishes, draft};
use crate::init::kind::{Sorted, sort};
use crate::init::place::{Content, Look, Unplaced, Wanted};
use crate::init::settle::{Settled, Unsettled, settle};
use crate::init::{units, workflow};
use report::Report;

/// The name of the configuration in this folder.
const HERE: &str = "switcher.yaml";

/// Looks, writes, tells.
pub(super) async fn run(ctx: &Context, args: InitArgs) -> Outcome {
    let here = std::env::current_dir().map_err(|error| system(ctx, &error.to_string()))?;
    let config = place_of_config(ctx, &args);
    let stack = source::stack(ctx, &args, &here).await?;
    ctx.reporter.done();
    let folder = here.join(&config).parent().map_or_else(|| here.clone(), Path::to_path_buf);
    let wishes = Wishes {
        app: ctx.global.app.as_ref().map(ToString::to_string),
        hosts: args.host_name.iter().map(ToString::to_string).collect(),
        email: args.email.clone(),
        folder,
    };
    let origin = stack.as_ref().map(|stack| stack.origin.clone());
    let sorted = stack.map_or_else(Sorted::default, |stack| sort(stack, wishes.app.as_deref()));
    let settled =
        settle(draft(origin.as_deref(), &sorted, &wishes)).map_err(|error| unsettled(ctx, error))?;
    let settings = in_force(&here, &config, &settled);
    let wanted = wanted(ctx, &args, &here, (&config, &settings), &settled);
    let mut placed = Vec::new();
    for wanted in &wanted {
        placed.push(
            wanted.put(Look { dry: args.dry_run, diff: args.diff }).map_err(|error| unplaced(ctx, &error))?,
        );
    }
    let ran = if args.systemd { host::steps(ctx, &args, &settings)? } else { host::Ran::default() };
    let report =
        Report { args: &args, origin: origin.as_deref(), config: &config, settled: &settled, ran: &ran };
    let next = report.next();
    let value = json!({
        "from": origin, "files": placed, "not_carried_over": settled.leftovers, "ran": ran.done, "next": next,
    });
    ctx.console.result(&report.text(&wanted, &placed, &next), &value).map(drop)
}

/// `--config`, else the host's place with `--systemd`, else this folder.
fn place_of_config(ctx: &Context, args: &InitArgs) -> PathBuf {
    let own = || if args.systemd { units::below(args.prefix.as_deref(), units::CONFIG) } else { HERE.into() };
    ctx.global.config.clone().unwrap_or_else(own)
}

/// Everything that is to be there in the end.
fn wanted(
    ctx: &Context,
    args: &InitArgs,
    here: &Path,
    (config, settings): (&Path, &Settings),
    settled: &Settled,
) -> Vec<Wanted> {
    let text = Content::Text(settled.text.clone());
    let file = Wanted { path: config.to_owned(), content: text, mode: 0o644 };
    let mut wanted = Vec::new();
    if args.systemd {
        // The services know nothing of a prefix.
        let seen =
            ctx.global.config.as_ref().map_or_else(|| units::CONFIG.into(), |config| here.join(config));
        let program = std::env::current_exe().unwrap_or_default();
        let programs = program.parent().unwrap_or(here);
        wanted.extend(units::wanted(settings, &seen, programs, args.prefix.as_deref()));
    }
    wanted.insert(wanted.len().min(1), file);
    if args.github {
        let text =
            workflow::workflow(settings, settled.apps.first().map(|(name, _)| name.as_str()), units::CONFIG);
        wanted.push(Wanted { path: workflow::PATH.into(), content: Content::Text(text), mode: 0o644 });
    }
    wanted
}

/// What a configuration that is there already says, else the new one.
fn in_force(here: &Path, config: &Path, settled: &Settled) -> Settings {
    let path = here.join(config);
    if !path.is_file() {
        return settled.loaded.settings.clone();
    }
    let loaded = load(&Sources::from_process(Some(path), None));
    loaded.map_or_else(|_| settled.loaded.settings.clone(), |loaded| loaded.settings)
}

fn system(ctx: &Context, why: &str) -> Failure {
    Failure::new(Code::Internal, format!("the system refused: {why}"), Live::Unchanged, ctx.again())
}

fn unplaced(ctx: &Context, error: &Unplaced) -> Failure {
    let remedy = if error.full {
        "the disk is full: make room"
    } else {
        "make its folder writable for this user, run the command as root, or choose another place"
    };
    Failure::new(Code::InitWrite, format!("{error}; {remedy}"), Live::Unchanged, ctx.again())
}

fn unsettled(ctx: &Context, error: Unsettled) -> Failure {
    match error {
        Unsettled::System(error) => system(ctx, &error.to_string()),
        Unsettled::Refused(report) => {
            let json = serde_json::to_value(&report).unwrap_or(Value::Null);
            let message = "what was asked for makes no configuration that loads; nothing was written";
            let failure = Failure::new(Code::ConfigBad, message, Live::Unchanged, "switcher init --help");
            Failure { report: Some(Box::new((report.to_string(), json))), ..failure }
        }
    }
}
