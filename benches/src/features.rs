//! What some features cost this proxy, nginx, Caddy and Traefik: the processor time of a whole request that uses one.
//!
//! Everybody has one worker on a core of its own, as in [`crate::compare`], and its own way to say the same: gzip at level 6
//! (Traefik's has no level), one answer that is held, a limit that lets everybody through, a file of one name and password. Rounds are interleaved,
//! and ratios taken within one. What an answer must show is checked each time. Called by the bench of the same name.

mod rival;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use switcher::demo::trouble::Trouble;
use switcher_tests::program;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::compare::backend::{SMALL, TEXT};
use crate::compare::load::{AT_ONCE, Body, Errand, Load, Protocol, Stream, connect};
use crate::compare::server::{Place, Server, runtime};
use crate::compare::wire::Wire;
use crate::handshakes::median;
use crate::peer::config::HOST;

use self::rival::Rival;

/// The name of the block in the README and of the file in `target/`.
pub const NAME: &str = "features";

/// Exchanges of each connection before anything is counted.
const WARM: usize = 20;

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Scale {
    /// How often everybody's turn comes.
    pub rounds: usize,
    /// Requests in a turn.
    pub requests: usize,
    /// Requests in a turn whose answers are compressed.
    pub compressed: usize,
    /// Whether the others are measured too.
    pub others: bool,
}

impl Scale {
    /// What the README shows: about three minutes.
    pub const FULL: Self = Self { rounds: 5, requests: 20_000, compressed: 4_000, others: true };
    /// For development.
    pub const QUICK: Self = Self { rounds: 1, requests: 2_000, compressed: 400, others: true };
    /// To see that it works, with this proxy alone.
    pub const TINY: Self = Self { rounds: 1, requests: 320, compressed: 64, others: false };
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Feature {
    /// None of them.
    Nothing,
    /// A text of about 11 KiB, compressed.
    Gzip,
    /// An answer that is held already.
    Cache,
    /// A limit that this client does not reach.
    RateLimit,
    /// A name and a password that are right.
    Login,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Gzip, Self::Cache, Self::RateLimit, Self::Login];

    const fn title(self) -> &'static str {
        match self {
            Self::Nothing => "none of them",
            Self::Gzip => "gzip at level 6, 11 KiB of text",
            Self::Cache => "a cache hit",
            Self::RateLimit => "a rate limit by address",
            Self::Login => "a password (apr1; Caddy: bcrypt)",
        }
    }

    const fn requests(self, scale: Scale) -> usize {
        match self {
            Self::Gzip => scale.compressed,
            Self::Nothing | Self::Cache | Self::RateLimit | Self::Login => scale.requests,
        }
    }

    fn request(self) -> Vec<u8> {
        let (target, more) = match self {
            Self::Nothing | Self::RateLimit => ("/", ""),
            Self::Gzip => ("/text", "Accept-Encoding: gzip\r\n"),
            Self::Cache => ("/held", ""),
            // alice:correct horse
            Self::Login => ("/", "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==\r\n"),
        };
        format!(
            "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: switcher-bench\r\nAccept: */*\r\n{more}\r\n"
        )
        .into_bytes()
    }

    /// Whether an answer is what it should be.
    const fn is_right(self, encoded: bool, length: usize) -> bool {
        match self {
            Self::Gzip => encoded && length > 0 && length < TEXT.len() / 2,
            Self::Nothing | Self::Cache | Self::RateLimit | Self::Login => !encoded && length == SMALL,
        }
    }
}

/// One feature, measured from everybody who has it.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub feature: Feature,
    /// Processor time a request, in microseconds: a figure a round of each server in the order of [`Comparison::names`];
    /// none of one that has no such thing.
    pub figures: Vec<Vec<f64>>,
    /// The length of the answer's body, in bytes, as each sent it.
    pub lengths: Vec<usize>,
}

/// Requests that use no feature, by this build and another.
#[derive(Debug, Serialize)]
pub struct Unused {
    /// The protocol.
    pub title: &'static str,
    /// Processor time a request by the other build, in microseconds, a figure a round.
    pub before: Vec<f64>,
    /// The same by this one.
    pub now: Vec<f64>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// How much.
    pub scale: Scale,
    /// Who, this proxy first.
    pub names: Vec<&'static str>,
    /// The features.
    pub rows: Vec<Row>,
    /// Beside another build, if one was given.
    pub unused: Vec<Unused>,
    /// Who is not here, and why.
    pub skipped: Vec<String>,
    /// How busy the machine was with other things before it began, from 0 to 1.
    pub busy_before: f64,
}

struct Bench {
    scale: Scale,
    place: Place,
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
    pub fn run(scale: Scale, before: Option<PathBuf>) -> Result<Self, Trouble> {
        let busy_before = crate::quiet::busy()?;
        let bench = Bench::new(scale)?;
        let (rivals, skipped) = rival::everybody(scale.others);
        let names = rivals.iter().map(Rival::name).collect();
        let rows = Feature::ALL
            .into_iter()
            .map(|feature| bench.feature(feature, &rivals))
            .collect::<Result<_, _>>()?;
        let unused = before.map_or_else(|| Ok(Vec::new()), |before| bench.unused(before))?;
        Ok(Self { scale, names, rows, unused, skipped, busy_before })
    }

    /// The object for `target/` and `--json`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json!(self)
    }

    /// The tables, in the README's own notation.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut page = format!(
            "| CPU a request | {} |\n|---|{}\n",
            self.names.join(" | "),
            "---|".repeat(self.names.len())
        );
        let base = self.names.iter().position(|name| *name == crate::compare::BASE);
        for row in &self.rows {
            let _ = write!(page, "| {} |", row.feature.title());
            for (at, figures) in row.figures.iter().enumerate() {
                if figures.is_empty() {
                    let _ = write!(page, " has none |");
                    continue;
                }
                let _ = write!(page, " {:.1} µs", median(figures.clone()));
                if let Some(base) = base.filter(|base| *base != at) {
                    let ratios = figures.iter().zip(&row.figures[base]).map(|(figure, base)| figure / base);
                    let _ = write!(page, ", {:.2} of nginx's", median(ratios.collect()));
                }
                if row.feature == Feature::Gzip {
                    let _ = write!(page, "; {} bytes", row.lengths[at]);
                }
                page.push_str(" |");
            }
            page.push('\n');
        }
        for Unused { title, before, now } in &self.unused {
            let ratios = now.iter().zip(before).map(|(now, before)| now / before).collect();
            let (now, before) = (median(now.clone()), median(before.clone()));
            let _ = writeln!(
                page,
                "\n{title}, none of them: {:.3} of the build before ({now:.1} µs, {before:.1} µs).",
                median(ratios)
            );
        }
        for skipped in &self.skipped {
            let _ = writeln!(page, "\n{skipped}");
        }
        let _ = writeln!(
            page,
            "\nMedians of {} interleaved rounds of {} requests ({} with compression) over {AT_ONCE} connections of HTTP/1.1; the machine was {:.0} % busy with other things before.",
            self.scale.rounds,
            self.scale.requests,
            self.scale.compressed,
            self.busy_before * 100.0
        );
        page
    }
}

impl Bench {
    fn new(scale: Scale) -> Result<Self, Trouble> {
        Ok(Self { scale, place: Place::make()?, runtime: runtime()? })
    }

    fn feature(&self, feature: Feature, rivals: &[Rival]) -> Result<Row, Trouble> {
        let servers = rivals
            .iter()
            .map(|rival| match rival.written(feature, self.place.backend) {
                Some(write) => {
                    let asked = feature.request();
                    let started = Server::with(&self.place, rival.is_apart(), &asked, write);
                    self.runtime.block_on(started).map(Some)
                }
                None => Ok(None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut row =
            Row { feature, figures: vec![Vec::new(); rivals.len()], lengths: vec![0; rivals.len()] };
        for round in 1..=self.scale.rounds {
            eprintln!("{}, round {round} of {}", feature.title(), self.scale.rounds);
            for (at, server) in servers.iter().enumerate() {
                let Some(server) = server else { continue };
                let (micros, length) = self.request(server, feature)?;
                row.figures[at].push(micros);
                row.lengths[at] = length;
            }
        }
        Ok(row)
    }

    /// Processor time a request, in microseconds, and the length of the answer.
    fn request(&self, server: &Server, feature: Feature) -> Result<(f64, usize), Trouble> {
        let errand = Errand { protocol: Protocol::Http1, tls: false, body: Body::Small };
        let door = server.door(errand);
        let failed = || Trouble::system(format!("ask for {} at {door}", feature.title()));
        let each = feature.requests(self.scale).div_ceil(AT_ONCE);
        self.runtime.block_on(async {
            let mut wires = Vec::with_capacity(AT_ONCE);
            for _ in 0..AT_ONCE {
                wires.push(Wire::over(connect(door, errand).await.map_err(failed())?));
            }
            let (wires, _) = turn(wires, feature, WARM).await.map_err(failed())?;
            let before = server.cpu()?;
            let (_, length) = turn(wires, feature, each).await.map_err(failed())?;
            Ok((micros(server.cpu()?.saturating_sub(before), each * AT_ONCE), length))
        })
    }

    /// Requests that use nothing, by another build and this one.
    fn unused(&self, before: PathBuf) -> Result<Vec<Unused>, Trouble> {
        let builds = [before, program::find("switcher-proxy")].map(Rival::Ours);
        let servers = builds
            .iter()
            .filter_map(|rival| rival.written(Feature::Nothing, self.place.backend))
            .map(|write| {
                let asked = Feature::Nothing.request();
                let started = Server::with(&self.place, false, &asked, write);
                self.runtime.block_on(started)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let errands = [
            ("HTTP/1.1", Errand { protocol: Protocol::Http1, tls: false, body: Body::Small }),
            ("HTTP/2 over TLS", Errand { protocol: Protocol::Http2(1), tls: true, body: Body::Small }),
        ];
        let mut all = errands.map(|(title, _)| Unused { title, before: Vec::new(), now: Vec::new() });
        for round in 1..=self.scale.rounds * 2 {
            eprintln!("two builds, round {round} of {}", self.scale.rounds * 2);
            for (unused, (_, errand)) in all.iter_mut().zip(errands) {
                for (server, figures) in servers.iter().zip([&mut unused.before, &mut unused.now]) {
                    figures.push(self.plain(server, errand)?);
                }
            }
        }
        Ok(all.into())
    }

    fn plain(&self, server: &Server, errand: Errand) -> Result<f64, Trouble> {
        let door = server.door(errand);
        let failed = || Trouble::system(format!("exchange {errand:?} at {door}"));
        let load = self.runtime.block_on(Load::open(door, errand)).map_err(failed())?;
        let before = server.cpu()?;
        let load = self.runtime.block_on(load.run(self.scale.requests)).map_err(failed())?;
        let used = server.cpu()?.saturating_sub(before);
        drop(load);
        Ok(micros(used, self.scale.requests.next_multiple_of(AT_ONCE)))
    }
}

type Wires = Vec<Wire<Box<dyn Stream>>>;

/// So many exchanges on each connection. Gives the connections back, and the length of an answer.
async fn turn(wires: Wires, feature: Feature, each: usize) -> io::Result<(Wires, usize)> {
    let mut tasks = JoinSet::new();
    for mut wire in wires {
        tasks.spawn(async move {
            let (request, mut told) = (feature.request(), 0);
            for _ in 0..each {
                let (head, length) = wire.ask(&request).await?;
                if head.word != "200" || head.close || !feature.is_right(head.encoded, length) {
                    return Err(io::Error::other(format!("{head:?} with {length} bytes came")));
                }
                told = length;
            }
            Ok((wire, told))
        });
    }
    let (mut wires, mut told) = (Vec::with_capacity(AT_ONCE), 0);
    while let Some(done) = tasks.join_next().await {
        let (wire, length) = done.map_err(io::Error::other)??;
        (told, _) = (length, wires.push(wire));
    }
    Ok((wires, told))
}

#[expect(clippy::cast_precision_loss, reason = "thousands of exchanges")]
fn micros(used: Duration, count: usize) -> f64 {
    used.as_secs_f64() * 1e6 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_run_measures_every_feature_from_this_proxy() {
        let comparison =
            Comparison::run(Scale::TINY, Some(program::find("switcher-proxy"))).expect("a comparison");
        assert_eq!(comparison.rows.len(), Feature::ALL.len());
        for row in &comparison.rows {
            assert!(row.figures[0].len() == 1 && row.figures[0][0] > 0.0, "{row:?}");
        }
        let page = comparison.to_markdown();
        assert!(page.contains("a cache hit") && page.contains("of the build before"), "{page}");
    }
}
