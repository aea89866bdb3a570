//! `switcher certs renew [NAME…] [--force]`: asks the authorities, and tells what became of each certificate.

use std::collections::BTreeMap;

use jiff::Timestamp;
use switcher_config::wire::{
    CertificateSource, CertificateStatus, RenewRequest, Renewal, RenewalOutcome, Renewed,
};

use super::{Outcome, authority, interrupt, left_alone, listed, met, now_served, served, typed, unknown};
use crate::certificate;
use crate::code::Code;
use crate::commands::interrupted_early;
use crate::context::Context;
use crate::failure::{Failure, Live, Served};
use crate::layout::{Page, Tone};
use crate::phrase;

/// Renews; a failure when any attempt failed.
pub(super) async fn run(ctx: &Context, names: Vec<String>, force: bool) -> Outcome {
    let admin = ctx.admin()?;
    let mut interrupt = interrupt(ctx)?;
    let certificates =
        interrupt.unless(listed(ctx, &admin)).await.map_err(|end| interrupted_early(ctx, end))??;
    if let Some(failure) = names.iter().find_map(|name| from_files(ctx, name, &certificates)) {
        return Err(failure);
    }
    let request = RenewRequest { names, force };
    let asking = asking(&certificates, &request, Timestamp::now());
    if let Some(asking) = &asking {
        ctx.reporter.waiting(asking);
    }
    let asked = interrupt.unless(admin.renew(&request)).await.map_err(|end| left_alone(ctx, end))?;
    let renewed = asked.map_err(|error| met(ctx, &admin, error))?;
    ctx.reporter.done();
    let now = Timestamp::now();
    ctx.console.result(&page(&renewed, now).render(ctx.console.width, ctx.console.colour), &renewed)?;
    let again = || {
        let names: Vec<String> = request.names.iter().map(|name| format!(" {}", typed(name))).collect();
        ctx.command(&format!("certs renew --force{}", names.concat()))
    };
    // The last attempt failed and the next one has its time, so this command had nobody asked.
    if !force && asking.is_none() && renewed.certificates.iter().any(failing) {
        let hint = format!("nobody was asked before the next attempt is due; ask now with: {}", again());
        ctx.reporter.step(&hint);
    }
    if let Some(failure) = failed(ctx, &request, &renewed) {
        return Err(failure);
    }
    if !force && renewed.certificates.iter().all(|renewal| renewal.outcome == RenewalOutcome::NotDue) {
        ctx.reporter.step(&format!("nothing was due; renew all the same with: {}", again()));
    }
    Ok(())
}

/// `asking letsencrypt for shop.example.com …`; none when it can be told beforehand that nobody is asked.
fn asking(certificates: &[CertificateStatus], request: &RenewRequest, now: Timestamp) -> Option<String> {
    let meant = |certificate: &CertificateStatus| {
        request.names.is_empty()
            || request.names.iter().any(|name| certificate::covers(&certificate.names, name))
    };
    let due = |certificate: &CertificateStatus| match certificate.source {
        CertificateSource::File => false,
        CertificateSource::Placeholder | CertificateSource::Acme | CertificateSource::Internal => {
            let next = certificate.retry_at.or(certificate.renew_at);
            request.force || next.is_none_or(|at| at <= now)
        }
    };
    let due = |certificate: &CertificateStatus| !certificate.names.is_empty() && due(certificate);
    let mut orders: BTreeMap<String, Vec<&CertificateStatus>> = BTreeMap::new();
    for certificate in certificates.iter().filter(|certificate| meant(certificate) && due(certificate)) {
        let whom = match certificate.source {
            CertificateSource::Internal => "the internal authority".to_owned(),
            CertificateSource::Acme | CertificateSource::Placeholder | CertificateSource::File => {
                authority(certificate.ca.as_deref())
            }
        };
        orders.entry(whom).or_default().push(certificate);
    }
    let parts: Vec<String> = orders
        .iter()
        .map(|(whom, certificates)| match certificates.as_slice() {
            [only] => format!("{whom} for {}", certificate::names(&only.names)),
            several => format!("{whom} for {} certificates", several.len()),
        })
        .collect();
    if parts.is_empty() { None } else { Some(format!("asking {} …", parts.join(", "))) }
}

fn failing(renewal: &Renewal) -> bool {
    renewal.outcome == RenewalOutcome::Failed
}

fn page(renewed: &Renewed, now: Timestamp) -> Page {
    let mut page = Page::default();
    for renewal in &renewed.certificates {
        let (text, tone) = line(renewal, now);
        page.line("", Tone::Plain, 2)
            .words(&format!("{}:", certificate::names(&renewal.names)), Tone::Strong)
            .words(&text, tone);
    }
    if renewed.certificates.is_empty() {
        page.line("", Tone::Plain, 0).words("there is no certificate to renew", Tone::Plain);
    }
    page
}

/// What became of one certificate, and what comes next.
pub(super) fn line(renewal: &Renewal, now: Timestamp) -> (String, Tone) {
    let (mut text, tone) = match renewal.outcome {
        RenewalOutcome::Renewed => ("renewed".to_owned(), Tone::Good),
        RenewalOutcome::NotDue => {
            let what = if renewal.problem.is_some() { "not asked for" } else { "not due" };
            let when = renewal
                .next
                .map(|at| format!(" before {} ({})", phrase::moment(at), certificate::ahead(at, now)));
            (format!("{what}{}", when.unwrap_or_default()), Tone::Plain)
        }
        RenewalOutcome::Failed => ("not renewed".to_owned(), Tone::Bad),
        RenewalOutcome::NotOurs => {
            ("comes from files, so whoever wrote them renews it".to_owned(), Tone::Plain)
        }
    };
    if let Some(problem) = &renewal.problem {
        text.push_str(&format!(": {}", problem.trim_end_matches('.')));
    }
    if let (Some(at), RenewalOutcome::Failed) = (renewal.next, renewal.outcome) {
        text.push_str(&format!("; the next attempt follows {}", certificate::ahead(at, now)));
    }
    let expiry = renewal.not_after.map(|at| certificate::expires(at, now).0);
    text.push_str(&match (renewal.outcome, expiry) {
        (RenewalOutcome::Renewed, Some(expiry)) => format!(", {expiry}"),
        (RenewalOutcome::NotDue | RenewalOutcome::NotOurs | RenewalOutcome::Failed, Some(expiry)) => {
            format!("; what is served {expiry}")
        }
        (RenewalOutcome::Failed, None) => "; a placeholder is served".to_owned(),
        (RenewalOutcome::Renewed | RenewalOutcome::NotDue | RenewalOutcome::NotOurs, None) => String::new(),
    });
    (text, tone)
}

/// The worst that happened: an attempt failed, or what was asked for by name cannot be done.
fn failed(ctx: &Context, request: &RenewRequest, renewed: &Renewed) -> Option<Failure> {
    let all = &renewed.certificates;
    let with = |outcome| all.iter().filter(|renewal| renewal.outcome == outcome).collect::<Vec<_>>();
    let about = |some: &[&Renewal]| Live::Certificates {
        certificates: some.iter().map(|renewal| served(renewal)).collect(),
    };
    let said = |renewal: &Renewal| {
        let why = renewal.problem.as_deref().unwrap_or("the proxy gave no reason");
        format!("{}: {}", certificate::names(&renewal.names), why.trim_end_matches('.'))
    };
    let bad = with(RenewalOutcome::Failed);
    if let [first, rest @ ..] = bad.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
        let message = format!("not renewed: {}{more}", said(first));
        let name = first.names.first().map(|name| format!(" {}", typed(name))).unwrap_or_default();
        let next = ctx.command(&format!("certs check{name}"));
        return Some(Failure::new(Code::CertFailed, message, about(&bad), next));
    }
    let mut held = with(RenewalOutcome::NotDue);
    held.retain(|renewal| request.force && renewal.problem.is_some());
    if let Some(first) = held.first() {
        let message = format!("the authority was not asked: {}", said(first));
        return Some(Failure::new(Code::CertLimit, message, about(&held), ctx.command("certs list")));
    }
    not_possible(ctx, request, all)
}

/// What was asked for by name, and is nobody's or not the proxy's to renew.
fn not_possible(ctx: &Context, request: &RenewRequest, all: &[Renewal]) -> Option<Failure> {
    for name in &request.names {
        let its: Vec<&Renewal> =
            all.iter().filter(|renewal| certificate::covers(&renewal.names, name)).collect();
        if its.is_empty() {
            return Some(unknown(ctx, name, Live::Unchanged));
        }
        if its.iter().all(|renewal| renewal.outcome == RenewalOutcome::NotOurs) {
            return Some(not_ours(ctx, name, its.into_iter().map(served).collect()));
        }
    }
    None
}

/// The certificate of a name that was asked for comes from files: nothing is sent in vain.
fn from_files(ctx: &Context, name: &str, certificates: &[CertificateStatus]) -> Option<Failure> {
    let shown = certificate::shown_for(certificates, name)?;
    (shown.source == CertificateSource::File).then(|| not_ours(ctx, name, vec![now_served(shown)]))
}

fn not_ours(ctx: &Context, name: &str, certificates: Vec<Served>) -> Failure {
    let message = format!("the certificate for {name} comes from files; renew it where they come from");
    let live = Live::Certificates { certificates };
    Failure::new(Code::CertNotOurs, message, live, ctx.command("certs list"))
}
