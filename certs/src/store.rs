//! What is served: the one writer of the resolver's table.
//!
//! A broken pair never stops a start and never takes a good certificate away: at first a placeholder stands
//! in, later the last good pair is served on, and [`Store::status`] says what is wrong with the files. Files
//! count as changed when their content is, whatever their times say. Made by the proxy's composition root,
//! which also runs [`Store::watch`] and calls [`Store::replace_wanted`] on a reload; the manager brings what
//! it issued with [`Store::serve`].

mod borrowed;
mod item;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use switcher_config::wire::CertificateStatus;
use tracing::warn;

use crate::challenges::Challenges;
use crate::lineage::Lineage;
use crate::pair::Pair;
use crate::placeholder::PlaceholderError;
use crate::resolver::{Rank, Resolver, Served, Table};

use borrowed::Lenders;
use item::{Item, Trust};

/// Names that are to be served, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Host names, wildcards as `*.example.com`; none makes this the default for every other name.
    pub names: Vec<String>,
    /// Where the certificate comes from.
    pub source: Source,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From PEM files that may change at any time.
    Files {
        /// The chain, leaf first.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
        /// A stapled OCSP response in DER.
        ocsp: Option<PathBuf>,
    },
    /// Issued for us: lineages of the same names. A client is shown the first whose key it understands.
    Issued(Vec<Lineage>),
    /// Self-signed, in memory.
    Placeholder {
        /// Why there is nothing better, as a sentence for the operator.
        why: Option<String>,
    },
}

/// The certificates that are served and where they come from.
#[derive(Debug)]
pub struct Store {
    resolver: Arc<Resolver>,
    challenges: Arc<Challenges>,
    /// Readers see the last finished look; they never wait for the file system.
    items: ArcSwap<Vec<Item>>,
    /// Held by whoever changes what is served and swaps `items` and the resolver's table.
    shelf: Mutex<Shelf>,
}

/// What was issued for us, by the lineage's id.
#[derive(Debug, Default)]
struct Shelf {
    pairs: HashMap<String, Arc<Pair>>,
    notes: HashMap<String, Note>,
    /// Served although no [`Wanted`] names them: obtained at a first handshake.
    on_demand: Vec<Lineage>,
    /// From files that are no longer wanted, for names that have nothing else yet.
    retired: Vec<Arc<Pair>>,
}

/// What the manager knows of a lineage, for the status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// The directory's URL of the authority that issued it.
    pub ca: Option<String>,
    /// When it is to be renewed.
    pub renew_at: Option<Timestamp>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// When the next attempt follows, after failures.
    pub retry_at: Option<Timestamp>,
    /// What is wrong.
    pub problem: Option<String>,
}

impl Store {
    /// Loads what is wanted. Broken files are answered by placeholders, see [`Store::status`].
    ///
    /// # Errors
    /// When a placeholder cannot be made.
    pub fn new(wanted: Vec<Wanted>) -> Result<Self, PlaceholderError> {
        let challenges = Arc::<Challenges>::default();
        let store = Self {
            resolver: Arc::new(Resolver::new(Arc::clone(&challenges))),
            challenges,
            items: ArcSwap::from_pointee(Vec::new()),
            shelf: Mutex::default(),
        };
        store.replace_wanted(wanted)?;
        Ok(store)
    }

    /// What the TLS listeners ask.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// Where answers to authorities that look are put.
    #[must_use]
    pub fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// Serves other names, or the same from elsewhere. What is served already from the same source goes on
    /// being served, also when its files are broken now.
    ///
    /// # Errors
    /// When a placeholder cannot be made; nothing has changed then.
    pub fn replace_wanted(&self, wanted: Vec<Wanted>) -> Result<(), PlaceholderError> {
        let mut shelf = self.shelf();
        let (before, now) = (self.items.load_full(), Timestamp::now());
        let mut items = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            items.push(match Item::carried_over(&wanted, &before) {
                Some(mut item) => {
                    item.look(Trust::Now);
                    item
                }
                None => Item::new(wanted, now)?,
            });
        }
        let before = before.iter().filter_map(Item::read);
        shelf.retired = still_of_use(shelf.retired.iter().chain(before), &items, &shelf);
        self.publish(items, &shelf);
        Ok(())
    }

    /// Serves these pairs from the next handshake on, each for its lineage.
    pub fn serve(&self, issued: impl IntoIterator<Item = (Lineage, Arc<Pair>)>) {
        let mut shelf = self.shelf();
        for (lineage, pair) in issued {
            shelf.pairs.insert(lineage.id().to_owned(), pair);
        }
        self.publish(Vec::clone(&self.items.load()), &shelf);
    }

    /// Serves exactly these lineages beside those that are wanted: they were obtained at a first handshake.
    pub fn serve_on_demand(&self, lineages: Vec<Lineage>) {
        let mut shelf = self.shelf();
        shelf.on_demand = lineages;
        self.publish(Vec::clone(&self.items.load()), &shelf);
    }

    /// Serves a lineage's pair no longer: it was revoked.
    pub fn withdraw(&self, lineage: &Lineage) {
        let mut shelf = self.shelf();
        shelf.pairs.remove(lineage.id());
        shelf.notes.remove(lineage.id());
        self.publish(Vec::clone(&self.items.load()), &shelf);
    }

    /// The pair that is served for a lineage.
    #[must_use]
    pub fn pair(&self, lineage: &Lineage) -> Option<Arc<Pair>> {
        self.shelf().pairs.get(lineage.id()).cloned()
    }

    /// Remembers for the status what is known of a lineage.
    pub fn note(&self, lineage: &Lineage, note: Note) {
        self.shelf().notes.insert(lineage.id().to_owned(), note);
    }

    /// Reads changed files again, now. Returns how many certificates were replaced.
    pub fn refresh(&self) -> usize {
        self.look(Trust::Now)
    }

    /// Every wanted set of names, in the order of the configuration, then those obtained on demand.
    #[must_use]
    pub fn status(&self) -> Vec<CertificateStatus> {
        let now = Timestamp::now();
        let shelf = self.shelf();
        let wanted = self.items.load();
        let lenders = lenders(&wanted, &shelf);
        let wanted = wanted.iter().flat_map(|item| item.status(&shelf, &lenders, now));
        let on_demand =
            shelf.on_demand.iter().filter_map(|lineage| item::issued_status(lineage, &shelf, now));
        wanted.chain(on_demand).collect()
    }

    /// Picks up changed files for ever: a change is served when two looks in a row found the same.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let store = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || store.look(Trust::Settled)).await {
                warn!(%error, "looking for changed certificate files failed; the next look follows");
            }
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, trust: Trust) -> usize {
        let shelf = self.shelf();
        let mut items = Vec::clone(&self.items.load());
        let replaced = items.iter_mut().map(|item| item.look(trust)).filter(|replaced| *replaced).count();
        if replaced > 0 {
            self.publish(items, &shelf);
        } else {
            self.items.store(Arc::new(items));
        }
        replaced
    }

    fn publish(&self, items: Vec<Item>, shelf: &Shelf) {
        let mut table = Table::default();
        let lenders = lenders(&items, shelf);
        for item in &items {
            item.enter(shelf, &lenders, &mut table);
        }
        for lineage in &shelf.on_demand {
            if let Some(pair) = shelf.pairs.get(lineage.id()) {
                table.insert(lineage.names(), Rank::Real, &Served::from(pair));
            }
        }
        self.resolver.swap(table);
        self.items.store(Arc::new(items));
    }
}

/// What can be borrowed; nothing where nobody needs to.
fn lenders(items: &[Item], shelf: &Shelf) -> Lenders {
    if !items.iter().any(|item| item.borrows(shelf)) {
        return Lenders::default();
    }
    let pairs = shelf.pairs.values().chain(&shelf.retired).chain(items.iter().filter_map(Item::read));
    Lenders::new(pairs, Timestamp::now())
}

/// Those that a name without anything better can be shown, each once.
fn still_of_use<'a>(
    pairs: impl Iterator<Item = &'a Arc<Pair>>,
    items: &[Item],
    shelf: &Shelf,
) -> Vec<Arc<Pair>> {
    let mut kept: Vec<Arc<Pair>> = Vec::new();
    for pair in pairs {
        if !kept.iter().any(|known| Arc::ptr_eq(known, pair))
            && items.iter().any(|item| item.may_borrow(pair, shelf))
        {
            kept.push(Arc::clone(pair));
        }
    }
    kept
}
