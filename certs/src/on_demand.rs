//! Certificates at the first handshake: whether a stranger's name may have one.
//!
//! The application is asked (`acme.on_demand.ask`) before an authority is. [`Gate`] decides what may be asked for at
//! all; this shell asks. Called by the handshake that finds no certificate for its name.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use switcher_config::settings;
use tokio::sync::Notify;

use crate::check::innermost;
pub use gate::{Decision, Gate, Refusal, valid};

mod gate;

/// How long the ask URL may take: a visitor waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum OnDemandError {
    /// The URL is none.
    #[error(
        "`acme.on_demand.ask` is {url:?}, which is no URL: {why}; write for example http://127.0.0.1:9000/allowed"
    )]
    Url {
        /// What was written.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no HTTP client.
    #[error("the client for `acme.on_demand.ask` cannot be made: {0}")]
    Client(#[source] reqwest::Error),
}

/// Who is asked, and what is remembered of the answers.
#[derive(Debug)]
pub struct OnDemand {
    ask: Url,
    client: Client,
    gate: Mutex<Gate>,
    /// Told whenever an answer is there.
    answered: Notify,
}

impl OnDemand {
    /// For these settings.
    ///
    /// # Errors
    /// When the URL cannot be asked.
    pub fn new(settings: &settings::OnDemand) -> Result<Self, OnDemandError> {
        let bad = |why: String| OnDemandError::Url { url: settings.ask.clone(), why };
        let ask = Url::parse(&settings.ask).map_err(|error| bad(error.to_string()))?;
        if !matches!(ask.scheme(), "http" | "https") || !ask.has_host() {
            return Err(bad("it is not http or https".to_owned()));
        }
        // A redirect to a page that says "no" in words would end in a 200.
        let client = Client::builder()
            .timeout(PATIENCE)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(OnDemandError::Client)?;
        let gate = Gate::new(settings.limit, settings.window.0, settings.refusal.0);
        Ok(Self { ask, client, gate: Mutex::new(gate), answered: Notify::new() })
    }

    /// Whether this name may have a certificate now. An allowed name counts against the limit, once in its
    /// window, so this is asked right before ordering.
    ///
    /// # Errors
    /// Why not.
    pub async fn allow(&self, name: &str) -> Result<(), Refusal> {
        let name = valid(name)?;
        loop {
            // Enabled before the decision, so that an answer in between is not missed.
            let mut told = Box::pin(self.answered.notified());
            told.as_mut().enable();
            let decision = self.gate().decide(&name, Instant::now());
            match decision {
                Decision::Refuse(refusal) => return Err(refusal),
                Decision::Allow => return Ok(()),
                Decision::Ask => break,
                Decision::Wait => told.await,
            }
        }
        let turn = Turn { of: self, name: &name };
        let answer = self.question(&name).await;
        let verdict = self.gate().answered(&name, answer, Instant::now());
        drop(turn);
        verdict
    }

    async fn question(&self, name: &str) -> Result<(), Refusal> {
        let mut url = self.ask.clone();
        url.query_pairs_mut().append_pair("domain", name);
        match self.client.get(url).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) if answer.status().is_server_error() => {
                let why = format!("it answers {}", answer.status().as_u16());
                Err(Refusal::Unasked { name: name.to_owned(), why })
            }
            Ok(answer) => Err(Refusal::Denied { name: name.to_owned(), status: answer.status().as_u16() }),
            Err(error) if error.is_timeout() => {
                let why = format!("no answer within {} s", PATIENCE.as_secs());
                Err(Refusal::Unasked { name: name.to_owned(), why })
            }
            Err(error) => Err(Refusal::Unasked { name: name.to_owned(), why: innermost(&error) }),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Nothing panics while it is held.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question under way. When dropped, also by a visitor who leaves, the others who wait for the name go on.
struct Turn<'a> {
    of: &'a OnDemand,
    name: &'a str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.of.gate().given_up(self.name);
        self.of.answered.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
