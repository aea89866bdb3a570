//! One attempt to obtain a lineage's certificate: from each authority in turn, by each way of proof in turn.
//!
//! A failing authority falls over to the next; a fault of this machine's does not. Everything that can be
//! waited for here is bounded, so an attempt always ends. Run by the keeper, as a task of its own.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::CertificateIdentifier;
use jiff::Timestamp;
use switcher_config::settings::ChallengeChoice;
use tracing::{info, warn};

use super::book::Book;
use crate::acme::AcmeError;
use crate::acme::authority::{Authority, Session};
use crate::acme::challenge::{Solvers, ways};
use crate::acme::order::{Issued, Request, resumable};
use crate::folder::Folder;
use crate::internal::Authority as InternalAuthority;
use crate::ledger::What;
use crate::lineage::{Issuer, Lineage};
use crate::on_demand::OnDemand;
use crate::pair::Pair;
use crate::record::{ChallengeKind, Record};

/// How long one authority may keep an attempt.
const LONGEST: Duration = Duration::from_secs(600);

/// How orders are made, as the settings in force say.
pub(super) struct Means {
    pub(super) authorities: Vec<Authority>,
    pub(super) solvers: Solvers,
    pub(super) challenge: ChallengeChoice,
    pub(super) profile: Option<String>,
}

/// What an attempt works on.
pub(super) struct Attempt {
    pub(super) folder: Arc<Folder>,
    pub(super) book: Arc<Book>,
    pub(super) means: Option<Arc<Means>>,
    pub(super) lineage: Lineage,
    pub(super) record: Record,
    /// What is served now.
    pub(super) have: Option<Arc<Pair>>,
    /// Whom a customer's name is asked again, before it is renewed.
    pub(super) on_demand: Option<Arc<OnDemand>>,
}

/// A certificate that is stored and can be served.
pub(super) struct Success {
    pub(super) pair: Arc<Pair>,
    pub(super) ca: Option<String>,
    pub(super) challenge: Option<ChallengeKind>,
}

/// Why there is none.
pub(super) struct Failed {
    pub(super) problem: String,
    /// Until when the authorities want to be left alone.
    pub(super) not_before: Option<Timestamp>,
    /// Whether an authority was asked at all: waiting for room is no failure.
    pub(super) asked: bool,
}

impl Attempt {
    /// Goes through it to the end.
    pub(super) async fn run(self) -> Result<Success, Failed> {
        match self.lineage.issuer() {
            Issuer::Internal => self.internal(),
            Issuer::Acme => self.by_acme().await,
        }
    }

    fn internal(&self) -> Result<Success, Failed> {
        let issue = || -> Result<Arc<Pair>, String> {
            let now = Timestamp::now();
            let authority =
                InternalAuthority::open(&self.folder.internal(), now).map_err(|why| why.to_string())?;
            let issued = authority.issue(&self.lineage, now).map_err(|why| why.to_string())?;
            self.folder
                .save_certificate(&self.lineage, &issued.key_pem, &issued.chain_pem)
                .map_err(|why| why.to_string())
        };
        match issue() {
            Ok(pair) => Ok(Success { pair, ca: None, challenge: None }),
            Err(problem) => Err(Failed { problem, not_before: None, asked: true }),
        }
    }

    async fn by_acme(&self) -> Result<Success, Failed> {
        let Some(means) = &self.means else {
            let problem = "there is no `acme` section".to_owned();
            return Err(Failed { problem, not_before: None, asked: false });
        };
        if let Err(refusal) = self.still_allowed().await {
            return Err(Failed { problem: refusal.to_string(), not_before: None, asked: true });
        }
        let mut problems: Vec<String> = Vec::new();
        let (mut rests, mut asked): (Vec<Option<Timestamp>>, bool) = (Vec::new(), false);
        for authority in &means.authorities {
            let tried = tokio::time::timeout(LONGEST, self.ask_authority(means, authority)).await;
            let tried = tried.unwrap_or_else(|_| {
                Err(AcmeError::TooSlow { ca: authority.url().to_owned(), doing: "going through the order" })
            });
            let error = match tried {
                Ok(success) => return Ok(success),
                Err(error) => error,
            };
            warn!(names = %self.lineage, ca = authority.url(), %error, "no certificate from this authority");
            rests.push(rest(authority, &error));
            authority.forget_session().await;
            asked |= !matches!(error, AcmeError::NoRoom { .. });
            problems.push(error.to_string());
            if error.is_ours() {
                break;
            }
        }
        // As soon as the first of them may be asked again; one that said nothing may be asked any time.
        let not_before =
            rests.into_iter().collect::<Option<Vec<_>>>().and_then(|rests| rests.into_iter().min());
        Err(Failed { problem: problems.join("; then "), not_before, asked })
    }

    /// A customer who has left is asked for before the name is renewed; the first time it was asked just now.
    async fn still_allowed(&self) -> Result<(), AcmeError> {
        let (Some(name), Some(on_demand)) = (self.lineage.names().first(), &self.on_demand) else {
            return Ok(());
        };
        if !self.record.on_demand || self.have.is_none() {
            return Ok(());
        }
        on_demand.allow(name).await.map_err(|refusal| AcmeError::NotAllowed(refusal.to_string()))
    }

    async fn ask_authority(&self, means: &Means, authority: &Authority) -> Result<Success, AcmeError> {
        let mut session = authority.session(&self.folder).await?;
        authority.check_profile(&session, means.profile.as_deref())?;
        match self.each_way(means, authority, &session).await {
            Err(AcmeError::Refused { kind: Some(kind), .. }) if kind == "accountDoesNotExist" => {
                session = authority.register_again(&self.folder).await?;
                self.each_way(means, authority, &session).await
            }
            done => done,
        }
    }

    /// Tries another way of proof after the authority looked and was not convinced.
    async fn each_way(
        &self,
        means: &Means,
        authority: &Authority,
        session: &Session,
    ) -> Result<Success, AcmeError> {
        let mut left = self.ways(means);
        let mut wanted = if left.is_empty() { None } else { Some(left.remove(0)) };
        loop {
            let error = match self.order(means, authority, session, wanted).await {
                Ok(success) => return Ok(success),
                Err(error) => error,
            };
            let AcmeError::Validation { name, kind, .. } = &error else { return Err(error) };
            self.book.note(
                authority.directory(),
                std::slice::from_ref(name),
                What::Failed,
                Timestamp::now(),
            )?;
            let kind = *kind;
            left.retain(|way| *way != kind);
            if left.is_empty() || Some(kind) != wanted {
                return Err(error);
            }
            wanted = Some(left.remove(0));
            info!(names = %self.lineage, %error, way = ?wanted, "trying another way of proof");
        }
    }

    /// The ways that the first name with a choice has.
    fn ways(&self, means: &Means) -> Vec<ChallengeKind> {
        let has_dns = means.solvers.dns.is_some();
        let free = self.lineage.names().iter().find(|name| !name.starts_with("*."));
        free.map(|name| ways(means.challenge, name, has_dns, self.record.challenge)).unwrap_or_default()
    }

    async fn order(
        &self,
        means: &Means,
        authority: &Authority,
        session: &Session,
        wanted: Option<ChallengeKind>,
    ) -> Result<Success, AcmeError> {
        let (names, now) = (self.lineage.names(), Timestamp::now());
        let kept = self.folder.order(&self.lineage)?;
        let replaces = self.replaces(authority).filter(|_| session.has_renewal_info());
        if !kept.is_some_and(|kept| resumable(&kept, authority, &self.lineage, now)) {
            self.book.claim(authority.directory(), names, replaces.is_some(), now)?;
        }
        let exempt = replaces.is_some();
        let request = Request {
            folder: &self.folder,
            authority,
            solvers: &means.solvers,
            lineage: &self.lineage,
            challenge: means.challenge,
            profile: means.profile.as_deref(),
            replaces,
        };
        let Issued { key, chain_pem, challenge } = request.obtain(session, wanted).await?;
        let pair = self.folder.save_certificate(&self.lineage, key.reveal(), &chain_pem)?;
        self.folder.remove_order(&self.lineage)?;
        // It is stored, so a ledger that can not be written is no reason to call this a failure.
        if let Err(error) =
            self.book.note(authority.directory(), names, What::Issued { replaces: exempt }, Timestamp::now())
        {
            warn!(%error, "an issued certificate could not be written into the ledger");
        }
        Ok(Success { pair, ca: Some(authority.url().to_owned()), challenge })
    }

    /// What the new certificate takes the place of, when the same authority issued it.
    fn replaces(&self, authority: &Authority) -> Option<CertificateIdentifier<'static>> {
        if self.record.ca.as_deref() != Some(authority.url()) {
            return None;
        }
        identity(self.have.as_ref()?)
    }
}

/// How RFC 9773 section 4.1 names a certificate; none without the identifier of its authority's key.
pub(super) fn identity(pair: &Pair) -> Option<CertificateIdentifier<'static>> {
    let leaf = pair.certified_key().cert.first()?;
    CertificateIdentifier::try_from(leaf).ok().map(CertificateIdentifier::into_owned)
}

/// Until when an authority wants to be left alone: by its own words, or because its limit is reached.
fn rest(authority: &Authority, error: &AcmeError) -> Option<Timestamp> {
    let own = authority.take_rest();
    if let AcmeError::NoRoom { until, .. } = error { Some(*until) } else { own }
}
