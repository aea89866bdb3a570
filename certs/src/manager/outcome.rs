//! How attempts end: what is remembered of it, what is served from then on, and who is told.
//!
//! Saved before it is visible: the record and the status come first, then the handshakes, then whoever waits.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use switcher_config::wire::{CertificateEvent, CertificateHappening, RenewalOutcome};
use tracing::{error, info};

use super::attempt::{Failed, Success};
use super::keeper::{ENDING, Ended, Keeper};
use super::kept::Kept;
use crate::lineage::Lineage;
use crate::record::Ari;
use crate::renewal;

/// How long a certificate on demand that cannot be renewed is kept after it expired.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(24 * 7);

/// How long it is remembered that a name on demand could not be obtained: longer than any wait between attempts,
/// so that forgetting never makes the next one come sooner.
const REMEMBER_FAILURE: SignedDuration = SignedDuration::from_hours(24 * 7);

impl Keeper {
    pub(super) fn ended(&mut self, ended: Ended) {
        let now = Timestamp::now();
        match ended {
            Ended::Ari(id, answer) => self.window_told(&id, answer, now),
            Ended::Attempt(id, Ok(success)) => self.succeeded(&id, success, now),
            Ended::Attempt(id, Err(failed)) => self.failed(&id, failed, now),
            Ended::Revocation(revocation, outcome) => self.revoked(revocation, outcome),
        }
    }

    fn window_told(&mut self, id: &str, answer: Result<Ari, String>, now: Timestamp) {
        let Some(kept) = self.kept.get_mut(id) else { return };
        kept.asking = false;
        let ari = match answer {
            Ok(ari) => {
                info!(names = %kept.lineage, start = %ari.start, end = %ari.end, explanation = ?ari.explanation, "the authority's window for renewal");
                Some(ari)
            }
            Err(why) => {
                tracing::debug!(names = %kept.lineage, why, "no window for renewal");
                kept.identity().map(|identity| renewal::unanswered(identity, &kept.record, now))
            }
        };
        kept.record.ari = ari;
        self.save(id);
    }

    fn succeeded(&mut self, id: &str, success: Success, now: Timestamp) {
        let Some(kept) = self.kept.get_mut(id) else { return };
        let what =
            if kept.pair.is_some() { CertificateHappening::Renewed } else { CertificateHappening::Issued };
        kept.busy = false;
        kept.record.ca = success.ca;
        kept.record.challenge = success.challenge.or(kept.record.challenge);
        kept.record.first_issued_at.get_or_insert(now);
        kept.record.issued_at = Some(now);
        kept.record.attempts.succeed();
        kept.record.ari = None;
        kept.record.revoked = None;
        let not_after = success.pair.not_after();
        kept.serve(Some(Arc::clone(&success.pair)));
        let (names, ca) = (kept.lineage.names().to_vec(), kept.record.ca.clone());
        let lineage = kept.lineage.clone();
        // The status knows all about it before a client can see it.
        self.save(id);
        self.refresh_note(id);
        self.shared.store.serve([(lineage, success.pair)]);
        info!(?names, %not_after, ca, "a new certificate is served");
        if let Some(kept) = self.kept.get_mut(id) {
            kept.tell(RenewalOutcome::Renewed, None);
        }
        // What nobody hears is no loss.
        let _ = self.shared.events.send(CertificateEvent {
            what,
            names,
            ca,
            not_after: Some(not_after),
            problem: None,
            retry_at: None,
        });
    }

    fn failed(&mut self, id: &str, failed: Failed, now: Timestamp) {
        let Some(kept) = self.kept.get_mut(id) else { return };
        kept.busy = false;
        match failed.not_before {
            Some(until) if !failed.asked => kept.record.attempts.postpone(now, failed.problem.clone(), until),
            not_before => kept.record.attempts.fail(now, failed.problem.clone(), not_before),
        }
        self.save(id);
        self.refresh_note(id);
        if let Some(kept) = self.kept.get_mut(id) {
            kept.tell(RenewalOutcome::Failed, Some(&failed.problem));
        }
        self.tell_failure(id, &failed.problem);
    }

    /// Forgets customers' names that were lost: those whose certificate expired long ago and is not renewed, and
    /// those that never had one and that nobody asks for any more.
    pub(super) fn forget_the_lost(&mut self, now: Timestamp) {
        let lost = |kept: &&Kept| {
            let idle = kept.record.on_demand && !kept.busy && !kept.forced;
            let attempts = &kept.record.attempts;
            idle && match &kept.pair {
                Some(pair) => attempts.failures > 0 && now.duration_since(pair.not_after()) > FORGET_AFTER,
                None => attempts.failed_at.is_none_or(|at| now.duration_since(at) > REMEMBER_FAILURE),
            }
        };
        let lost: Vec<Lineage> = self.kept.values().filter(lost).map(|kept| kept.lineage.clone()).collect();
        for lineage in &lost {
            info!(names = %lineage, "a certificate on demand is given up");
            self.remove(lineage);
        }
        if !lost.is_empty() {
            self.serve_everything();
        }
    }

    /// A task was ended before its end: because we pause, then it goes on later as after a crash; or because it
    /// broke, which no attempt should. Its lineage is free again.
    pub(super) fn broken(&mut self, broken: &tokio::task::JoinError) {
        let Some(id) = self.tasks.remove(&broken.id()) else { return };
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.asking = false;
            if broken.is_cancelled() {
                kept.busy = false;
                kept.tell(RenewalOutcome::Failed, Some(ENDING));
                return;
            }
        }
        error!(%broken, "an attempt broke");
        let problem = "the attempt broke; see the log".to_owned();
        self.failed(&id, Failed { problem, not_before: None, asked: true }, Timestamp::now());
    }

    pub(super) fn tell_failure(&self, id: &str, problem: &str) {
        let Some(kept) = self.kept.get(id) else { return };
        let event = CertificateEvent {
            what: CertificateHappening::Failed,
            names: kept.lineage.names().to_vec(),
            ca: kept.record.ca.clone(),
            not_after: kept.pair.as_ref().map(|pair| pair.not_after()),
            problem: Some(problem.to_owned()),
            retry_at: kept.renewal(RenewalOutcome::Failed, None).next,
        };
        let _ = self.shared.events.send(event);
    }

    pub(super) fn tell(
        &self,
        what: CertificateHappening,
        names: Vec<String>,
        not_after: Option<Timestamp>,
        problem: Option<String>,
    ) {
        let _ = self.shared.events.send(CertificateEvent {
            what,
            names,
            ca: None,
            not_after,
            problem,
            retry_at: None,
        });
    }
}
