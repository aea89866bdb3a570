//! What the settings want of certificates: what is served for which names, and what has to be issued for it.
//!
//! Pure; made at start and with every reload.

use switcher_config::settings::{AcmeSettings, AppSettings, Group, KeyChoice, Settings, Tls};

use crate::lineage::{Issuer, KeyType, Lineage};
use crate::store::{Source, Wanted};

/// How many names a certificate may carry; authorities refuse more (Let's Encrypt's limit).
const NAMES: usize = 100;

/// What an application without hosts gets from the internal authority.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Everything that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is served, in the order of the applications.
    pub wanted: Vec<Wanted>,
    /// What has to be issued, each once.
    pub lineages: Vec<Lineage>,
    /// From whom and how.
    pub acme: Option<AcmeSettings>,
}

impl Plan {
    /// What these settings want.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut plan = Self { acme: settings.acme.clone(), ..Self::default() };
        for (name, app) in &settings.apps {
            for wanted in wanted(name.as_str(), app, settings.acme.as_ref()) {
                if let Source::Issued(lineages) = &wanted.source {
                    let new = lineages.iter().filter(|lineage| !plan.lineages.contains(lineage)).cloned();
                    let new: Vec<_> = new.collect();
                    plan.lineages.extend(new);
                }
                if !plan.wanted.contains(&wanted) {
                    plan.wanted.push(wanted);
                }
            }
        }
        plan
    }

    /// The lineages of a name that is obtained at a first handshake.
    #[must_use]
    pub fn on_demand(&self, name: &str) -> Vec<Lineage> {
        let key = self.acme.as_ref().map_or(KeyChoice::Ecdsa, |acme| acme.key);
        lineages(&[name.to_owned()], key, Issuer::Acme)
    }
}

fn wanted(name: &str, app: &AppSettings, acme: Option<&AcmeSettings>) -> Vec<Wanted> {
    let hosts: Vec<String> = app.hosts.iter().map(ToString::to_string).collect();
    let placeholder =
        |why: String| vec![Wanted { names: hosts.clone(), source: Source::Placeholder { why: Some(why) } }];
    match (&app.tls, acme) {
        // Nothing is served before the first handshake has obtained it.
        (Tls::Off | Tls::OnDemand, _) => Vec::new(),
        (Tls::Files { certificate, key, ocsp }, _) => {
            let source =
                Source::Files { certificate: certificate.clone(), key: key.clone(), ocsp: ocsp.clone() };
            vec![Wanted { names: hosts, source }]
        }
        (Tls::Internal, _) => internal(hosts),
        (Tls::Auto, None) => placeholder(format!(
            "apps.{name} has `tls: auto` and there is no `acme` section; write `acme: {{email: you@example.com}}`"
        )),
        (Tls::Auto, Some(_)) if hosts.is_empty() => placeholder(format!(
            "apps.{name} names no hosts, so there is no name to get a certificate for; write `hosts`, or `tls: on_demand`"
        )),
        (Tls::Auto, Some(acme)) => by_acme(&hosts, acme),
    }
}

fn internal(hosts: Vec<String>) -> Vec<Wanted> {
    let names = if hosts.is_empty() { LOCAL.map(str::to_owned).to_vec() } else { hosts.clone() };
    vec![Wanted {
        names: hosts,
        source: Source::Issued(lineages(&names, KeyChoice::Ecdsa, Issuer::Internal)),
    }]
}

fn by_acme(hosts: &[String], acme: &AcmeSettings) -> Vec<Wanted> {
    let size = match acme.group {
        Group::App => NAMES,
        Group::Host => 1,
    };
    let one = |names: &[String]| Wanted {
        names: names.to_vec(),
        source: Source::Issued(lineages(names, acme.key, Issuer::Acme)),
    };
    hosts.chunks(size).map(one).collect()
}

/// The lineages for these names, the preferred kind of key first.
fn lineages(names: &[String], key: KeyChoice, issuer: Issuer) -> Vec<Lineage> {
    let keys: &[KeyType] = match key {
        KeyChoice::Ecdsa => &[KeyType::Ecdsa],
        KeyChoice::Rsa => &[KeyType::Rsa],
        KeyChoice::Both => &[KeyType::Ecdsa, KeyType::Rsa],
    };
    keys.iter().filter_map(|key| Lineage::new(names.iter().cloned(), *key, issuer)).collect()
}

#[cfg(test)]
mod tests;
