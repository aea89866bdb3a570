//! The manager: everything that is issued for us is ordered, kept, renewed and brought to the store by it.
//!
//! [`Manager`] is the handle that the proxy holds. Behind it a `keeper` owns every record and decides with
//! [`crate::renewal`] what is due; an `attempt` carries an order out, and `outcome` says how it ended. All of it lives on a thread of its own with
//! its own runtime, so that no order, no key generation and no slow disk takes a moment from the requests.

mod attempt;
mod book;
mod keeper;
mod kept;
mod obey;
mod outcome;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use switcher_config::wire::{
    CertificateEvent, CheckRequest, Checked, Imported, RenewRequest, Renewal, Renewed, RevokeRequest, Revoked,
};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::on_demand::OnDemand;
use crate::plan::Plan;
use crate::store::Store;

use book::Book;
use keeper::Keeper;
use obey::Command;

/// How many events a reader may lag behind.
const EVENTS: usize = 256;

/// How many requests of the admin API may wait.
const COMMANDS: usize = 64;

/// The handle to everything that is issued for us. When the last clone is dropped, the work ends.
#[derive(Clone)]
pub struct Manager {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// The work that is ready to begin: when authorities that look can be answered.
#[must_use]
pub struct Work {
    keeper: Keeper,
    events: broadcast::Receiver<CertificateEvent>,
}

impl Work {
    /// Begins, on a thread of its own. Answers everything that happens, and what happened while loading.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn begin(self) -> std::io::Result<broadcast::Receiver<CertificateEvent>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let keeper = self.keeper;
        std::thread::Builder::new()
            .name("certificates".into())
            .spawn(move || runtime.block_on(keeper.run()))?;
        Ok(self.events)
    }
}

/// What handles and the keeper share.
struct Shared {
    store: Arc<Store>,
    root: PathBuf,
    plan: ArcSwap<Plan>,
    book: ArcSwapOption<Book>,
    on_demand: ArcSwapOption<OnDemand>,
    events: broadcast::Sender<CertificateEvent>,
}

/// A request that cannot be carried out, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No certificate of ours is served for that name.
    #[error("{0}")]
    Unknown(String),
    /// The authority refused, or could not be asked.
    #[error("{0}")]
    Failed(String),
}

impl Manager {
    /// Loads what lies in `root` and brings it to the store. No authority is asked before the [`Work`] begins.
    pub fn load(store: Arc<Store>, root: &Path, plan: Plan) -> (Self, Work) {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (events, since_now) = broadcast::channel(EVENTS);
        let shared = Arc::new(Shared {
            store,
            root: root.to_owned(),
            plan: ArcSwap::from_pointee(Plan::default()),
            book: ArcSwapOption::empty(),
            on_demand: ArcSwapOption::empty(),
            events,
        });
        let mut keeper = Keeper::new(Arc::clone(&shared), receiver);
        keeper.apply(plan);
        (Self { commands, shared }, Work { keeper, events: since_now })
    }

    /// Stops ordering, or goes on. When this returns after a stop, nothing is written any more: another process
    /// may take the folder over. An order that was under way is resumed by whoever comes next.
    pub async fn pause(&self, pause: bool) {
        // It has ended only if the process does.
        let _ = self.ask(|reply| Command::Pause { pause, reply }).await;
    }

    /// Works on another plan from now on. What the store is to serve was replaced before.
    pub async fn apply(&self, plan: Plan) {
        // It ends only with the process.
        let _ = self.commands.send(Command::Apply(Box::new(plan))).await;
    }

    /// Renews what is due of these names, or everything that is meant when forced; answers when all has ended.
    ///
    /// # Errors
    /// When a name has no certificate.
    pub async fn renew(&self, request: RenewRequest) -> Result<Renewed, Refused> {
        let waiting = self.ask(|reply| Command::Renew { request, reply }).await??;
        Ok(Renewed { certificates: all(waiting).await })
    }

    /// Revokes the certificate that is shown for a name, and orders another one.
    ///
    /// # Errors
    /// When there is none that an authority issued for us, or the authority refuses.
    pub async fn revoke(&self, request: RevokeRequest) -> Result<Revoked, Refused> {
        let (names, ca, waiting) = self.ask(|reply| Command::Revoke { request, reply }).await??;
        let replacement = all(vec![waiting]).await.pop().ok_or_else(gone)?;
        Ok(Revoked { names, ca, replacement })
    }

    /// Takes over what lies in the inbox of imports.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub async fn import(&self) -> Result<Imported, Refused> {
        self.ask(|reply| Command::Import { reply }).await?
    }

    /// Obtains a certificate for a name that a client asks for in its first handshake. True when there is one.
    pub async fn obtain(&self, name: &str) -> bool {
        let Some(on_demand) = self.shared.on_demand.load_full() else { return false };
        if let Err(refusal) = on_demand.allow(name).await {
            tracing::info!(name, %refusal, "no certificate on demand");
            return false;
        }
        let name = name.to_owned();
        match self.ask(|reply| Command::Obtain { name, reply }).await {
            Ok(Some(waiting)) => all(vec![waiting]).await.iter().all(|renewal| renewal.not_after.is_some()),
            Ok(None) | Err(_) => false,
        }
    }

    /// Says what stands between the names and their certificates, without ordering any.
    pub async fn check(&self, request: CheckRequest) -> Checked {
        let plan = self.shared.plan.load_full();
        let book = self.shared.book.load_full();
        obey::check(&plan, book.as_deref(), self.shared.store.challenges(), request).await
    }

    /// The root of the internal authority in PEM, when there is one.
    #[must_use]
    pub fn internal_root(&self) -> Option<String> {
        std::fs::read_to_string(self.shared.root.join("internal/root.pem")).ok()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

fn gone() -> Refused {
    Refused::Failed("the certificates' part of the proxy has ended; see its log, and restart it".to_owned())
}

/// Waits for every outcome.
async fn all(waiting: Vec<oneshot::Receiver<Renewal>>) -> Vec<Renewal> {
    let mut outcomes = Vec::with_capacity(waiting.len());
    for outcome in waiting {
        // An attempt whose task broke tells nothing; the log does.
        outcomes.extend(outcome.await);
    }
    outcomes
}
