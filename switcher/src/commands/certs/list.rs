//! `switcher certs list`: every served certificate, a row each; exit code 0 also when some have problems.

use jiff::Timestamp;
use switcher_config::wire::CertificateStatus;

use super::{Outcome, listed};
use crate::certificate::{self, expiry};
use crate::context::Context;
use crate::layout::{Page, Tone};

/// The columns before the last one, which wraps.
const HEADERS: [&str; 6] = ["NAMES", "SOURCE", "AUTHORITY", "EXPIRES", "RENEWAL", "NEXT TRY"];
/// What a problem needs beside its row at least; with less it stands below.
const PROBLEM: usize = 24;
/// How wide several names may be.
const NAMES: usize = 32;
/// Where the text beside the labels begins when they are.
const COLUMN: usize = 12;

/// Shows them.
pub(super) async fn run(ctx: &Context) -> Outcome {
    let admin = ctx.admin()?;
    let certificates = listed(ctx, &admin).await?;
    let now = Timestamp::now();
    let page = page(&certificates, ctx.console.width, now).render(ctx.console.width, ctx.console.colour);
    ctx.console.result(&page, &certificates)?;
    if certificates.iter().any(in_trouble) {
        ctx.reporter.step(&format!("find out more with: {}", ctx.command("certs check")));
    }
    Ok(())
}

/// Whether an authority had to be asked in vain.
fn in_trouble(certificate: &CertificateStatus) -> bool {
    certificate.failures > 0
}

/// A table, or blocks where it would not fit. Pure.
fn page(certificates: &[CertificateStatus], width: usize, now: Timestamp) -> Page {
    if certificates.is_empty() {
        let mut page = Page::default();
        page.line("", Tone::Plain, 0).words("no certificate is served", Tone::Plain);
        return page;
    }
    let rows: Vec<[String; 6]> = certificates.iter().map(|certificate| row(certificate, now)).collect();
    let mut widths = HEADERS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let before = widths.iter().sum::<usize>() + 2 * widths.len();
    // The last column needs no gap behind it when nothing stands beside it.
    if before - 2 > width {
        return blocks(certificates, &rows, now);
    }
    let beside = before + PROBLEM <= width;
    let mut page = Page::default();
    page.line(&padded(&HEADERS.map(str::to_owned), &widths), Tone::Faint, before)
        .words(if beside { "PROBLEM" } else { "" }, Tone::Faint);
    for (certificate, row) in certificates.iter().zip(&rows) {
        page.line(&padded(row, &widths), tone(certificate, now), before);
        let problem = problem(certificate);
        if !beside && !problem.is_empty() {
            page.line("  problem", Tone::Faint, COLUMN);
        }
        page.words(&problem, Tone::Bad);
    }
    page
}

fn row(certificate: &CertificateStatus, now: Timestamp) -> [String; 6] {
    let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    [
        short(&certificate.names),
        certificate.source.to_string(),
        or_dash(certificate.ca.as_deref().map(certificate::authority)),
        or_dash(expiry(certificate, now).map(|(words, _)| words.replace("expires ", ""))),
        or_dash(certificate.renew_at.map(|at| certificate::ahead(at, now))),
        or_dash(certificate.retry_at.map(|at| certificate::ahead(at, now))),
    ]
}

/// All names where they are short, else the first and how many more; `--json` and `status` have them all.
fn short(names: &[String]) -> String {
    let all = certificate::names(names);
    match names {
        [first, more @ ..] if !more.is_empty() && all.len() > NAMES => format!("{first} +{}", more.len()),
        _ => all,
    }
}

fn problem(certificate: &CertificateStatus) -> String {
    certificate::failed(certificate)
        .into_iter()
        .chain(certificate.problem.clone())
        .collect::<Vec<_>>()
        .join(": ")
}

fn tone(certificate: &CertificateStatus, now: Timestamp) -> Tone {
    match expiry(certificate, now) {
        _ if in_trouble(certificate) => Tone::Bad,
        Some((_, tone)) => tone,
        None => Tone::Warn,
    }
}

fn padded(cells: &[String; 6], widths: &[usize; 6]) -> String {
    cells.iter().zip(widths).fold(String::new(), |line, (cell, width)| line + &format!("{cell:<width$}  "))
}

fn blocks(certificates: &[CertificateStatus], rows: &[[String; 6]], now: Timestamp) -> Page {
    let mut page = Page::default();
    for (certificate, row) in certificates.iter().zip(rows) {
        page.line("", Tone::Plain, 0).words(&certificate::names(&certificate.names), Tone::Strong);
        for (header, cell) in HEADERS.iter().zip(row).skip(1).filter(|(_, cell)| *cell != "-") {
            page.line(&format!("  {}", header.to_lowercase()), Tone::Faint, COLUMN)
                .words(cell, tone(certificate, now));
        }
        let problem = problem(certificate);
        if !problem.is_empty() {
            page.line("  problem", Tone::Faint, COLUMN).words(&problem, Tone::Bad);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn certificates() -> Vec<CertificateStatus> {
        serde_json::from_value(json!([
            {"names": ["shop.example.com", "*.shop.example.com", "example.com"], "source": "acme",
                "ca": "https://acme-v02.api.letsencrypt.org/directory", "not_after": "2027-01-20T14:00:00Z",
                "renew_at": "2026-12-21T14:00:00Z"},
            {"names": ["api.example.com"], "source": "acme", "ca": "https://ca.example.net:9000/acme/directory",
                "not_after": "2026-11-23T14:00:00Z", "renew_at": "2026-11-20T14:00:00Z", "failures": 3,
                "retry_at": "2026-11-21T16:00:00Z", "problem": "port 80 of 203.0.113.7 is closed"},
            {"names": [], "source": "placeholder", "not_after": "2026-11-20T14:00:00Z"},
        ]))
        .expect("certificates")
    }

    fn now() -> Timestamp {
        "2026-11-21T14:00:00Z".parse().expect("a moment")
    }

    #[test]
    fn a_table_is_laid_out_where_it_fits() {
        insta::assert_snapshot!(page(&certificates(), 160, now()).render(160, false));
    }

    #[test]
    fn a_problem_stands_below_its_row_where_there_is_no_room_beside_it() {
        insta::assert_snapshot!(page(&certificates(), 100, now()).render(100, false));
    }

    #[test]
    fn a_narrow_terminal_shows_one_below_the_other() {
        insta::assert_snapshot!(page(&certificates(), 40, now()).render(40, false));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 24..200 {
            for line in page(&certificates(), width, now()).render(width, false).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }
}
