//! A certificate through all its renewals: for which names, with which kind of key, from whom.
//!
//! The unit of issuance, of storage and of renewal. Two lineages with the same [`Lineage::id`] are the same.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The kind of key of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// ECDSA with P-256.
    Ecdsa,
    /// RSA with 2048 bits.
    Rsa,
}

/// Who issues it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Issuer {
    /// An authority, by ACME.
    Acme,
    /// The proxy's own authority.
    Internal,
}

/// A certificate through all its renewals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lineage {
    id: String,
    names: Vec<String>,
    key: KeyType,
    issuer: Issuer,
}

impl Lineage {
    /// The lineage for these names; none without a name. Order, case and repetition do not matter.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>, key: KeyType, issuer: Issuer) -> Option<Self> {
        let mut names: Vec<String> = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        let id = id(&names, key, issuer)?;
        Some(Self { id, names, key, issuer })
    }

    /// What tells it from every other one: fit for a file's name, readable for people.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its names in order, in lower case: hosts, wildcards as `*.example.com`, IP addresses.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The kind of key.
    #[must_use]
    pub const fn key(&self) -> KeyType {
        self.key
    }

    /// Who issues it.
    #[must_use]
    pub const fn issuer(&self) -> Issuer {
        self.issuer
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(", "))
    }
}

/// Whether a name of a certificate is an IP address.
#[must_use]
pub fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

/// `shop.example.com`, `_.example.com` for a wildcard, `a.example.com+2-1f2e3d4c` for three names, with `+rsa`
/// and `+internal` behind. Long names are cut, so a hash of all of them keeps two lineages apart.
fn id(names: &[String], key: KeyType, issuer: Issuer) -> Option<String> {
    let first = names.first()?;
    let mut id: String = first
        .chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '.' | '-' => c,
            _ => '_',
        })
        .take(100)
        .collect();
    // A colon or a star becomes an underscore, so another name may look the same; so may a cut one.
    if names.len() > 1 || id != *first {
        let digest = Sha256::digest(names.join("\n"));
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        id.push_str(&match names.len() {
            1 => format!("-{hash}"),
            several => format!("+{}-{hash}", several - 1),
        });
    }
    if key == KeyType::Rsa {
        id.push_str("+rsa");
    }
    if issuer == Issuer::Internal {
        id.push_str("+internal");
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(names: &[&str], key: KeyType, issuer: Issuer) -> String {
        let names = names.iter().map(ToString::to_string);
        Lineage::new(names, key, issuer).expect("a name").id().to_owned()
    }

    #[test]
    fn an_id_is_a_readable_file_name_that_belongs_to_one_lineage() {
        use {Issuer::Acme, KeyType::Ecdsa};
        assert_eq!(id_of(&["Shop.example.com"], Ecdsa, Acme), "shop.example.com");
        assert_eq!(
            id_of(&["shop.example.com"], KeyType::Rsa, Issuer::Internal),
            "shop.example.com+rsa+internal"
        );
        let two = id_of(&["b.example", "a.example", "B.example"], Ecdsa, Acme);
        assert!(two.starts_with("a.example+1-"), "{two}");
        assert_eq!(
            two,
            id_of(&["a.example", "b.example"], Ecdsa, Acme),
            "order and repetition do not matter"
        );
        let awkward = [
            id_of(&["*.example"], Ecdsa, Acme),
            id_of(&["_.example"], Ecdsa, Acme),
            id_of(&["::1"], Ecdsa, Acme),
            id_of(&["::2"], Ecdsa, Acme),
            id_of(&[&format!("{}.example", "a".repeat(150))], Ecdsa, Acme),
            id_of(&[&format!("{}.example", "a".repeat(151))], Ecdsa, Acme),
        ];
        for (index, id) in awkward.iter().enumerate() {
            assert!(id.len() < 150 && !id.contains(['/', '*', ':']), "{id}");
            assert!(!awkward[..index].contains(id), "{id}");
        }
        assert!(Lineage::new([], Ecdsa, Acme).is_none());
    }
}
