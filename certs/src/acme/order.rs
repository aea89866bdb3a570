//! One order, from the request to the stored pair.
//!
//! The steps, each on disk before the next: the key and the intent; the order's URL; then the authority looks,
//! the order is finalized with the kept key, and the chain is stored with it as one file. A process that is
//! killed finds its order again and goes on; an order that is dead is dropped, and the next one is a new one.

use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use switcher_config::settings::ChallengeChoice;
use tracing::{debug, info};

use super::authority::{Authority, Session};
use super::challenge::{Answer, Proof, Solvers, hint, ways};
use super::error::words;
use super::{AcmeError, patiently, problem_type};
use crate::folder::{self, Folder, Secret};
use crate::lineage::{KeyType, Lineage};
use crate::record::ChallengeKind;

/// How long the authority may look, and how long it may take to issue.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a kept order is worth resuming. Authorities keep them about a week.
const ORDER_LIFE: SignedDuration = SignedDuration::from_hours(24 * 6);

/// What is ordered, and where answers are put.
pub(crate) struct Request<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) authority: &'a Authority,
    pub(crate) solvers: &'a Solvers,
    pub(crate) lineage: &'a Lineage,
    pub(crate) challenge: ChallengeChoice,
    pub(crate) profile: Option<&'a str>,
    /// The certificate that this one takes the place of, when the same authority issued it (RFC 9773 section 5).
    pub(crate) replaces: Option<CertificateIdentifier<'static>>,
}

/// A chain that was issued, with its key.
pub(crate) struct Issued {
    pub(crate) key: Secret,
    pub(crate) chain_pem: String,
    /// How control was proven; none when the authority did not look again.
    pub(crate) challenge: Option<ChallengeKind>,
}

/// Whether the kept order of a lineage can be resumed with this authority, so that no new one is needed.
pub(crate) fn resumable(
    kept: &folder::Order,
    authority: &Authority,
    lineage: &Lineage,
    now: Timestamp,
) -> bool {
    kept.directory == authority.url()
        && kept.url.is_some()
        && kept.names == lineage.names()
        && now.duration_since(kept.began_at) < ORDER_LIFE
}

impl Request<'_> {
    /// Goes the whole way, by the way of proof that is wanted for each name where it has the choice.
    pub(crate) async fn obtain(
        &self,
        session: &Session,
        wanted: Option<ChallengeKind>,
    ) -> Result<Issued, AcmeError> {
        let (mut order, kept) = self.order(session).await?;
        let challenge = match self.prove(&mut order, wanted).await {
            Ok(challenge) => challenge,
            Err(error) => return Err(self.given_up(error)?),
        };
        match self.finish(&mut order, &kept).await {
            Ok(chain_pem) => Ok(Issued { key: kept.key, chain_pem, challenge }),
            Err(error) => Err(self.given_up(error)?),
        }
    }

    /// Drops the kept order when it is dead; one that is only late or out of reach stays to be resumed.
    fn given_up(&self, error: AcmeError) -> Result<AcmeError, AcmeError> {
        if is_over(&error) {
            self.folder.remove_order(self.lineage)?;
        }
        Ok(error)
    }

    /// The kept order, or a new one.
    async fn order(&self, session: &Session) -> Result<(Order, folder::Order), AcmeError> {
        let kept = self.folder.order(self.lineage)?;
        if let Some(kept) = kept {
            if let (true, Some(url)) =
                (resumable(&kept, self.authority, self.lineage, Timestamp::now()), kept.url.clone())
            {
                match patiently!(session.account.order(url.clone())) {
                    Ok(mut order) => {
                        if order.state().status != OrderStatus::Invalid {
                            info!(names = %self.lineage, ca = self.authority.url(), "resuming an order");
                            return Ok((order, kept));
                        }
                    }
                    // It expired, or the authority has lost its memory.
                    Err(instant_acme::Error::Api(_)) => {}
                    Err(why) => return Err(self.wrong("resuming an order", why)),
                }
            }
            self.folder.remove_order(self.lineage)?;
        }
        let mut kept = folder::Order {
            directory: self.authority.url().to_owned(),
            url: None,
            names: self.lineage.names().to_vec(),
            key: new_key(self.lineage.key()).await?,
            began_at: Timestamp::now(),
        };
        self.folder.save_order(self.lineage, &kept)?;
        let order = self.new_order(session).await?;
        kept.url = Some(order.url().to_owned());
        self.folder.save_order(self.lineage, &kept)?;
        Ok((order, kept))
    }

    async fn new_order(&self, session: &Session) -> Result<Order, AcmeError> {
        let identifiers: Vec<Identifier> = self.lineage.names().iter().map(|name| identifier(name)).collect();
        let new = || match self.profile {
            Some(profile) => NewOrder::new(&identifiers).profile(profile),
            None => NewOrder::new(&identifiers),
        };
        if let Some(replaces) = self.replaces.clone().filter(|_| session.has_renewal_info()) {
            match patiently!(session.account.new_order(&new().replaces(replaces.clone()))) {
                Ok(order) => return Ok(order),
                // Somebody replaced it already, or the authority does not know it; the order is wanted all the same.
                Err(why) if may_do_without_replaces(&why) => debug!(%why, "ordering without `replaces`"),
                Err(why) => return Err(self.wrong("ordering", why)),
            }
        }
        patiently!(session.account.new_order(&new())).map_err(|why| self.wrong("ordering", why))
    }

    /// Lets the authority find every proof and waits for its verdict.
    async fn prove(
        &self,
        order: &mut Order,
        wanted: Option<ChallengeKind>,
    ) -> Result<Option<ChallengeKind>, AcmeError> {
        if order.state().status != OrderStatus::Pending {
            return Ok(None);
        }
        self.load_authorizations(order).await?;
        let proofs = self.proofs(order, wanted).await?;
        let mut answers = Vec::new();
        let proven = self.show(order, &proofs, &mut answers).await;
        for answer in answers {
            answer.withdraw().await;
        }
        proven?;
        Ok(proofs
            .iter()
            .map(|proof| proof.kind)
            .find(|kind| *kind != ChallengeKind::Dns01)
            .or_else(|| proofs.first().map(|proof| proof.kind)))
    }

    async fn show(
        &self,
        order: &mut Order,
        proofs: &[Proof],
        answers: &mut Vec<Answer>,
    ) -> Result<(), AcmeError> {
        for proof in proofs {
            answers.push(self.solvers.post(proof).await?);
        }
        for proof in proofs {
            self.solvers.propagated(proof).await?;
        }
        if let Err(why) = self.tell_ready(order, proofs).await {
            // It may have looked already: then it answers with a challenge that carries an error.
            return Err(self.failed_proof(order, proofs).await.unwrap_or(why));
        }
        let verdict = patiently!(order.poll_ready(&policy()));
        match verdict {
            Ok(OrderStatus::Invalid) | Err(instant_acme::Error::Api(_)) => {
                Err(self.why_invalid(order, proofs).await)
            }
            Ok(_) => Ok(()),
            Err(why) => Err(self.wrong("verifying the names", why)),
        }
    }

    /// Fetches the state of every authorization, so that the loops after it wait for nothing.
    async fn load_authorizations(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut patience = 12_u8;
        'again: loop {
            let mut authorizations = order.authorizations();
            while let Some(next) = authorizations.next().await {
                match next {
                    Ok(_) => {}
                    // The stream has gone past it, so it begins anew; what it fetched is kept.
                    Err(why) if patience > 0 && super::is_bad_nonce(&why) => {
                        patience -= 1;
                        continue 'again;
                    }
                    Err(why) => return Err(self.wrong("reading what is to be proven", why)),
                }
            }
            return Ok(());
        }
    }

    /// What has to be proven, and how.
    async fn proofs(
        &self,
        order: &mut Order,
        wanted: Option<ChallengeKind>,
    ) -> Result<Vec<Proof>, AcmeError> {
        let mut proofs = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|why| self.wrong("reading what is to be proven", why))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let ways = ways(self.challenge, &name, self.solvers.dns.is_some(), wanted);
            let offered = |kind: &ChallengeKind| {
                authorization.challenges.iter().any(|challenge| challenge.r#type == challenge_type(*kind))
            };
            let Some(kind) = ways.into_iter().find(offered) else {
                let (ca, hint) = (self.authority.url().to_owned(), hint(self.solvers.dns.is_some()));
                return Err(AcmeError::NoChallenge { ca, name, hint });
            };
            let Some(challenge) = authorization.challenge(challenge_type(kind)) else { continue };
            let key = challenge.key_authorization();
            proofs.push(Proof {
                name: name.trim_start_matches("*.").to_owned(),
                kind,
                token: challenge.token.clone(),
                key_authorization: key.as_str().to_owned(),
                digest: key.digest().as_ref().to_vec(),
                dns_value: key.dns_value(),
            });
        }
        Ok(proofs)
    }

    /// Tells the authority that it may look.
    async fn tell_ready(&self, order: &mut Order, proofs: &[Proof]) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|why| self.wrong("reading what is to be proven", why))?;
            let token =
                |proof: &&Proof| authorization.challenges.iter().any(|known| known.token == proof.token);
            let Some(proof) = proofs.iter().find(token) else { continue };
            let Some(mut challenge) = authorization.challenge(challenge_type(proof.kind)) else { continue };
            patiently!(challenge.set_ready()).map_err(|why| self.wrong("asking it to look", why))?;
        }
        Ok(())
    }

    /// The authority's words about the first name that it could not verify, or about the order as a whole.
    async fn why_invalid(&self, order: &mut Order, proofs: &[Proof]) -> AcmeError {
        if let Some(failed) = self.failed_proof(order, proofs).await {
            return failed;
        }
        let problem: Option<Problem> = order.state().error.clone();
        let because = problem.as_ref().map(|problem| format!(": {}", words(problem))).unwrap_or_default();
        AcmeError::Refused {
            ca: self.authority.url().to_owned(),
            why: format!("the order for {} became invalid{because}", self.lineage),
            kind: None,
        }
    }

    async fn failed_proof(&self, order: &mut Order, proofs: &[Proof]) -> Option<AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let Ok(mut authorization) = next else { continue };
            // What cannot be read is told by the order as a whole.
            let _ = patiently!(authorization.refresh());
            let name = authorization.identifier().to_string();
            for challenge in &authorization.challenges {
                let Some(problem) = &challenge.error else { continue };
                let proof = proofs.iter().find(|proof| {
                    proof.token == challenge.token && challenge.r#type == challenge_type(proof.kind)
                });
                if let Some(proof) = proof {
                    let (ca, why) = (self.authority.url().to_owned(), words(problem));
                    return Some(AcmeError::Validation { ca, name, kind: proof.kind, why });
                }
            }
        }
        None
    }

    /// Has the certificate issued for the kept key.
    async fn finish(&self, order: &mut Order, kept: &folder::Order) -> Result<String, AcmeError> {
        if order.state().status == OrderStatus::Ready {
            let request = signing_request(self.lineage, &kept.key)?;
            patiently!(order.finalize_csr(&request))
                .map_err(|why| self.wrong("finalizing the order", why))?;
        }
        if order.state().status == OrderStatus::Valid {
            let chain =
                patiently!(order.certificate()).map_err(|why| self.wrong("fetching the certificate", why))?;
            if let Some(chain) = chain {
                return Ok(chain);
            }
        }
        patiently!(order.poll_certificate(&policy()))
            .map_err(|why| self.wrong("issuing the certificate", why))
    }

    fn wrong(&self, doing: &'static str, why: instant_acme::Error) -> AcmeError {
        AcmeError::of(self.authority.url(), doing, why)
    }
}

/// Whether an order is dead after this. A refusal of one request for a fault of the authority's, or because it
/// had too many, says nothing of the order: it lives on, and with it the room that it took.
fn is_over(error: &AcmeError) -> bool {
    match error {
        AcmeError::Refused { kind, .. } => {
            !matches!(kind.as_deref(), Some("rateLimited" | "serverInternal" | "badNonce"))
        }
        AcmeError::Validation { .. } | AcmeError::NoChallenge { .. } => true,
        AcmeError::Unreachable { .. }
        | AcmeError::Nonsense { .. }
        | AcmeError::NeedsExternalAccount { .. }
        | AcmeError::ExternalAccountKey { .. }
        | AcmeError::NoProfile { .. }
        | AcmeError::Roots { .. }
        | AcmeError::TooSlow { .. }
        | AcmeError::NoRoom { .. }
        | AcmeError::Dns(_)
        | AcmeError::Folder(_)
        | AcmeError::Make { .. }
        | AcmeError::NotAllowed(_) => false,
    }
}

/// Whether an order is refused only for what it says of the certificate that it replaces (RFC 9773 section 5).
fn may_do_without_replaces(why: &instant_acme::Error) -> bool {
    if let instant_acme::Error::Other(why) = why {
        return why.to_string().starts_with("replaces field mismatch");
    }
    matches!(problem_type(why), Some("alreadyReplaced" | "malformed"))
}

const fn policy() -> RetryPolicy {
    RetryPolicy::new().initial_delay(Duration::from_millis(100)).backoff(1.5).timeout(PATIENCE)
}

fn identifier(name: &str) -> Identifier {
    name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}

const fn challenge_type(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}

/// A new private key in PEM, made aside: one of RSA takes a good part of a second.
async fn new_key(key: KeyType) -> Result<Secret, AcmeError> {
    let failed = |why: String| AcmeError::Make { what: "a private key", why };
    let make = move || match key {
        KeyType::Ecdsa => KeyPair::generate(),
        KeyType::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
    };
    let made = tokio::task::spawn_blocking(make).await.map_err(|why| failed(why.to_string()))?;
    Ok(Secret::new(made.map_err(|why| failed(why.to_string()))?.serialize_pem()))
}

/// The signing request in DER (RFC 2986): every name as a subject alternative name, no common name.
fn signing_request(lineage: &Lineage, key: &Secret) -> Result<Vec<u8>, AcmeError> {
    let failed = |why: rcgen::Error| AcmeError::Make { what: "the signing request", why: why.to_string() };
    let key = KeyPair::from_pem(key.reveal()).map_err(failed)?;
    let mut params = CertificateParams::new(lineage.names().to_vec()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(failed)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::Issuer;

    #[test]
    fn an_order_outlives_what_the_authority_refuses_for_its_own_sake() {
        let refused = |kind: Option<&str>| {
            let (ca, why) = ("https://ca.test".to_owned(), "no".to_owned());
            is_over(&AcmeError::Refused { ca, why, kind: kind.map(str::to_owned) })
        };
        assert!(!refused(Some("rateLimited")) && !refused(Some("serverInternal")));
        assert!(refused(Some("orderNotReady")) && refused(Some("rejectedIdentifier")) && refused(None));
    }

    #[tokio::test]
    async fn a_signing_request_can_be_made_again_from_the_kept_key() {
        for key in [KeyType::Ecdsa, KeyType::Rsa] {
            let names = ["a.example", "*.a.example", "192.0.2.1"].map(str::to_owned);
            let lineage = Lineage::new(names, key, Issuer::Acme).expect("names");
            let pem = new_key(key).await.expect("a key");
            assert!(!signing_request(&lineage, &pem).expect("a request").is_empty(), "{key:?}");
        }
    }

    #[test]
    fn names_and_addresses_are_different_identifiers() {
        assert_eq!(identifier("a.example"), Identifier::Dns("a.example".into()));
        assert_eq!(identifier("2001:db8::1"), Identifier::Ip("2001:db8::1".parse().expect("an address")));
    }
}
