//! What the admin API and the first handshakes ask of the keeper.

use std::sync::Arc;

use instant_acme::{RevocationReason as Reason, RevocationRequest};
use jiff::Timestamp;
use switcher_config::settings::Directory;
use switcher_config::wire::{
    CertificateHappening, CheckKind, CheckRequest, Checked, Finding, Imported, ImportedCertificate,
    RenewRequest, Renewal, RenewalOutcome, RevocationReason, RevokeRequest, Verdict,
};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Refused;
use super::book::Book;
use super::keeper::Keeper;
use super::kept::Kept;
use crate::acme::patiently;
use crate::challenges::Challenges;
use crate::check::{self, Limit, Question};
use crate::folder::{self, Verdict as Taken};
use crate::lineage::{Issuer, Lineage};
use crate::pair::Pair;
use crate::plan::Plan;
use crate::record::Record;
use crate::renewal::Action;

/// Where one outcome will be told.
pub(super) type Waiting = oneshot::Receiver<Renewal>;

/// What was revoked: its names, the authority, and where the outcome of its replacement will be told.
pub(super) type Withdrawn = (Vec<String>, String, Waiting);

/// A revocation that the authority is asked for.
pub(super) struct Revocation {
    /// The name that was given.
    name: String,
    lineage: Lineage,
    /// How RFC 9773 names what is revoked: it may be renewed before the authority answers.
    identity: Option<String>,
    ca: String,
    reason: RevocationReason,
    reply: oneshot::Sender<Result<Withdrawn, Refused>>,
}

/// The name that was given, the lineage, its authority and that one's place, and what is revoked.
type ToRevoke = (String, Lineage, String, usize, Arc<Pair>);

/// A request to the keeper.
pub(super) enum Command {
    /// Another plan.
    Apply(Box<Plan>),
    /// See [`super::Manager::renew`].
    Renew { request: RenewRequest, reply: oneshot::Sender<Result<Vec<Waiting>, Refused>> },
    /// See [`super::Manager::revoke`].
    Revoke { request: RevokeRequest, reply: oneshot::Sender<Result<Withdrawn, Refused>> },
    /// See [`super::Manager::import`].
    Import { reply: oneshot::Sender<Result<Imported, Refused>> },
    /// See [`super::Manager::pause`].
    Pause { pause: bool, reply: oneshot::Sender<()> },
    /// See [`super::Manager::obtain`]. None when there is nothing to wait for.
    Obtain { name: String, reply: oneshot::Sender<Option<Waiting>> },
}

impl Keeper {
    /// Carries a request out. An answer that nobody waits for any more is no loss.
    pub(super) async fn obey(&mut self, command: Command) {
        let ending = || Refused::Failed(super::keeper::ENDING.to_owned());
        match command {
            Command::Renew { reply, .. } if self.paused => drop(reply.send(Err(ending()))),
            Command::Revoke { reply, .. } if self.paused => drop(reply.send(Err(ending()))),
            Command::Import { reply } if self.paused => drop(reply.send(Err(ending()))),
            Command::Obtain { reply, .. } if self.paused => drop(reply.send(None)),
            Command::Apply(plan) => self.apply(*plan),
            Command::Renew { request, reply } => {
                let _ = reply.send(self.renew(&request));
            }
            Command::Revoke { request, reply } => self.revoke(&request, reply),
            Command::Import { reply } => {
                let _ = reply.send(self.import());
            }
            Command::Pause { pause, reply } => {
                self.pause(pause).await;
                let _ = reply.send(());
            }
            Command::Obtain { name, reply } => {
                let _ = reply.send(self.obtain(&name));
            }
        }
    }

    fn renew(&mut self, request: &RenewRequest) -> Result<Vec<Waiting>, Refused> {
        let plan = self.shared.plan.load_full();
        let meant = |kept: &&Kept| {
            let covers = |name: &String| covers(kept.lineage.names(), &name.to_ascii_lowercase());
            Self::wanted(&plan, kept) && (request.names.is_empty() || request.names.iter().any(covers))
        };
        let lineages: Vec<Lineage> =
            self.kept.values().filter(meant).map(|kept| kept.lineage.clone()).collect();
        for name in &request.names {
            if !lineages.iter().any(|lineage| covers(lineage.names(), &name.to_ascii_lowercase())) {
                return self.not_ours(name);
            }
        }
        Ok(lineages.iter().filter_map(|lineage| self.renew_one(lineage, request.force, &plan)).collect())
    }

    fn renew_one(&mut self, lineage: &Lineage, force: bool, plan: &Plan) -> Option<Waiting> {
        let kept = self.kept.get(lineage.id())?;
        let retry = plan.acme.as_ref().map_or(super::keeper::RETRY, |acme| acme.retry);
        let due = matches!(kept.next(retry, false, Timestamp::now()), Action::Order(_));
        if force || due || kept.busy {
            return self.demand(lineage);
        }
        let (told, waiting) = oneshot::channel();
        let outcome =
            if kept.record.attempts.failures > 0 { RenewalOutcome::Failed } else { RenewalOutcome::NotDue };
        let _ = told.send(kept.renewal(outcome, kept.record.attempts.problem.as_deref()));
        Some(waiting)
    }

    fn not_ours<T>(&self, name: &str) -> Result<T, Refused> {
        Err(Refused::Unknown(if self.shared.store.resolver().knows(Some(name)) {
            format!(
                "the certificate for {name} was not issued for this proxy; renew it where its files come from"
            )
        } else {
            format!("no certificate is served for {name}; `switcher certs list` shows those that are")
        }))
    }

    /// Has an authority asked, in a task of its own: it may take its time, and nothing else waits for it.
    fn revoke(&mut self, request: &RevokeRequest, reply: oneshot::Sender<Result<Withdrawn, Refused>>) {
        let (revocation, authority, pair) = match self.to_revoke(request) {
            Ok((name, lineage, ca, authority, pair)) => {
                let identity = super::attempt::identity(&pair).map(|identity| identity.to_string());
                (Revocation { name, lineage, identity, ca, reason: request.reason, reply }, authority, pair)
            }
            Err(refused) => return drop(reply.send(Err(refused))),
        };
        let (Some(means), Some(folder)) = (self.means(), self.folder.clone()) else { return };
        let (ca, why) = (revocation.ca.clone(), reason(request.reason));
        self.spawn_revocation(revocation, async move {
            let (Some(authority), Some(leaf)) =
                (means.authorities.get(authority), pair.certified_key().cert.first())
            else {
                return Err("there is nothing to revoke".to_owned());
            };
            let session = authority.session(&folder).await.map_err(|why| why.to_string())?;
            let revocation = RevocationRequest { certificate: leaf, reason: Some(why) };
            patiently!(session.account.revoke(&revocation))
                .map_err(|why| crate::acme::AcmeError::of(&ca, "revoking the certificate", why).to_string())
        });
    }

    /// What is revoked for a name: the certificate that is shown for it, else any that is kept. With the place of
    /// its authority.
    fn to_revoke(&self, request: &RevokeRequest) -> Result<ToRevoke, Refused> {
        let name = request.name.to_ascii_lowercase();
        let shown = self.shared.store.resolver().find(Some(&name));
        let is_shown = |kept: &&Kept| {
            let key = kept.pair.as_ref().map(|pair| pair.certified_key());
            key.zip(shown.as_ref()).is_some_and(|(key, shown)| Arc::ptr_eq(key, shown))
        };
        let ours = |kept: &&Kept| {
            kept.pair.is_some() && kept.record.ca.is_some() && covers(kept.lineage.names(), &name)
        };
        let kept = self.kept.values().filter(ours).find(is_shown).or_else(|| self.kept.values().find(ours));
        let Some((kept, pair, ca)) =
            kept.and_then(|kept| Some((kept, kept.pair.clone()?, kept.record.ca.clone()?)))
        else {
            return self.not_ours(&name);
        };
        let (Some(means), Some(_)) = (self.means(), &self.folder) else {
            return Err(Refused::Failed(match &self.folder {
                Some(_) => "there is no `acme` section, so no authority can be asked".into(),
                None => "the folder of certificates cannot be used; see the log".into(),
            }));
        };
        let Some(place) = means.authorities.iter().position(|authority| authority.url() == ca) else {
            return Err(Refused::Failed(format!(
                "{ca} issued it and is not in `acme.directory`; put it there and reload"
            )));
        };
        Ok((name, kept.lineage.clone(), ca, place, pair))
    }

    /// The authority has answered.
    pub(super) fn revoked(&mut self, revocation: Revocation, outcome: Result<(), String>) {
        let Revocation { name, lineage, identity, ca, reason, reply } = revocation;
        if let Err(why) = outcome {
            return drop(reply.send(Err(Refused::Failed(why))));
        }
        warn!(names = %lineage, ca, ?reason, "the certificate was revoked");
        self.tell(CertificateHappening::Revoked, lineage.names().to_vec(), None, None);
        if let Some(kept) = self.kept.get_mut(lineage.id()) {
            kept.record.revoked = identity;
        }
        let plan = self.shared.plan.load_full();
        let waiting = if self.kept.get(lineage.id()).is_some_and(|kept| Self::wanted(&plan, kept)) {
            self.save(lineage.id());
            self.demand(&lineage)
        } else {
            // It only stood in for another one, or for nothing at all.
            self.remove(&lineage);
            let wanted = |kept: &&Kept| Self::wanted(&plan, kept) && covers(kept.lineage.names(), &name);
            let instead = self.kept.values().find(wanted).map(|kept| kept.lineage.clone());
            instead.and_then(|instead| self.demand(&instead))
        };
        let names = lineage.names().to_vec();
        let waiting = waiting.unwrap_or_else(|| {
            let (told, waiting) = oneshot::channel();
            let problem = Some("it was not wanted any more, so no other one is ordered".to_owned());
            let outcome = RenewalOutcome::NotDue;
            let _ =
                told.send(Renewal { names: names.clone(), outcome, not_after: None, next: None, problem });
            waiting
        });
        let _ = reply.send(Ok((names, ca, waiting)));
    }

    /// Takes over what lies in the inbox and is wanted.
    pub(super) fn import(&mut self) -> Result<Imported, Refused> {
        let Some(folder) = self.folder.clone() else {
            return Err(Refused::Failed("the folder of certificates cannot be used; see the log".into()));
        };
        let plan = self.shared.plan.load_full();
        let mut certificates = Vec::new();
        for taken in folder.take_inbox(&plan.lineages) {
            let mut told = ImportedCertificate {
                file: taken.file.display().to_string(),
                names: Vec::new(),
                taken: false,
                not_after: None,
                problem: None,
            };
            match taken.verdict {
                Taken::Taken(adopted) => {
                    told.taken = true;
                    if let Some(pair) = adopted.iter().find_map(|kept| kept.pair.as_ref()) {
                        (told.names, told.not_after) = (pair.names().to_vec(), Some(pair.not_after()));
                    }
                    info!(file = told.file, names = ?told.names, origin = taken.origin, "a certificate was imported");
                    self.tell(CertificateHappening::Imported, told.names.clone(), told.not_after, None);
                    self.adopt(adopted);
                }
                Taken::Refused { why } => told.problem = Some(why),
                Taken::Damaged(damaged) => told.problem = Some(damaged.to_string()),
            }
            if let Some(problem) = &told.problem {
                warn!(file = told.file, problem, "a certificate was not imported");
            }
            certificates.push(told);
        }
        Ok(Imported { certificates })
    }

    fn adopt(&mut self, adopted: Vec<folder::Kept>) {
        for found in adopted {
            let id = found.lineage.id().to_owned();
            let mut kept = Kept::new(found.lineage, found.record, found.pair);
            if let Some(before) = self.kept.remove(&id) {
                kept.busy = before.busy;
                kept.waiting = before.waiting;
            }
            self.kept.insert(id, kept);
        }
        self.serve_everything();
    }

    fn obtain(&mut self, name: &str) -> Option<Waiting> {
        let plan = self.shared.plan.load_full();
        let lineage = plan.on_demand(name).into_iter().next()?;
        plan.acme.as_ref()?.on_demand.as_ref()?;
        let new = || Kept::new(lineage.clone(), Record::new(&lineage), None);
        let kept = self.kept.entry(lineage.id().to_owned()).or_insert_with(new);
        // It may be kept from a time when the configuration named it.
        let rested = !kept.record.on_demand && !plan.lineages.contains(&lineage);
        kept.record.on_demand |= rested;
        // Another handshake may have obtained it meanwhile.
        let now = Timestamp::now();
        if kept.pair.as_ref().is_some_and(|pair| !rested || pair.date_problem(now).is_none()) {
            let (told, waiting) = oneshot::channel();
            let _ = told.send(kept.renewal(RenewalOutcome::NotDue, None));
            if rested {
                self.save(lineage.id());
                self.serve_everything();
            }
            return Some(waiting);
        }
        let retry = plan.acme.as_ref()?.retry;
        let may = kept.busy || matches!(kept.next(retry, false, now), Action::Order(_));
        if !may {
            return None;
        }
        let waiting = self.demand(&lineage);
        self.serve_everything();
        waiting
    }
}

/// Whether one of these names is or covers the name.
fn covers(names: &[String], name: &str) -> bool {
    let parent = name.split_once('.').map(|(_, parent)| parent);
    names
        .iter()
        .any(|known| known == name || known.strip_prefix("*.").is_some_and(|wild| Some(wild) == parent))
}

const fn reason(reason: RevocationReason) -> Reason {
    match reason {
        RevocationReason::Unspecified => Reason::Unspecified,
        RevocationReason::KeyCompromise => Reason::KeyCompromise,
        RevocationReason::Superseded => Reason::Superseded,
        RevocationReason::CessationOfOperation => Reason::CessationOfOperation,
    }
}

/// Says what stands between the names and their certificates.
pub(super) async fn check(
    plan: &Plan,
    book: Option<&Book>,
    challenges: Arc<Challenges>,
    request: CheckRequest,
) -> Checked {
    let by_acme = plan.lineages.iter().filter(|lineage| lineage.issuer() == Issuer::Acme);
    let mut names: Vec<String> = request.names.iter().map(|name| name.to_ascii_lowercase()).collect();
    if names.is_empty() {
        names = by_acme.flat_map(|lineage| lineage.names().to_vec()).collect();
        names.sort();
        names.dedup();
    }
    let Some(acme) = &plan.acme else {
        return Checked { findings: vec![no_acme()] };
    };
    let limits = acme.directories.iter().flat_map(|directory| limits(book, directory, &names)).collect();
    let question = Question {
        names,
        directories: acme.directories.iter().map(|directory| directory.url().to_owned()).collect(),
        ca_file: acme.ca_file.clone(),
        challenge: acme.challenge,
        dns: acme.dns.is_some(),
        resolvers: acme.resolvers.clone(),
        challenges,
        http_port: 80,
        https_port: 443,
        limits,
    };
    Checked { findings: check::check(&question).await }
}

/// What the ledger says is left for these names at an authority, each limit once.
fn limits(book: Option<&Book>, directory: &Directory, names: &[String]) -> Vec<Limit> {
    let now = Timestamp::now();
    let mut limits: Vec<Limit> = Vec::new();
    let left =
        names.iter().flat_map(|name| book.map(|book| book.left(directory, std::slice::from_ref(name), now)));
    for left in left.flatten() {
        let whose = left.name.map(|name| format!(" for {name}")).unwrap_or_default();
        let limit = Limit {
            ca: directory.url().to_owned(),
            what: format!("{}{whose} within {}", left.what, left.window),
            used: left.used,
            allowed: left.allowed,
        };
        if !limits.contains(&limit) {
            limits.push(limit);
        }
    }
    limits
}

fn no_acme() -> Finding {
    Finding {
        name: None,
        check: CheckKind::Challenge,
        verdict: Verdict::Problem,
        message: "There is no `acme` section, so no authority is asked for certificates.".to_owned(),
        fix: Some("Write `acme: {email: you@example.com}` and reload.".to_owned()),
    }
}
