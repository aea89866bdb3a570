//! What can be wrong around a deployment: facts in, findings out. Pure.
//!
//! Each check is a function over what was seen, with a file of its own; `commands::doctor` gathers the facts and shows
//! the findings. Invariant: whatever is not well carries one remedy.

pub mod clock;
pub mod containers;
pub mod disk;
pub mod memory;
pub mod names;
pub mod ports;
pub mod proxy;

use serde::Serialize;
use switcher_config::{AppName, Problem};

use crate::failure::Failure;
use crate::layout::{Page, Tone};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works now, and may not for long; or it could not be looked at.
    Warning,
    /// It does not work.
    Failed,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warning => Tone::Warn,
            Self::Failed => Tone::Bad,
        }
    }
}

/// Which machine a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The machine that the command runs on.
    ThisMachine,
    /// The machine with the proxy and the engine, which may be another one.
    Server,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// The application, for what is one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Which machine it is about.
    pub about: About,
    /// What was seen, as a sentence.
    pub says: String,
    /// What to do about it; none when all is well.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, says: String, remedy: Option<String>) -> Self {
        let local = matches!(
            check,
            "configuration"
                | "secrets"
                | "environment"
                | "memory"
                | "lock"
                | "journal"
                | "disk"
                | "clock"
                | "pg_dump"
        );
        let about = if local { About::ThisMachine } else { About::Server };
        Self { check, verdict, app: None, about, says, remedy }
    }

    /// All is well.
    pub fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, says.into(), None)
    }

    /// It works now, and may not for long.
    pub fn warning(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, says.into(), Some(remedy.into()))
    }

    /// It does not work.
    pub fn failed(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Verdict::Failed, says.into(), Some(remedy.into()))
    }

    /// What another command would have failed with; its next command is the remedy, unless there is a better one.
    #[must_use]
    pub fn of(check: &'static str, failure: &Failure, remedy: Option<&str>) -> Self {
        let remedy = remedy.map_or_else(|| format!("`{}`", failure.next), str::to_owned);
        Self::failed(check, format!("{} ({})", failure.message, failure.code), remedy)
    }

    /// A problem of a file.
    #[must_use]
    pub fn problem(check: &'static str, problem: &Problem, otherwise: &str) -> Self {
        let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = [format!("{}{line}", problem.file), problem.key.clone()];
        let place: Vec<String> = place.into_iter().filter(|part| !part.is_empty()).collect();
        let place = if place.is_empty() { String::new() } else { format!("{}: ", place.join(": ")) };
        let remedy = if problem.hint.is_empty() { otherwise.to_owned() } else { problem.hint.clone() };
        Self::failed(check, format!("{place}{}", problem.message), remedy)
    }

    /// The same finding, of one application.
    #[must_use]
    pub fn of_app(self, app: &AppName) -> Self {
        Self { app: Some(app.clone()), ..self }
    }
}

/// How many findings there are of each verdict: ok, warnings, failed.
#[must_use]
pub fn counts(findings: &[Finding]) -> [usize; 3] {
    [Verdict::Ok, Verdict::Warning, Verdict::Failed]
        .map(|verdict| findings.iter().filter(|finding| finding.verdict == verdict).count())
}

/// `1 slot`, `2 slots`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Where the text beside the verdict begins.
const COLUMN: usize = 9;

/// The findings for people. `remote` names the server, when it is another machine.
#[must_use]
pub fn page(findings: &[Finding], remote: Option<&str>) -> Page {
    let mut page = Page::default();
    for finding in findings {
        let tone = finding.verdict.tone();
        page.line(finding.verdict.word(), tone, COLUMN).words(finding.check, Tone::Strong);
        if let Some(app) = &finding.app {
            page.words(&format!("({app})"), Tone::Faint);
        }
        if remote.is_some() && finding.about == About::ThisMachine {
            page.words("(this machine)", Tone::Faint);
        }
        page.words(&finding.says, Tone::Plain);
        if let Some(remedy) = &finding.remedy {
            page.line("", Tone::Plain, COLUMN).words("→", Tone::Faint).words(remedy, Tone::Strong);
        }
    }
    let [ok, warnings, failed] = counts(findings);
    page.gap();
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    page.line("", Tone::Plain, 0)
        .words(&format!("{ok} ok, {}, {failed} failed", counted(warnings, "warning")), worst.tone());
    if let Some(server) = remote {
        let words =
            format!("the ports and disks of {server} are not seen from here: run `switcher doctor` on it");
        page.line("", Tone::Plain, 0).words(&words, Tone::Faint);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_each_fault_and_its_remedy() {
        let findings = [
            Finding::ok("proxy", "switcher-proxy 0.1.0 answers"),
            Finding::failed("disk", "300 MiB are free in /srv", "make room")
                .of_app(&"shop".parse().expect("a name")),
            Finding::warning("dns", "no address", "make a record"),
        ];
        insta::assert_snapshot!(page(&findings, Some("ssh://server")).render(60, false), @"
        ok       proxy switcher-proxy 0.1.0 answers
        failed   disk (shop) (this machine) 300 MiB are free in /srv
                 → make room
        warning  dns no address
                 → make a record

        1 ok, 1 warning, 1 failed
        the ports and disks of ssh://server are not seen from here:
        run `switcher doctor` on it
        ");
        assert_eq!(counts(&findings), [1, 1, 1]);
    }
}
