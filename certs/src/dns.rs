//! dns-01 (RFC 8555 section 8.4): TXT records that prove control over a name and over its wildcard.
//!
//! An order posts a record for each name, waits until every authoritative server shows it, and removes it in the
//! end, however the order went. A domain and its wildcard are proven by two values under one name, so records
//! are added and removed one by one and never replace each other. Secrets are read from their files at each use,
//! so a rotated one works without a reload. Called by the order.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use switcher_config::settings::{DnsProvider, DnsSettings};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use exec::{Action, ExecError};
use lookup::{LookupError, Resolvers, plain};
use provider::{Client, Text};

mod exec;
pub mod lookup;
mod propagation;
mod provider;

/// The time between two looks at the authoritative servers: first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Why a record is not set, not seen or not removed.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// `acme.dns.provider` names nobody.
    #[error("`{0}` is no DNS provider that Switcher knows; use another one, or `acme.dns.exec`")]
    Unknown(String),
    /// An option is not there.
    #[error("the DNS provider {provider} needs the option `acme.dns.{option}`")]
    Missing {
        /// The provider.
        provider: &'static str,
        /// The option.
        option: &'static str,
    },
    /// The file of a secret cannot be read or holds nothing.
    #[error("cannot read {file}, which `acme.dns.{option}` names: {why}")]
    File {
        /// The option.
        option: String,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// The options do not make a client.
    #[error("the options of the DNS provider {provider} cannot be used: {why}")]
    Options {
        /// The provider.
        provider: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The provider said no.
    #[error("the DNS provider {provider} did not {doing} the TXT record {record}: {why}")]
    Provider {
        /// The provider.
        provider: &'static str,
        /// `set` or `remove`.
        doing: &'static str,
        /// The record's name.
        record: String,
        /// Its words, without secrets.
        why: String,
    },
    /// `acme.dns.exec` names no program.
    #[error("`acme.dns.exec` names no program")]
    NoProgram,
    /// The user's own program did not do it.
    #[error("the DNS hook {program} ({doing} {record}) {why}")]
    Exec {
        /// The program.
        program: String,
        /// `set` or `remove`.
        doing: &'static str,
        /// The record's name.
        record: String,
        /// What it did.
        #[source]
        why: ExecError,
    },
    /// Something could not be found in DNS.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Not every server has it in time.
    #[error(
        "the TXT record {record} is not visible everywhere after {} s: {}; \
         check the zone's servers, or raise `acme.dns.propagation_timeout`",
        .after.as_secs(), .lacking.join(", ")
    )]
    NotPropagated {
        /// The record's name.
        record: String,
        /// How long was waited.
        after: Duration,
        /// Each server that lacks it, with what it says.
        lacking: Vec<String>,
    },
}

/// Sets and removes records, and waits for them.
#[derive(Debug, Clone)]
pub struct Dns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: DnsSettings,
    resolvers: Resolvers,
    /// Many providers know only "replace all records of that name", which their clients build from a look and a
    /// write: two at once would lose one of the values.
    turn: Mutex<()>,
}

/// A record that is set. Removed by [`DnsRecord::remove`]; when dropped before, as by an order that is given up,
/// it is removed in the background.
#[derive(Debug)]
#[must_use]
pub struct DnsRecord {
    inner: Arc<Inner>,
    place: Place,
    value: String,
    removed: bool,
}

/// Where a record is set, and by whom.
#[derive(Debug, Clone)]
enum Place {
    /// By a provider: behind the aliases of the name, in that zone.
    Zone { provider: String, options: BTreeMap<String, String>, record: String, zone: String },
    /// By a program, which looks for the place itself.
    Program { command: Vec<String>, record: String },
}

impl Dns {
    /// For these settings. Secrets are not read yet.
    ///
    /// # Errors
    /// When the provider is unknown, or lacks an option.
    pub fn new(settings: &DnsSettings, resolvers: &[SocketAddr]) -> Result<Self, DnsError> {
        match &settings.provider {
            DnsProvider::Named { name, options } => provider::check(name, options)?,
            DnsProvider::Exec(command) if command.is_empty() => return Err(DnsError::NoProgram),
            DnsProvider::Exec(_) => {}
        }
        let resolvers = Resolvers::new(resolvers);
        Ok(Self(Arc::new(Inner { settings: settings.clone(), resolvers, turn: Mutex::new(()) })))
    }

    /// Adds `value` to the TXT records of `_acme-challenge.NAME`; `name` is without `*.`. Where that name is an
    /// alias, a provider's record is set at its end.
    ///
    /// # Errors
    /// When the place cannot be found, a secret cannot be read, or the provider or program does not do it.
    pub async fn post(&self, name: &str, value: &str) -> Result<DnsRecord, DnsError> {
        let place = self.0.place(name).await?;
        self.0.act(Action::Set, &place, value).await?;
        Ok(DnsRecord { inner: Arc::clone(&self.0), place, value: value.to_owned(), removed: false })
    }

    /// Waits until every authoritative server of the zone shows the value.
    ///
    /// # Errors
    /// [`DnsError::NotPropagated`] after the timeout of the settings, or what kept it from looking.
    pub async fn propagated(&self, name: &str, value: &str) -> Result<(), DnsError> {
        let record = lookup::name(&challenge(name))?;
        let after = self.0.settings.propagation_timeout.0;
        let deadline = Instant::now() + after;
        let mut pause = POLL.0;
        let mut lacking = vec!["no server answered in time".to_owned()];
        loop {
            match timeout_at(deadline, propagation::lacking(&self.0.resolvers, &record, value)).await {
                Ok(Ok(none)) if none.is_empty() => return Ok(()),
                Ok(Ok(some)) => lacking = some,
                // A resolver may be away for a moment; the deadline decides.
                Ok(Err(error)) => lacking = vec![error.to_string()],
                Err(_) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left < POLL.0 {
                return Err(DnsError::NotPropagated { record: plain(&record), after, lacking });
            }
            // Towards the end more often, so that the last look is shortly before it.
            sleep(pause.min(left / 2)).await;
            pause = (pause * 3 / 2).min(POLL.1);
        }
    }
}

impl DnsRecord {
    /// Removes the value, and leaves others under the same name.
    ///
    /// # Errors
    /// When a secret cannot be read, or the provider or program does not do it. It is tried once more in the
    /// background then.
    pub async fn remove(mut self) -> Result<(), DnsError> {
        self.inner.act(Action::Remove, &self.place, &self.value).await?;
        self.removed = true;
        Ok(())
    }
}

impl Drop for DnsRecord {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (inner, place, value) = (Arc::clone(&self.inner), self.place.clone(), self.value.clone());
        runtime.spawn(async move {
            if let Err(error) = inner.act(Action::Remove, &place, &value).await {
                tracing::warn!("a challenge record stays behind, which does no harm: {error}");
            }
        });
    }
}

impl Inner {
    async fn place(&self, name: &str) -> Result<Place, DnsError> {
        let record = challenge(name);
        match &self.settings.provider {
            DnsProvider::Exec(command) => Ok(Place::Program { command: command.clone(), record }),
            DnsProvider::Named { name: provider, options } => {
                let owner = self.resolvers.follow(&lookup::name(&record)?).await?;
                let zone = plain(&self.resolvers.zone(&owner).await?);
                let (provider, options) = (provider.clone(), options.clone());
                Ok(Place::Zone { provider, options, record: plain(&owner), zone })
            }
        }
    }

    async fn act(&self, action: Action, place: &Place, value: &str) -> Result<(), DnsError> {
        let _turn = self.turn.lock().await;
        match place {
            Place::Program { command, record } => {
                exec::run(command, action, record, value).await.map_err(|why| DnsError::Exec {
                    program: command.first().cloned().unwrap_or_default(),
                    doing: action.word(),
                    record: record.clone(),
                    why,
                })
            }
            Place::Zone { provider, options, record, zone } => {
                let ttl = u32::try_from(self.settings.ttl.0.as_secs()).unwrap_or(u32::MAX);
                let client = Client::new(provider, options).await?;
                client.act(action, &Text { record, zone, value, ttl }).await
            }
        }
    }
}

/// The name that an authority looks at (RFC 8555 section 8.4).
fn challenge(name: &str) -> String {
    format!("_acme-challenge.{name}")
}
