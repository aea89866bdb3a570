//! What a switch costs the clients: the load of the drain gate over many switches between two versions, by our promote
//! and by what others have for it.
//!
//! Everybody gets the same load, the same two versions, one worker, and one switch a second; both versions stay up, so
//! whatever is lost was lost by the switch. Counts, never times. Ours must lose nothing, or the bench fails; the
//! others' counts are told. A promise broken on purpose shows that the referee sees. Called by `compare_swap`.

pub mod report;
pub mod rival;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use switcher::demo::backend::Backend;
use switcher::demo::child::Programs;
use switcher::demo::load::{Fault, Lane, Load, Plan, Tally};
use switcher::demo::stage::{Move, Stage};
use switcher::demo::trouble::Trouble;
use switcher_config::{Slot, Span};
use switcher_tests::certificate::{Certificate, put};
use tempfile::TempDir;
use tokio::time::{sleep, sleep_until};

use self::rival::{Rival, Way};
use crate::peer::config::HOST;

/// The name of the block in the README and of the file in `target/`.
pub const NAME: &str = "compare-swap";
/// What our way is called, always first.
pub const OURS: &str = "switcher-proxy, `switcher promote`";

/// How long streams and WebSockets may go on after a switch before they may be closed, with a goodbye.
const DRAIN: Span = Span::millis(300);
/// From one switch to the next.
const PACE: Duration = Duration::from_secs(1);
const VERSIONS: [&str; 2] = ["v1", "v2"];

/// How many switches.
#[derive(Debug, Clone, Copy)]
pub struct Scale(pub u32);

impl Scale {
    /// What the README shows: about five minutes.
    pub const FULL: Self = Self(50);
    /// For development.
    pub const QUICK: Self = Self(5);
}

/// What was lost, by what it was. Every fault is in exactly one of them, `reset` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Requests that failed: refused, reset, timed out, answered 5xx or wrongly.
    pub requests: u64,
    /// Those among them whose connection was closed or reset under them.
    pub reset: u64,
    /// Answers of any sort from the version that was left, to what began after the switch had returned.
    pub old_side: u64,
    /// Downloads and uploads that broke off.
    pub transfers: u64,
    /// Streams of events cut without need.
    pub streams: u64,
    /// WebSockets dropped without need or without a goodbye.
    pub websockets: u64,
}

impl Losses {
    /// Sorts a tally. Pure.
    #[must_use]
    pub fn of(tally: &Tally) -> Self {
        let count = |lanes: &[Lane], fault: Fault| -> u64 {
            lanes.iter().filter_map(|lane| tally.lanes.get(lane)?.faults.get(&fault)).sum()
        };
        let lost = |lanes: &[Lane]| -> u64 {
            Fault::ALL
                .into_iter()
                .filter(|fault| *fault != Fault::WrongSlot)
                .map(|fault| count(lanes, fault))
                .sum()
        };
        let requests = [Lane::KeepAlive, Lane::Posts, Lane::Http2, Lane::Slow];
        Self {
            requests: lost(&requests),
            reset: count(&requests, Fault::Connection),
            old_side: tally.count(Fault::WrongSlot),
            transfers: lost(&[Lane::Downloads, Lane::Uploads]),
            streams: lost(&[Lane::Streams]),
            websockets: lost(&[Lane::Websockets]),
        }
    }

    /// Everything that was lost.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.requests + self.old_side + self.transfers + self.streams + self.websockets
    }
}

/// What came of one way to switch.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Whose way.
    pub name: &'static str,
    /// What was lost.
    pub losses: Losses,
    /// Every exchange.
    #[serde(serialize_with = "as_totals")]
    pub tally: Tally,
}

fn as_totals<S: serde::Serializer>(tally: &Tally, serializer: S) -> Result<S::Ok, S::Error> {
    tally.to_json().serialize(serializer)
}

/// What came of them all.
#[derive(Debug, Serialize)]
pub struct Swaps {
    /// Switches of each.
    pub switches: u32,
    /// Ours first.
    pub outcomes: Vec<Outcome>,
    /// Who is not here, and why.
    pub skipped: Vec<String>,
    /// Answers from the wrong side that were counted when a switch was announced and not made.
    pub noticed: u64,
}

impl Swaps {
    /// Switches by every way there is.
    ///
    /// # Errors
    /// When something that is not counted goes wrong, such as a program that does not start.
    pub async fn count(programs: &Programs, scale: Scale) -> Result<Self, Trouble> {
        eprintln!("the promise broken on purpose: it must be noticed");
        let noticed = Box::pin(broken(programs)).await?;
        eprintln!("{OURS}: {} switches, one a second", scale.0);
        let mut outcomes = vec![Outcome::of(OURS, Box::pin(ours(programs, scale)).await?)];
        let (ways, skipped) = rival::ways();
        let certificate = Shown::make()?;
        for way in ways {
            eprintln!("{}: {} switches, one a second", way.name(), scale.0);
            let tally = Box::pin(theirs(programs, &way, &certificate.path, scale)).await?;
            outcomes.push(Outcome::of(way.name(), tally));
        }
        Ok(Self { switches: scale.0, outcomes, skipped, noticed })
    }

    /// Whether ours lost nothing, did something of every sort, and a loss would have been seen.
    #[must_use]
    pub fn ok(&self) -> bool {
        let ours = self.outcomes.iter().find(|outcome| outcome.name == OURS);
        self.noticed > 0 && ours.is_some_and(Outcome::clean)
    }
}

impl Outcome {
    fn of(name: &'static str, tally: Tally) -> Self {
        Self { name, losses: Losses::of(&tally), tally }
    }

    fn clean(&self) -> bool {
        self.losses.all() == 0 && self.tally.failed() == 0 && self.tally.idle_lanes().is_empty()
    }
}

/// The certificate of those who cannot make themselves a placeholder.
struct Shown {
    path: PathBuf,
    _folder: TempDir,
}

impl Shown {
    fn make() -> Result<Self, Trouble> {
        let folder = crate::peer::folder()?;
        let (certificate, key) = Certificate::of(&[HOST]).write(folder.path(), "shop");
        let read = |path| std::fs::read_to_string(path).map_err(Trouble::system("read a certificate"));
        put(&folder.path().join("shop.pem"), &(read(certificate)? + &read(key)?));
        Ok(Self { path: folder.path().join("shop"), _folder: folder })
    }
}

/// Our way: the command line, which returns as soon as traffic has moved.
async fn ours(programs: &Programs, scale: Scale) -> Result<Tally, Trouble> {
    let mut stage = Stage::open(programs, DRAIN).await?;
    let load = stage.load();
    sleep(PACE).await;
    let (begun, mut to) = (Instant::now(), Slot::Green);
    for round in 0..scale.0 {
        sleep_until((begun + PACE * round).into()).await;
        stage.switch(&load, to, Move::PromoteDetached).await?;
        stage.drained().await?;
        to = to.other();
    }
    sleep(PACE).await;
    Ok(load.stop().await.0)
}

/// A switch that is announced and not made: the answers that go on coming from the old side must be counted.
async fn broken(programs: &Programs) -> Result<u64, Trouble> {
    let stage = Stage::open(programs, DRAIN).await?;
    let load = stage.load();
    sleep(PACE).await;
    load.expectation().announce(VERSIONS[1]);
    load.expectation().settle();
    sleep(PACE).await;
    Ok(Losses::of(&load.stop().await.0).old_side)
}

/// Another's way.
async fn theirs(
    programs: &Programs,
    way: &Way,
    certificate: &std::path::Path,
    scale: Scale,
) -> Result<Tally, Trouble> {
    let first = Backend::start(&programs.switcher, VERSIONS[0], false).await?;
    let second = Backend::start(&programs.switcher, VERSIONS[1], false).await?;
    let rival = Rival::start(way, [address(&first)?, address(&second)?], certificate).await?;
    let target = rival.target();
    let load = Load::start(Plan { target, version: VERSIONS[0].to_owned(), drain: DRAIN.0 });
    sleep(PACE).await;
    let begun = Instant::now();
    for round in 0..scale.0 {
        sleep_until((begun + PACE * round).into()).await;
        let to = if round % 2 == 0 { 1 } else { 0 };
        load.expectation().announce(VERSIONS[to]);
        rival.switch(to).await?;
        load.expectation().settle();
    }
    sleep(PACE).await;
    Ok(load.stop().await.0)
}

fn address(backend: &Backend) -> Result<SocketAddr, Trouble> {
    let address = backend.upstream().to_string();
    let bare = address.rsplit('/').next().unwrap_or_default();
    bare.parse().map_err(|_| Trouble::system("read an address")(std::io::Error::other(address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switcher::demo::load::LaneTally;

    fn tally(faults: &[(Lane, Fault, u64)]) -> Tally {
        let mut tally = Tally::default();
        for lane in Lane::ALL {
            tally.lanes.insert(lane, LaneTally { ok: 1, ..LaneTally::default() });
        }
        for (lane, fault, count) in faults {
            tally.lanes.entry(*lane).or_default().faults.insert(*fault, *count);
        }
        tally
    }

    fn swaps(tally: Tally, noticed: u64) -> Swaps {
        Swaps { switches: 1, outcomes: vec![Outcome::of(OURS, tally)], skipped: Vec::new(), noticed }
    }

    #[test]
    fn every_fault_of_every_lane_is_in_exactly_one_loss() {
        for lane in Lane::ALL {
            for fault in Fault::ALL {
                let tally = tally(&[(lane, fault, 3)]);
                assert_eq!(Losses::of(&tally).all(), 3, "{lane:?} {fault:?}");
            }
        }
    }

    #[test]
    fn losses_are_told_apart() {
        let tally = tally(&[
            (Lane::KeepAlive, Fault::Connection, 5),
            (Lane::Http2, Fault::BadStatus, 2),
            (Lane::Streams, Fault::WrongSlot, 1),
            (Lane::Uploads, Fault::Connection, 4),
            (Lane::Websockets, Fault::CutEarly, 7),
        ]);
        let expected = Losses { requests: 7, reset: 5, old_side: 1, transfers: 4, streams: 0, websockets: 7 };
        assert_eq!(Losses::of(&tally), expected);
    }

    #[test]
    fn a_loss_of_ours_an_idle_lane_or_a_blind_referee_fails_the_bench() {
        assert!(swaps(tally(&[]), 9).ok());
        assert!(!swaps(tally(&[(Lane::Slow, Fault::Timeout, 1)]), 9).ok());
        assert!(!swaps(tally(&[]), 0).ok());
        assert!(!swaps(Tally::default(), 9).ok());
        let nobody = Swaps { outcomes: Vec::new(), ..swaps(tally(&[]), 9) };
        assert!(!nobody.ok());
    }
}
