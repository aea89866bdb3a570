//! The TLS front: from an accepted socket to an encrypted connection, or to a clean refusal.
//!
//! A handshake has stages. The client's hello is read first, in however many pieces it comes. What it asks for
//! decides the rest: an unknown name is refused with `unrecognized_name` (RFC 6066 section 3), a name that may
//! be obtained on demand is obtained, an authority's challenge is answered and closed, and a host that demands
//! client certificates gets the configuration that does. rustls then goes on from the hello it has read, so
//! that looking first costs one look-up. Only then the handshake takes one of a bounded number of turns: what
//! costs is signing, and whoever connects and stays silent takes no turn from others.
//!
//! [`Front::replace`] changes everything at a reload but what clients resume with. Called by the accept loops.

pub mod client_cas;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::HandshakeKind;
use rustls::pki_types::UnixTime;
use rustls::server::{Acceptor, ResolvesServerCert};
use switcher_certs::resolver::{Shown, is_challenge};
use switcher_certs::server::server_name;
use switcher_certs::{Challenges, Configurations, Resolver, RootsId, Sessions, Store};
use switcher_config::PathPrefix;
use switcher_config::settings::{Settings, Tls as Source, TlsListener};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tracing::info;

use crate::connection::Tls;
use crate::edge::socket::Socket;
use crate::metrics::{Handshake, TlsMetrics};
use crate::route::{Route, Router};
use client_cas::ClientCas;

/// How long a handshake may take whose certificate is obtained first.
const FIRST_HANDSHAKE: Duration = Duration::from_secs(60);

/// How long a refused client may take to read why.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Obtains certificates for names that nobody has one for yet.
pub trait AtFirstHandshake: Send + Sync {
    /// Tries to have a certificate for this name (in lower case) in the resolver; says whether it is there now.
    /// Called for every handshake that waits, so that several may ask for one name at once, and dropped when
    /// the handshake's time is over: what must be finished goes into a task of its own.
    fn obtain<'a>(&'a self, server_name: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
}

/// Where a handshake comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// At a listener of requests, by its place in the settings.
    Requests(usize),
    /// At an address of raw TCP.
    Raw,
}

/// What every TLS listener shares.
pub struct Front {
    state: ArcSwap<State>,
    resolver: Arc<Resolver>,
    challenges: Arc<Challenges>,
    sessions: Sessions,
    metrics: TlsMetrics,
    at_first_handshake: Option<Arc<dyn AtFirstHandshake>>,
}

/// What a reload replaces.
struct State {
    /// Those that are listened on; a configuration is found by the place in this order.
    listeners: Vec<TlsListener>,
    configurations: Configurations,
    client_cas: ClientCas,
    /// Whether certificates for a host are obtained on demand. None when no application's are.
    on_demand: Option<Router<bool>>,
    timeout: Duration,
    limit: u32,
    turns: Arc<Semaphore>,
}

/// A connection that may carry requests.
pub struct Shaken {
    /// Decrypts and encrypts.
    pub stream: TlsStream<Socket>,
    /// What its requests need to know of the handshake.
    pub tls: Tls,
}

/// Why a handshake brought no connection for requests.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// The client was too slow, or a certificate took too long to obtain.
    #[error("it took too long")]
    Timeout,
    /// Too many others were under way.
    #[error("it waited in vain for its turn, see proxy.handshakes.limit")]
    Limited,
    /// There is no certificate for what it asked for.
    #[error("there is no certificate for {}", .0.as_deref().unwrap_or("clients that name no server"))]
    Refused(Option<Box<str>>),
    /// The two sides could not agree, or the connection broke.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// It was an authority that looked at a challenge and has seen it.
    #[error("it was a look at the challenge for {0}")]
    Challenge(Box<str>),
}

impl Front {
    /// The front of a process that listens on the listeners of `settings`, for as long as it runs.
    ///
    /// # Errors
    /// When a listener's ciphers leave nothing to speak, or the system gives no randomness.
    pub fn new(
        store: &Store,
        settings: &Settings,
        client_cas: ClientCas,
        metrics: TlsMetrics,
        at_first_handshake: Option<Arc<dyn AtFirstHandshake>>,
    ) -> Result<Self, rustls::Error> {
        let (resolver, sessions) = (store.resolver(), Sessions::new()?);
        let state = State::new(settings, settings.proxy.https.clone(), client_cas, &resolver, &sessions)?;
        Ok(Self {
            state: ArcSwap::from_pointee(state),
            resolver,
            challenges: store.challenges(),
            sessions,
            metrics,
            at_first_handshake,
        })
    }

    /// Puts other settings in force for the handshakes that begin from now on. Listeners that are gone from
    /// the settings keep what they had.
    ///
    /// # Errors
    /// When a listener's ciphers leave nothing to speak, or the system gives no randomness; nothing has
    /// changed then.
    pub fn replace(&self, settings: &Settings, client_cas: ClientCas) -> Result<(), rustls::Error> {
        let before = self.state.load_full();
        let still = |old: &TlsListener| {
            settings.proxy.https.iter().find(|new| new.listener.listen == old.listener.listen)
        };
        let listeners = before.listeners.iter().map(|old| still(old).unwrap_or(old).clone()).collect();
        let mut state = State::new(settings, listeners, client_cas, &self.resolver, &self.sessions)?;
        if state.limit == before.limit {
            // Otherwise what is under way finishes with the turns of before.
            state.turns = Arc::clone(&before.turns);
        }
        self.sessions.keep(&state.client_cas.distinct().iter().map(|ca| ca.id()).collect::<Vec<_>>());
        self.state.store(Arc::new(state));
        Ok(())
    }

    /// The roots that the file of an application's `client_ca` held when it was read last.
    #[must_use]
    pub fn roots_of(&self, file: &std::path::Path) -> Option<RootsId> {
        self.state.load().client_cas.of_file(file)
    }

    /// Shakes hands on a connection that was accepted.
    ///
    /// # Errors
    /// Why the connection cannot carry requests; it is closed then.
    pub async fn shake(&self, entrance: Entrance, stream: Socket) -> Result<Shaken, NotServed> {
        let _under_way = self.metrics.under_way();
        let outcome = self.attempt(entrance, stream).await;
        self.metrics.count(match &outcome {
            Ok(_) => Handshake::Ok,
            Err(NotServed::Timeout) => Handshake::Timeout,
            Err(NotServed::Limited) => Handshake::Limited,
            Err(NotServed::Refused(_)) => Handshake::Refused,
            Err(NotServed::Failed(_)) => Handshake::Failed,
            Err(NotServed::Challenge(_)) => Handshake::Challenge,
        });
        outcome
    }

    async fn attempt(&self, entrance: Entrance, stream: Socket) -> Result<Shaken, NotServed> {
        let state = self.state.load_full();
        let begun = Instant::now();
        let mut deadline = begun + state.timeout;
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let hello = timeout_at(deadline, hello).await.map_err(|_| NotServed::Timeout)??;
        let (name, challenge) = (server_name(&hello.client_hello()), is_challenge(&hello.client_hello()));
        if challenge {
            return Err(self.show_challenge(&state, hello, name, deadline).await);
        }
        let mut shown = self.resolver.shown(name.as_deref());
        if let Some((unknown, hook)) = self.obtainable(&state, name.as_deref(), shown) {
            deadline = begun + FIRST_HANDSHAKE;
            if timeout_at(deadline, hook.obtain(unknown)).await == Ok(true) {
                shown = self.resolver.shown(Some(unknown));
            }
        }
        let Some(shown) = shown else {
            refuse(hello.io, name.is_some()).await;
            return Err(NotServed::Refused(name));
        };
        let client_ca = state.client_cas.of_host(name.as_deref());
        let stream = self.finish(&state, hello, entrance, client_ca, deadline).await?;
        Ok(Shaken { stream, tls: Tls { sni: name, shown, client_ca } })
    }

    /// The name and who obtains its certificate, when that is to be tried.
    fn obtainable<'a>(
        &'a self,
        state: &State,
        name: Option<&'a str>,
        shown: Option<Shown>,
    ) -> Option<(&'a str, &'a dyn AtFirstHandshake)> {
        let (router, hook) = (state.on_demand.as_ref()?, self.at_first_handshake.as_deref()?);
        let name = name.filter(|_| !shown.is_some_and(|shown| shown.named))?;
        router.of_host(name).is_some_and(|on_demand| *on_demand).then_some((name, hook))
    }

    /// The rest of a handshake, in its turn.
    async fn finish(
        &self,
        state: &State,
        hello: StartHandshake<Socket>,
        entrance: Entrance,
        client_ca: Option<RootsId>,
        deadline: Instant,
    ) -> Result<TlsStream<Socket>, NotServed> {
        let config = match entrance {
            Entrance::Requests(listener) => state.configurations.get(listener, client_ca),
            Entrance::Raw => state.configurations.raw(client_ca),
        };
        let config = config.ok_or(NotServed::Refused(None))?;
        let turn = timeout_at(deadline, state.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(NotServed::Limited) };
        let name = client_ca.and_then(|_| server_name(&hello.client_hello()));
        let shaking = hello.into_stream(Arc::clone(config));
        let mut stream = timeout_at(deadline, shaking)
            .await
            .map_err(|_| NotServed::Timeout)?
            .inspect_err(|error| tell_client_refused(name.as_deref(), error))?;
        let (_, connection) = stream.get_ref();
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed
            && let Some(ca) = client_ca.and_then(|id| state.client_cas.get(id))
            && !ca.accepts(connection.peer_certificates().unwrap_or_default(), UnixTime::now())
        {
            let _ = timeout(LAST_WORD, stream.shutdown()).await;
            let why = "the client resumed a session whose certificate is not good any more";
            return Err(NotServed::Failed(io::Error::other(why)));
        }
        self.metrics.session(resumed);
        Ok(stream)
    }

    /// Shows an authority the certificate of a challenge (RFC 8737 section 3) and closes.
    async fn show_challenge(
        &self,
        state: &State,
        hello: StartHandshake<Socket>,
        name: Option<Box<str>>,
        deadline: Instant,
    ) -> NotServed {
        let Some(name) = name else {
            refuse(hello.io, false).await;
            return NotServed::Refused(None);
        };
        if self.challenges.tls_alpn(&name).is_none() {
            refuse(hello.io, true).await;
            return NotServed::Refused(Some(name));
        }
        let shaking = hello.into_stream(Arc::clone(state.configurations.challenge()));
        match timeout_at(deadline, shaking).await {
            Ok(Ok(mut stream)) => {
                // The authority has what it came for, whether it reads the goodbye or not.
                let _ = timeout(LAST_WORD, stream.shutdown()).await;
                NotServed::Challenge(name)
            }
            Ok(Err(error)) => NotServed::Failed(error),
            Err(_) => NotServed::Timeout,
        }
    }
}

/// Logs that a client showed a certificate and it was not taken: the client only learns that it was refused.
fn tell_client_refused(name: Option<&str>, error: &io::Error) {
    let why = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let (Some(name), Some(rustls::Error::InvalidCertificate(why))) = (name, why) {
        info!(name, ?why, "the certificate of a client was refused");
    }
}

impl State {
    fn new(
        settings: &Settings,
        listeners: Vec<TlsListener>,
        client_cas: ClientCas,
        resolver: &Arc<Resolver>,
        sessions: &Sessions,
    ) -> Result<Self, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Resolver>::clone(resolver);
        let configurations = Configurations::new(&listeners, &client_cas.distinct(), &resolver, sessions)?;
        let handshakes = settings.proxy.handshakes;
        let turns = usize::try_from(handshakes.limit).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Self {
            listeners,
            configurations,
            client_cas,
            on_demand: on_demand(settings),
            timeout: handshakes.timeout.0,
            limit: handshakes.limit,
            turns: Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS))),
        })
    }
}

/// The hosts whose certificates are obtained on demand, among those that are not: of applications that share a
/// host one suffices.
fn on_demand(settings: &Settings) -> Option<Router<bool>> {
    let is = |app: &&switcher_config::settings::AppSettings| app.tls == Source::OnDemand;
    let (some, others): (Vec<_>, Vec<_>) = settings.apps.values().filter(|app| app.ends_tls()).partition(is);
    if some.is_empty() {
        return None;
    }
    let mut router = Router::default();
    for app in some.iter().chain(&others) {
        router.add(&app.hosts, &Route::to(PathPrefix::default(), is(app)));
    }
    Some(router)
}

/// Tells a client with an alert that it is not served. Nothing is encrypted yet, so an alert is a record of
/// two bytes: fatal, and which (RFC 8446 section 6).
pub(crate) async fn refuse(mut socket: Socket, named: bool) {
    const HANDSHAKE_FAILURE: u8 = 40;
    const UNRECOGNIZED_NAME: u8 = 112;
    let description = if named { UNRECOGNIZED_NAME } else { HANDSHAKE_FAILURE };
    let alert = [21, 3, 3, 0, 2, 2, description];
    let say = async {
        socket.write_all(&alert).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut socket).await
    };
    // An error means that nobody listens any more.
    let _ = timeout(LAST_WORD, say).await;
}
