//! `switcher import PROGRAM FILE…`: writes the configuration that does the same, and says what does not come along.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switcher_config::durable::{Durability, replace};

use super::Outcome;
use crate::cli::MoveArgs;
use crate::code::Code;
use crate::context::{Context, quoted};
use crate::environment::Sources;
use crate::failure::{Failure, Live};
use crate::import::{Failed, Kind, Note, Settled, Shelf, Unreadable, take_over};
use crate::init::settle::Unsettled;

/// The name of the configuration in this folder.
const HERE: &str = "switcher.yaml";

/// Reads, makes sure that it loads, writes, tells.
pub(super) fn run(ctx: &Context, args: &MoveArgs) -> Outcome {
    let output = args.output.clone().or_else(|| ctx.global.config.clone()).unwrap_or_else(|| HERE.into());
    let here = std::env::current_dir().map_err(|error| system(ctx, &error.to_string()))?;
    let folder = here.join(&output).parent().map_or_else(|| here.clone(), Path::to_path_buf);
    let shelf = Shelf::at(&here).with(Sources::from_process(here.clone()).variables);
    let settled = take_over(args.from, &args.files, &shelf, &folder).map_err(|error| match error {
        Failed::Unreadable(error) => unread(&error),
        Failed::Unsettled(error, notes) => unsettled(ctx, error, &notes),
    })?;
    let beside: Vec<PathBuf> = settled.files.iter().map(|(name, _)| beside(&output, name)).collect();
    if !args.dry_run {
        free(ctx, args, &output, &beside)?;
        for (path, (_, text)) in beside.iter().zip(&settled.files) {
            put(ctx, path, text, 0o600)?;
        }
        // Not for everybody: nobody can know that no secret is left in it.
        put(ctx, &output, &settled.text, 0o640)?;
    }
    tell(ctx, args, &settled, &output, &beside)
}

fn beside(output: &Path, name: &str) -> PathBuf {
    output.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

/// Nothing is written over, unless it was asked for.
fn free(ctx: &Context, args: &MoveArgs, output: &Path, beside: &[PathBuf]) -> Outcome {
    let there = std::iter::once(output).chain(beside.iter().map(PathBuf::as_path));
    for path in there.filter(|path| std::fs::symlink_metadata(path).is_ok()) {
        if !args.force || !path.is_file() {
            let message = format!("{} is there already, and nothing was written", path.display());
            let next = format!("{} --force", ctx.again());
            return Err(Failure::new(Code::ImportThere, message, Live::Unchanged, next));
        }
    }
    Ok(())
}

fn put(ctx: &Context, path: &Path, text: &str, mode: u32) -> Outcome {
    replace(path, text.as_bytes(), mode, Durability::Synced).map_err(|error| {
        let message = format!("{} cannot be written: {}", path.display(), error.source);
        Failure::new(Code::InitWrite, message, Live::Unchanged, ctx.again())
    })
}

fn tell(ctx: &Context, args: &MoveArgs, settled: &Settled, output: &Path, beside: &[PathBuf]) -> Outcome {
    let config = if output == Path::new(HERE) {
        String::new()
    } else {
        format!(" --config {}", quoted(output.as_os_str()))
    };
    let next = [format!("switcher{config} config check"), format!("switcher-proxy{config}")];
    let apps: Vec<String> = settled.loaded.settings.apps.keys().map(ToString::to_string).collect();
    let needless: serde_json::Map<String, Value> =
        settled.needless.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
    let value = json!({
        "from": args.from.to_string().to_lowercase(), "output": output, "written": !args.dry_run, "beside": beside, "apps": apps,
        "notes": settled.notes, "needless": needless, "next": next,
        "config": args.dry_run.then_some(&settled.text),
    });
    if !ctx.console.json {
        eprint!("{}", listed(settled));
    }
    let mut text = String::new();
    if args.dry_run {
        text.push_str(&settled.text);
    } else {
        text.push_str(&format!("  made  {}\n", output.display()));
        beside.iter().for_each(|path| text.push_str(&format!("  made  {}\n", path.display())));
        text.push_str("\nNext:\n");
        next.iter().for_each(|command| text.push_str(&format!("  {command}\n")));
    }
    ctx.console.result(&text, &value).map(drop)
}

/// The list for people, on standard error.
fn listed(settled: &Settled) -> String {
    let mut text = String::new();
    for (kind, title) in [
        (Kind::NotCarriedOver, "Not carried over (the new file lists it too):"),
        (Kind::Differs, "Carried over, and not quite the same:"),
    ] {
        let of: Vec<&Note> = settled.notes.iter().filter(|note| note.kind == kind).collect();
        if !of.is_empty() {
            text.push_str(&format!("{title}\n"));
            of.iter().for_each(|note| text.push_str(&format!("  {}\n", note.sentence())));
            text.push('\n');
        }
    }
    if !settled.needless.is_empty() {
        let names: Vec<String> = settled.needless.iter().map(|(name, count)| times(name, *count)).collect();
        text.push_str(&format!("Needs nothing here: {}\n\n", names.join(", ")));
    }
    text
}

fn times(name: &str, count: usize) -> String {
    if count == 1 { name.to_owned() } else { format!("{name} ({count} times)") }
}

fn system(ctx: &Context, why: &str) -> Failure {
    Failure::new(Code::Internal, format!("the system refused: {why}"), Live::Unchanged, ctx.again())
}

fn unread(error: &Unreadable) -> Failure {
    let json = json!({
        "file": error.file, "line": error.line, "column": error.column, "message": error.message,
    });
    let failure =
        Failure::new(Code::ImportSource, error.to_string(), Live::Unchanged, "switcher import --help");
    Failure { report: Some(Box::new((String::new(), json))), ..failure }
}

fn unsettled(ctx: &Context, error: Unsettled, notes: &[Note]) -> Failure {
    match error {
        Unsettled::System(error) => system(ctx, &error.to_string()),
        Unsettled::Refused(report) => {
            let told: Vec<String> = notes.iter().map(Note::sentence).collect();
            // That nothing is left says less than why.
            let empty = report.problems.iter().all(|problem| problem.key == "apps");
            let (text, message) = if empty {
                let why = "nothing of it can be served here, for the reasons above; nothing was written";
                (told.join("\n"), why)
            } else {
                let why = "nothing of it makes a configuration that loads; nothing was written";
                (format!("{}\n{report}", told.join("\n")), why)
            };
            let json = json!({"notes": notes, "problems": report.problems});
            let failure =
                Failure::new(Code::ImportNothing, message, Live::Unchanged, "switcher import --help");
            Failure { report: Some(Box::new((text, json))), ..failure }
        }
    }
}
