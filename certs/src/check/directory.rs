//! The authorities' directories (RFC 8555 section 7.1.1): whether they can be read, whom they call themselves in CAA
//! records, and what time it is there.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::{Certificate, Client};
use serde::Deserialize;
use switcher_config::wire::{CheckKind, Finding, Verdict};

use super::Question;
use super::caa::Authority;

/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest difference between two clocks at which certificates and signatures are still safe, in seconds.
const SKEW: i64 = 60;

/// The part of a directory that matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    new_order: Option<String>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    caa_identities: Vec<String>,
}

/// What was read from an authority.
struct Read {
    identities: Vec<String>,
    date: Option<Timestamp>,
}

/// Looks at every authority. One that cannot be read is no more than a warning when another one can.
pub(super) async fn look(question: &Question) -> (Vec<Finding>, Vec<Authority>) {
    let mut findings = Vec::new();
    let mut authorities = Vec::new();
    for url in &question.directories {
        let read = read(url, question.ca_file.as_deref()).await;
        let now = Timestamp::now();
        let (identities, finding, clock) = match read {
            Ok(read) => {
                let message = format!("The directory {url} can be read.");
                let clock = read.date.map(|date| clock(url, date, now));
                (read.identities, finding(CheckKind::Directory, Verdict::Ok, message, None), clock)
            }
            Err((message, fix)) => {
                let message = format!("The directory {url} {message}.");
                (Vec::new(), finding(CheckKind::Directory, Verdict::Problem, message, Some(fix)), None)
            }
        };
        authorities.push(Authority { url: url.clone(), identities });
        findings.push(finding);
        findings.extend(clock);
    }
    let of = |finding: &Finding, verdict| finding.check == CheckKind::Directory && finding.verdict == verdict;
    if findings.iter().any(|finding| of(finding, Verdict::Ok)) {
        for finding in findings.iter_mut().filter(|finding| of(finding, Verdict::Problem)) {
            finding.verdict = Verdict::Warning;
            finding.message.push_str(" Another authority takes its place.");
        }
    }
    (findings, authorities)
}

fn finding(check: CheckKind, verdict: Verdict, message: String, fix: Option<String>) -> Finding {
    Finding { name: None, check, verdict, message, fix }
}

/// What it says, or what is wrong and what to do.
async fn read(url: &str, ca_file: Option<&Path>) -> Result<Read, (String, String)> {
    let client = client(ca_file).await?;
    let unreachable = |error: reqwest::Error| {
        let fix = "Check the URL, that this machine reaches the internet by https, and `acme.ca_file` for a \
                   private authority.";
        (format!("cannot be reached ({})", super::innermost(&error)), fix.to_owned())
    };
    let answer = client.get(url).send().await.map_err(unreachable)?;
    let wrong = |message: String| {
        (message, "Check `acme.directory`; it must be the URL of an ACME directory.".to_owned())
    };
    if !answer.status().is_success() {
        return Err(wrong(format!("answers {}", answer.status().as_u16())));
    }
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok()).and_then(parse_date);
    let body = answer.bytes().await.map_err(unreachable)?;
    let directory: Directory =
        serde_json::from_slice(&body).map_err(|error| wrong(format!("is no JSON of that kind ({error})")))?;
    if directory.new_order.is_none() {
        return Err(wrong("names no `newOrder`".to_owned()));
    }
    Ok(Read { identities: directory.meta.caa_identities, date })
}

async fn client(ca_file: Option<&Path>) -> Result<Client, (String, String)> {
    let mut builder = Client::builder().timeout(PATIENCE);
    if let Some(file) = ca_file {
        let bad = |why: String| {
            let fix = "Put the authority's root in PEM there, or correct `acme.ca_file`.".to_owned();
            (format!("cannot be trusted: {} cannot be used ({why})", file.display()), fix)
        };
        let pem = tokio::fs::read(file).await.map_err(|error| bad(error.to_string()))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|error| bad(error.to_string()))?;
        if roots.is_empty() {
            return Err(bad("it holds no certificate".to_owned()));
        }
        builder = builder.tls_certs_only(roots);
    }
    builder.build().map_err(|error| {
        let fix = "Check `acme.ca_file` and the system's trusted roots.".to_owned();
        (format!("cannot be asked: there is no HTTP client ({error})"), fix)
    })
}

fn parse_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn clock(url: &str, there: Timestamp, here: Timestamp) -> Finding {
    let ahead = here.duration_since(there).as_secs();
    if ahead.abs() <= SKEW {
        let message = format!("The clock agrees with that of {url}.");
        return finding(CheckKind::Clock, Verdict::Ok, message, None);
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    let message = format!("The clock is {} s {way} that of {url}.", ahead.abs());
    let fix = "Set the clock, and keep it right with chrony or systemd-timesyncd.".to_owned();
    finding(CheckKind::Clock, Verdict::Problem, message, Some(fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_a_minute_off() {
        let there = parse_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date of HTTP");
        let at = |seconds: i64| {
            let here = Timestamp::from_second(there.as_second() + seconds).expect("a time");
            clock("https://ca.example/", there, here)
        };
        for seconds in [0, 60, -60] {
            assert_eq!(at(seconds).verdict, Verdict::Ok, "{seconds}");
        }
        assert_eq!(at(61).message, "The clock is 61 s ahead of that of https://ca.example/.");
        assert_eq!(at(-3600).message, "The clock is 3600 s behind that of https://ca.example/.");
        assert_eq!(at(61).verdict, Verdict::Problem);
        assert_eq!(parse_date("yesterday"), None);
    }
}
