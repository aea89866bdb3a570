//! `switcher certs list | check | renew | revoke | import | trust`, a file each.

mod check;
mod import;
mod list;
mod renew;
mod revoke;
mod trust;

use std::ffi::OsStr;

use switcher_config::wire::{CertificateSource, CertificateStatus, Renewal};

use super::{Outcome, interrupt};
use crate::admin::{Admin, AdminError};
use crate::certificate;
use crate::cli::CertsCommand;
use crate::code::Code;
use crate::context::{Context, quoted};
use crate::failure::{Failure, Live, Served};
use crate::interrupt::Interrupted;

/// Runs the verb.
pub(super) async fn run(ctx: &Context, what: CertsCommand) -> Outcome {
    match what {
        CertsCommand::List => list::run(ctx).await,
        CertsCommand::Check { names } => check::run(ctx, names).await,
        CertsCommand::Renew { names, force } => renew::run(ctx, names, force).await,
        CertsCommand::Revoke(args) => revoke::run(ctx, args).await,
        CertsCommand::Import(args) => import::run(ctx, &args).await,
        CertsCommand::Trust => trust::run(ctx).await,
    }
}

/// What the admin client met, leading on to the list of certificates where the outcome is not known.
fn met(ctx: &Context, admin: &Admin, error: AdminError) -> Failure {
    let unknown = error.outcome_unknown();
    let live = if matches!(error, AdminError::Refused(_)) { Live::Unchanged } else { Live::No };
    let mut failure = ctx.diagnose(admin, error, None, live);
    if unknown {
        failure.next = ctx.command("certs list");
    }
    failure
}

/// The served certificates.
async fn listed(ctx: &Context, admin: &Admin) -> Result<Vec<CertificateStatus>, Failure> {
    admin.certificates().await.map_err(|error| met(ctx, admin, error))
}

/// The end of a command whose order goes on in the proxy.
fn left_alone(ctx: &Context, Interrupted: Interrupted) -> Failure {
    let message = "interrupted; the proxy goes on asking the authority without this command";
    Failure::new(Code::InterruptedOrder, message, Live::No, ctx.command("certs list"))
}

/// No certificate is for this name.
fn unknown(ctx: &Context, name: &str, live: Live) -> Failure {
    let message = format!("no certificate covers {name}, and none is wanted for it");
    Failure::new(Code::CertUnknown, message, live, ctx.command("certs list"))
}

/// A name of a certificate as a shell takes it back: a wildcard needs quotes.
fn typed(name: &str) -> String {
    quoted(OsStr::new(name))
}

/// What is served after an attempt to renew.
fn served(renewal: &Renewal) -> Served {
    Served { names: renewal.names.clone(), not_after: renewal.not_after }
}

/// What is served before anything was asked for.
fn now_served(certificate: &CertificateStatus) -> Served {
    let own = certificate.source != CertificateSource::Placeholder;
    Served { names: certificate.names.clone(), not_after: own.then_some(certificate.not_after) }
}

/// `Let's Encrypt` as the configuration writes it, or what stands for it.
fn authority(ca: Option<&str>) -> String {
    ca.map_or_else(|| "the authority".to_owned(), certificate::authority)
}
