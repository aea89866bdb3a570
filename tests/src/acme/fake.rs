//! An ACME authority that believes everything, counts everything, and misbehaves as a test wants.
//!
//! It speaks RFC 8555 with profiles and renewal information (RFC 9773) over HTTPS, checks nonces, accounts and the
//! names of a request, and verifies neither signatures nor challenges. What it does is in `state`, its HTTP in
//! `wire`.

mod order;
mod reply;
mod request;
mod state;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::acme::authority::Authority;
use crate::acme::strict::{Leaf, Strict};
use crate::certificate::put;
pub use request::ari_id;
use state::State;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The directory.
    Directory,
    /// A nonce alone.
    NewNonce,
    /// A new account, or the look for an old one.
    NewAccount,
    /// An existing account.
    Account,
    /// A new order.
    NewOrder,
    /// A look at an order.
    Order,
    /// A look at an authorization, or its deactivation.
    Authorization,
    /// A challenge that is ready.
    Challenge,
    /// The end of an order.
    Finalize,
    /// The certificate.
    Certificate,
    /// A revocation.
    Revoke,
    /// When to renew.
    RenewalInfo,
    /// Nothing that it knows.
    Unknown,
}

/// What can go wrong with every request of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This status with a problem document; nothing is done.
    Status(u16),
    /// 429 with `Retry-After` in seconds; nothing is done.
    RateLimited(u32),
    /// A page for people, with status 200; nothing is done.
    Html,
    /// It is done, and half of the answer comes.
    Truncated,
    /// Nothing is done, and no answer ever comes.
    Hang,
    /// It is done, and no answer ever comes.
    HangAfter,
}

/// When the authority wants a certificate renewed, counted from its begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The window's begin.
    pub start: SignedDuration,
    /// The window's end.
    pub end: SignedDuration,
    /// `Retry-After` in seconds.
    pub retry_after: u32,
    /// A page that explains it.
    pub explanation: Option<String>,
}

/// How it behaves. The default is a good authority without renewal information and profiles.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// How long certificates live. Default 90 days.
    pub lifetime: SignedDuration,
    /// Its wish for every certificate; none: it does not offer renewal information.
    pub ari: Option<Window>,
    /// Serial numbers in hex of certificates whose window is over: they must be renewed at once.
    pub urgent: BTreeSet<String>,
    /// The profiles it offers.
    pub profiles: Vec<String>,
    /// Every n-th nonce is refused; 0: none.
    pub bad_nonce_every: u32,
    /// What goes wrong, by the kind of request.
    pub trouble: BTreeMap<Kind, Trouble>,
    /// Every challenge fails with this detail, and its order becomes invalid.
    pub refuse: Option<String>,
    /// How often an order is still processing when it is looked at after its end was asked for.
    pub processing_polls: u32,
    /// `Retry-After` in seconds of an order that is processing.
    pub retry_after: Option<u32>,
    /// Orders stay processing for ever.
    pub endless: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            lifetime: SignedDuration::from_hours(90 * 24),
            ari: None,
            urgent: BTreeSet::new(),
            profiles: Vec::new(),
            bad_nonce_every: 0,
            trouble: BTreeMap::new(),
            refuse: None,
            processing_polls: 0,
            retry_after: None,
            endless: false,
        }
    }
}

/// One request that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// What it was about.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
}

/// An order as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The number of its account, from 0.
    pub account: usize,
    /// Its names.
    pub names: Vec<String>,
    /// The profile that was asked for.
    pub profile: Option<String>,
    /// The certificate that it is to replace, as RFC 9773 section 4.1 writes it.
    pub replaces: Option<String>,
    /// Whether a certificate was issued for it.
    pub issued: bool,
}

/// A running authority. It ends when dropped.
pub struct FakeCa {
    address: SocketAddr,
    folder: TempDir,
    endpoint: Authority,
    authority: Arc<Authority>,
    shared: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl FakeCa {
    /// Starts a well-behaved one.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let folder = tempfile::Builder::new().prefix("fake-ca-").tempdir().expect("a folder");
        let endpoint = Authority::new("fake endpoint");
        put(&folder.path().join("endpoint.pem"), &endpoint.root_pem());
        let authority = Arc::new(Authority::new("fake"));
        let shared = Arc::new(Mutex::new(State::new(format!("https://{address}"), Arc::clone(&authority))));
        let server = wire::serve(listener, endpoint.server(&["127.0.0.1"]), Arc::clone(&shared));
        Self { address, folder, endpoint, authority, shared, server: tokio::spawn(server) }
    }

    /// The directory's URL.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/directory", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root of its own endpoint, as a PEM file.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("endpoint.pem")
    }

    /// The root of its own endpoint as PEM, to be joined with another one's.
    #[must_use]
    pub fn endpoint_pem(&self) -> String {
        self.endpoint.root_pem()
    }

    /// The root of what it issues.
    #[must_use]
    pub fn root(&self) -> CertificateDer<'static> {
        self.authority.root()
    }

    /// A client that trusts what it issues.
    #[must_use]
    pub fn strict(&self) -> Strict {
        Strict::trusting(&[self.root()])
    }

    /// Changes its behaviour from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state().behaviour);
    }

    /// From now on every request of this kind goes so.
    pub fn trouble(&self, kind: Kind, trouble: Trouble) {
        self.behave(|b| {
            b.trouble.insert(kind, trouble);
        });
    }

    /// A good authority again.
    pub fn recover(&self) {
        self.behave(|b| {
            b.trouble.clear();
            b.refuse = None;
            b.endless = false;
        });
    }

    /// How many requests of this kind came.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.came().iter().filter(|came| came.kind == kind).count()
    }

    /// Every request that came.
    #[must_use]
    pub fn came(&self) -> Vec<Came> {
        self.state().came.clone()
    }

    /// How many requests wait for an answer that never comes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state().held
    }

    /// How many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.state().accounts.len()
    }

    /// It knows no account any more, as after a restore from an old backup.
    pub fn forget_accounts(&self) {
        self.state().accounts.clear();
    }

    /// Every order, in the order in which they came.
    #[must_use]
    pub fn orders(&self) -> Vec<Ordered> {
        self.state().ordered()
    }

    /// Every certificate that was issued.
    #[must_use]
    pub fn issued(&self) -> Vec<Leaf> {
        self.state().certificates.iter().map(|c| Leaf::of_pem(c)).collect()
    }

    /// The serial numbers of what was revoked, with the reason's number.
    #[must_use]
    pub fn revoked(&self) -> Vec<(String, Option<u64>)> {
        self.state().revoked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().expect("the authority's state")
    }
}

impl Drop for FakeCa {
    fn drop(&mut self) {
        self.server.abort();
        if std::thread::panicking() {
            let kinds: Vec<Kind> = self.shared.lock().map_or_else(
                |e| e.into_inner().came.iter().map(|c| c.kind).collect(),
                |s| s.came.iter().map(|c| c.kind).collect(),
            );
            eprintln!("--- what was asked of the fake authority\n{kinds:?}");
        }
    }
}

/// The `acme` keys that every test with such an authority needs: its directory, and the trust for its endpoint.
#[must_use]
pub fn keys(directory: &str, ca_file: &Path) -> [(&'static str, String); 2] {
    [("directory", directory.to_owned()), ("ca_file", ca_file.display().to_string())]
}

#[cfg(test)]
mod tests;
