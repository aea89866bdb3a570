//! The keeper: the one owner of every record, which begins what is due; how it ends stands in `outcome`.
//!
//! The intent is on disk before an authority is asked (an attempt that was begun counts as interrupted until its
//! end is known), so neither a crash nor a restart loop makes an authority see more than the backoff allows.
//! Without room on the disk nothing is begun; what is served is served on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use switcher_config::Span;
use switcher_config::settings::{Directory, Retry};
use switcher_config::wire::{CertificateHappening, RenewalOutcome};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tracing::{error, info, warn};

use super::Shared;
use super::attempt::{Attempt, Failed, Means, Success, identity};
use super::book::Book;
use super::kept::{Kept, Urgency};
use super::obey::{Command, Revocation};
use crate::acme::authority::Authority;
use crate::acme::challenge::Solvers;
use crate::dns::Dns;
use crate::folder::{Contents, Folder};
use crate::internal;
use crate::ledger::Ledger;
use crate::lineage::{Issuer, Lineage};
use crate::on_demand::OnDemand;
use crate::plan::Plan;
use crate::record::{Ari, Record};
use crate::renewal::{self, Action};
use crate::resolver::Rank;

/// How many orders are under way at once.
const AT_ONCE: usize = 4;

/// The longest sleep: after it everything is looked at again, so a clock that was set does no harm for long.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// When a folder that could not be opened is tried again.
const FOLDER_AGAIN: Duration = Duration::from_secs(10);

/// When there is no `acme` section: the internal authority's attempts.
pub(super) const RETRY: Retry = Retry { first: Span::seconds(10), max: Span::seconds(600) };

/// How many questions for renewal windows are under way at once.
const ASKED_AT_ONCE: usize = 4;

/// What those are told who wait while the work ends.
pub(super) const ENDING: &str = "the proxy is ending; the order is resumed by the next one";

/// The owner of every record.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    /// None as long as the folder cannot be opened.
    pub(super) folder: Option<Arc<Folder>>,
    folder_problem: Option<String>,
    means: Option<Arc<Means>>,
    /// Every lineage that is known, by id; those outside the plan rest.
    pub(super) kept: BTreeMap<String, Kept>,
    running: JoinSet<Ended>,
    /// Which lineage a task works on, should it break.
    pub(super) tasks: HashMap<Id, String>,
    /// Nothing is begun: another process is to take over, or this one ends.
    pub(super) paused: bool,
}

/// What a task ended with.
pub(super) enum Ended {
    Attempt(String, Result<Success, Failed>),
    Ari(String, Result<Ari, String>),
    Revocation(Revocation, Result<(), String>),
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Receiver<Command>) -> Self {
        Self {
            shared,
            commands,
            folder: None,
            folder_problem: None,
            means: None,
            kept: BTreeMap::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
            paused: false,
        }
    }

    /// Works for ever, until every handle is dropped.
    pub(super) async fn run(mut self) {
        loop {
            if self.folder.is_none() && !self.paused {
                self.open();
            }
            let sleep = if self.paused { LONGEST_SLEEP } else { self.begin_what_is_due() };
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                Some(ended) = self.running.join_next_with_id() => match ended {
                    Ok((id, ended)) => {
                        self.tasks.remove(&id);
                        self.ended(ended);
                    }
                    Err(broken) => self.broken(&broken),
                },
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Takes another plan: what is kept for it is served at once.
    pub(super) fn apply(&mut self, plan: Plan) {
        if self.folder.is_none() && !self.paused {
            self.open();
        }
        // What is the same as before goes on: open sessions with authorities, and what counts against limits.
        let before = self.shared.plan.load_full();
        if before.acme != plan.acme {
            self.ask_otherwise(&plan);
        }
        for lineage in &plan.lineages {
            let new = || Kept::new(lineage.clone(), Record::new(lineage), None);
            // What was obtained at a first handshake and is named now is renewed without asking.
            self.kept.entry(lineage.id().to_owned()).or_insert_with(new).record.on_demand = false;
        }
        self.shared.plan.store(Arc::new(plan));
        self.make_root();
        // The status knows what is remembered before anybody can ask.
        let ids: Vec<String> = self.kept.keys().cloned().collect();
        for id in ids {
            self.refresh_note(&id);
        }
        self.serve_everything();
        self.tell_what_stands_in();
        if !self.paused
            && let Err(error) = self.import()
        {
            warn!(%error, "nothing can be imported");
        }
    }

    /// Orders, and what is asked before, follow other settings from now on.
    fn ask_otherwise(&mut self, plan: &Plan) {
        self.means = plan.acme.as_ref().map(|acme| {
            let dns = acme.dns.as_ref().and_then(|dns| match Dns::new(dns, &acme.resolvers) {
                Ok(dns) => Some(dns),
                Err(error) => {
                    error!(%error, "dns-01 cannot be used");
                    None
                }
            });
            Arc::new(Means {
                authorities: Authority::all(acme),
                solvers: Solvers { challenges: self.shared.store.challenges(), dns },
                challenge: acme.challenge,
                profile: acme.profile.clone(),
            })
        });
        let on_demand = plan.acme.as_ref().and_then(|acme| acme.on_demand.as_ref());
        let on_demand = on_demand.and_then(|settings| match OnDemand::new(settings) {
            Ok(on_demand) => Some(Arc::new(on_demand)),
            Err(error) => {
                error!(%error, "no certificates on demand");
                None
            }
        });
        self.shared.on_demand.store(on_demand);
    }

    fn tell_what_stands_in(&self) {
        let resolver = self.shared.store.resolver();
        let is_stood_in_for =
            |name: &String| resolver.shown(Some(name)).is_some_and(|shown| shown.rank == Rank::Placeholder);
        let waiting = self.kept.values().filter(|kept| kept.pair.is_none() && !kept.record.on_demand);
        for kept in waiting.filter(|kept| kept.lineage.names().iter().any(is_stood_in_for)) {
            info!(names = %kept.lineage, "a placeholder is shown until there is a certificate");
        }
    }

    /// Makes the root of the internal authority as soon as somebody wants it, so that it can be trusted from the
    /// start. What goes wrong is told again, with every attempt to issue from it.
    fn make_root(&self) {
        let plan = self.shared.plan.load();
        let wanted = plan.lineages.iter().any(|lineage| lineage.issuer() == Issuer::Internal);
        let Some(folder) = self.folder.as_ref().filter(|_| wanted && !self.paused) else { return };
        if let Err(error) = internal::Authority::open(&folder.internal(), Timestamp::now()) {
            error!(%error, "the internal authority cannot be used");
        }
    }

    /// Opens the folder and takes over what lies in it. One that cannot be written is read once all the same.
    fn open(&mut self) {
        let root = self.shared.root.clone();
        match Folder::open(&root) {
            Ok(folder) => {
                let folder = Arc::new(folder);
                let ledger = self.load(&folder);
                self.shared.book.store(Some(Arc::new(Book::new(Arc::clone(&folder), ledger))));
                self.folder = Some(folder);
                self.folder_problem = None;
            }
            Err(problem) => {
                let problem = problem.to_string();
                if self.folder_problem.is_none() {
                    error!(%problem, "the folder of certificates cannot be written; what it holds is served, nothing is ordered");
                    self.load(&Folder::at(&root));
                }
                self.folder_problem = Some(problem);
            }
        }
    }

    fn load(&mut self, folder: &Folder) -> Ledger {
        let Contents { kept, damaged } = folder.load();
        let (ledger, damaged_ledger) = folder.load_ledger::<Ledger>();
        for damaged in damaged.into_iter().chain(damaged_ledger) {
            warn!("{damaged}");
            self.tell(CertificateHappening::Damaged, Vec::new(), None, Some(damaged.to_string()));
        }
        info!(certificates = kept.len(), folder = %self.shared.root.display(), "certificates loaded");
        for found in kept {
            let id = found.lineage.id().to_owned();
            self.kept.insert(id, Kept::new(found.lineage, found.record, found.pair));
        }
        self.serve_everything();
        ledger
    }

    /// Brings everything that is kept and wanted to the store.
    pub(super) fn serve_everything(&self) {
        let plan = self.shared.plan.load();
        let pairs = self.kept.values().filter_map(|kept| Some((kept.lineage.clone(), kept.pair.clone()?)));
        self.shared.store.serve(pairs);
        let demanded = self.kept.values().filter(|kept| kept.record.on_demand && plan.acme.is_some());
        self.shared.store.serve_on_demand(demanded.map(|kept| kept.lineage.clone()).collect());
    }

    /// Whether somebody wants this lineage: the plan, or a client that came.
    pub(super) fn wanted(plan: &Plan, kept: &Kept) -> bool {
        let on_demand = || plan.acme.as_ref().is_some_and(|acme| acme.on_demand.is_some());
        // What a client came for and did not get is tried again when one comes again.
        let came = || kept.pair.is_some() || kept.busy || kept.forced;
        plan.lineages.contains(&kept.lineage) || (kept.record.on_demand && on_demand() && came())
    }

    /// Begins everything that is due and answers how long nothing else will be.
    pub(super) fn begin_what_is_due(&mut self) -> Duration {
        let (now, plan) = (Timestamp::now(), self.shared.plan.load_full());
        let retry = plan.acme.as_ref().map_or(RETRY, |acme| acme.retry);
        let mut sleep = if self.folder.is_some() { LONGEST_SLEEP } else { FOLDER_AGAIN };
        self.answer_who_waits_in_vain(&plan);
        self.forget_the_lost(now);
        let mut asking = self.kept.values().filter(|kept| kept.asking).count();
        let mut due = Vec::new();
        let ids: Vec<String> = self
            .kept
            .values()
            .filter(|kept| Self::wanted(&plan, kept))
            .map(|kept| kept.lineage.id().to_owned())
            .collect();
        for id in ids {
            let Some(kept) = self.kept.get_mut(&id) else { continue };
            kept.obstacle.clone_from(&self.folder_problem);
            let ari = kept.lineage.issuer() == Issuer::Acme && self.means.is_some();
            kept.only_a_trial = is_trial(&plan, &kept.record);
            let action =
                if kept.forced { Action::Order(renewal::Due::Missing) } else { kept.next(retry, ari, now) };
            match action {
                Action::Order(why) if !kept.busy => due.push((kept.urgency(), id.clone(), why)),
                Action::AskAri if !kept.asking && asking < ASKED_AT_ONCE => {
                    asking += 1;
                    self.ask_for_window(&id);
                }
                // Its end, or that of another one, wakes us.
                Action::Order(_) | Action::AskAri => {}
                Action::Wait { until, .. } => {
                    let wait = until.duration_since(now).max(SignedDuration::from_millis(10));
                    sleep = sleep.min(Duration::try_from(wait).unwrap_or(LONGEST_SLEEP));
                }
            }
            self.note(&id, retry, ari);
        }
        self.begin_the_most_urgent(due, now);
        sleep
    }

    /// Begins as many as may be under way at once.
    fn begin_the_most_urgent(&mut self, mut due: Vec<(Urgency, String, renewal::Due)>, now: Timestamp) {
        let under_way = self.kept.values().filter(|kept| kept.busy).count();
        due.sort_by_key(|(urgency, _, _)| *urgency);
        for (_, id, due) in due.into_iter().take(AT_ONCE.saturating_sub(under_way)) {
            if let Some(kept) = self.kept.get(&id) {
                info!(names = %kept.lineage, ?due, forced = kept.forced, "a certificate is due");
            }
            self.begin(&id, now);
            self.refresh_note(&id);
        }
    }

    /// Tells those whose attempt cannot begin: nobody may wait for ever.
    fn answer_who_waits_in_vain(&mut self, plan: &Plan) {
        for kept in self.kept.values_mut().filter(|kept| !kept.busy && !kept.waiting.is_empty()) {
            let problem = match &self.folder_problem {
                _ if !Self::wanted(plan, kept) => "the configuration does not want it any more",
                Some(problem) if self.folder.is_none() => problem,
                Some(_) | None => continue,
            };
            kept.forced = false;
            kept.tell(RenewalOutcome::Failed, Some(problem));
        }
    }

    fn note(&mut self, id: &str, retry: Retry, ari: bool) {
        if let Some(kept) = self.kept.get_mut(id)
            && let Some(note) = kept.note(retry, ari, Timestamp::now())
        {
            self.shared.store.note(&kept.lineage, note);
        }
    }

    /// Writes the intent down and begins an attempt.
    fn begin(&mut self, id: &str, now: Timestamp) {
        let (Some(folder), Some(book)) = (self.folder.clone(), self.shared.book.load_full()) else { return };
        let Some(kept) = self.kept.get_mut(id) else { return };
        let mut record = kept.record.clone();
        record.attempts.begin(now);
        if let Err(error) = folder.save_record(&record) {
            // Nobody is asked as long as it cannot be kept that we did.
            let problem = format!("{error}; nothing is ordered until then");
            warn!(names = %kept.lineage, %problem, "a certificate is due and nothing can be kept");
            kept.record.attempts.fail(now, problem.clone(), None);
            kept.forced = false;
            // Noted first, so that whoever waits is told the next attempt.
            self.refresh_note(id);
            if let Some(kept) = self.kept.get_mut(id) {
                kept.tell(RenewalOutcome::Failed, Some(&problem));
            }
            self.tell_failure(id, &problem);
            return;
        }
        kept.record = record;
        kept.busy = true;
        kept.forced = false;
        let attempt = Attempt {
            folder,
            book,
            means: self.means.clone(),
            lineage: kept.lineage.clone(),
            record: kept.record.clone(),
            have: kept.pair.clone(),
            on_demand: self.shared.on_demand.load_full(),
        };
        let id = id.to_owned();
        let owner = id.clone();
        let task = self.running.spawn(async move { Ended::Attempt(id, attempt.run().await) });
        self.tasks.insert(task.id(), owner);
    }

    /// Asks the authority that issued it when it is to be renewed (RFC 9773 section 4).
    fn ask_for_window(&mut self, id: &str) {
        let (Some(folder), Some(means)) = (self.folder.clone(), self.means.clone()) else { return };
        let Some(kept) = self.kept.get_mut(id).filter(|kept| !kept.asking) else { return };
        let Some(pair) = kept.pair.clone() else { return };
        let issuer = kept.record.ca.clone();
        kept.asking = true;
        let id = id.to_owned();
        let owner = id.clone();
        let task = self.running.spawn(async move {
            let Some(authority) =
                means.authorities.iter().find(|known| Some(known.url()) == issuer.as_deref())
            else {
                return Ended::Ari(id, Err("another authority issued it".into()));
            };
            let asked = tokio::time::timeout(LONGEST_SLEEP, window(&folder, authority, &pair)).await;
            Ended::Ari(id, asked.unwrap_or_else(|_| Err("it did not answer in time".into())))
        });
        self.tasks.insert(task.id(), owner);
    }

    /// Forgets a lineage, also on disk.
    pub(super) fn remove(&mut self, lineage: &Lineage) {
        if let Some(folder) = &self.folder
            && let Err(error) = folder.remove(lineage)
        {
            warn!(names = %lineage, %error, "the files of a certificate could not be removed");
        }
        self.kept.remove(lineage.id());
        self.shared.store.withdraw(lineage);
    }

    /// Ends what is under way and begins nothing, or goes on.
    pub(super) async fn pause(&mut self, pause: bool) {
        self.paused = pause;
        if !pause {
            return;
        }
        self.running.abort_all();
        while let Some(ended) = self.running.join_next_with_id().await {
            match ended {
                Ok((_, ended)) => self.ended(ended),
                Err(broken) => self.broken(&broken),
            }
        }
        for kept in self.kept.values_mut() {
            kept.forced = false;
            kept.tell(RenewalOutcome::Failed, Some(ENDING));
        }
    }

    /// Runs something whose end is told to us.
    pub(super) fn spawn_revocation(
        &mut self,
        revocation: Revocation,
        work: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.running.spawn(async move {
            let outcome = tokio::time::timeout(LONGEST_SLEEP, work).await;
            let outcome = outcome.unwrap_or_else(|_| Err("the authority did not answer in time".into()));
            Ended::Revocation(revocation, outcome)
        });
    }

    /// Keeps a record. What cannot be written is told, and written with the next change.
    pub(super) fn save(&mut self, id: &str) {
        let (Some(folder), Some(kept)) = (&self.folder, self.kept.get_mut(id)) else { return };
        if let Err(error) = folder.save_record(&kept.record) {
            warn!(names = %kept.lineage, %error, "what happened to a certificate could not be kept");
            kept.record.attempts.problem.get_or_insert_with(|| error.to_string());
        }
    }

    pub(super) fn refresh_note(&mut self, id: &str) {
        let retry = self.shared.plan.load().acme.as_ref().map_or(RETRY, |acme| acme.retry);
        let ari = self.means.is_some();
        self.note(id, retry, ari);
    }

    /// The authorities of the plan, to revoke with.
    pub(super) fn means(&self) -> Option<Arc<Means>> {
        self.means.clone()
    }

    /// Has the lineage ordered now, and answers who is told its end.
    pub(super) fn demand(
        &mut self,
        lineage: &Lineage,
    ) -> Option<tokio::sync::oneshot::Receiver<switcher_config::wire::Renewal>> {
        let kept = self.kept.get_mut(lineage.id())?;
        let (told, waiting) = tokio::sync::oneshot::channel();
        kept.waiting.push(told);
        kept.forced |= !kept.busy;
        Some(waiting)
    }
}

/// Whether it came from an authority for trials, which nobody trusts, and the configuration names others now.
fn is_trial(plan: &Plan, record: &Record) -> bool {
    let trial = Directory::LetsEncryptStaging;
    record.ca.as_deref() == Some(trial.url())
        && plan.acme.as_ref().is_some_and(|acme| !acme.directories.contains(&trial))
}

async fn window(folder: &Folder, authority: &Authority, pair: &crate::pair::Pair) -> Result<Ari, String> {
    let session = authority.session(folder).await.map_err(|why| why.to_string())?;
    if !session.has_renewal_info() {
        return Err("the authority has none".into());
    }
    let identity = identity(pair).ok_or("the certificate does not name its authority's key")?;
    let (info, again) = session.account.renewal_info(&identity).await.map_err(|why| why.to_string())?;
    let moment =
        |at: time::OffsetDateTime| Timestamp::from_second(at.unix_timestamp()).map_err(|why| why.to_string());
    let window = (moment(info.suggested_window.start)?, moment(info.suggested_window.end)?);
    Ok(renewal::answered(&identity.to_string(), window, info.explanation_url, Some(again), Timestamp::now()))
}
