//! `switcher lock release [--force]`: frees a lease, after naming whom it hurts, and makes the proxy refuse its owner.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use jiff::Timestamp;
use serde_json::json;
use switcher_config::wire::{Claim, Fence};

use super::{held, state_failure, word};
use crate::code::Code;
use crate::commands::{Outcome, memory};
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::state::record::LockRecord;
use crate::state::{AuditRecord, Owner, Release, Store, Verdict};

/// The word that is asked for.
const WORD: &str = "release";

/// Releases; a failure when it is held and force was not asked for, or not confirmed.
pub(super) async fn run(ctx: &Context, force: bool, yes: bool) -> Outcome {
    let store = memory::open(ctx)?;
    let lock = store.read().map_err(|error| state_failure(ctx, &error))?.lock;
    let mut forced = None;
    if let Verdict::Held(holder) = store.verdict(&lock, Timestamp::now())
        && force
    {
        let hurt = hurt(&holder);
        ctx.reporter.step(&hurt);
        if !yes {
            confirm(ctx)?;
        }
        forced = holder.lock_id;
    }
    let released = store.release(forced.as_deref()).map_err(|error| state_failure(ctx, &error))?;
    match released {
        Release::Free => {
            let value = json!({ "released": false, "verdict": "free", "lock": lock, "fenced": false });
            ctx.console.result("the lease is free; there was nothing to release", &value).map(drop)
        }
        Release::Held(holder) => Err(still_held(ctx, &holder, force)),
        Release::Released { verdict, number, holder } => {
            audit(ctx, &store, &lock);
            let fenced = fence(ctx, &store, Fence { number, holder }).await;
            let text = format!("the lease is released; it was {}", said(&verdict));
            let value =
                json!({ "released": true, "verdict": word(&verdict), "lock": lock, "fenced": fenced });
            ctx.console.result(&text, &value).map(drop)
        }
    }
}

/// Whom it hurts, and how.
fn hurt(holder: &LockRecord) -> String {
    let deployment = holder.deployment_id.as_ref().map(|id| format!(" for {id}")).unwrap_or_default();
    format!(
        "the lease is held by a command that is at work: {}{deployment}. Without it that command writes nothing \
         more, its promote is refused by the proxy, and it stops half way; the next command finishes or undoes it",
        holder.sentence()
    )
}

/// A lease that lives, to somebody who did not say `--force`; or another one than was looked at.
fn still_held(ctx: &Context, holder: &LockRecord, force: bool) -> Failure {
    let mut failure = held(ctx, holder, Live::Unchanged, Timestamp::now());
    failure.next = if force { ctx.command("lock status") } else { format!("{} --force", ctx.again()) };
    failure
}

/// Asks on the terminal for the word; nobody there is a refusal.
fn confirm(ctx: &Context) -> Result<(), Failure> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    let unconfirmed = |message: &str| {
        Failure::new(Code::LeaseUnconfirmed, message, Live::Unchanged, format!("{} --yes", ctx.again()))
    };
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(unconfirmed("the lease is held, and nobody is here to be asked; say --yes"));
    }
    // A terminal that takes no question gives no answer either.
    let _ = write!(stderr, "Type \"{WORD}\" to take it away: ");
    let _ = stderr.flush();
    let mut answer = String::new();
    match stdin.lock().read_line(&mut answer) {
        Ok(_) if answer.trim() == WORD => Ok(()),
        Ok(_) | Err(_) => Err(unconfirmed("not released: the word was not typed")),
    }
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Free => "free".to_owned(),
        Verdict::Dead(holder) => format!("left behind by a dead process: {}", holder.sentence()),
        Verdict::Expired(holder) => format!("expired: {}", holder.sentence()),
        Verdict::Held(holder) => format!("held: {}", holder.sentence()),
    }
}

/// Who took the lease from whom. It is released already, so a log that refuses the line is told and no more.
fn audit(ctx: &Context, store: &Store, from: &LockRecord) {
    let owner = Owner::here("lock release", None);
    let mut record = AuditRecord::new(&owner, "done", Timestamp::now());
    record.deployment_id.clone_from(&from.deployment_id);
    record.note = Some(format!("taken from {}", from.sentence()));
    if let Err(error) = store.audit(&record) {
        ctx.reporter.step(&format!("warning: the audit log has no line of it: {error}"));
    }
}

/// Shows the proxy a number above the old owner's, so that it refuses what that owner still asks for.
async fn fence(ctx: &Context, store: &Store, fence: Fence) -> bool {
    // With its place and no time: what the old owner claimed is given back.
    let claim = Claim { place: store.mark().ok(), ..Claim::from(fence) };
    let told = match ctx.admin() {
        Ok(admin) => match admin.claim(store.app(), &claim).await {
            Ok(_) => Ok(()),
            Err(error) => Err(ctx.diagnose(&admin, error, Some(store.app()), Live::Unchanged).message),
        },
        Err(failure) => Err(failure.message),
    };
    if let Err(why) = &told {
        ctx.reporter.step(&format!(
            "warning: the proxy does not refuse the old owner before the next command has the lease: {why}"
        ));
    }
    told.is_ok()
}
