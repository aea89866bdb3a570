//! CAA records (RFC 8659): whether a domain's owner allows the authorities that are configured.

use hickory_resolver::proto::rr::{RData, RecordType};
use switcher_config::settings::ChallengeChoice;
use switcher_config::wire::{CheckKind, Finding, Verdict};

use super::Question;
use crate::dns::lookup::{self, LookupError, Resolvers, plain};

/// An authority with the names it looks for in CAA records; none when they are not known.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    pub(super) url: String,
    pub(super) identities: Vec<String>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Caa {
    critical: bool,
    tag: String,
    value: String,
}

impl Caa {
    /// As it stands in a zone.
    fn text(&self) -> String {
        format!("CAA {} {} \"{}\"", if self.critical { 128 } else { 0 }, self.tag, self.value)
    }
}

/// What the records say to one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Permission {
    Granted,
    /// Not known whom the authority calls itself.
    Unclear,
    /// These records forbid it.
    Denied(Vec<Caa>),
}

/// Whether the records that hold for this name allow one of the authorities.
pub(super) async fn look(
    resolvers: &Resolvers,
    authorities: &[Authority],
    question: &Question,
    name: &str,
) -> Finding {
    let finding = |verdict, message, fix: Option<String>| Finding {
        name: Some(name.to_owned()),
        check: CheckKind::Caa,
        verdict,
        message,
        fix,
    };
    let (at, records) = match relevant(resolvers, name.strip_prefix("*.").unwrap_or(name)).await {
        Ok(found) => found,
        Err(error) => {
            let message =
                format!("The CAA records of {name} cannot be read, so no authority will issue: {error}.");
            let fix = "Repair the domain's name servers, and its DNSSEC signatures.".to_owned();
            return finding(Verdict::Problem, message, Some(fix));
        }
    };
    if records.is_empty() {
        return finding(Verdict::Ok, format!("No CAA record stands against {name}."), None);
    }
    let (verdict, message, fix) = weigh(name, &at, &records, authorities, question);
    finding(verdict, message, fix)
}

/// The records of the nearest name that has any, up to the root (RFC 8659 section 3), and that name.
async fn relevant(resolvers: &Resolvers, name: &str) -> Result<(String, Vec<Caa>), LookupError> {
    let mut at = lookup::name(name)?;
    while !at.is_root() {
        let answer = resolvers.ask(&at, RecordType::CAA).await?;
        let records: Vec<Caa> = answer
            .answers
            .iter()
            .filter_map(|record| if let RData::CAA(caa) = &record.data { Some(caa) } else { None })
            .map(|caa| Caa {
                critical: caa.issuer_critical,
                tag: caa.tag.to_ascii_lowercase(),
                value: String::from_utf8_lossy(&caa.value).into_owned(),
            })
            .collect();
        if !records.is_empty() {
            return Ok((plain(&at), records));
        }
        at = at.base_name();
    }
    Ok((String::new(), Vec::new()))
}

fn weigh(
    name: &str,
    at: &str,
    records: &[Caa],
    authorities: &[Authority],
    question: &Question,
) -> (Verdict, String, Option<String>) {
    let wildcard = name.starts_with("*.");
    let permissions: Vec<(&Authority, Permission)> = authorities
        .iter()
        .map(|authority| (authority, permission(records, wildcard, &authority.identities, question)))
        .collect();
    let denied = permissions.iter().find_map(|(authority, permission)| match permission {
        Permission::Denied(by) => Some((*authority, by)),
        Permission::Granted | Permission::Unclear => None,
    });
    let Some((authority, by)) = denied else {
        if permissions.iter().any(|(_, permission)| *permission == Permission::Unclear) {
            let message =
                format!("{at} has CAA records, but the authority does not say what it looks for there.");
            let fix = format!("Check that they allow it: {}.", texts(records));
            return (Verdict::Warning, message, Some(fix));
        }
        return (Verdict::Ok, format!("The CAA records of {at} allow the authority for {name}."), None);
    };
    let others = permissions.iter().any(|(_, permission)| !matches!(permission, Permission::Denied(_)));
    let verdict = if others { Verdict::Warning } else { Verdict::Problem };
    let message = format!("CAA forbids {} to issue for {name}: {at} has {}.", authority.url, texts(by));
    let tag = if wildcard { "issuewild" } else { "issue" };
    let fix = authority.identities.first().map(|identity| {
        format!("Add to the zone: {at}. CAA 0 {tag} \"{identity}\", or take another authority.")
    });
    (verdict, message, fix)
}

fn texts(records: &[Caa]) -> String {
    records.iter().map(Caa::text).collect::<Vec<_>>().join(", ")
}

/// RFC 8659 section 4, and the methods of RFC 8657 section 4.
fn permission(records: &[Caa], wildcard: bool, identities: &[String], question: &Question) -> Permission {
    let unknown: Vec<Caa> =
        records.iter().filter(|caa| caa.critical && !is_known(&caa.tag)).cloned().collect();
    if !unknown.is_empty() {
        return Permission::Denied(unknown);
    }
    let tagged = |tag: &str| records.iter().filter(|caa| caa.tag == tag).cloned().collect::<Vec<_>>();
    let wild = if wildcard { tagged("issuewild") } else { Vec::new() };
    let relevant = if wild.is_empty() { tagged("issue") } else { wild };
    if relevant.is_empty() || relevant.iter().any(|caa| grants(caa, identities, wildcard, question)) {
        return Permission::Granted;
    }
    if identities.is_empty() && relevant.iter().any(|caa| !issuer(&caa.value).is_empty()) {
        return Permission::Unclear;
    }
    Permission::Denied(relevant)
}

fn is_known(tag: &str) -> bool {
    ["issue", "issuewild", "iodef", "issuemail", "contactemail", "contactphone"].contains(&tag)
}

fn issuer(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

fn grants(caa: &Caa, identities: &[String], wildcard: bool, question: &Question) -> bool {
    if !identities.iter().any(|identity| identity.eq_ignore_ascii_case(issuer(&caa.value))) {
        return false;
    }
    let methods = caa.value.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("validationmethods").then(|| value.trim())
    });
    methods.is_none_or(|methods| {
        methods.split(',').any(|method| is_used(method.trim(), wildcard, question.challenge, question.dns))
    })
}

/// Whether that method is one that we may use.
fn is_used(method: &str, wildcard: bool, choice: ChallengeChoice, dns: bool) -> bool {
    match choice {
        _ if wildcard => method == "dns-01",
        ChallengeChoice::Auto => ["http-01", "tls-alpn-01"].contains(&method) || (dns && method == "dns-01"),
        ChallengeChoice::Http01 => method == "http-01",
        ChallengeChoice::TlsAlpn01 => method == "tls-alpn-01",
        ChallengeChoice::Dns01 => method == "dns-01",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::question;

    fn caa(tag: &str, value: &str) -> Caa {
        Caa { critical: false, tag: tag.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn records_allow_whom_they_name_and_wildcards_have_their_own() {
        let identities = ["ca.example".to_owned(), "ca.example.net".to_owned()];
        let question = question(&[]);
        let denied = |record: &Caa| Permission::Denied(vec![record.clone()]);
        let (ours, theirs) = (caa("issue", "CA.example"), caa("issue", "other.example"));
        let nobody = caa("issue", ";");
        for (records, host, wildcard) in [
            (vec![caa("iodef", "mailto:a@b.example")], Permission::Granted, Permission::Granted),
            (vec![theirs.clone(), ours.clone()], Permission::Granted, Permission::Granted),
            (vec![theirs.clone()], denied(&theirs), denied(&theirs)),
            (vec![nobody.clone()], denied(&nobody), denied(&nobody)),
            (vec![ours.clone(), caa("issuewild", ";")], Permission::Granted, denied(&caa("issuewild", ";"))),
            (vec![theirs.clone(), caa("issuewild", "ca.example.net")], denied(&theirs), Permission::Granted),
        ] {
            assert_eq!(permission(&records, false, &identities, &question), host, "{records:?}");
            assert_eq!(permission(&records, true, &identities, &question), wildcard, "{records:?}");
        }
        let strange = Caa { critical: true, ..caa("future", "x") };
        assert_eq!(permission(&[ours, strange.clone()], false, &identities, &question), denied(&strange));
    }

    #[test]
    fn a_record_may_name_the_methods() {
        let identities = ["ca.example".to_owned()];
        let (auto, mut dns) = (question(&[]), question(&[]));
        dns.dns = true;
        let record = [caa("issue", "ca.example; validationmethods=dns-01,other-01")];
        assert_eq!(permission(&record, false, &identities, &auto), Permission::Denied(record.to_vec()));
        assert_eq!(permission(&record, false, &identities, &dns), Permission::Granted);
        let record = [caa("issue", "ca.example;accounturi=https://a/1; validationmethods=http-01")];
        assert_eq!(permission(&record, false, &identities, &auto), Permission::Granted);
        assert_eq!(permission(&record, true, &identities, &dns), Permission::Denied(record.to_vec()));
    }

    #[test]
    fn a_refusal_names_the_record_and_the_fix() {
        let records = [caa("issue", "other.example")];
        let authority = |url: &str, identities: &[&str]| Authority {
            url: url.to_owned(),
            identities: identities.iter().map(ToString::to_string).collect(),
        };
        let question = question(&[]);
        let weigh =
            |authorities: &[Authority]| weigh("shop.site.net", "site.net", &records, authorities, &question);
        let ours = authority("https://ca.example/dir", &["ca.example"]);
        let message = "CAA forbids https://ca.example/dir to issue for shop.site.net: site.net has CAA 0 issue \
                       \"other.example\".";
        let fix = "Add to the zone: site.net. CAA 0 issue \"ca.example\", or take another authority.";
        assert_eq!(
            weigh(std::slice::from_ref(&ours)),
            (Verdict::Problem, message.to_owned(), Some(fix.to_owned()))
        );
        let (verdict, ..) = weigh(&[ours, authority("https://other.example/", &["other.example"])]);
        assert_eq!(verdict, Verdict::Warning, "the second authority may issue");
        let (verdict, ..) = weigh(&[authority("https://unknown.example/", &[])]);
        assert_eq!(verdict, Verdict::Warning);
    }
}
