//! TLS handshakes a second, and what each costs: this proxy beside nginx and HAProxy.
//!
//! A handshake here is a TCP connection, the TLS 1.3 handshake and the end of both, without a request. Every
//! server has one worker on a core of its own, the same P-256 certificate and the same key exchange; the load
//! has another core. Rounds are interleaved, so that what else the machine does meets everyone alike, and every
//! ratio is taken within a round. Called by the bench of the same name.

pub mod client;
pub mod cores;
pub mod report;
pub mod server;

use std::time::{Duration, Instant};

use rustls::{HandshakeKind, NamedGroup};
use serde::Serialize;
use switcher::demo::trouble::Trouble;

use self::client::Load;
use self::cores::Cores;
use self::server::{Certificates, Server};

/// How many names the proxy with many certificates has.
const MANY: usize = 500;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// How often everybody's turn comes.
    pub rounds: usize,
    /// Handshakes of each kind in a turn.
    pub handshakes: usize,
}

impl Scale {
    /// What the README shows: about a minute.
    pub const FULL: Self = Self { rounds: 5, handshakes: 2000 };
    /// To see that it works.
    pub const QUICK: Self = Self { rounds: 1, handshakes: 200 };
}

/// One kind of handshake in one turn of one server.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Handshakes a second of wall time.
    pub per_second: f64,
    /// Time of the server's processor for each, in microseconds, with what the kernel does in its name.
    pub cpu_micros: f64,
    /// How much of the wall time the server's processor was at it, from 0 to 1: near 1 the server is what
    /// limits `per_second`, else the load is.
    pub busy: f64,
}

/// One turn of one server.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Turn {
    /// Handshakes with key exchange, certificate and signature.
    pub full: Sample,
    /// Handshakes with a ticket and key exchange.
    pub resumed: Sample,
}

/// A server that is measured, and its turns.
#[derive(Debug, Serialize)]
pub struct Subject {
    /// What the report calls it.
    pub name: &'static str,
    /// One turn a round.
    pub turns: Vec<Turn>,
    #[serde(skip)]
    server: Server,
    #[serde(skip)]
    load: Load,
}

/// Everything that was measured. This proxy with one name and X25519 comes first.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The scale, for the report.
    pub handshakes: usize,
    /// In the order of the report.
    pub subjects: Vec<Subject>,
    /// Who is not here, and why.
    pub skipped: Vec<String>,
}

/// What this proxy is called when it is compared with the others.
pub const OURS: &str = "switcher-proxy";

impl Comparison {
    /// Starts everybody and measures.
    ///
    /// # Errors
    /// When a server does not start, or a handshake fails or is not of the kind that was asked for.
    ///
    /// # Panics
    /// When this proxy is not built, or is older than its sources.
    pub fn run(scale: Scale) -> Result<Self, Trouble> {
        let cores = Cores::of_this_machine()?;
        // Whatever this process starts from here on, threads of the load among it, stays on that core.
        cores.pin_to_load()?;
        let one = Certificates::make(1)?;
        let many = Certificates::make(MANY)?;
        let mut comparison = Self { handshakes: scale.handshakes, subjects: Vec::new(), skipped: Vec::new() };
        let x25519 = NamedGroup::X25519;
        comparison.add(OURS, Server::ours(&cores, &one)?, &one, x25519);
        comparison.add_peer("nginx", Server::nginx(&cores, &one)?, &one);
        comparison.add_peer("HAProxy", Server::haproxy(&cores, &one)?, &one);
        comparison.add("switcher-proxy, 500 names", Server::ours(&cores, &many)?, &many, x25519);
        let hybrid = NamedGroup::X25519MLKEM768;
        comparison.add("switcher-proxy, X25519MLKEM768", Server::ours(&cores, &one)?, &one, hybrid);
        for _ in 0..scale.rounds {
            for subject in &mut comparison.subjects {
                subject.take_turn(scale.handshakes)?;
            }
        }
        Ok(comparison)
    }

    fn add(&mut self, name: &'static str, server: Server, certificates: &Certificates, group: NamedGroup) {
        let load = Load::new(server.address(), certificates.names(), group);
        self.subjects.push(Subject { name, turns: Vec::new(), server, load });
    }

    fn add_peer(&mut self, name: &'static str, server: Option<Server>, certificates: &Certificates) {
        match server {
            Some(server) => self.add(name, server, certificates, NamedGroup::X25519),
            None => self.skipped.push(format!("skipped: {name} is not installed")),
        }
    }

    /// The turns of the subject with that name; none when it is not here.
    #[must_use]
    pub fn turns(&self, name: &str) -> Option<&[Turn]> {
        self.subjects.iter().find(|subject| subject.name == name).map(|subject| subject.turns.as_slice())
    }
}

impl Subject {
    fn take_turn(&mut self, handshakes: usize) -> Result<(), Trouble> {
        self.load.take_tickets()?;
        let full = self.sample(handshakes, HandshakeKind::Full)?;
        let resumed = self.sample(handshakes, HandshakeKind::Resumed)?;
        self.turns.push(Turn { full, resumed });
        Ok(())
    }

    fn sample(&self, handshakes: usize, kind: HandshakeKind) -> Result<Sample, Trouble> {
        let (cpu, began) = (self.server.cpu()?, Instant::now());
        self.load.run(handshakes, kind)?;
        let (cpu, wall) = (self.server.cpu()?.saturating_sub(cpu), began.elapsed());
        Ok(Sample::of(handshakes, cpu, wall))
    }
}

impl Sample {
    #[expect(clippy::cast_precision_loss, reason = "thousands of handshakes")]
    fn of(handshakes: usize, cpu: Duration, wall: Duration) -> Self {
        let (count, cpu, wall) = (handshakes as f64, cpu.as_secs_f64(), wall.as_secs_f64());
        Self { per_second: count / wall, cpu_micros: cpu * 1e6 / count, busy: cpu / wall }
    }
}

/// The middle one of some figures.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_says_what_each_handshake_cost() {
        let sample = Sample::of(1000, Duration::from_millis(150), Duration::from_millis(200));
        assert!((sample.per_second - 5000.0).abs() < 1e-6, "{sample:?}");
        assert!((sample.cpu_micros - 150.0).abs() < 1e-6, "{sample:?}");
        assert!((sample.busy - 0.75).abs() < 1e-6, "{sample:?}");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }
}
