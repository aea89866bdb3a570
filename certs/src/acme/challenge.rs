//! Proving control over names: which way is taken, and the answers that the authority finds when it looks.
//!
//! [`ways`] decides; [`Solvers::post`] puts an answer where the authority looks.

use std::net::IpAddr;

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use switcher_config::settings::ChallengeChoice;

use super::AcmeError;
use crate::challenges::{Challenges, Posted};
use crate::dns::{Dns, DnsRecord};
use crate::lineage::is_address;
use crate::record::ChallengeKind;

/// The ways to prove control over a name, the best one first. Empty when there is none.
///
/// A wildcard needs dns-01 (RFC 8555 section 8.4 is the only way that authorities accept), an address can have
/// no DNS record (RFC 8738 section 7). The way that worked last is tried first.
pub(crate) fn ways(
    choice: ChallengeChoice,
    name: &str,
    has_dns: bool,
    worked: Option<ChallengeKind>,
) -> Vec<ChallengeKind> {
    use ChallengeKind::{Dns01, Http01, TlsAlpn01};
    let mut ways = match choice {
        ChallengeChoice::Auto => vec![TlsAlpn01, Http01, Dns01],
        ChallengeChoice::Http01 => vec![Http01],
        ChallengeChoice::TlsAlpn01 => vec![TlsAlpn01],
        ChallengeChoice::Dns01 => vec![Dns01],
    };
    // Only dns-01 can do it, and the other names of a certificate may go another way.
    if name.starts_with("*.") {
        ways = vec![Dns01];
    }
    ways.retain(|way| *way != Dns01 || (has_dns && !is_address(name)));
    ways.sort_by_key(|way| Some(*way) != worked);
    ways
}

/// What to configure when there is no way.
pub(crate) const fn hint(has_dns: bool) -> &'static str {
    if has_dns {
        "set `acme.challenge: auto`"
    } else {
        "a wildcard needs `acme.dns`, other names `acme.challenge: auto`"
    }
}

/// Where answers are put.
pub(crate) struct Solvers {
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) dns: Option<Dns>,
}

/// One thing the authority will look for.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    /// The name, without `*.`.
    pub(crate) name: String,
    /// Where it will look.
    pub(crate) kind: ChallengeKind,
    /// The challenge's token.
    pub(crate) token: String,
    /// The whole key authorization (RFC 8555 section 8.1).
    pub(crate) key_authorization: String,
    /// Its SHA-256.
    pub(crate) digest: Vec<u8>,
    /// The same in base64url, for DNS.
    pub(crate) dns_value: String,
}

/// An answer that can be found; DNS records have to be taken back by [`Answer::withdraw`].
pub(crate) enum Answer {
    /// Gone when dropped.
    Here(#[expect(dead_code, reason = "held for its drop")] Posted),
    /// In DNS.
    Dns(DnsRecord),
}

impl Answer {
    /// Takes the answer back. A record that stays behind does no harm, so a failure is only told.
    pub(crate) async fn withdraw(self) {
        if let Self::Dns(record) = self
            && let Err(error) = record.remove().await
        {
            tracing::warn!(%error, "a record for dns-01 could not be removed");
        }
    }
}

impl Solvers {
    /// Lets the authority find a proof.
    pub(crate) async fn post(&self, proof: &Proof) -> Result<Answer, AcmeError> {
        Ok(match proof.kind {
            ChallengeKind::Http01 => {
                Answer::Here(self.challenges.post_http(proof.token.clone(), &proof.key_authorization))
            }
            ChallengeKind::TlsAlpn01 => {
                let certificate = tls_alpn_certificate(&proof.name, &proof.digest)?;
                Answer::Here(self.challenges.post_tls_alpn(server_name(&proof.name), &certificate))
            }
            ChallengeKind::Dns01 => match &self.dns {
                Some(dns) => Answer::Dns(dns.post(&proof.name, &proof.dns_value).await?),
                None => {
                    let (what, why) = ("a DNS record", "`acme.dns` is not set".to_owned());
                    return Err(AcmeError::Make { what, why });
                }
            },
        })
    }

    /// Waits until every authoritative server shows the record of a proof by dns-01.
    pub(crate) async fn propagated(&self, proof: &Proof) -> Result<(), AcmeError> {
        match (&self.dns, proof.kind) {
            (Some(dns), ChallengeKind::Dns01) => Ok(dns.propagated(&proof.name, &proof.dns_value).await?),
            (_, ChallengeKind::Dns01 | ChallengeKind::Http01 | ChallengeKind::TlsAlpn01) => Ok(()),
        }
    }
}

/// The certificate that proves control over a name (RFC 8737 section 3): self-signed, with the key
/// authorization's digest in a critical extension. A `CertifiedKey` made by hand, because rustls refuses
/// critical extensions that it does not know.
pub(crate) fn tls_alpn_certificate(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, AcmeError> {
    let failed = |why: String| AcmeError::Make { what: "the certificate for tls-alpn-01", why };
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(|why| failed(why.to_string()))?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(|why| failed(why.to_string()))?;
    let certificate = params.self_signed(&key).map_err(|why| failed(why.to_string()))?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = any_supported_type(&key).map_err(|why| failed(why.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

/// The server name of a tls-alpn-01 handshake: the name itself, and for an address its name in the tree of
/// reverse look-ups (RFC 8738 section 6).
pub(crate) fn server_name(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Err(_) => name.to_ascii_lowercase(),
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChallengeKind::{Dns01, Http01, TlsAlpn01};

    #[test]
    fn each_kind_of_name_has_its_ways_and_the_one_that_worked_comes_first() {
        let auto = |name, has_dns, worked| ways(ChallengeChoice::Auto, name, has_dns, worked);
        assert_eq!(auto("a.example", false, None), [TlsAlpn01, Http01]);
        assert_eq!(auto("a.example", true, None), [TlsAlpn01, Http01, Dns01]);
        assert_eq!(auto("a.example", true, Some(Http01)), [Http01, TlsAlpn01, Dns01]);
        assert_eq!(auto("*.a.example", true, Some(Http01)), [Dns01]);
        assert_eq!(auto("*.a.example", false, None), []);
        assert_eq!(auto("192.0.2.1", true, Some(Dns01)), [TlsAlpn01, Http01]);
        assert_eq!(ways(ChallengeChoice::Http01, "*.a.example", true, None), [Dns01]);
        assert_eq!(ways(ChallengeChoice::Dns01, "192.0.2.1", true, None), []);
        assert_eq!(ways(ChallengeChoice::Http01, "a.example", true, Some(TlsAlpn01)), [Http01]);
    }

    #[test]
    fn an_address_is_asked_for_by_its_reverse_name() {
        assert_eq!(server_name("Shop.example"), "shop.example");
        assert_eq!(server_name("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        let reverse = server_name("2001:db8::1");
        assert!(
            reverse.starts_with("1.0.0.0.0.0") && reverse.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"),
            "{reverse}"
        );
    }

    #[test]
    fn the_proof_for_tls_alpn_carries_the_digest_in_a_critical_extension() {
        use x509_parser::prelude::{FromDer as _, X509Certificate};
        let digest = [7_u8; 32];
        let certified = tls_alpn_certificate("a.example", &digest).expect("made");
        let (_, parsed) = X509Certificate::from_der(&certified.cert[0]).expect("a certificate");
        let found = parsed
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .expect("the extension of RFC 8737");
        assert!(found.critical && found.value.ends_with(&digest));
    }
}
