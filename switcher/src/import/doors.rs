//! Listeners that not every site is served at, and what they are called. Pure.
//!
//! Those at the usual ports have no name, and what names none is served there; called by `assemble` and by Traefik's routers.

use std::collections::BTreeMap;

use super::site::{Imported, Site};
use crate::init::draft::label;

/// The names of those listeners that have one, by their addresses.
#[derive(Debug, Clone, Default)]
pub struct Doors(BTreeMap<String, String>);

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}

/// Those of one kind that need no name: at the usual port, or else like the first.
#[must_use]
pub fn usual<'a>(addresses: &[&'a str], standard: &str) -> Vec<&'a str> {
    let found = addresses.iter().find(|address| port(address) == standard).or(addresses.first());
    let like = found.map(|found| port(found));
    addresses.iter().filter(|address| Some(port(address)) == like).copied().collect()
}

impl Doors {
    /// The names that are needed.
    #[must_use]
    pub fn of(imported: &Imported, sites: &[Site]) -> Self {
        let mut names = BTreeMap::new();
        for (all, standard) in [(&imported.http, "80"), (&imported.https, "443")] {
            let addresses: Vec<&str> = all.iter().map(|at| at.value.as_str()).collect();
            let usual = usual(&addresses, standard);
            for address in addresses {
                let everywhere =
                    sites.iter().all(|site| site.doors.is_empty() || site.doors.iter().any(|d| d == address));
                if usual.contains(&address) || everywhere {
                    continue;
                }
                let called = imported.called.iter().find(|(known, _)| known == address);
                let name = match called {
                    Some((_, name)) => label(name),
                    None if address.starts_with("unix:") => label(address),
                    None => format!("port-{}", port(address)),
                };
                names.insert(address.to_owned(), name);
            }
        }
        Self(names)
    }

    /// What the listener at an address is called.
    #[must_use]
    pub fn name(&self, address: &str) -> Option<&str> {
        self.0.get(address).map(String::as_str)
    }

    /// The listeners of a site, as `listeners` writes them; none where it is served at those without a name.
    #[must_use]
    pub fn listeners(&self, site: &Site) -> Vec<String> {
        let mut named: Vec<String> = Vec::new();
        for address in &site.doors {
            let name = self.name(address).unwrap_or("default").to_owned();
            if !named.contains(&name) {
                named.push(name);
            }
        }
        if named == ["default"] { Vec::new() } else { named }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ones_have_no_name() {
        assert_eq!(usual(&["0.0.0.0:8080", "[::]:80", "0.0.0.0:80"], "80"), ["[::]:80", "0.0.0.0:80"]);
        assert_eq!(usual(&["0.0.0.0:8080", "0.0.0.0:8081"], "80"), ["0.0.0.0:8080"]);
        assert!(usual(&[], "80").is_empty());
    }
}
