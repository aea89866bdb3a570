//! What this proxy costs beside nginx, `HAProxy` and Caddy, before one application.
//!
//! Everybody has one worker on a core of its own; load and application have another. Each measure is taken from all
//! in turn before the next round begins, so that what else the machine does meets everyone alike, and every ratio is
//! taken within a round. Processor time is that of the server's threads, with what the kernel does in their name.
//! Figures are reported and never judged; an answer that is not as it should be ends the bench. Called by the bench
//! of the same name.

pub mod backend;
pub mod load;
pub mod memory;
pub mod report;
pub mod server;
pub mod wire;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, NamedGroup};
use serde::Serialize;
use switcher::demo::trouble::Trouble;
use tokio::runtime::Runtime;

use self::load::{Body, Errand, Load, Protocol};
use self::memory::{Sort, Way};
use self::server::{Maker, Place, Server, others, runtime};
use crate::handshakes::client::Load as Handshakes;
use crate::peer::config::{HOST, Ours};

/// The name of the block in the README and of the file in `target/`.
pub const NAME: &str = "compare";
/// What this proxy is called, always first.
pub const OURS: &str = "switcher-proxy";
/// Whom ratios are taken over.
pub const BASE: &str = "nginx";

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Scale {
    /// How often everybody's turn comes.
    pub rounds: usize,
    /// Requests in a turn, with small bodies.
    pub small: usize,
    /// Requests in a turn, with large bodies.
    pub large: usize,
    /// Handshakes of each kind in a turn.
    pub handshakes: usize,
    /// Connections that are kept to weigh them, of HTTP/1.1 and of TLS.
    pub connections: usize,
    /// WebSockets that are kept to weigh them.
    pub sockets: usize,
    /// The length of one large body, in bytes.
    pub body: usize,
    /// Applications of our proxy that has many.
    pub apps: usize,
    /// Whether the others are measured too.
    pub others: bool,
}

impl Scale {
    /// What the README shows: about a quarter of an hour.
    pub const FULL: Self = Self {
        rounds: 5,
        small: 20_000,
        large: 4_000,
        handshakes: 2_000,
        connections: 10_000,
        sockets: 2_000,
        body: 1 << 30,
        apps: 10_000,
        others: true,
    };
    /// For development.
    pub const QUICK: Self = Self {
        rounds: 1,
        small: 2_000,
        large: 400,
        handshakes: 200,
        connections: 200,
        sockets: 200,
        body: 64 << 20,
        apps: 500,
        others: true,
    };
    /// To see that it works, with this proxy alone.
    pub const TINY: Self = Self {
        rounds: 1,
        small: 320,
        large: 64,
        handshakes: 20,
        connections: 20,
        sockets: 20,
        body: 1 << 20,
        apps: 20,
        others: false,
    };

    /// How many file descriptors the busiest process needs: this proxy takes no more connections than it could open
    /// one to an upstream for, and keeps a reserve.
    const fn descriptors(self) -> u64 {
        let most = if self.connections > self.sockets { self.connections } else { self.sockets };
        3 * most as u64 + 2_000
    }

    /// With no more connections than so many descriptors are enough for.
    fn within(self, descriptors: u64) -> Self {
        let most = usize::try_from(descriptors.saturating_sub(2_000) / 3).unwrap_or(usize::MAX).max(1);
        Self { connections: self.connections.min(most), sockets: self.sockets.min(most), ..self }
    }

    /// How many connections of a sort are kept.
    const fn kept(self, sort: Sort) -> usize {
        match sort {
            Sort::Plain | Sort::Tls => self.connections,
            Sort::WebSocket => self.sockets,
        }
    }
}

/// The errands, in the order of the report.
const ERRANDS: [(&str, Errand); 8] = {
    const fn errand(protocol: Protocol, tls: bool, body: Body) -> Errand {
        Errand { protocol, tls, body }
    }
    use Protocol::{Http1, Http2};
    [
        ("HTTP/1.1", errand(Http1, false, Body::Small)),
        ("HTTP/1.1 over TLS", errand(Http1, true, Body::Small)),
        ("HTTP/2 over TLS", errand(Http2(1), true, Body::Small)),
        ("HTTP/2 over TLS, 8 requests at once a connection", errand(Http2(8), true, Body::Small)),
        ("HTTP/2 in clear text", errand(Http2(1), false, Body::Small)),
        ("HTTP/1.1, answers of 100 KiB", errand(Http1, false, Body::Answer)),
        ("HTTP/1.1, uploads of 100 KiB", errand(Http1, false, Body::Upload)),
        ("HTTP/2 over TLS, answers of 100 KiB", errand(Http2(1), true, Body::Answer)),
    ]
};

const HANDSHAKES: [(&str, HandshakeKind); 2] =
    [("full TLS handshake", HandshakeKind::Full), ("resumed TLS handshake", HandshakeKind::Resumed)];

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Processor time, in microseconds.
    Micros,
    /// Resident memory, in bytes.
    Bytes,
}

/// One thing that was measured from everybody.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub title: &'static str,
    /// What its figures count, for one request, handshake or connection.
    pub unit: Unit,
    /// A figure a round, of each server in the order of [`Comparison::names`].
    pub figures: Vec<Vec<f64>>,
}

/// One thing that this proxy can be without, measured from it with and without.
#[derive(Debug, Serialize)]
pub struct Own {
    /// What it is.
    pub title: String,
    /// Processor time a request without it, a figure a round.
    pub without: Vec<f64>,
    /// The same with it.
    pub with: Vec<f64>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// How much.
    pub scale: Scale,
    /// Who, this proxy first.
    pub names: Vec<&'static str>,
    /// Everybody's figures.
    pub rows: Vec<Row>,
    /// This proxy beside itself.
    pub own: Vec<Own>,
    /// Who is not here, and why.
    pub skipped: Vec<String>,
    /// How busy the machine was with other things before it began, from 0 to 1.
    pub busy_before: f64,
}

/// Everything that a run needs while it runs.
struct Bench {
    scale: Scale,
    place: Place,
    makers: Vec<(&'static str, Maker)>,
    runtime: Runtime,
}

impl Comparison {
    /// Starts everybody and measures.
    ///
    /// # Errors
    /// When a server does not start, or an answer is not as it should be.
    ///
    /// # Panics
    /// When this proxy is not built, or is older than its sources.
    pub fn run(scale: Scale) -> Result<Self, Trouble> {
        let (busy_before, skipped) = (crate::quiet::busy()?, Vec::new());
        let scale = scale.within(most_descriptors());
        allow_descriptors(scale.descriptors())?;
        let bench = Bench::new(scale)?;
        let mut comparison =
            Self { scale, names: Vec::new(), rows: Vec::new(), own: Vec::new(), skipped, busy_before };
        let (makers, skipped) = bench.everybody();
        comparison.skipped = skipped;
        let bench = Bench { makers, ..bench };
        comparison.names = bench.makers.iter().map(|(name, _)| *name).collect();
        let work = bench.work()?;
        let handshakes = bench.handshakes()?;
        let memory = bench.memory()?;
        let bodies = bench.bodies()?;
        comparison.own = bench.own()?;
        comparison.rows = work.into_iter().chain(handshakes).chain(memory).chain(bodies).collect();
        Ok(comparison)
    }
}

impl Bench {
    fn new(scale: Scale) -> Result<Self, Trouble> {
        Ok(Self { scale, place: Place::make()?, makers: Vec::new(), runtime: runtime()? })
    }

    fn everybody(&self) -> (Vec<(&'static str, Maker)>, Vec<String>) {
        let (others, skipped) = if self.scale.others { others() } else { (Vec::new(), Vec::new()) };
        let ours = (OURS, Maker::Ours(Ours::PLAIN));
        (std::iter::once(ours).chain(others).collect(), skipped)
    }

    fn start(&self, maker: &Maker) -> Result<Server, Trouble> {
        self.runtime.block_on(Server::start(maker, &self.place))
    }

    fn start_all(&self) -> Result<Vec<Server>, Trouble> {
        self.makers.iter().map(|(_, maker)| self.start(maker)).collect()
    }

    /// Processor time a request, in microseconds.
    fn request(&self, server: &Server, errand: Errand) -> Result<f64, Trouble> {
        let door = server.door(errand);
        let failed = || Trouble::system(format!("exchange {errand:?} at {door}"));
        let exchanges = match errand.body {
            Body::Small => self.scale.small,
            Body::Answer | Body::Upload => self.scale.large,
        };
        let load = self.runtime.block_on(Load::open(door, errand)).map_err(failed())?;
        let before = server.cpu()?;
        let load = self.runtime.block_on(load.run(exchanges)).map_err(failed())?;
        let used = server.cpu()?.saturating_sub(before);
        drop(load);
        Ok(micros(used, exchanges.next_multiple_of(load::AT_ONCE)))
    }

    fn work(&self) -> Result<Vec<Row>, Trouble> {
        let servers = self.start_all()?;
        let mut rows: Vec<Row> = ERRANDS.map(|(title, _)| self.row(title, Unit::Micros)).into();
        for round in 1..=self.scale.rounds {
            eprintln!("requests, round {round} of {}", self.scale.rounds);
            for (row, (_, errand)) in rows.iter_mut().zip(ERRANDS) {
                for (server, figures) in servers.iter().zip(&mut row.figures) {
                    figures.push(self.request(server, errand)?);
                }
            }
        }
        Ok(rows)
    }

    fn handshakes(&self) -> Result<Vec<Row>, Trouble> {
        let servers = self.start_all()?;
        let name = ServerName::try_from(HOST).map_err(std::io::Error::other);
        let name = name.map_err(Trouble::system("name a server"))?;
        let loads: Vec<_> = servers
            .iter()
            .map(|server| Handshakes::new(server.https(), vec![name.clone()], NamedGroup::X25519))
            .collect();
        let mut rows: Vec<Row> = HANDSHAKES.map(|(title, _)| self.row(title, Unit::Micros)).into();
        for round in 1..=self.scale.rounds {
            eprintln!("handshakes, round {round} of {}", self.scale.rounds);
            for (row, (_, kind)) in rows.iter_mut().zip(HANDSHAKES) {
                for ((server, load), figures) in servers.iter().zip(&loads).zip(&mut row.figures) {
                    load.take_tickets()?;
                    let before = server.cpu()?;
                    load.run(self.scale.handshakes, kind)?;
                    figures.push(micros(server.cpu()?.saturating_sub(before), self.scale.handshakes));
                }
            }
        }
        Ok(rows)
    }

    fn memory(&self) -> Result<Vec<Row>, Trouble> {
        let mut rows: Vec<Row> = Sort::ALL.map(|sort| self.row(sort.title(), Unit::Bytes)).into();
        for round in 1..=self.scale.rounds {
            eprintln!("memory, round {round} of {}", self.scale.rounds);
            for (row, sort) in rows.iter_mut().zip(Sort::ALL) {
                for ((_, maker), figures) in self.makers.iter().zip(&mut row.figures) {
                    let server = self.start(maker)?;
                    let bytes = memory::of_each(&server, sort, self.scale.kept(sort));
                    figures.push(self.runtime.block_on(bytes)?);
                }
            }
        }
        Ok(rows)
    }

    fn bodies(&self) -> Result<Vec<Row>, Trouble> {
        let mut rows: Vec<Row> = Way::ALL.map(|way| self.row(way.title(), Unit::Bytes)).into();
        for round in 1..=self.scale.rounds {
            eprintln!("large bodies, round {round} of {}", self.scale.rounds);
            for (row, way) in rows.iter_mut().zip(Way::ALL) {
                for ((_, maker), figures) in self.makers.iter().zip(&mut row.figures) {
                    let server = self.start(maker)?;
                    let bytes = memory::of_body(&server, way, self.scale.body);
                    figures.push(self.runtime.block_on(bytes)?);
                }
            }
        }
        Ok(rows)
    }

    /// This proxy with many applications, and with an access log, beside itself.
    fn own(&self) -> Result<Vec<Own>, Trouble> {
        let (apps, (_, errand)) = (self.scale.apps, ERRANDS[0]);
        let plain = self.start(&Maker::Ours(Ours::PLAIN))?;
        let many = self.start(&Maker::Ours(Ours { others: apps - 1, logged: false }))?;
        let logged = self.start(&Maker::Ours(Ours { others: 0, logged: true }))?;
        let own = |title: String| Own { title, without: Vec::new(), with: Vec::new() };
        let mut rows =
            [own(format!("{apps} applications beside one")), own("access log to a file".to_owned())];
        for round in 1..=self.scale.rounds {
            eprintln!("this proxy beside itself, round {round} of {}", self.scale.rounds);
            for (row, server) in rows.iter_mut().zip([&many, &logged]) {
                row.without.push(self.request(&plain, errand)?);
                row.with.push(self.request(server, errand)?);
            }
        }
        Ok(rows.into())
    }

    fn row(&self, title: &'static str, unit: Unit) -> Row {
        Row { title, unit, figures: vec![Vec::new(); self.makers.len()] }
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousands of exchanges")]
fn micros(used: Duration, count: usize) -> f64 {
    used.as_secs_f64() * 1e6 / count as f64
}

/// How many file descriptors a process here can have.
fn most_descriptors() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Takes as many file descriptors as may be had; the servers inherit that.
fn allow_descriptors(needed: u64) -> Result<(), Trouble> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum.or(Some(needed)), maximum: limit.maximum };
    setrlimit(Resource::Nofile, all).map_err(|error| Trouble::system("allow more open files")(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_run_measures_everything_from_this_proxy() {
        let comparison = Comparison::run(Scale::TINY).expect("a comparison");
        assert_eq!(comparison.names, [OURS]);
        assert_eq!(
            comparison.rows.len(),
            ERRANDS.len() + HANDSHAKES.len() + Sort::ALL.len() + Way::ALL.len()
        );
        for row in comparison.rows.iter().filter(|row| row.unit == Unit::Micros) {
            assert!(row.figures[0].len() == 1 && row.figures[0][0] > 0.0, "{row:?}");
        }
        assert_eq!(comparison.own.len(), 2);
        assert!(report::to_markdown(&comparison).contains("HTTP/2 over TLS"));
    }

    #[test]
    fn what_a_request_costs_is_its_share() {
        assert!((micros(Duration::from_millis(30), 1000) - 30.0).abs() < 1e-9);
    }

    #[test]
    fn no_more_connections_are_kept_than_descriptors_allow() {
        for descriptors in [2_600, 20_000, u64::MAX] {
            let scale = Scale::FULL.within(descriptors);
            assert!(scale.descriptors() <= descriptors && scale.connections > 0, "{descriptors}: {scale:?}");
        }
        assert_eq!(Scale::FULL.within(u64::MAX).connections, Scale::FULL.connections);
    }
}
