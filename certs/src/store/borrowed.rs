//! What answers for a name until its own certificate is there: any other that is kept and valid for it.
//!
//! Another host, another kind of key, another grouping or no `acme` section at all make another lineage, which has
//! nothing at first. Whoever had a good certificate before the change is shown that one on, never a placeholder.
//! Made by the store with every table, and only when something is missing.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::SignatureAlgorithm;

use crate::pair::Pair;
use crate::resolver::{Rank, Served, Table};

/// Everything that can be borrowed, by the names that it is valid for.
#[derive(Debug, Default)]
pub(super) struct Lenders {
    by_name: HashMap<String, Lender>,
}

/// The longest valid ones for a name.
#[derive(Debug, Clone, Default)]
struct Lender {
    modern: Option<Arc<Pair>>,
    rsa: Option<Arc<Pair>>,
}

impl Lender {
    fn take(&mut self, pair: &Arc<Pair>) {
        let is_rsa = pair.certified_key().key.algorithm() == SignatureAlgorithm::RSA;
        let place = if is_rsa { &mut self.rsa } else { &mut self.modern };
        if place.as_ref().is_none_or(|before| before.not_after() < pair.not_after()) {
            *place = Some(Arc::clone(pair));
        }
    }

    fn served(&self) -> Option<Served> {
        match (&self.modern, &self.rsa) {
            (Some(modern), rsa) => Some(Served { pair: Arc::clone(modern), other: rsa.clone() }),
            (None, Some(rsa)) => Some(Served::from(rsa)),
            (None, None) => None,
        }
    }
}

impl Lenders {
    /// Those of these that are valid now.
    pub(super) fn new<'a>(pairs: impl IntoIterator<Item = &'a Arc<Pair>>, now: Timestamp) -> Self {
        let mut lenders = Self::default();
        for pair in pairs.into_iter().filter(|pair| pair.date_problem(now).is_none()) {
            for name in pair.names() {
                lenders.by_name.entry(name.clone()).or_default().take(pair);
            }
        }
        lenders
    }

    /// What is shown for a name: by the certificate that says the name itself, else by one with a wildcard.
    pub(super) fn find(&self, name: &str) -> Option<Served> {
        let name = spelled(name);
        let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        self.by_name.get(&name).or_else(wildcard)?.served()
    }

    /// Lets them answer for these names; for a wildcard that nothing covers, those under it that have one.
    pub(super) fn enter(&self, names: &[String], table: &mut Table) {
        for name in names {
            if let Some(served) = self.find(name) {
                table.insert(std::slice::from_ref(name), Rank::Borrowed, &served);
            } else if let Some(parent) = name.strip_prefix("*.") {
                let parent = parent.to_ascii_lowercase();
                let under = |known: &str| known.split_once('.').is_some_and(|(_, rest)| rest == parent);
                for (known, lender) in self.by_name.iter().filter(|(known, _)| under(known)) {
                    if let Some(served) = lender.served() {
                        table.insert(std::slice::from_ref(known), Rank::Borrowed, &served);
                    }
                }
            }
        }
    }
}

/// As certificates write it: an address has several spellings.
fn spelled(name: &str) -> String {
    name.parse::<std::net::IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}
