//! The drain deadline: one client of each sort outlives the drain of the old slot, while another set is at
//! home in the new one. The old ones must be closed as their protocols allow and be named in the receipt;
//! the new ones must not notice. How long after the deadline each ended is reported, never judged.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use switcher_config::Slot;
use switcher_config::wire::{ByKind, DrainReceipt, Switched};
use switcher_tests::http2::Http2;
use switcher_tests::{App, PATIENCE, Proxy, Setup, until};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use self::client::{Client, open_all};
use self::judge::Evidence;
pub use self::judge::{End, Parting, Sort};

mod client;
mod judge;

const DRAIN: Duration = Duration::from_secs(1);
const POLICY: &str = "{requests: 1s, uploads: 1s, streams: 1s, websockets: 1s, spread: 0s}";
/// From one event of an endless stream to the next.
const TICK: Duration = Duration::from_millis(50);

/// What came of the deadlines.
#[derive(Debug, Default, Serialize)]
pub struct Deadline {
    /// How many deadlines there were.
    pub rounds: u32,
    /// Every end that was seen.
    pub partings: Vec<Parting>,
    /// From each deadline until its receipt said that everything was out, in milliseconds.
    pub drained_after_millis: Vec<f64>,
    /// What was not as it must be, a sentence each.
    pub problems: Vec<String>,
}

impl Deadline {
    /// Lets so many deadlines come, each on a stage of its own.
    pub(super) async fn meet(rounds: u32) -> Self {
        let mut deadline = Self { rounds, ..Self::default() };
        for _ in 0..rounds {
            if let Err(why) = Box::pin(deadline.meet_one()).await {
                deadline.problems.push(why);
            }
        }
        deadline
    }

    /// Whether every deadline was kept.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problems.is_empty()
    }

    /// The latest end of a sort, in milliseconds after its deadline.
    #[must_use]
    pub fn latest(&self, sort: Sort) -> f64 {
        let of_sort = self.partings.iter().filter(|parting| parting.sort == sort);
        of_sort.map(|parting| parting.after_millis).fold(f64::NAN, f64::max)
    }

    async fn meet_one(&mut self) -> Result<(), String> {
        let (blue, green) = (App::start("blue").await, App::start("green").await);
        let proxy = Setup::two(&blue, &green).shop("drain", POLICY).start_healthy().await;
        let round = Round { proxy: &proxy, green: &green };
        tokio::select! {
            never = tick(&blue, &green) => match never {},
            seen = round.run() => {
                let (evidence, touched) = seen?;
                self.problems.extend(judge::problems(&evidence));
                self.problems.extend(touched);
                self.drained_after_millis.push((evidence.receipt.seconds - DRAIN.as_secs_f64()) * 1000.0);
                self.partings.extend(evidence.partings);
                Ok(())
            }
        }
    }
}

/// Keeps the endless streams of both slots going.
async fn tick(blue: &App, green: &App) -> std::convert::Infallible {
    loop {
        blue.emit("tick");
        green.emit("tick");
        sleep(TICK).await;
    }
}

/// One deadline in the making; blue is left for green.
struct Round<'a> {
    proxy: &'a Proxy,
    green: &'a App,
}

/// An old client's end, and when it came.
type Ending = (Sort, JoinHandle<(End, Instant)>);

impl Round<'_> {
    async fn run(&self) -> Result<(Evidence, Vec<String>), String> {
        let begun = Instant::now();
        // One connection carries the streams of both slots: closing the old ones must not close it.
        let http2 = Http2::tls(self.proxy.https(), "shop.test").await;
        let old = open_all(self.proxy, &http2, Slot::Blue).await?;
        self.inside(Slot::Blue).await;
        let endings: Vec<Ending> = old.into_iter().map(|client| self.follow(client)).collect();
        let switched = self.proxy.admin().promote(Slot::Green).await.map_err(|no| format!("{no:?}"))?;
        let due = deadline_of(&switched);
        let new = open_all(self.proxy, &http2, Slot::Green).await?;
        self.inside(Slot::Green).await;
        let partings = collect(endings, due).await;
        let receipt = self.receipt(&switched).await?;
        let evidence = Evidence { partings, receipt, drain: DRAIN, lived: begun.elapsed() };
        Ok((evidence, self.touched(new).await))
    }

    /// Waits until one exchange of each sort is inside the slot.
    async fn inside(&self, slot: Slot) {
        let expected = expected_inside();
        until(PATIENCE, &format!("one client of each sort inside {slot}"), || async {
            self.proxy.admin().shop().await.slots.get(slot).in_flight == expected
        })
        .await;
    }

    fn follow(&self, client: Client) -> Ending {
        let (sort, admin) = (client.sort, self.proxy.admin());
        (sort, tokio::spawn(async move { (client.end(admin).await, Instant::now()) }))
    }

    async fn receipt(&self, switched: &Switched) -> Result<DrainReceipt, String> {
        let receipt = self.proxy.admin().drain(switched.drained_generation, "10s").await;
        receipt.map_err(|refused| format!("no receipt: {refused:?}"))
    }

    /// What the end of the old slot did to the new one's clients.
    async fn touched(&self, new: Vec<Client>) -> Vec<String> {
        let inside = self.proxy.admin().shop().await.slots.get(Slot::Green).in_flight;
        let mut touched = Vec::new();
        if inside != expected_inside() {
            touched.push(format!("the new slot's exchanges are {inside:?} after the old one's deadline"));
        }
        self.green.open_gate();
        let checks: Vec<_> = new.into_iter().map(|c| (c.sort, tokio::spawn(c.goes_on()))).collect();
        for (sort, check) in checks {
            if let Err(why) = check.await.unwrap_or_else(|panic| Err(panic.to_string())) {
                touched.push(format!("{} of the new slot: {why}", sort.title()));
            }
        }
        touched
    }
}

fn expected_inside() -> ByKind<u64> {
    ByKind::from_fn(|kind| Sort::ALL.iter().map(|sort| u64::from(sort.kind() == kind)).sum())
}

/// The deadline of a switch that has just been answered. The proxy notes the time of the switch before it
/// starts the drain, so nothing that it closes in time seems early here.
fn deadline_of(switched: &Switched) -> Instant {
    let ago = Timestamp::now().duration_since(switched.switched_at);
    Instant::now() - Duration::try_from(ago).unwrap_or_default() + DRAIN
}

async fn collect(endings: Vec<Ending>, due: Instant) -> Vec<Parting> {
    let mut partings = Vec::new();
    for (sort, ending) in endings {
        let ending = ending.await;
        let (end, at) = ending.unwrap_or_else(|panic| (End::Other(panic.to_string()), Instant::now()));
        let after = at.saturating_duration_since(due).as_secs_f64();
        let before = due.saturating_duration_since(at).as_secs_f64();
        partings.push(Parting { sort, end, after_millis: (after - before) * 1000.0 });
    }
    partings
}
