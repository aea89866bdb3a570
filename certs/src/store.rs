//! What is served: the one writer of the resolver's table.
//!
//! A broken pair never stops a start and never takes a good certificate away: at first a placeholder stands
//! in, later the last good pair is served on, and [`Store::status`] says what is wrong with the files. Files
//! count as changed when their content is, whatever their times say. Made by the proxy's composition root,
//! which also runs [`Store::watch`] and calls [`Store::replace_wanted`] on a reload.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use switcher_config::wire::CertificateStatus;
use tracing::{info, warn};

use crate::pair::{Pair, PairError, PemFiles};
use crate::placeholder::{PlaceholderError, placeholder};
use crate::resolver::{Rank, Resolver, Table};

/// How many names one placeholder carries: a handshake message has a size that clients accept.
const PLACEHOLDER_NAMES: usize = 100;

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
    },
    /// Self-signed, in memory.
    Placeholder,
}

/// The certificates that are served and the files they come from.
#[derive(Debug)]
pub struct Store {
    resolver: Arc<Resolver>,
    /// Readers see the last finished look; they never wait for the file system.
    items: ArcSwap<Vec<Item>>,
    /// Held by whoever looks at the files and swaps `items` and the resolver's table.
    writer: Mutex<()>,
}

/// One wanted set of names and what it is served with.
#[derive(Debug, Clone)]
struct Item {
    wanted: Wanted,
    served: Served,
    /// The file content that was judged last, good or bad.
    judged: Option<Digest>,
    /// Changed content that was seen once and waits to be seen again unchanged.
    settling: Option<Digest>,
    /// What is wrong with the files.
    problem: Option<String>,
}

type Digest = [u8; 32];

#[derive(Debug, Clone)]
enum Served {
    Real(Arc<Pair>),
    /// Several, because each carries a bounded number of names.
    Placeholders(Vec<(Vec<String>, Arc<Pair>)>),
}

/// When changed content is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// At once: somebody says that it is complete.
    Now,
    /// When two looks in a row found the same, so that a chain still being written is not served short.
    Settled,
}

impl Store {
    /// Loads what is wanted. Broken files are answered by placeholders, see [`Store::status`].
    ///
    /// # Errors
    /// When a placeholder cannot be made.
    pub fn new(wanted: Vec<Wanted>) -> Result<Self, PlaceholderError> {
        let store = Self {
            resolver: Arc::default(),
            items: ArcSwap::from_pointee(Vec::new()),
            writer: Mutex::new(()),
        };
        store.replace_wanted(wanted)?;
        Ok(store)
    }

    /// What the TLS listeners ask.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// Serves other names, or the same from elsewhere. What is served already from the same source goes on
    /// being served, also when its files are broken now.
    ///
    /// # Errors
    /// When a placeholder cannot be made; nothing has changed then.
    pub fn replace_wanted(&self, wanted: Vec<Wanted>) -> Result<(), PlaceholderError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, now) = (self.items.load_full(), Timestamp::now());
        let mut items = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let mut item = Item::carried_over(&wanted, &before);
            if let Some(item) = &mut item {
                item.look(Trust::Now);
            }
            items.push(match item {
                Some(item) => item,
                None => Item::new(wanted, now)?,
            });
        }
        self.publish(items);
        Ok(())
    }

    /// Reads changed files again, now. Returns how many certificates were replaced.
    pub fn refresh(&self) -> usize {
        self.look(Trust::Now)
    }

    /// Every wanted set of names, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<CertificateStatus> {
        let now = Timestamp::now();
        self.items.load().iter().map(|item| item.status(now)).collect()
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

    fn look(&self, trust: Trust) -> usize {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut items = Vec::clone(&self.items.load());
        let replaced = items.iter_mut().map(|item| item.look(trust)).filter(|replaced| *replaced).count();
        self.publish(items);
        replaced
    }

    fn publish(&self, items: Vec<Item>) {
        let mut table = Table::default();
        for item in &items {
            item.enter(&mut table);
        }
        self.resolver.swap(table);
        self.items.store(Arc::new(items));
    }
}

impl Item {
    /// Loads what is wanted for the first time.
    fn new(wanted: Wanted, now: Timestamp) -> Result<Self, PlaceholderError> {
        let mut item = Self {
            wanted,
            served: Served::Placeholders(Vec::new()),
            judged: None,
            settling: None,
            problem: None,
        };
        if !item.look(Trust::Now) {
            item.served = placeholders(&item.wanted.names, now)?;
        }
        Ok(item)
    }

    /// The item that serves this already: a placeholder for the same names, or the same files for any.
    fn carried_over(wanted: &Wanted, before: &[Self]) -> Option<Self> {
        let same = |item: &&Self| match (&item.served, &item.wanted.source) {
            (Served::Real(_), source) => *source == wanted.source,
            (Served::Placeholders(_), _) => item.wanted == *wanted,
        };
        let item = before.iter().find(same)?;
        Some(Self { wanted: wanted.clone(), ..item.clone() })
    }

    /// Looks at the files. Returns whether another certificate is served from now on.
    fn look(&mut self, trust: Trust) -> bool {
        let Source::Files { certificate, key } = &self.wanted.source else { return false };
        let files = match PemFiles::read(certificate, key) {
            Ok(files) => files,
            Err(error) => {
                // Judged anew when the files come back, even with the same content: it clears the problem.
                self.judged = None;
                return self.judge(Err(error));
            }
        };
        let digest = files.digest();
        if self.judged == Some(digest) {
            self.settling = None;
            return false;
        }
        if trust == Trust::Settled && self.settling != Some(digest) {
            self.settling = Some(digest);
            return false;
        }
        let pair = files.parse();
        self.settling = None;
        self.judged = Some(digest);
        self.judge(pair)
    }

    /// Takes a good pair over; keeps what is served and remembers the problem of a bad one.
    fn judge(&mut self, pair: Result<Pair, PairError>) -> bool {
        match pair {
            Ok(pair) => {
                info!(names = ?pair.names(), not_after = %pair.not_after(), "certificate loaded");
                self.served = Served::Real(Arc::new(pair));
                self.problem = None;
                true
            }
            Err(error) => {
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    warn!(names = ?self.wanted.names, %problem, "certificate files cannot be served");
                }
                self.problem = Some(problem);
                false
            }
        }
    }

    fn enter(&self, table: &mut Table) {
        match &self.served {
            Served::Real(pair) => table.insert(&self.wanted.names, Rank::Real, pair),
            Served::Placeholders(stand_ins) => {
                for (names, pair) in stand_ins {
                    table.insert(names, Rank::Placeholder, pair);
                }
            }
        }
    }

    fn status(&self, now: Timestamp) -> CertificateStatus {
        let (names, source, not_after, doubt) = match &self.served {
            Served::Real(pair) => (
                pair.names().to_vec(),
                "file",
                pair.not_after(),
                pair.date_problem(now).or(self.uncovered(pair)),
            ),
            Served::Placeholders(stand_ins) => {
                let not_after = stand_ins.iter().map(|(_, pair)| pair.not_after()).min().unwrap_or(now);
                (self.wanted.names.clone(), "placeholder", not_after, None)
            }
        };
        CertificateStatus {
            names,
            source: source.to_owned(),
            not_after,
            problem: self.problem.clone().or(doubt),
        }
    }

    /// The wanted names that the certificate is not valid for, as a sentence.
    fn uncovered(&self, pair: &Pair) -> Option<String> {
        let missing: Vec<&str> = self
            .wanted
            .names
            .iter()
            .filter(|name| !pair.covers(&name.to_ascii_lowercase()))
            .map(String::as_str)
            .collect();
        (!missing.is_empty()).then(|| {
            format!(
                "the certificate is not valid for {}; clients of these hosts refuse it",
                missing.join(", ")
            )
        })
    }
}

fn placeholders(names: &[String], now: Timestamp) -> Result<Served, PlaceholderError> {
    let one = |names: &[String]| Ok((names.to_vec(), Arc::new(placeholder(names, now)?)));
    if names.is_empty() {
        return Ok(Served::Placeholders(vec![one(names)?]));
    }
    names.chunks(PLACEHOLDER_NAMES).map(one).collect::<Result<_, _>>().map(Served::Placeholders)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::fixtures::{Client, Folder, issue};
    use crate::server_config;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn files(of: &[&str], (certificate, key): (PathBuf, PathBuf)) -> Wanted {
        Wanted { names: names(of), source: Source::Files { certificate, key } }
    }

    fn stand_in(of: &[&str]) -> Wanted {
        Wanted { names: names(of), source: Source::Placeholder }
    }

    /// The names in the certificate that a real handshake shows.
    fn shown(store: &Store, name: &str) -> Vec<String> {
        let config = server_config(store.resolver()).expect("a configuration");
        Client::default().shake(&config, Some(name)).expect("served").names
    }

    #[test]
    fn a_refresh_serves_the_new_certificate_without_another_configuration() {
        let folder = Folder::new();
        let paths = folder.put("a", &issue(&["a.example", "old.example"]));
        let store = Store::new(vec![files(&["a.example"], paths)]).expect("a store");
        let config = server_config(store.resolver()).expect("a configuration");
        let show = || Client::default().shake(&config, Some("a.example")).expect("served").names;
        assert_eq!(show(), ["a.example", "old.example"]);
        assert_eq!(store.refresh(), 0, "nothing has changed");
        folder.put("a", &issue(&["a.example", "new.example"]));
        assert_eq!(store.refresh(), 1);
        assert_eq!(show(), ["a.example", "new.example"]);
    }

    #[test]
    fn broken_new_files_keep_the_old_certificate_and_say_so_until_they_are_mended() {
        let folder = Folder::new();
        let good = issue(&["a.example"]);
        let paths = folder.put("a", &good);
        let store = Store::new(vec![files(&["a.example"], paths.clone())]).expect("a store");
        let new = issue(&["a.example", "new.example"]);
        let half = &new.certificate[..new.certificate.len() / 2];
        for (certificate, key, said) in [
            (new.certificate.as_str(), good.key.as_str(), "does not belong to the first certificate"),
            (half, &new.key, "it ends in the middle"),
            ("", &new.key, "holds no certificate"),
        ] {
            folder.put_text("a", certificate, key);
            assert_eq!(store.refresh(), 0, "{said}");
            assert_eq!(shown(&store, "a.example"), ["a.example"]);
            let status = &store.status()[0];
            assert_eq!(status.source, "file");
            assert!(status.problem.as_ref().is_some_and(|problem| problem.contains(said)), "{status:?}");
        }
        std::fs::remove_file(&paths.0).expect("removed");
        store.refresh();
        assert!(store.status()[0].problem.as_ref().is_some_and(|problem| problem.contains("does not exist")));
        folder.put("a", &new);
        assert_eq!(store.refresh(), 1);
        assert_eq!(store.status()[0].problem, None);
        assert_eq!(shown(&store, "a.example"), ["a.example", "new.example"]);
    }

    #[test]
    fn a_missing_pair_is_stood_in_for_until_it_comes() {
        let folder = Folder::new();
        let paths = (folder.path().join("a.pem"), folder.path().join("a.key"));
        let store = Store::new(vec![files(&["a.example"], paths)]).expect("a broken pair stops no start");
        let status = &store.status()[0];
        assert_eq!((status.source.as_str(), &status.names), ("placeholder", &names(&["a.example"])));
        assert!(status.problem.as_ref().is_some_and(|problem| problem.contains("does not exist")));
        assert_eq!(shown(&store, "a.example"), ["a.example"]);
        folder.put("a", &issue(&["a.example", "real.example"]));
        assert_eq!(store.refresh(), 1);
        assert_eq!(shown(&store, "a.example"), ["a.example", "real.example"]);
        assert_eq!(store.status()[0].source, "file");
    }

    #[test]
    fn the_status_names_hosts_that_the_certificate_is_not_valid_for() {
        let folder = Folder::new();
        let paths = folder.put("a", &issue(&["*.a.example"]));
        let store = Store::new(vec![files(&["X.a.example", "a.example"], paths)]).expect("a store");
        let problem = store.status()[0].problem.clone();
        assert_eq!(
            problem.as_deref(),
            Some("the certificate is not valid for a.example; clients of these hosts refuse it")
        );
    }

    #[test]
    fn a_reload_keeps_what_is_served_and_takes_over_what_changed() {
        let folder = Folder::new();
        let paths = folder.put("a", &issue(&["a.example", "real.example"]));
        let from_files = files(&["a.example"], paths.clone());
        let store = Store::new(vec![from_files.clone(), stand_in(&["b.example"])]).expect("a store");
        let key_of = |name| store.resolver().find(Some(name)).expect("a certificate");
        let (a, b) = (key_of("a.example"), key_of("b.example"));

        folder.put_text("a", "broken", "broken");
        let wider = files(&["a.example", "c.example"], paths);
        store.replace_wanted(vec![wider, stand_in(&["b.example"]), stand_in(&[])]).expect("replaced");
        assert!(Arc::ptr_eq(&a, &key_of("a.example")), "the last good pair is served on");
        assert!(Arc::ptr_eq(&a, &key_of("c.example")), "also for a host that is new");
        assert!(Arc::ptr_eq(&b, &key_of("b.example")), "a placeholder is made once");
        assert_eq!(shown(&store, "d.example"), ["placeholder.switcher.invalid"]);

        store.replace_wanted(vec![stand_in(&["a.example"])]).expect("replaced");
        assert_eq!(
            shown(&store, "a.example"),
            ["a.example"],
            "files that are no longer wanted are not served"
        );
    }

    #[test]
    fn ten_thousand_hosts_have_placeholders_of_a_size_that_clients_accept() {
        let hosts: Vec<String> = (0..10_000).map(|n| format!("shop-{n}.example.com")).collect();
        let wanted = Wanted { names: hosts.clone(), source: Source::Placeholder };
        let store = Store::new(vec![wanted]).expect("a store");
        let names = shown(&store, "shop-9999.example.com");
        assert!(names.contains(&hosts[9999]) && names.len() == PLACEHOLDER_NAMES);
        assert_eq!(store.status().len(), 1);
    }

    #[test]
    fn a_change_seen_once_is_not_served_before_it_is_seen_unchanged() {
        let folder = Folder::new();
        let paths = folder.put("a", &issue(&["one.example"]));
        let store = Store::new(vec![files(&["one.example"], paths)]).expect("a store");
        folder.put("a", &issue(&["two.example"]));
        assert_eq!(store.look(Trust::Settled), 0, "it may still be written");
        folder.put("a", &issue(&["three.example"]));
        assert_eq!(store.look(Trust::Settled), 0, "it was");
        assert_eq!(shown(&store, "one.example"), ["one.example"]);
        assert_eq!(store.look(Trust::Settled), 1);
        assert_eq!(shown(&store, "one.example"), ["three.example"]);
    }

    #[tokio::test]
    async fn changed_files_are_picked_up_while_running() {
        let folder = Folder::new();
        let paths = folder.put("a", &issue(&["a.example"]));
        let store = Arc::new(Store::new(vec![files(&["a.example"], paths)]).expect("a store"));
        let watch = tokio::spawn(Arc::clone(&store).watch(Duration::from_millis(5)));
        folder.put("a", &issue(&["a.example", "new.example"]));
        let deadline = Instant::now() + Duration::from_secs(20);
        while store.status()[0].names.len() == 1 {
            assert!(Instant::now() < deadline, "the change was never served");
            tokio::task::yield_now().await;
        }
        assert_eq!(shown(&store, "a.example"), ["a.example", "new.example"]);
        watch.abort();
    }
}
