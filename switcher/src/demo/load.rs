//! A bounded mixed load against a proxy, every outcome of which is counted.
//!
//! Used by the demo, by the drain gate and by tests. The load knows two things only: where the front door
//! is, and (through the [`Expectation`]) which version may answer now. It never learns how the proxy works.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::expectation::Expectation;
pub use self::link::Target;
pub use self::tally::{Failure, Fault, Lane, LaneTally, Recorder, Tally};

use self::client::Client;
use self::link::Protocol;

mod client;
mod expectation;
mod link;
mod requests;
mod streams;
mod tally;
pub mod tls;
mod websockets;

/// A load that runs until it is stopped. Dropping it aborts every client.
#[derive(Debug)]
pub struct Load {
    expectation: Arc<Expectation>,
    recorder: Arc<Recorder>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

/// What a load is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The front door.
    pub target: Target,
    /// The version that is live when the load starts.
    pub version: String,
    /// How long streams and WebSockets may go on after their slot was left.
    pub drain: Duration,
}

impl Load {
    /// Starts every client. Must be called inside a runtime.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        let expectation = Arc::new(Expectation::new(plan.version));
        let recorder = Arc::new(Recorder::default());
        let (stop, stopped) = watch::channel(false);
        let target = Arc::new(plan.target);
        let mut clients = JoinSet::new();
        for lane in Lane::ALL {
            for protocol in protocols(lane) {
                let client = Client {
                    target: Arc::clone(&target),
                    protocol: *protocol,
                    expectation: Arc::clone(&expectation),
                    recorder: Arc::clone(&recorder),
                    drain: plan.drain,
                    stop: stopped.clone(),
                };
                clients.spawn(run(client, lane));
            }
        }
        Self { expectation, recorder, stop, clients }
    }

    /// Who may answer; the switching side announces and settles here.
    #[must_use]
    pub fn expectation(&self) -> &Expectation {
        &self.expectation
    }

    /// The books.
    #[must_use]
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Lets every exchange in progress finish, then returns the counts: ordinary, and broken by a kill.
    pub async fn stop(mut self) -> (Tally, Tally) {
        self.stop.send_replace(true);
        // A client that panics has counted nothing more; its lane is then missed by the caller's checks.
        while self.clients.join_next().await.is_some() {}
        self.recorder.snapshot()
    }
}

async fn run(client: Client, lane: Lane) {
    match lane {
        Lane::Streams => streams::run(client).await,
        Lane::Websockets => websockets::run(client).await,
        Lane::KeepAlive | Lane::Posts | Lane::Http2 | Lane::Slow | Lane::Downloads | Lane::Uploads => {
            Box::pin(requests::run(client, lane)).await;
        }
    }
}

/// The clients of a lane: one for each entry.
const fn protocols(lane: Lane) -> &'static [Protocol] {
    use Protocol::{Http1, Http1Tls, Http2};
    match lane {
        Lane::KeepAlive | Lane::Posts | Lane::Websockets => &[Http1, Http1Tls, Http1, Http1Tls],
        Lane::Http2 => &[Http2, Http2],
        Lane::Slow | Lane::Streams => &[Http1, Http1Tls, Http2, Http2],
        Lane::Downloads | Lane::Uploads => &[Http1, Http1Tls, Http2],
    }
}

#[cfg(test)]
mod tests;
