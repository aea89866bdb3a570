//! What copies to a bad standby slot cost the live one: its latency with a standby that is dead, silent, endless or well,
//! beside a proxy that makes no copies.
//!
//! Everybody has a proxy of its own over one application; turns are interleaved, so that what else the machine does meets
//! everyone alike, and every ratio is taken within a round. Standbys run on a thread that only gets what processor time the others
//! leave: they stand for other machines, and what they take of this one is no cost of copies. Who makes no copies is there twice: the second ratio is the noise.
//! Requests come at a pace that leaves the machine idle time, as production does, and then one after the other: there all
//! processors are in use, and whatever else is done shows.
//! Figures are reported, not judged; it fails when a request does. Called by the bench of the same name.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;
use switcher::demo::trouble::Trouble;
use switcher_tests::http1::request;
use switcher_tests::{App, Http1, Proxy, Raw, Setup};
use tokio::runtime::Runtime;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// How often everybody's turn comes.
    pub rounds: usize,
    /// Requests of each client in a turn.
    pub requests: usize,
    /// The same where they come at a pace.
    pub paced: usize,
}

impl Scale {
    /// About five minutes.
    pub const FULL: Self = Self { rounds: 15, requests: 2000, paced: 500 };
    /// To see that it works.
    pub const QUICK: Self = Self { rounds: 2, requests: 100, paced: 20 };
}

/// Clients at once.
const CLIENTS: usize = 8;

/// How long a client waits from one request to the next where they come at a pace: two thousand a second together.
const PACE: Duration = Duration::from_millis(4);

/// Its own probes never find the standby dead, or copies to it would not be tried.
const HEALTH: &str = "{path: /health, interval: 1h, rise: 1}";
const MIRROR: &str = "{share: 10%, in_flight: 16, timeout: 1s}";

/// One turn of one proxy.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Turn {
    /// What one in two requests took, in microseconds.
    pub p50_micros: u64,
    /// What one in a hundred exceeded.
    pub p99_micros: u64,
}

/// One proxy and its turns.
#[derive(Serialize)]
pub struct Subject {
    /// What the report calls it.
    pub name: &'static str,
    /// One turn a round, at a pace.
    pub paced: Vec<Turn>,
    /// One turn a round, one request after the other.
    pub turns: Vec<Turn>,
    /// The most memory it ever had.
    pub peak_bytes: u64,
    #[serde(skip)]
    proxy: Proxy,
    #[serde(skip)]
    standby: Standby,
}

/// What stands in the standby slot, for as long as its proxy.
enum Standby {
    None,
    App(App),
    Raw(Raw),
}

/// Everything that was measured. Who makes no copies comes first.
#[derive(Serialize)]
pub struct Comparison {
    /// In the order of the report.
    pub subjects: Vec<Subject>,
    #[serde(skip)]
    _aside: Aside,
    #[serde(skip)]
    _live: App,
}

/// Where the standbys run.
struct Aside(Option<Runtime>);

impl Aside {
    /// One thread with the lowest priority.
    fn start() -> std::io::Result<Self> {
        let humble = || {
            // As it is, should the system refuse it: then a standby costs more than it would elsewhere.
            let _ = rustix::process::nice(19);
        };
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(humble)
            .enable_all()
            .build()?;
        Ok(Self(Some(threads)))
    }

    async fn run(&self, standby: impl Future<Output = Standby> + Send + 'static) -> Result<Standby, Trouble> {
        let gone = || Trouble::system("start a standby")(std::io::Error::other("its thread has ended"));
        let runtime = self.0.as_ref().ok_or_else(gone)?;
        runtime.spawn(standby).await.map_err(|_| gone())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // It is dropped within another runtime, where nothing may be waited for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Comparison {
    /// Starts everybody and measures.
    ///
    /// # Errors
    /// When a request fails.
    ///
    /// # Panics
    /// When a proxy does not start.
    pub async fn run(scale: Scale) -> Result<Self, Trouble> {
        let live = App::start("live").await;
        let aside = Aside::start().map_err(Trouble::system("start a thread for the standbys"))?;
        let app = |name: &'static str| async move { Standby::App(App::start(name).await) };
        let standbys = [
            ("no copies", Standby::None),
            ("no copies, again", Standby::None),
            ("standby well", aside.run(app("warm")).await?),
            ("standby dead", aside.run(app("dead")).await?),
            ("standby silent", aside.run(async { Standby::Raw(silent().await) }).await?),
            ("standby endless", aside.run(async { Standby::Raw(endless().await) }).await?),
        ];
        let mut subjects = Vec::new();
        for (name, standby) in standbys {
            subjects.push(subject(name, &live, standby).await);
        }
        for dead in subjects.iter_mut().filter(|subject| subject.name == "standby dead") {
            if let Standby::App(app) = std::mem::replace(&mut dead.standby, Standby::None) {
                app.stop().await;
            }
        }
        for _ in 0..scale.rounds {
            for subject in &mut subjects {
                subject.paced.push(turn(&subject.proxy, scale.paced, Some(PACE)).await?);
            }
            for subject in &mut subjects {
                subject.turns.push(turn(&subject.proxy, scale.requests, None).await?);
            }
        }
        for subject in &mut subjects {
            subject.peak_bytes = subject.proxy.peak_bytes();
        }
        Ok(Self { subjects, _aside: aside, _live: live })
    }

    /// The report: a table for each kind of load.
    #[must_use]
    pub fn to_text(&self) -> String {
        let paced = self.table("2,000 requests/s", |subject| &subject.paced);
        paced + "\n" + &self.table("as many as it takes", |subject| &subject.turns)
    }

    fn table(&self, load: &str, turns: fn(&Subject) -> &[Turn]) -> String {
        let mut text =
            format!("{load:<19} {:>9} {:>9} {:>10} {:>9}\n", "p50 µs", "p99 µs", "p99 ratio", "peak MiB");
        let Some(first) = self.subjects.first() else { return text };
        for subject in &self.subjects {
            let of = |value: fn(&Turn) -> u64| median(turns(subject).iter().map(|turn| as_f64(value(turn))));
            let pairs = turns(subject).iter().zip(turns(first));
            let ratio =
                median(pairs.map(|(turn, base)| as_f64(turn.p99_micros) / as_f64(base.p99_micros.max(1))));
            let _ = writeln!(
                text,
                "{:<19} {:>9.0} {:>9.0} {ratio:>10.2} {:>9.1}",
                subject.name,
                of(|turn| turn.p50_micros),
                of(|turn| turn.p99_micros),
                as_f64(subject.peak_bytes) / f64::from(1 << 20),
            );
        }
        text
    }

    /// Everything as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({ "subjects": self.subjects }).to_string() + "\n"
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds and bytes, for a table")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

/// The middle one; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

async fn subject(name: &'static str, live: &App, standby: Standby) -> Subject {
    let address = match &standby {
        Standby::None => None,
        Standby::App(app) => Some(app.upstream()),
        Standby::Raw(raw) => Some(raw.address().to_string()),
    };
    let setup = Setup::slots(&[live.upstream()], address.as_slice()).shop("health", HEALTH);
    let setup = if address.is_some() { setup.shop("mirror", MIRROR) } else { setup };
    let proxy = setup.proxy("access_log", "off").start_healthy().await;
    Subject { name, paced: Vec::new(), turns: Vec::new(), peak_bytes: 0, proxy, standby }
}

/// Takes requests and says nothing.
async fn silent() -> Raw {
    Raw::start(|mut conversation| async move {
        conversation.request().await;
        conversation.hang().await;
    })
    .await
}

/// Its answers have no end, and come as fast as a link of a gigabit brings them from another machine: what this one would
/// have to move between its own buffers besides is no cost of copies.
async fn endless() -> Raw {
    Raw::start(|mut conversation| async move {
        conversation.request().await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        // A gigabit a second, in a millisecond.
        let piece = [b"1e000\r\n".as_slice(), &[b'x'; 0x1e000], b"\r\n"].concat();
        let mut open = conversation.wire.try_send(head).await.is_ok();
        let mut link = tokio::time::interval(Duration::from_millis(1));
        while open {
            link.tick().await;
            open = conversation.wire.try_send(&piece).await.is_ok();
        }
    })
    .await
}

/// One turn: so many requests of each client, one after the other.
async fn turn(proxy: &Proxy, requests: usize, pace: Option<Duration>) -> Result<Turn, Trouble> {
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(client(proxy.http(), requests, pace))).collect();
    let mut took = Vec::with_capacity(CLIENTS * requests);
    for client in clients {
        let measured = client.await.map_err(|error| Trouble::system("measure")(error.into()))?;
        took.extend(measured.map_err(Trouble::system("ask the live slot"))?);
    }
    took.sort_unstable();
    let at = |percent: usize| {
        let place = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(place).map_or(0, |took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
    };
    Ok(Turn { p50_micros: at(50), p99_micros: at(99) })
}

async fn client(
    address: std::net::SocketAddr,
    requests: usize,
    pace: Option<Duration>,
) -> std::io::Result<Vec<Duration>> {
    let mut wire = Http1::try_connect(address).await?;
    let asked = request("GET", "/", &[], b"");
    let mut took = Vec::with_capacity(requests);
    let mut clock = pace.map(tokio::time::interval);
    for _ in 0..requests {
        if let Some(clock) = &mut clock {
            clock.tick().await;
        }
        let began = Instant::now();
        let answer = wire.try_exchange(&asked).await?;
        took.push(began.elapsed());
        if answer.status != 200 || answer.body != b"live" {
            return Err(std::io::Error::other(format!("the live slot answered {}", answer.status)));
        }
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_is_taken() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!(median(std::iter::empty()).abs() < 1e-9);
    }
}
