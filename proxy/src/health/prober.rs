//! Probes one upstream for ever.
//!
//! Invariant: the task lives exactly as long as its [`Prober`]; a suspicion from real traffic is probed at once. The
//! composition root and the control plane start one for each upstream of both slots.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use switcher_config::settings::{Check, Health};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::dial::Dialer;
use super::probe::probe;
use crate::upstream::{CheckName, Upstream};

/// The task that probes one upstream; dropping it ends the task.
#[derive(Debug)]
pub struct Prober {
    task: JoinHandle<()>,
}

impl Prober {
    /// Begins to probe, at once and then at every interval. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(upstream: Arc<Upstream>, settings: Arc<Health>, dialer: Arc<Dialer>) -> Self {
        upstream.watch_liveness(settings.live.is_some());
        Self { task: tokio::spawn(async move { run(&upstream, &settings, &dialer).await }) }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(upstream: &Upstream, settings: &Health, dialer: &Dialer) {
    loop {
        let next = Instant::now() + jittered(settings.interval.0, RandomState::new().build_hasher().finish());
        let ready = check(upstream, settings, dialer, CheckName::Ready, &settings.ready);
        match &settings.live {
            None => ready.await,
            Some(live) => {
                tokio::join!(ready, check(upstream, settings, dialer, CheckName::Live, live));
            }
        }
        // Running out of time is how a turn usually ends; a suspicion ends it early.
        let _ = tokio::time::timeout_at(next, upstream.suspected()).await;
    }
}

async fn check(upstream: &Upstream, settings: &Health, dialer: &Dialer, name: CheckName, check: &Check) {
    let ticket = upstream.ticket();
    let record = probe(dialer, upstream, name, check, settings.timeout.0).await;
    upstream.record(name, ticket, record, settings.rise, settings.fall);
}

/// The interval, a tenth more or less, so that many upstreams are not probed in step.
fn jittered(interval: Duration, random: u64) -> Duration {
    // 1024 steps from 0.9 to 1.1.
    let step = (random % 1024) as f64 / 1023.0;
    interval.mul_f64(0.9 + 0.2 * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_is_a_tenth() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0), Duration::from_millis(900));
        assert_eq!(jittered(second, 1023), Duration::from_millis(1100));
        assert!((0..4096).all(|random| {
            let jittered = jittered(second, random);
            (Duration::from_millis(900)..=Duration::from_millis(1100)).contains(&jittered)
        }));
    }
}
