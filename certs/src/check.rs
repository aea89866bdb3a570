//! `switcher certs check`: what stands between a name and its certificate, found without asking the authority for one.
//!
//! It looks with the authority's eyes as far as that is possible from here: the name is resolved, its addresses are
//! asked for a probe of our own, CAA records are read, the authority's directory is fetched. No order is made, so
//! nothing counts against a limit. Every finding that is not good says what to do. Called by the admin API.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use hickory_resolver::proto::rr::Name;
use switcher_config::settings::ChallengeChoice;
use switcher_config::wire::{CheckKind, Finding, Verdict};
use tokio::task::JoinSet;

use crate::Challenges;
use crate::dns::lookup::{self, Resolvers};
use crate::lineage::is_address;
use caa::Authority;
use reach::Seen;
pub(crate) use reach::{innermost, unnumbered};

mod caa;
mod directory;
mod reach;

/// How many names are looked at at once.
const AT_ONCE: usize = 16;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Question {
    /// Hosts, wildcards, IP addresses.
    pub names: Vec<String>,
    /// The URLs of the authorities' directories, in the order they are tried.
    pub directories: Vec<String>,
    /// Trusted roots for those. With it the authorities count as private: they may reach private addresses.
    pub ca_file: Option<PathBuf>,
    /// How control is proven.
    pub challenge: ChallengeChoice,
    /// Whether somebody is set to make DNS records.
    pub dns: bool,
    /// Asked instead of the system's.
    pub resolvers: Vec<SocketAddr>,
    /// Where the probes are answered from, by the listeners.
    pub challenges: Arc<Challenges>,
    /// Where an authority looks for http-01: 80.
    pub http_port: u16,
    /// Where an authority looks for tls-alpn-01: 443.
    pub https_port: u16,
    /// What the ledger says is left at each authority.
    pub limits: Vec<Limit>,
}

/// One limit of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The authority's directory.
    pub ca: String,
    /// What is limited, as a sentence without its end: `certificates for example.com within 7 days`.
    pub what: String,
    /// How much is used up.
    pub used: u32,
    /// How much there is.
    pub allowed: u32,
}

/// Looks at everything. The findings about the authorities come first, then those of each name in its order.
pub async fn check(question: &Question) -> Vec<Finding> {
    let question = Arc::new(question.clone());
    let (mut findings, authorities) = directory::look(&question).await;
    findings.extend(question.limits.iter().map(limit));
    let authorities: Arc<[Authority]> = authorities.into();
    for names in question.names.chunks(AT_ONCE) {
        let mut tasks = JoinSet::new();
        for (place, name) in names.iter().cloned().enumerate() {
            let (question, authorities) = (Arc::clone(&question), Arc::clone(&authorities));
            tasks.spawn(async move { (place, look(&question, &authorities, &name).await) });
        }
        let mut looked = tasks.join_all().await;
        looked.sort_by_key(|(place, _)| *place);
        findings.extend(looked.into_iter().flat_map(|(_, findings)| findings));
    }
    findings
}

async fn look(question: &Question, authorities: &[Authority], name: &str) -> Vec<Finding> {
    let feasible = feasible(question, name);
    let possible = feasible.verdict != Verdict::Problem;
    let mut findings = vec![feasible];
    if !possible {
        return findings;
    }
    let resolvers = Resolvers::new(&question.resolvers);
    if name.starts_with("*.") || question.challenge == ChallengeChoice::Dns01 {
        findings.push(zone(&resolvers, name).await);
    } else {
        let (finding, addresses) = resolves(question, &resolvers, name).await;
        findings.push(finding);
        findings.extend(reached(question, name, &addresses).await);
    }
    if !is_address(name) {
        findings.push(caa::look(&resolvers, authorities, question, name).await);
    }
    findings
}

/// Whether the configuration can prove control over the name at all.
fn feasible(question: &Question, name: &str) -> Finding {
    let finding = |verdict, message: String, fix: Option<&str>| Finding {
        name: Some(name.to_owned()),
        check: CheckKind::Challenge,
        verdict,
        message,
        fix: fix.map(ToOwned::to_owned),
    };
    let problem = |message: String, fix| finding(Verdict::Problem, message, Some(fix));
    let wildcard = name.starts_with("*.");
    let choice = question.challenge;
    if is_address(name) && choice == ChallengeChoice::Dns01 {
        let message = format!("{name} is an IP address, which dns-01 cannot prove (RFC 8738).");
        return problem(message, "Set `acme.challenge` to auto, http-01 or tls-alpn-01.");
    }
    if wildcard && !matches!(choice, ChallengeChoice::Auto | ChallengeChoice::Dns01) {
        let message = format!("{name} is a wildcard, which only dns-01 can prove.");
        return problem(message, "Set `acme.challenge` to auto and add `acme.dns`.");
    }
    if (wildcard || choice == ChallengeChoice::Dns01) && !question.dns {
        let message = format!("{name} is to be proven by dns-01, but nobody is set to make DNS records.");
        return problem(message, "Add `acme.dns` with a provider, or with a program of your own in `exec`.");
    }
    if question.ca_file.is_none() && never_public(name) {
        let message = format!("{name} is no public name, so no public authority issues for it.");
        return problem(message, "Use `tls: internal` for it, or an authority of your own.");
    }
    let how = match choice {
        _ if wildcard => "dns-01",
        ChallengeChoice::Auto if question.dns => "tls-alpn-01, http-01 or dns-01",
        ChallengeChoice::Auto => "tls-alpn-01 or http-01",
        ChallengeChoice::Http01 => "http-01",
        ChallengeChoice::TlsAlpn01 => "tls-alpn-01",
        ChallengeChoice::Dns01 => "dns-01",
    };
    finding(Verdict::Ok, format!("{name} can be proven by {how}."), None)
}

/// Names that are reserved for private use (RFC 6761, RFC 6762, RFC 8375, and what ICANN set aside), or have no dot.
fn never_public(name: &str) -> bool {
    const RESERVED: [&str; 8] =
        ["localhost", "local", "internal", "test", "invalid", "example", "onion", "home.arpa"];
    let name = name.strip_suffix('.').unwrap_or(name);
    !is_address(name)
        && (!name.contains('.')
            || RESERVED.iter().any(|last| {
                name.strip_suffix(last).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }))
}

/// Whether the records of dns-01 have a place.
async fn zone(resolvers: &Resolvers, name: &str) -> Finding {
    let base = name.strip_prefix("*.").unwrap_or(name);
    let record = format!("_acme-challenge.{base}");
    let found = async {
        let owner = resolvers.follow(&lookup::name(&record)?).await?;
        let zone = resolvers.zone(&owner).await?;
        Ok::<_, lookup::LookupError>((lookup::plain(&owner), lookup::plain(&zone)))
    };
    let (verdict, message, fix) = match found.await {
        Ok((owner, zone)) if owner == record.to_ascii_lowercase() => {
            (Verdict::Ok, format!("{record} belongs into the zone {zone}."), None)
        }
        Ok((owner, zone)) => {
            (Verdict::Ok, format!("{record} is an alias of {owner} in the zone {zone}."), None)
        }
        Err(error) => {
            let fix = "Register and delegate the domain, or repair its name servers.".to_owned();
            (Verdict::Problem, format!("{record} has no place: {error}."), Some(fix))
        }
    };
    Finding { name: Some(name.to_owned()), check: CheckKind::Dns, verdict, message, fix }
}

/// Whether the name resolves, and to what.
async fn resolves(question: &Question, resolvers: &Resolvers, name: &str) -> (Finding, Vec<IpAddr>) {
    let finding = |verdict, message, fix: Option<String>| Finding {
        name: Some(name.to_owned()),
        check: CheckKind::Dns,
        verdict,
        message,
        fix,
    };
    let found = match (name.parse(), lookup::name(name)) {
        (Ok(address), _) => Ok(vec![address]),
        (_, Ok(wanted)) => resolvers.addresses(&wanted).await,
        (_, Err(error)) => Err(error),
    };
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(error) => {
            let fix = "Repair the name servers of the domain, or name resolvers in `acme.resolvers`.";
            let message = format!("{name} cannot be resolved: {error}.");
            return (finding(Verdict::Problem, message, Some(fix.to_owned())), Vec::new());
        }
    };
    let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if addresses.is_empty() {
        let fix = format!("Add an A or AAAA record for {name} with the public address of this machine.");
        let message = format!("{name} does not resolve: it has neither an A nor an AAAA record.");
        return (finding(Verdict::Problem, message, Some(fix)), addresses);
    }
    let private: Vec<String> =
        addresses.iter().filter(|address| is_private(**address)).map(ToString::to_string).collect();
    if question.ca_file.is_none() && !private.is_empty() {
        let all = private.len() == addresses.len();
        let saved = question.challenge == ChallengeChoice::Auto && question.dns && !is_address(name);
        let verdict = if all && !saved { Verdict::Problem } else { Verdict::Warning };
        let private = private.join(", ");
        let message = format!("{name} resolves to {list}; no public authority reaches {private}.");
        let fix = "Publish public addresses only, prove control by dns-01, or use `tls: internal`.";
        return (finding(verdict, message, Some(fix.to_owned())), addresses);
    }
    (finding(Verdict::Ok, format!("{name} resolves to {list}."), None), addresses)
}

/// Addresses that have no way to them from the internet.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let shared = four.octets()[0] == 100 && four.octets()[1] & 0xc0 == 64;
            four.is_private() || four.is_loopback() || four.is_link_local() || four.is_unspecified() || shared
        }
        IpAddr::V6(six) => {
            six.is_loopback() || six.is_unspecified() || six.is_unique_local() || six.is_unicast_link_local()
        }
    }
}

/// Whether what the name resolves to is this proxy, on the ports that the challenges need.
async fn reached(question: &Question, name: &str, addresses: &[IpAddr]) -> Vec<Finding> {
    if addresses.is_empty() {
        return Vec::new();
    }
    let choice = question.challenge;
    let http = async {
        match choice {
            ChallengeChoice::Auto | ChallengeChoice::Http01 => reach::http(question, name, addresses).await,
            ChallengeChoice::TlsAlpn01 | ChallengeChoice::Dns01 => Vec::new(),
        }
    };
    let tls = async {
        match choice {
            ChallengeChoice::Auto | ChallengeChoice::TlsAlpn01 => reach::tls(question, name, addresses).await,
            ChallengeChoice::Http01 | ChallengeChoice::Dns01 => Vec::new(),
        }
    };
    let (http, tls) = tokio::join!(http, tls);
    let mut findings: Vec<Finding> =
        [(CheckKind::Http, question.http_port, http), (CheckKind::Tls, question.https_port, tls)]
            .into_iter()
            .filter(|(_, _, seen)| !seen.is_empty())
            .map(|(check, port, seen)| reach::judge(name, check, port, &seen))
            .collect();
    // One way is enough, and dns-01 needs neither.
    let saved = findings.iter().any(|finding| finding.verdict == Verdict::Ok)
        || (choice == ChallengeChoice::Auto && question.dns && !is_address(name));
    if saved {
        for finding in findings.iter_mut().filter(|finding| finding.verdict == Verdict::Problem) {
            finding.verdict = Verdict::Warning;
            finding.message.push_str(" Another challenge can take its place.");
        }
    }
    findings
}

fn limit(line: &Limit) -> Finding {
    let Limit { ca, what, used, allowed } = line;
    let (verdict, fix) = if used >= allowed {
        (
            Verdict::Problem,
            Some("Wait until older ones have left the window; nothing is ordered before that."),
        )
    } else if u64::from(*used) * 5 >= u64::from(*allowed) * 4 {
        (Verdict::Warning, Some("Order less often, or group more names into one certificate."))
    } else {
        (Verdict::Ok, None)
    };
    Finding {
        name: None,
        check: CheckKind::Limits,
        verdict,
        message: format!("{used} of {allowed} {what} are used up at {ca}."),
        fix: fix.map(ToOwned::to_owned),
    }
}

/// The server name by which a challenge handshake asks for a name: the reverse one for an address (RFC 8738
/// section 6).
fn challenge_server_name(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(address) => lookup::plain(&Name::from(address)),
        Err(_) => name.to_ascii_lowercase(),
    }
}

/// What an address said, with the address.
type Views = Vec<(IpAddr, Seen)>;

#[cfg(test)]
mod tests;
