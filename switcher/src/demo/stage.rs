//! The stage: a real proxy, a version in each slot, and the product's command line to move traffic.
//!
//! Played on by the demo's story and by the drain gate. Every switch goes through [`Stage::switch`], which
//! keeps the load's referee informed: announced before, settled when the command has returned.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use switcher_config::wire::{AppStatus, Health, Receipt};
use switcher_config::{PerSlot, Slot, Span};
use tokio::time::sleep;

use super::backend::Backend;
use super::child::Programs;
use super::load::{Load, Plan};
use super::product::Product;
use super::proxy::{APP, Proxy};
use super::trouble::Trouble;

/// How long anything on the stage may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How traffic is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// `promote SLOT`: returns after the drain.
    Promote,
    /// `promote SLOT --detach`: returns as soon as traffic has moved.
    PromoteDetached,
    /// `rollback`: returns after the drain.
    Rollback,
}

/// Everything that runs. Dropping it kills it all.
#[derive(Debug)]
pub struct Stage {
    /// The proxy.
    pub proxy: Proxy,
    /// What runs in each slot.
    pub backends: PerSlot<Backend>,
    /// The command line.
    pub product: Product,
    drain: Span,
}

impl Stage {
    /// Starts v1 in blue (live) and v2 in green, then the proxy; returns when both are healthy.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn open(programs: &Programs, drain: Span) -> Result<Self, Trouble> {
        let blue = Backend::start(&programs.switcher, "v1", false).await?;
        let green = Backend::start(&programs.switcher, "v2", false).await?;
        let backends = PerSlot { blue, green };
        let proxy = Proxy::start(&programs.proxy, &backends.map(|_, backend| backend.upstream()), drain)?;
        let product = Product { switcher: programs.switcher.clone(), socket: proxy.socket() };
        let mut stage = Self { proxy, backends, product, drain };
        stage.healthy("the proxy with both slots healthy", &Slot::ALL).await?;
        Ok(stage)
    }

    /// Starts the load; blue must be live.
    #[must_use]
    pub fn load(&self) -> Load {
        let version = self.backends.blue.version().to_owned();
        Load::start(Plan { target: self.proxy.target().clone(), version, drain: self.drain.0 })
    }

    /// Moves traffic to `slot` and keeps the referee informed.
    ///
    /// # Errors
    /// When the command does not succeed.
    pub async fn switch(&self, load: &Load, slot: Slot, how: Move) -> Result<Receipt, Trouble> {
        let args: &[&str] = match how {
            Move::Promote => &["promote", slot.as_str(), "--wait-healthy", "10s"],
            Move::PromoteDetached => &["promote", slot.as_str(), "--wait-healthy", "10s", "--detach"],
            Move::Rollback => &["rollback"],
        };
        load.expectation().announce(self.backends.get(slot).version());
        let receipt = self.product.receipt(args).await?;
        load.expectation().settle();
        Ok(receipt)
    }

    /// Waits until no drain is under way.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn drained(&mut self) -> Result<(), Trouble> {
        self.until("the end of the drain", |status| status.draining.is_empty()).await.map(drop)
    }

    /// Waits until these slots are healthy. A proxy that does not answer yet is waited for as well.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn healthy(&mut self, what: &str, slots: &[Slot]) -> Result<AppStatus, Trouble> {
        let healthy = |status: &AppStatus, slot: &Slot| status.slots.get(*slot).health == Health::Healthy;
        self.until(what, |status| slots.iter().all(|slot| healthy(status, slot))).await
    }

    /// Kills what runs in a slot and starts it again at the same address; returns when the proxy has found
    /// the new process healthy.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn replace(&mut self, slot: Slot) -> Result<(), Trouble> {
        let backend = self.backends.get_mut(slot);
        backend.kill().await?;
        backend.restart().await?;
        let restarted = Timestamp::now();
        // Until the newest probe is younger than the process, its health is that of the dead one.
        let renewed = |status: &AppStatus| {
            let slot = status.slots.get(slot);
            let probed = |at: Timestamp| at >= restarted;
            slot.health == Health::Healthy
                && slot.upstreams.iter().all(|u| u.last_check.as_ref().is_some_and(|check| probed(check.at)))
        };
        self.until("the restarted version healthy", renewed).await.map(drop)
    }

    /// Waits until the application's status is as wished, and returns it.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until(
        &mut self,
        what: &str,
        wish: impl Fn(&AppStatus) -> bool,
    ) -> Result<AppStatus, Trouble> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.status().await.filter(&wish) {
                return Ok(status);
            }
            if self.proxy.has_ended() {
                return Err(Trouble::Died {
                    waiting_for: what.to_owned(),
                    last_words: self.proxy.last_words(),
                });
            }
            sleep(LOOK_AGAIN).await;
        }
        let (what, last_words) = (what.to_owned(), self.proxy.last_words());
        Err(Trouble::Late { what, within: PATIENCE, last_words })
    }

    async fn status(&self) -> Option<AppStatus> {
        let status = self.proxy.admin().status().await.ok()?;
        status.apps.into_iter().find(|(name, _)| name.as_str() == APP).map(|(_, app)| app)
    }
}
