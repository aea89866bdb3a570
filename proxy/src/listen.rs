//! Listening sockets: bound once at start or taken over from the process before, then accepted from.
//!
//! The sockets are ours, not Pingora's, so that a failure to bind can say what to do about it and an
//! upgrade can pass them on without one connection refused. `bind` makes them, `accept` takes connections.

mod accept;
mod bind;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use switcher_config::ListenPlace;
use switcher_config::settings::{Listener, ProxySettings, Settings};

use crate::smoke::{Secret, Smoker, Way, Ways};

pub use accept::accept;
pub use bind::CannotListen;
pub(crate) use bind::bind_private;

/// Every socket the proxy listens on.
#[derive(Debug)]
pub struct Listeners {
    /// Plain HTTP.
    pub http: Vec<Listening>,
    /// TLS.
    pub https: Vec<Listening>,
    /// Raw TCP, by the addresses as applications write them.
    pub raw: Vec<(SocketAddr, Listening)>,
    /// The admin API.
    pub admin: UnixListener,
    /// The read-only TCP listener.
    pub status: Option<TcpListener>,
}

/// A socket that requests come in at.
#[derive(Debug)]
pub enum Listening {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a unix socket.
    Unix(UnixListener),
}

impl Listening {
    /// Another handle of the same socket.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

    /// How this process itself asks it.
    fn way(&self, settings: &Listener) -> Option<Way> {
        let place = match self {
            Self::Tcp(listener) => listener.local_addr().ok()?.into(),
            Self::Unix(_) => settings.listen.clone(),
        };
        Some(Way::new(place, settings.proxy_protocol))
    }
}

impl From<Listening> for OwnedFd {
    fn from(listening: Listening) -> Self {
        match listening {
            Listening::Tcp(listener) => listener.into(),
            Listening::Unix(listener) => listener.into(),
        }
    }
}

/// Sockets by the name under which they are handed over: `tcp ADDRESS` or `unix PATH`.
pub type Inherited = HashMap<String, OwnedFd>;

impl Listeners {
    /// Asks these listeners, for smoke tests.
    #[must_use]
    pub fn smoker(&self, secret: Secret, settings: &ProxySettings) -> Smoker {
        let way = |(socket, how): (&Listening, &Listener)| Some((how.name.clone(), socket.way(how)?));
        let https = self.https.iter().zip(settings.https.iter().map(|tls| &tls.listener));
        let ways = Ways {
            http: self.http.iter().zip(&settings.http).filter_map(way).collect(),
            https: https.filter_map(way).collect(),
        };
        Smoker::new(secret, ways)
    }

    /// Opens every socket of the settings, taking those that were handed over.
    ///
    /// # Errors
    /// Names the socket and the remedy.
    pub fn open(settings: &Settings, inherited: &mut Inherited) -> Result<Self, CannotListen> {
        let (raw, settings) = (settings.raw_addresses(), &settings.proxy);
        let every = requests(settings).filter_map(|listener| listener.listen.tcp());
        let every = every.chain(settings.status.map(|status| status.0)).chain(raw.iter().copied());
        let every: Vec<SocketAddr> = every.collect();
        let mut open = |listener: &Listener| open(listener, settings, &every, inherited);
        let http = settings.http.iter().map(&mut open).collect::<Result<_, _>>()?;
        let https = settings.https.iter().map(|tls| open(&tls.listener)).collect::<Result<_, _>>()?;
        let raw = raw.into_iter().map(|at| Ok((at, open(&Listener::at(at))?))).collect::<Result<_, _>>()?;
        let status = settings.status.map(|at| open_tcp(at.0, settings, &every, inherited)).transpose()?;
        let admin = match inherited.remove(&unix_name(&settings.admin)) {
            Some(fd) => UnixListener::from(fd),
            None => bind::admin(&settings.admin)?,
        };
        Ok(Self { http, https, raw, admin, status })
    }

    /// Duplicates of all of them with their names, to hand over.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn to_hand_over(&self, settings: &ProxySettings) -> io::Result<Vec<(String, OwnedFd)>> {
        let mut named = Vec::new();
        for (listening, listener) in self.http.iter().chain(&self.https).zip(requests(settings)) {
            let name = match &listener.listen {
                ListenPlace::Tcp(address) => tcp_name(address.0),
                ListenPlace::Unix(path) => unix_name(path.as_path()),
            };
            named.push((name, listening.try_clone()?.into()));
        }
        for (address, listening) in &self.raw {
            named.push((tcp_name(*address), listening.try_clone()?.into()));
        }
        for (listener, address) in self.status.iter().zip(&settings.status) {
            named.push((tcp_name(address.0), listener.try_clone()?.into()));
        }
        named.push((unix_name(&settings.admin), self.admin.try_clone()?.into()));
        Ok(named)
    }
}

/// Takes the files of the unix sockets away that were listened on. For a process that ends with nobody after it.
pub fn remove_sockets(settings: &ProxySettings) {
    let paths = requests(settings).filter_map(|listener| match &listener.listen {
        ListenPlace::Unix(path) => Some(path.as_path()),
        ListenPlace::Tcp(_) => None,
    });
    for path in paths.chain([settings.admin.as_path()]) {
        // That it is gone already would be just as well.
        let _ = std::fs::remove_file(path);
    }
}

/// The listeners of requests: the plain ones, then those of TLS.
fn requests(settings: &ProxySettings) -> impl Iterator<Item = &Listener> {
    settings.http.iter().chain(settings.https.iter().map(|tls| &tls.listener))
}

fn open(
    listener: &Listener,
    settings: &ProxySettings,
    every: &[SocketAddr],
    inherited: &mut Inherited,
) -> Result<Listening, CannotListen> {
    match &listener.listen {
        ListenPlace::Tcp(address) => {
            let socket = open_tcp(address.0, settings, every, inherited)?;
            bind::set_options(&socket, &settings.tcp)
                .map_err(|error| CannotListen::for_options(address.0, &error))?;
            Ok(Listening::Tcp(socket))
        }
        ListenPlace::Unix(path) => match inherited.remove(&unix_name(path.as_path())) {
            Some(fd) => Ok(Listening::Unix(fd.into())),
            None => bind::unix(path, listener.mode).map(Listening::Unix),
        },
    }
}

fn open_tcp(
    address: SocketAddr,
    settings: &ProxySettings,
    every: &[SocketAddr],
    inherited: &mut Inherited,
) -> Result<TcpListener, CannotListen> {
    match inherited.remove(&tcp_name(address)) {
        Some(fd) => Ok(TcpListener::from(fd)),
        None => bind::tcp(address, every.iter().copied(), &settings.tcp),
    }
}

fn tcp_name(address: SocketAddr) -> String {
    format!("tcp {address}")
}

fn unix_name(path: &Path) -> String {
    format!("unix {}", path.display())
}
