//! `switcher certs check [NAME…]`: what stands between names and their certificates, before any is asked for.

use switcher_config::wire::{CheckKind, CheckRequest, Checked, Finding, Verdict};

use super::{Outcome, interrupt, met, typed};
use crate::code::Code;
use crate::commands::interrupted_early;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::layout::{Page, Tone};

/// Where the text beside the labels begins.
const COLUMN: usize = 15;

/// Looks and shows; a failure when anything will not work.
pub(super) async fn run(ctx: &Context, names: Vec<String>) -> Outcome {
    let admin = ctx.admin()?;
    let mut interrupt = interrupt(ctx)?;
    ctx.reporter.waiting("looking at names, ports, the clock and the authority");
    let request = CheckRequest { names };
    let asked = interrupt.unless(admin.check(&request)).await.map_err(|end| interrupted_early(ctx, end))?;
    let checked = asked.map_err(|error| met(ctx, &admin, error))?;
    ctx.reporter.done();
    ctx.console.result(&page(&checked).render(ctx.console.width, ctx.console.colour), &checked)?;
    failed(ctx, &request, &checked).map_or(Ok(()), Err)
}

fn page(checked: &Checked) -> Page {
    let mut page = Page::default();
    let mut names: Vec<Option<&str>> = Vec::new();
    for finding in &checked.findings {
        if !names.contains(&finding.name.as_deref()) {
            names.push(finding.name.as_deref());
        }
    }
    for name in &names {
        page.line("", Tone::Plain, 0).words(name.unwrap_or("every name"), Tone::Strong);
        for finding in checked.findings.iter().filter(|finding| finding.name.as_deref() == *name) {
            line(&mut page, finding);
        }
        page.gap();
    }
    let (summary, tone) = summary(checked);
    page.line("", Tone::Plain, 0).words(&summary, tone);
    page
}

/// `  ✗ http       port 80 of 203.0.113.7 is closed`, and below it what to do.
fn line(page: &mut Page, finding: &Finding) {
    let (mark, tone) = match finding.verdict {
        Verdict::Ok => ("✓", Tone::Good),
        Verdict::Warning => ("!", Tone::Warn),
        Verdict::Problem => ("✗", Tone::Bad),
    };
    page.line(&format!("  {mark} {}", kind(finding.check)), tone, COLUMN)
        .words(&finding.message, if finding.verdict == Verdict::Ok { Tone::Plain } else { tone });
    if let Some(fix) = &finding.fix {
        page.line("    fix", Tone::Faint, COLUMN).words(fix, Tone::Plain);
    }
}

const fn kind(check: CheckKind) -> &'static str {
    match check {
        CheckKind::Dns => "dns",
        CheckKind::Http => "http",
        CheckKind::Tls => "tls",
        CheckKind::Caa => "caa",
        CheckKind::Clock => "clock",
        CheckKind::Directory => "directory",
        CheckKind::Limits => "limits",
        CheckKind::Challenge => "challenge",
    }
}

fn summary(checked: &Checked) -> (String, Tone) {
    let count = |verdict| checked.findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (good, warnings, problems) = (count(Verdict::Ok), count(Verdict::Warning), count(Verdict::Problem));
    let tone = match (problems, warnings) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Warn,
        (_, _) => Tone::Bad,
    };
    if checked.findings.is_empty() {
        return ("no name wants a certificate from an authority: there is nothing to check".to_owned(), tone);
    }
    (format!("{}, {}, {good} good", counted(problems, "problem"), counted(warnings, "warning")), tone)
}

fn counted(n: usize, what: &str) -> String {
    match n {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn failed(ctx: &Context, request: &CheckRequest, checked: &Checked) -> Option<Failure> {
    let problems: Vec<&Finding> =
        checked.findings.iter().filter(|finding| finding.verdict == Verdict::Problem).collect();
    let first = problems.first()?;
    let more = match problems.len() {
        1 => String::new(),
        n => format!(" (and {} more)", counted(n - 1, "problem")),
    };
    let again: Vec<String> = request.names.iter().map(|name| typed(name)).collect();
    let next = ctx.command(format!("certs check {}", again.join(" ")).trim_end());
    let why = first.message.trim_end_matches('.');
    let message = match &first.name {
        Some(name) => format!("{name} would get no certificate: {why}{more}"),
        None => format!("no name would get a certificate: {why}{more}"),
    };
    Some(Failure::new(Code::CertBlocked, message, Live::Unchanged, next))
}
