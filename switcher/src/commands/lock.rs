//! `switcher lock status | release`: who holds the lease; and the failures of those who wanted it or lost it.

mod release;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Outcome, memory};
use crate::cli::LockCommand;
use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::layout::{Page, Tone};
use crate::phrase;
use crate::state::record::LockRecord;
use crate::state::{AcquireError, LeaseError, StateError, Store, Verdict};

/// Runs the verb.
pub(super) async fn run(ctx: &Context, what: LockCommand) -> Outcome {
    match what {
        LockCommand::Status => status(ctx),
        LockCommand::Release { force, yes } => release::run(ctx, force, yes).await,
    }
}

/// The failure of a command that did not get the lease.
pub(crate) fn not_acquired(ctx: &Context, error: &AcquireError, live: Live) -> Failure {
    match error {
        AcquireError::Held(holder) => held(ctx, holder, live, Timestamp::now()),
        AcquireError::State(error) => Failure { live, ..state_failure(ctx, error) },
    }
}

/// The failure of a command whose lease was lost, or that could not write under it. What is live is for the caller
/// to find out.
pub(crate) fn lease_failure(ctx: &Context, error: &LeaseError) -> Failure {
    match error {
        LeaseError::Lost(_) => {
            Failure::new(Code::LeaseLost, error.to_string(), Live::No, ctx.command("lock status"))
        }
        LeaseError::State(error) => Failure { live: Live::No, ..state_failure(ctx, error) },
    }
}

/// The failure of a command that could not read or write what is remembered.
pub(crate) fn state_failure(ctx: &Context, error: &StateError) -> Failure {
    memory::failure(ctx, error)
}

fn held(ctx: &Context, holder: &LockRecord, live: Live, now: Timestamp) -> Failure {
    let waits = ctx.again().contains("--lock-wait");
    let next = if waits { ctx.command("lock status") } else { format!("{} --lock-wait 5m", ctx.again()) };
    Failure::new(Code::LeaseHeld, sentence(holder, now), live, next)
}

/// Who holds it, since when, for what and until when.
fn sentence(holder: &LockRecord, now: Timestamp) -> String {
    let held = match holder.locked_at {
        Some(at) => format!("has been held for {}", phrase::since(at, now)),
        None => "is held".to_owned(),
    };
    let deployment = holder.deployment_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    let until = holder
        .lock_expires_at
        .map(|at| format!("; it is free at {} unless it is renewed", phrase::moment(at)));
    format!("the lease {held}: {}{deployment}{}", holder.sentence(), until.unwrap_or_default())
}

fn status(ctx: &Context) -> Outcome {
    let store = memory::open(ctx)?;
    let lock = store.read().map_err(|error| state_failure(ctx, &error))?.lock;
    let now = Timestamp::now();
    let verdict = store.verdict(&lock, now);
    let page = page(&store, &verdict, now).render(ctx.console.width, ctx.console.colour);
    ctx.console.result(&page, &object(&store, &verdict, &lock))?;
    if matches!(verdict, Verdict::Held(_)) {
        ctx.reporter.step(&format!("take it away with: {}", ctx.command("lock release --force")));
    }
    Ok(())
}

/// How the lease stands, in a word.
const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Free => "free",
        Verdict::Dead(_) => "dead",
        Verdict::Expired(_) => "expired",
        Verdict::Held(_) => "held",
    }
}

fn object(store: &Store, verdict: &Verdict, lock: &LockRecord) -> Value {
    json!({ "app": store.app(), "environment": store.environment(), "verdict": word(verdict), "lock": lock })
}

const COLUMN: usize = 11;

fn page(store: &Store, verdict: &Verdict, now: Timestamp) -> Page {
    let mut page = Page::default();
    let head = format!("{} in {}:", store.app(), store.environment());
    let (holder, words, tone) = match verdict {
        Verdict::Free => (None, "the lease is free", Tone::Good),
        Verdict::Dead(holder) => (Some(holder), "its owner is dead, so the lease is free", Tone::Warn),
        Verdict::Expired(holder) => {
            (Some(holder), "its owner gave no sign of life in time, so the lease is free", Tone::Warn)
        }
        Verdict::Held(holder) => (Some(holder), "the lease is held", Tone::Strong),
    };
    page.line("", Tone::Plain, 0).words(&head, Tone::Strong).words(words, tone);
    for (label, text) in holder.map(|holder| facts(holder, now)).unwrap_or_default() {
        page.line(&format!("  {label}"), Tone::Faint, COLUMN).words(&text, Tone::Plain);
    }
    page
}

/// What the lease says of its owner.
fn facts(holder: &LockRecord, now: Timestamp) -> Vec<(&'static str, String)> {
    let when = |at: Timestamp| {
        let distance = if at <= now {
            phrase::since(at, now) + " ago"
        } else {
            "in ".to_owned() + &phrase::since(now, at)
        };
        format!("{} ({distance})", phrase::moment(at))
    };
    let fact = |label: &'static str, text: Option<String>| text.map(|text| (label, text));
    [
        fact("for", Some(holder.sentence())),
        fact("deploys", holder.deployment_id.as_ref().map(ToString::to_string)),
        fact("since", holder.locked_at.map(when)),
        fact("expires", holder.lock_expires_at.map(when)),
        fact("number", Some(holder.fence.to_string())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn holder() -> LockRecord {
        LockRecord {
            locked: true,
            lock_id: Some("lock_01JBQR2K3M4N5P6Q7R8S9T0VWX".to_owned()),
            locked_by: Some("ada@build".to_owned()),
            locked_at: Some(at(0)),
            lock_expires_at: Some(at(300)),
            deployment_id: None,
            pid: Some(4711),
            hostname: Some("build".to_owned()),
            operation: Some("deploy".to_owned()),
            fence: 7,
        }
    }

    #[test]
    fn a_held_lease_names_who_what_where_and_when() {
        assert_eq!(
            sentence(&holder(), at(180)),
            "the lease has been held for 3 min: deploy by ada@build (process 4711 on build); it is free at \
             2027-01-15 08:05:00Z unless it is renewed"
        );
        let nobody = LockRecord { locked: true, ..LockRecord::free(7) };
        assert_eq!(sentence(&nobody, at(180)), "the lease is held: an operation by somebody");
    }

    #[test]
    fn the_lease_is_shown_with_its_owner_however_it_stands() {
        let folder = tempfile::tempdir().expect("a folder");
        let app = "shop".parse().expect("a name");
        let store = Store::open(folder.path(), "production", &app, true).expect("a store");
        let shown: Vec<String> =
            [Verdict::Free, Verdict::Held(holder()), Verdict::Dead(holder()), Verdict::Expired(holder())]
                .iter()
                .map(|verdict| page(&store, verdict, at(180)).render(80, false))
                .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
