//! A change asked of the proxy, with an outcome that is always known.
//!
//! Invariant: a change is asked for a second time only when the status shows that it did not happen, and
//! never a third time.

use std::time::Duration;

use switcher_config::AppName;
use switcher_config::wire::{AppStatus, RefusalReason, Status};

use crate::admin::{Admin, AdminError};
use crate::aftermath::Aftermath;
use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::phrase;

/// How a change was confirmed.
#[derive(Debug)]
pub(crate) enum Settled<T> {
    /// By the proxy's reply.
    Replied(T),
    /// The reply was lost; the status shows that it happened.
    Seen(Box<AppStatus>),
}

/// How long a proxy that lost a connection is given to answer again: a restart takes less.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(200);

/// One change of one application.
pub(crate) struct Mutation<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) admin: &'a Admin,
    pub(crate) app: &'a AppName,
    /// What was live before.
    pub(crate) live: Live,
}

impl Mutation<'_> {
    /// Asks for the change, and finds out what became of it when the reply is lost.
    pub(crate) async fn settle<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, AdminError>,
        read: impl Fn(&AppStatus) -> Aftermath,
    ) -> Result<Settled<T>, Failure> {
        let lost = match ask().await {
            Ok(reply) => return Ok(Settled::Replied(reply)),
            Err(error) if error.outcome_unknown() => error,
            Err(error) => return Err(self.diagnose(error)),
        };
        if let Some(seen) = self.look(&lost, &read).await? {
            return Ok(Settled::Seen(seen));
        }
        self.ctx.reporter.step("the reply was lost and nothing changed: asking once more");
        match ask().await {
            Ok(reply) => Ok(Settled::Replied(reply)),
            // The first request may have been slower than its reply's deadline, and have won over the second.
            Err(error) if error.outcome_unknown() || is_conflict(&error) => {
                match self.look(&error, &read).await? {
                    Some(seen) => Ok(Settled::Seen(seen)),
                    None => Err(self.diagnose(error)),
                }
            }
            Err(error) => Err(self.diagnose(error)),
        }
    }

    /// Reads the status after a lost reply: `Some` when it happened, `None` when it did not.
    async fn look(
        &self,
        lost: &AdminError,
        read: &impl Fn(&AppStatus) -> Aftermath,
    ) -> Result<Option<Box<AppStatus>>, Failure> {
        let app = self.app;
        let unknown = |why: &str| {
            let message = format!("whether the change of {app} happened is not known ({lost}); {why}");
            Failure::new(Code::StateUnknown, message, Live::No, self.ctx.command("status"))
        };
        let mut status = patient_status(self.admin).await.map_err(|error| unknown(&error.to_string()))?;
        let seen =
            status.apps.remove(app).ok_or_else(|| unknown("the proxy no longer knows the application"))?;
        match read(&seen) {
            Aftermath::Happened => Ok(Some(Box::new(seen))),
            Aftermath::Unchanged => Ok(None),
            Aftermath::SomebodyElse => Err(Failure::new(
                Code::GenerationLost,
                format!(
                    "the proxy's reply was lost, and somebody else changed {app} meanwhile: {} is live, generation {}",
                    seen.active, seen.generation
                ),
                Live::of(app, &seen),
                self.ctx.command("status"),
            )),
        }
    }

    fn diagnose(&self, error: AdminError) -> Failure {
        self.ctx.diagnose(self.admin, error, Some(self.app), self.live.clone())
    }
}

fn is_conflict(error: &AdminError) -> bool {
    match error {
        AdminError::Refused(refusal) => {
            matches!(
                refusal.reason,
                RefusalReason::GenerationMoved | RefusalReason::AlreadyActive | RefusalReason::StaleFence
            )
        }
        AdminError::Connect(_) | AdminError::Lost(_) | AdminError::Timeout(_) | AdminError::Gibberish(_) => {
            false
        }
    }
}

/// The status of a proxy that may be restarting just now.
pub(crate) async fn patient_status(admin: &Admin) -> Result<Status, AdminError> {
    patiently(async || admin.status().await).await
}

/// Asks a question that changes nothing until the connection holds, for a few seconds.
pub(crate) async fn patiently<T>(ask: impl AsyncFn() -> Result<T, AdminError>) -> Result<T, AdminError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(AdminError::Connect(_) | AdminError::Lost(_))
                if tokio::time::Instant::now() + PAUSE < deadline =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// A sentence for a change that was confirmed by the status alone.
pub(crate) fn confirmed_late(seen: &AppStatus) -> String {
    format!(
        "the proxy's reply was lost; its status shows that the change happened ({} is live, {})",
        seen.active,
        phrase::mode(seen).0
    )
}
