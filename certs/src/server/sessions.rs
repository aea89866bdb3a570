//! What clients resume with: ticket keys and remembered sessions, which outlive every reload.
//!
//! There is one [`Trust`] for clients that showed no certificate and one for each set of client roots. A
//! ticket of one cannot be read with the keys of another, so that no session that began without a certificate
//! is resumed where one is demanded, whatever was configured when. Made once by the composition root.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};

use super::client_ca::RootsId;

/// How many sessions are remembered for clients of TLS 1.2 that know no tickets.
const REMEMBERED: usize = 1024;

/// What sessions of equal trust share.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Encrypts tickets; the keys rotate every six hours and are in memory only.
    pub(super) ticketer: Arc<dyn ProducesTickets>,
    /// Remembers sessions by their id, for clients without tickets.
    pub(super) storage: Arc<dyn StoresServerSessions>,
}

impl Trust {
    fn new() -> Result<Self, rustls::Error> {
        Ok(Self { ticketer: aws_lc_rs::Ticketer::new()?, storage: ServerSessionMemoryCache::new(REMEMBERED) })
    }
}

/// All of a process's.
pub struct Sessions {
    open: Trust,
    mutual: Mutex<HashMap<RootsId, Trust>>,
}

impl Sessions {
    /// Fresh keys.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        Ok(Self { open: Trust::new()?, mutual: Mutex::default() })
    }

    /// For clients that are asked for no certificate.
    #[must_use]
    pub(super) fn open(&self) -> Trust {
        self.open.clone()
    }

    /// For clients whose certificate comes from these roots.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(super) fn of(&self, roots: RootsId) -> Result<Trust, rustls::Error> {
        if let Some(known) = self.mutual().get(&roots) {
            return Ok(known.clone());
        }
        let trust = Trust::new()?;
        self.mutual().insert(roots, trust.clone());
        Ok(trust)
    }

    /// Forgets the keys of all other roots: they are no longer configured.
    pub fn keep(&self, roots: &[RootsId]) {
        self.mutual().retain(|id, _| roots.contains(id));
    }

    fn mutual(&self) -> MutexGuard<'_, HashMap<RootsId, Trust>> {
        self.mutual.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("mutual", &self.mutual().len()).finish_non_exhaustive()
    }
}
