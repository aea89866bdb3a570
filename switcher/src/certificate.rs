//! Facts about certificates as words, and which of several a client of a name is shown. Pure.

use jiff::Timestamp;
use switcher_config::settings::Directory;
use switcher_config::wire::{CertificateSource, CertificateStatus};

use crate::layout::Tone;
use crate::phrase;

/// Below this many seconds an expiry is worth a colour.
const SOON: f64 = 7.0 * 86_400.0;

/// `shop.example.com, *.shop.example.com`; a certificate without names answers for every other one.
#[must_use]
pub fn names(names: &[String]) -> String {
    if names.is_empty() { "every other name".to_owned() } else { names.join(", ") }
}

/// An authority as the configuration writes it, `letsencrypt`, or the host of its directory.
#[must_use]
pub fn authority(url: &str) -> String {
    let known =
        [Directory::LetsEncrypt, Directory::LetsEncryptStaging, Directory::ZeroSsl, Directory::Google];
    if let Some(directory) = known.iter().find(|directory| directory.url() == url) {
        return directory.to_string();
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

/// When what is served expires. None for a placeholder: nobody trusts it, so its own date says nothing.
#[must_use]
pub fn expiry(certificate: &CertificateStatus, now: Timestamp) -> Option<(String, Tone)> {
    (certificate.source != CertificateSource::Placeholder).then(|| expires(certificate.not_after, now))
}

/// `expires in 60 days`, or `expired 3 h ago`.
#[must_use]
pub fn expires(not_after: Timestamp, now: Timestamp) -> (String, Tone) {
    let left = not_after.duration_since(now).as_secs_f64();
    if left <= 0.0 {
        (format!("expired {} ago", phrase::duration(-left)), Tone::Bad)
    } else {
        let tone = if left < SOON { Tone::Warn } else { Tone::Plain };
        (format!("expires in {}", phrase::duration(left)), tone)
    }
}

/// `in 30 days`, or `now` when it is past.
#[must_use]
pub fn ahead(at: Timestamp, now: Timestamp) -> String {
    let left = at.duration_since(now).as_secs_f64();
    if left <= 0.0 { "now".to_owned() } else { format!("in {}", phrase::duration(left)) }
}

/// `3 attempts failed`; none when none did.
#[must_use]
pub fn failed(certificate: &CertificateStatus) -> Option<String> {
    match certificate.failures {
        0 => None,
        1 => Some("1 attempt failed".to_owned()),
        n => Some(format!("{n} attempts failed")),
    }
}

/// Whether one of these names covers a host, a pattern or an address, itself or as a wildcard (RFC 6125 section 6.4.3).
#[must_use]
pub fn covers(names: &[String], host: &str) -> bool {
    let parent = host.split_once('.').map(|(_, parent)| parent);
    names
        .iter()
        .any(|name| name == host || name.strip_prefix("*.").is_some_and(|wildcard| Some(wildcard) == parent))
}

/// The certificate that clients of a host are shown: an exact name goes before a wildcard.
#[must_use]
pub fn shown_for<'a>(certificates: &'a [CertificateStatus], host: &str) -> Option<&'a CertificateStatus> {
    let exact = certificates.iter().find(|certificate| certificate.names.iter().any(|name| name == host));
    exact.or_else(|| certificates.iter().find(|certificate| covers(&certificate.names, host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let names = named(&["*.example.com", "10.0.0.1"]);
        for (host, covered) in [
            ("shop.example.com", true),
            ("*.example.com", true),
            ("10.0.0.1", true),
            ("example.com", false),
            ("a.shop.example.com", false),
            ("10.0.0.2", false),
        ] {
            assert_eq!(covers(&names, host), covered, "{host}");
        }
    }

    #[test]
    fn a_known_authority_has_its_short_name() {
        assert_eq!(authority(Directory::Google.url()), "google");
        assert_eq!(authority("https://ca.internal:9000/acme/acme/directory"), "ca.internal:9000");
    }

    #[test]
    fn an_expiry_is_told_from_both_sides() {
        let at = |second: i64| Timestamp::from_second(second).expect("a moment");
        assert_eq!(expires(at(0), at(7200)), ("expired 2 h ago".to_owned(), Tone::Bad));
        assert_eq!(expires(at(86_400), at(0)), ("expires in 24 h".to_owned(), Tone::Warn));
        assert_eq!(expires(at(60 * 86_400), at(0)), ("expires in 60 days".to_owned(), Tone::Plain));
        assert_eq!(ahead(at(0), at(1)), "now");
    }
}
