//! The mixed load of `switcher demo` through a site's front door, with a verdict at the end.
//!
//! It is told before a version may answer and when only that version may answer, and judges every answer by that.

use std::time::Duration;

use switcher::demo::load::{Load, Plan, Tally, Target};

use crate::proxy::Proxy;
use crate::site::Front;
use crate::until::until;

/// How long streams and WebSockets may go on after a switch; as in the site's configuration.
const DRAIN: Duration = Duration::from_millis(300);
/// How long the load may take until every sort of client has had an answer.
const WARM_UP: Duration = Duration::from_secs(30);

/// A load under way.
pub struct Traffic {
    load: Load,
}

impl Traffic {
    /// Starts it, while this version is live.
    #[must_use]
    pub fn start(proxy: &Proxy, version: &str) -> Self {
        Self::through(proxy, &Front { host: "shop.test".to_owned(), tls: true }, version)
    }

    /// Starts it by the way that the application's clients come.
    #[must_use]
    pub fn through(proxy: &Proxy, front: &Front, version: &str) -> Self {
        let tls = front.tls.then(|| proxy.https());
        let target = Target { plain: proxy.http(), tls, host: front.host.clone() };
        Self { load: Load::start(Plan { target, version: version.to_owned(), drain: DRAIN }) }
    }

    /// From now on this version may answer as well.
    pub fn announce(&self, version: &str) {
        self.load.expectation().announce(version);
    }

    /// From now on only the version announced last may answer.
    pub fn settle(&self) {
        self.load.expectation().settle();
    }

    /// Waits until every sort of client has been served at least once more.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn flow(&self) {
        let counts = |tally: &Tally| -> Vec<u64> { tally.lanes.values().map(|lane| lane.ok).collect() };
        until(WARM_UP, "every sort of client to be served", || async {
            self.tally().idle_lanes().is_empty()
        })
        .await;
        let before = counts(&self.tally());
        until(WARM_UP, "every sort of client to be served again", || async {
            counts(&self.tally()).iter().zip(&before).all(|(now, then)| now > then)
        })
        .await;
    }

    /// The counts so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.load.recorder().snapshot().0
    }

    /// Lets everything in flight finish; the counts.
    pub async fn stop(self) -> Tally {
        self.load.stop().await.0
    }

    /// Lets everything in flight finish; nothing may have failed, and no sort of client may have been idle.
    ///
    /// # Panics
    /// When something failed.
    pub async fn finish(self) -> Tally {
        let tally = self.stop().await;
        assert_eq!(tally.failed(), 0, "{tally:#?}");
        assert_eq!(tally.idle_lanes(), [], "{tally:#?}");
        tally
    }
}
