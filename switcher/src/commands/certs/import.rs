//! `switcher certs import caddy|traefik|certbot PATH`: takes certificates over, so that moving here orders none.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use switcher_config::wire::Imported;

use super::Outcome;
use crate::admin::{Admin, AdminError, ConnectProblem};
use crate::certificate;
use crate::cli::ImportArgs;
use crate::code::Code;
use crate::configuration;
use crate::context::Context;
use crate::failure::{Failure, Live, Served};
use crate::foreign_certificates::{self, Entry, Inbox, InboxError, SourceError, Unusable};
use crate::layout::{Page, Tone};

/// What became of everything that lay there.
#[derive(Debug, Serialize)]
struct Moved {
    /// Where it was read: `caddy:/var/lib/caddy/.local/share/caddy`.
    origin: String,
    dry_run: bool,
    certificates: Vec<Row>,
}

/// What became of one certificate.
#[derive(Debug, Serialize)]
struct Row {
    names: Vec<String>,
    place: String,
    ca: Option<String>,
    not_after: Option<Timestamp>,
    outcome: Fate,
    /// The file in the proxy's inbox.
    file: Option<String>,
    problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fate {
    /// It would be taken.
    Planned,
    /// It waits for the proxy.
    Waiting,
    /// The proxy serves it.
    Taken,
    /// The proxy does not want it.
    Refused,
    /// It is expired, or of no use here.
    LeftOut,
    /// It cannot be read or used.
    Damaged,
}

/// Reads, writes, and tells the proxy.
pub(super) async fn run(ctx: &Context, args: &ImportArgs) -> Outcome {
    let path = std::path::absolute(&args.path).unwrap_or_else(|_| args.path.clone());
    let origin = format!("{}:{}", args.from, path.display());
    let found = foreign_certificates::read(args.from, &path).map_err(|error| no_source(ctx, &error))?;
    let entries = foreign_certificates::survey(found, Timestamp::now());
    if entries.is_empty() {
        let message = format!("no certificate lies in {}", path.display());
        return Err(Failure::new(Code::CertSource, message, Live::Unchanged, help(ctx)));
    }
    let mut moved = Moved { origin, dry_run: args.dry_run, certificates: entries.iter().map(row).collect() };
    let forbidden = entries.iter().any(|entry| matches!(entry.unusable, Some(Unusable::Forbidden(_))));
    let wanted = entries.iter().any(|entry| entry.taken().is_some());
    if args.dry_run || !wanted {
        show(ctx, &moved)?;
        return failed(ctx, &moved, forbidden).map_or(Ok(()), Err);
    }
    let admin = ctx.admin()?;
    let data_dir = configuration::data_dir(ctx)?;
    put(&data_dir, &entries, &mut moved).map_err(|error| unwritten(ctx, &data_dir, &error))?;
    let told = tell(&admin, &mut moved).await;
    show(ctx, &moved)?;
    match told {
        Ok(()) => failed(ctx, &moved, forbidden).map_or(Ok(()), Err),
        Err(AdminError::Connect(ConnectProblem::Absent | ConnectProblem::Dead)) => {
            ctx.reporter.step("no proxy runs: what waits is taken at its next start");
            failed(ctx, &moved, forbidden).map_or(Ok(()), Err)
        }
        Err(error) => {
            let mut failure = super::met(ctx, &admin, error);
            failure
                .message
                .push_str("; what waits is taken at the next start of the proxy, or by this command again");
            Err(failure)
        }
    }
}

fn row(entry: &Entry) -> Row {
    let (outcome, problem) = match &entry.unusable {
        None => (Fate::Planned, None),
        Some(Unusable::LeftOut(why)) => (Fate::LeftOut, Some(why.clone())),
        Some(Unusable::Damaged(why) | Unusable::Forbidden(why)) => (Fate::Damaged, Some(why.clone())),
    };
    Row {
        names: entry.bundle.as_ref().map(|bundle| bundle.names.clone()).unwrap_or_default(),
        place: entry.place.clone(),
        ca: entry.ca.clone(),
        not_after: entry.bundle.as_ref().map(|bundle| bundle.not_after),
        outcome,
        file: None,
        problem,
    }
}

/// Writes what is to be taken; from then on it waits.
fn put(data_dir: &Path, entries: &[Entry], moved: &mut Moved) -> Result<(), InboxError> {
    let inbox = Inbox::open(data_dir)?;
    for (entry, row) in entries.iter().zip(&mut moved.certificates) {
        if let Some(bundle) = entry.taken() {
            let file = inbox.put(bundle, &moved.origin, entry.ca.as_deref())?;
            row.file = Some(file.display().to_string());
            row.outcome = Fate::Waiting;
        }
    }
    Ok(())
}

/// Has the proxy look, and keeps what it says.
async fn tell(admin: &Admin, moved: &mut Moved) -> Result<(), AdminError> {
    let imported = admin.import().await?;
    for row in moved.certificates.iter_mut().filter(|row| row.outcome == Fate::Waiting) {
        settle(row, &imported);
    }
    Ok(())
}

/// Finds the proxy's word on a file. Pure.
fn settle(row: &mut Row, imported: &Imported) {
    let file = row.file.as_deref().and_then(|file| Path::new(file).file_name());
    let said = imported.certificates.iter().find(|one| Path::new(&one.file).file_name() == file);
    (row.outcome, row.problem) = match said {
        Some(said) if said.taken => (Fate::Taken, said.problem.clone()),
        Some(said) => {
            let why = said.problem.clone().unwrap_or_else(|| "the proxy gave no reason".to_owned());
            (Fate::Refused, Some(why))
        }
        None => {
            let why =
                "the proxy did not find it: its `proxy.data_dir` is another folder than this configuration's";
            (Fate::Refused, Some(why.to_owned()))
        }
    };
}

fn show(ctx: &Context, moved: &Moved) -> Outcome {
    let page = page(moved, Timestamp::now()).render(ctx.console.width, ctx.console.colour);
    ctx.console.result(&page, moved).map(drop)
}

fn page(moved: &Moved, now: Timestamp) -> Page {
    let mut page = Page::default();
    page.line("", Tone::Plain, 0).words(&format!("from {}", moved.origin), Tone::Strong);
    for row in &moved.certificates {
        let (mark, word, tone) = match row.outcome {
            Fate::Planned => ("○", "would be taken", Tone::Plain),
            Fate::Waiting => ("○", "waits for the proxy", Tone::Plain),
            Fate::Taken => ("✓", "taken", Tone::Good),
            Fate::Refused => ("!", "not taken", Tone::Warn),
            Fate::LeftOut => ("-", "left out", Tone::Faint),
            Fate::Damaged => ("✗", "not usable", Tone::Bad),
        };
        let what = if row.names.is_empty() { row.place.clone() } else { certificate::names(&row.names) };
        let expiry = match row.outcome {
            Fate::Planned | Fate::Waiting | Fate::Taken => {
                row.not_after.map(|at| format!(", {}", certificate::expires(at, now).0))
            }
            Fate::Refused | Fate::LeftOut | Fate::Damaged => None,
        };
        let why = row.problem.as_ref().map(|why| format!(": {}", why.trim_end_matches('.')));
        page.line(&format!("  {mark}"), tone, 4)
            .words(&format!("{what}:"), Tone::Plain)
            .words(&format!("{word}{}{}", expiry.unwrap_or_default(), why.unwrap_or_default()), tone);
    }
    page
}

/// What cannot be read is a failure, and so is an import of nothing; what is merely not wanted is none.
fn failed(ctx: &Context, moved: &Moved, forbidden: bool) -> Option<Failure> {
    let with = |fate| moved.certificates.iter().find(|row| row.outcome == fate);
    let any = [Fate::Planned, Fate::Waiting, Fate::Taken].into_iter().any(|fate| with(fate).is_some());
    let about = |row: &Row| {
        let what = if row.names.is_empty() { row.place.clone() } else { certificate::names(&row.names) };
        format!("{what}: {}", row.problem.as_deref().unwrap_or("no reason is known").trim_end_matches('.'))
    };
    let message = match (with(Fate::Damaged), any) {
        (Some(row), _) => format!("not everything can be imported: {}", about(row)),
        (None, true) => return None,
        (None, false) => {
            let row = with(Fate::Refused).or_else(|| with(Fate::LeftOut))?;
            format!("nothing was imported: {}", about(row))
        }
    };
    let taken = moved.certificates.iter().filter(|row| row.outcome == Fate::Taken);
    let taken: Vec<Served> =
        taken.map(|row| Served { names: row.names.clone(), not_after: row.not_after }).collect();
    let live = if taken.is_empty() { Live::Unchanged } else { Live::Certificates { certificates: taken } };
    let next = if forbidden {
        format!("sudo {}", ctx.again())
    } else if with(Fate::Refused).is_some() {
        ctx.command("certs list")
    } else {
        ctx.again().to_owned()
    };
    Some(Failure::new(Code::CertNotImported, message, live, next))
}

fn help(ctx: &Context) -> String {
    ctx.command("certs import --help")
}

fn no_source(ctx: &Context, error: &SourceError) -> Failure {
    let next = if error.is_permission() { format!("sudo {}", ctx.again()) } else { help(ctx) };
    Failure::new(Code::CertSource, error.to_string(), Live::Unchanged, next)
}

fn unwritten(ctx: &Context, data_dir: &Path, error: &InboxError) -> Failure {
    let kind = error.kind();
    let next = if kind == io::ErrorKind::PermissionDenied {
        format!("sudo {}", ctx.again())
    } else if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        "df -h".to_owned()
    } else {
        format!("ls -ld {}", data_dir.display())
    };
    Failure::new(Code::CertNotWritten, error.to_string(), Live::Unchanged, next)
}
