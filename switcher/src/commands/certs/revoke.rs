//! `switcher certs revoke NAME`: revokes a certificate for good, after asking, and says what replaces it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use jiff::Timestamp;
use switcher_config::wire::{CertificateSource, CertificateStatus, RenewalOutcome, RevokeRequest, Revoked};

use super::renew::line;
use super::{Outcome, authority, interrupt, left_alone, listed, met, now_served, served, typed, unknown};
use crate::certificate;
use crate::cli::RevokeArgs;
use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::layout::{Page, Tone};

/// Revokes; a failure when it was not confirmed, not possible, or not replaced.
pub(super) async fn run(ctx: &Context, args: RevokeArgs) -> Outcome {
    let admin = ctx.admin()?;
    let certificates = listed(ctx, &admin).await?;
    let Some(meant) = certificate::shown_for(&certificates, &args.name) else {
        return Err(unknown(ctx, &args.name, Live::Unchanged));
    };
    if let Some(failure) = not_ours(ctx, &args.name, meant) {
        return Err(failure);
    }
    // Asked before the signals are listened to: Ctrl-C at the question ends the process.
    if !args.yes {
        confirm(ctx, meant)?;
    }
    let mut interrupt = interrupt(ctx)?;
    ctx.reporter.waiting(&format!(
        "asking {} to revoke the certificate for {}, and for another …",
        authority(meant.ca.as_deref()),
        certificate::names(&meant.names)
    ));
    let request = RevokeRequest { name: args.name, reason: args.reason.into() };
    let asked = interrupt.unless(admin.revoke(&request)).await.map_err(|end| left_alone(ctx, end))?;
    let revoked = asked.map_err(|error| met(ctx, &admin, error))?;
    ctx.reporter.done();
    let now = Timestamp::now();
    ctx.console.result(&page(&revoked, now).render(ctx.console.width, ctx.console.colour), &revoked)?;
    not_replaced(ctx, &request.name, &revoked).map_or(Ok(()), Err)
}

/// Only an authority that was asked by ACME can be told to revoke.
fn not_ours(ctx: &Context, name: &str, meant: &CertificateStatus) -> Option<Failure> {
    let why = match meant.source {
        CertificateSource::Acme => return None,
        CertificateSource::File => {
            "comes from files; revoke it where they come from, then put the new files in place"
        }
        CertificateSource::Internal => {
            "is from the internal authority, whose certificates live for days and are never looked up; renew it instead"
        }
        CertificateSource::Placeholder => "is a placeholder that nobody trusts; there is nothing to revoke",
    };
    let live = Live::Certificates { certificates: vec![now_served(meant)] };
    let next = match meant.source {
        CertificateSource::Internal => format!("certs renew --force {}", typed(name)),
        CertificateSource::Acme | CertificateSource::File | CertificateSource::Placeholder => {
            "certs list".to_owned()
        }
    };
    let message = format!("the certificate for {name} {why}");
    Some(Failure::new(Code::CertNotOurs, message, live, ctx.command(&next)))
}

/// Asks on the terminal; nobody there is a refusal.
fn confirm(ctx: &Context, meant: &CertificateStatus) -> Result<(), Failure> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    let unconfirmed = |message: &str| {
        let live = Live::Certificates { certificates: vec![now_served(meant)] };
        Failure::new(Code::CertUnconfirmed, message, live, format!("{} --yes", ctx.again()))
    };
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(unconfirmed(
            "a certificate is revoked for good, and nobody is here to be asked; say --yes",
        ));
    }
    // A terminal that takes no question gives no answer either.
    let _ = write!(
        stderr,
        "Revoke the certificate for {} for good? One with a new key is asked for at once. [y/N] ",
        certificate::names(&meant.names)
    );
    let _ = stderr.flush();
    let mut answer = String::new();
    match stdin.lock().read_line(&mut answer) {
        Ok(_) if is_yes(&answer) => Ok(()),
        Ok(_) | Err(_) => Err(unconfirmed("not revoked: the question was not answered with yes")),
    }
}

/// Only a clear yes revokes; an empty line and the end of the input are none.
fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn page(revoked: &Revoked, now: Timestamp) -> Page {
    let mut page = Page::default();
    page.line("", Tone::Plain, 2)
        .words(&format!("{}:", certificate::names(&revoked.names)), Tone::Strong)
        .words(&format!("revoked by {}", authority(Some(&revoked.ca))), Tone::Good);
    let (text, tone) = line(&revoked.replacement, now);
    page.line("  replacement", Tone::Faint, 14).words(&text, tone);
    page
}

fn not_replaced(ctx: &Context, name: &str, revoked: &Revoked) -> Option<Failure> {
    let replacement = &revoked.replacement;
    if replacement.outcome == RenewalOutcome::Renewed {
        return None;
    }
    let why = replacement.problem.as_deref().unwrap_or("the proxy gave no reason");
    let message = format!(
        "the certificate for {} is revoked, but there is no other one yet: {}",
        certificate::names(&revoked.names),
        why.trim_end_matches('.')
    );
    let live = Live::Certificates { certificates: vec![served(replacement)] };
    let next = ctx.command(&format!("certs check {}", typed(name)));
    Some(Failure::new(Code::CertNotReplaced, message, live, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(["y\n", "yes\n", " YES "].into_iter().all(is_yes));
        assert!(!["", "\n", "n\n", "yeah\n", "no, yes\n"].into_iter().any(is_yes));
    }
}
