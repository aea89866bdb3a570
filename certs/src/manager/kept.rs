//! One lineage as the keeper sees it: what is served, what is remembered, what is going on.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use jiff::Timestamp;
use switcher_config::settings::Retry;
use switcher_config::wire::{Renewal, RenewalOutcome};
use tokio::sync::oneshot;

use super::attempt::identity;
use crate::lineage::Lineage;
use crate::pair::Pair;
use crate::record::Record;
use crate::renewal::{self, Action, Policy, Validity};
use crate::store::Note;

/// What is begun first is the least: what somebody waits for, then what ends first, before all what is missing.
pub(super) type Urgency = (bool, Timestamp);

/// One lineage.
pub(super) struct Kept {
    pub(super) lineage: Lineage,
    pub(super) record: Record,
    pub(super) pair: Option<Arc<Pair>>,
    /// An attempt is under way.
    pub(super) busy: bool,
    /// The authority is being asked for the renewal window.
    pub(super) asking: bool,
    /// Order now, whatever the plan says: an operator wants it.
    pub(super) forced: bool,
    /// What is served is from an authority for trials, and the configuration has moved on.
    pub(super) only_a_trial: bool,
    /// What keeps the attempts from beginning at all, such as a full disk.
    pub(super) obstacle: Option<String>,
    /// Who waits for the attempt's end.
    pub(super) waiting: Vec<oneshot::Sender<Renewal>>,
    /// The name of what is served (RFC 9773 section 4.1).
    identity: Option<String>,
    noted: Note,
}

impl Kept {
    pub(super) fn new(lineage: Lineage, record: Record, pair: Option<Arc<Pair>>) -> Self {
        let mut kept = Self {
            lineage,
            record,
            pair: None,
            busy: false,
            asking: false,
            forced: false,
            only_a_trial: false,
            obstacle: None,
            waiting: Vec::new(),
            identity: None,
            noted: Note::default(),
        };
        kept.serve(pair);
        kept
    }

    /// Remembers what is served from now on.
    pub(super) fn serve(&mut self, pair: Option<Arc<Pair>>) {
        self.identity = pair.as_deref().and_then(identity).map(|identity| identity.to_string());
        self.pair = pair;
    }

    /// How RFC 9773 names what is served.
    pub(super) fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// What is to be done, by the clock.
    pub(super) fn next(&self, retry: Retry, ari: bool, now: Timestamp) -> Action {
        let ari = ari && self.identity.is_some();
        renewal::next_action(
            self.have(),
            self.identity(),
            &self.record,
            &Policy { retry, ari },
            self.seed(),
            now,
        )
    }

    /// How it compares with the others that are due.
    pub(super) fn urgency(&self) -> Urgency {
        (!self.forced, self.have().map_or(Timestamp::MIN, |have| have.not_after))
    }

    /// What is served; nothing that was revoked or was only a trial counts.
    fn have(&self) -> Option<Validity> {
        let revoked = self.identity.is_some() && self.record.revoked == self.identity;
        let pair = self.pair.as_ref().filter(|_| !revoked && !self.only_a_trial)?;
        Some(Validity { not_before: pair.not_before(), not_after: pair.not_after() })
    }

    /// Spreads the renewals of several lineages. The same after a restart.
    fn seed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.lineage.id().hash(&mut hasher);
        hasher.finish()
    }

    /// What the status says of it; none when it says so already.
    pub(super) fn note(&mut self, retry: Retry, ari: bool, now: Timestamp) -> Option<Note> {
        let policy = Policy { retry, ari };
        let have = self.have();
        let note = Note {
            ca: self.record.ca.clone(),
            renew_at: have.map(|have| renewal::renew_at(have, self.identity(), &self.record, self.seed())),
            failures: self.record.attempts.failures,
            retry_at: renewal::retry_at(&self.record, &policy, have, self.seed(), now),
            problem: self.obstacle.clone().or_else(|| self.record.attempts.problem.clone()),
        };
        if note == self.noted {
            return None;
        }
        self.noted = note.clone();
        Some(note)
    }

    /// Tells everybody who waits how it ended.
    pub(super) fn tell(&mut self, outcome: RenewalOutcome, problem: Option<&str>) {
        let renewal = self.renewal(outcome, problem);
        for waiting in self.waiting.drain(..) {
            // Whoever asked may have left.
            let _ = waiting.send(renewal.clone());
        }
    }

    pub(super) fn renewal(&self, outcome: RenewalOutcome, problem: Option<&str>) -> Renewal {
        Renewal {
            names: self.lineage.names().to_vec(),
            outcome,
            not_after: self.pair.as_ref().map(|pair| pair.not_after()),
            next: self.noted.retry_at.or(self.noted.renew_at),
            problem: problem.map(str::to_owned),
        }
    }
}
