//! The process itself: its end on SIGTERM when nothing is in flight, and its hand-over on SIGQUIT under load.
//! Exit codes and lost requests are judged; how long things took is reported.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;
use switcher::demo::backend::Backend;
use switcher::demo::child::Programs;
use switcher::demo::load::{Load, Plan, Tally, Target};
use switcher::demo::trouble::Trouble;
use switcher_config::Slot;
use switcher_tests::http1::request;
use switcher_tests::http2::{self, Http2};
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, Proxy, Setup};
use tokio::time::sleep;

use self::fresh::Fresh;

mod fresh;

/// So long that a process which waits for somebody is never taken for one that ends by itself.
const NEVER: &str = "1h";
/// How long the load runs before and after the hand-over.
const WARM: Duration = Duration::from_secs(1);
/// The version behind the proxy.
const VERSION: &str = "v1";

/// What came of the signals.
#[derive(Debug, Default, Serialize)]
pub struct Process {
    /// From SIGTERM to the end of an idle process, in milliseconds.
    pub exit_millis: Vec<f64>,
    /// Every hand-over.
    pub upgrades: Vec<Upgrade>,
    /// What was not as it must be, a sentence each.
    pub problems: Vec<String>,
}

/// One hand-over under load.
#[derive(Debug, Serialize)]
pub struct Upgrade {
    /// From SIGQUIT until the new process answers, in milliseconds.
    pub hand_over_millis: f64,
    /// From the end of the load to the end of the old process, in milliseconds.
    pub old_gone_millis: f64,
    /// Requests on connections of their own that were answered.
    pub fresh: u64,
    /// Every other exchange.
    #[serde(serialize_with = "as_totals")]
    pub tally: Tally,
}

fn as_totals<S: serde::Serializer>(tally: &Tally, serializer: S) -> Result<S::Ok, S::Error> {
    tally.to_json().serialize(serializer)
}

impl Process {
    /// Sends the signals, so many times each.
    pub(super) async fn signal(programs: &Programs, rounds: u32) -> Result<Self, Trouble> {
        let mut process = Self::default();
        for _ in 0..rounds {
            process.terminate().await;
            Box::pin(process.upgrade(programs)).await?;
        }
        Ok(process)
    }

    /// Whether the process kept every promise.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problems.is_empty()
    }

    /// Ends an idle process that still has connections of every sort.
    async fn terminate(&mut self) {
        let app = App::start("blue").await;
        let mut proxy = Setup::one(app.upstream()).proxy("shutdown_timeout", NEVER).start_healthy().await;
        let hello = request("GET", "/", &[], b"");
        let mut plain = Http1::connect(proxy.http()).await;
        let mut secure = Hello::to("shop.test").http1(proxy.https()).await;
        let http2 = Http2::tls(proxy.https(), "shop.test").await;
        let silent = Http1::connect(proxy.http()).await;
        plain.exchange(&hello).await;
        secure.exchange(&hello).await;
        http2.exchange(http2::get("/"), b"").await;
        let asked = Instant::now();
        proxy.signal(Signal::TERM);
        let exit = proxy.exit().await;
        self.exit_millis.push(millis(asked.elapsed()));
        drop((plain, secure, http2, silent));
        if exit.code != Some(0) {
            self.problems
                .push(format!("SIGTERM ended an idle process with {:?}: {}", exit.code, exit.stderr));
        }
    }

    /// Hands over from one process to the next while every lane of the load is busy.
    async fn upgrade(&mut self, programs: &Programs) -> Result<(), Trouble> {
        let app = Backend::start(&programs.switcher, VERSION, false).await?;
        let mut proxy = Setup::one(app.upstream()).proxy("shutdown_timeout", NEVER).start_healthy().await;
        let target = Target { plain: proxy.http(), tls: Some(proxy.https()), host: "shop.test".to_owned() };
        let fresh = Fresh::start(proxy.http(), format!("hello from {VERSION}\n"));
        let load = Load::start(Plan { target, version: VERSION.to_owned(), drain: Duration::ZERO });
        sleep(WARM).await;
        let old = proxy.pid();
        let hand_over = proxy.upgrade().await;
        let before = load.recorder().snapshot().0;
        sleep(WARM).await;
        let (tally, _) = load.stop().await;
        let (answered, lost) = fresh.stop().await;
        let stopped = Instant::now();
        let code = proxy.predecessor_exit().await;
        let old_gone_millis = millis(stopped.elapsed());
        let hand_over_millis = millis(hand_over);
        self.problems.extend(problems(&before, &tally));
        self.problems.extend(lost);
        if code != Some(0) {
            self.problems.push(format!("the process that handed over ended with {code:?}"));
        }
        self.problems.extend(successor_problems(&proxy, old).await);
        self.upgrades.push(Upgrade { hand_over_millis, old_gone_millis, fresh: answered, tally });
        Ok(())
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What the load says against the hand-over. Pure.
fn problems(before: &Tally, after: &Tally) -> Vec<String> {
    let lost = after.failures.iter().map(|failure| format!("at the hand-over: {failure}"));
    let uncounted = (after.failed() > 0 && after.failures.is_empty())
        .then(|| format!("at the hand-over: {} failed", after.failed()));
    let ok = |tally: &Tally, lane| tally.lanes.get(lane).map_or(0, |lane| lane.ok);
    let idle = after.idle_lanes().into_iter().map(|lane| format!("{}: nothing succeeded", lane.title()));
    let stuck = after.lanes.keys().filter(|lane| ok(after, lane) == ok(before, lane));
    let stuck = stuck.map(|lane| format!("{}: nothing succeeded after the hand-over", lane.title()));
    lost.chain(uncounted).chain(idle).chain(stuck).collect()
}

async fn successor_problems(proxy: &Proxy, old: u32) -> Vec<String> {
    let status = proxy.admin().status().await;
    let active = proxy.admin().shop().await.active;
    let same = (status.pid == old).then(|| format!("process {old} still answers after its hand-over"));
    let moved = (active != Slot::Blue).then(|| format!("the hand-over moved traffic to {active}"));
    same.into_iter().chain(moved).collect()
}
