//! The client for the proxy's admin API: HTTP/1 over a unix socket, one connection a question.
//!
//! Its invariant: an error says whether the question can have reached the proxy. [`AdminError::Connect`]
//! means it cannot; [`AdminError::Lost`] and [`AdminError::Timeout`] mean that nobody knows.

mod certificates;
mod connection;
mod error;
mod events;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use switcher_config::wire::{
    Bake, CanaryAbortRequest, CanaryChanged, CanaryRequest, Changed, Claim, DrainReceipt, InFlight,
    PauseRequest, PreviewRequest, Previewed, Progress, PromoteRequest, RegisterRequest, Reloaded,
    SmokeRequest, Smoked, Status, StopRequest, Switched,
};
use switcher_config::{AppName, Generation, Slot, Span};

pub use error::{AdminError, ConnectProblem};
pub use events::EventStream;

/// How long an answer may take. Changes are saved on disk first, and a slow disk can take seconds.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Asks one proxy.
#[derive(Debug, Clone)]
pub struct Admin {
    socket: PathBuf,
}

impl Admin {
    /// A client for the proxy behind a unix socket; nothing is opened yet.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// As every method: when the proxy cannot be reached, refuses, or is not understood.
    pub async fn status(&self) -> Result<Status, AdminError> {
        self.get("/v1/status", ANSWER).await
    }

    /// `POST /v1/apps/{app}/promote`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn promote(&self, app: &AppName, request: &PromoteRequest) -> Result<Switched, AdminError> {
        self.send(Method::POST, &format!("/v1/apps/{app}/promote"), request).await
    }

    /// `POST /v1/apps/{app}/canary`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn canary(&self, app: &AppName, request: &CanaryRequest) -> Result<CanaryChanged, AdminError> {
        self.send(Method::POST, &format!("/v1/apps/{app}/canary"), request).await
    }

    /// `POST /v1/apps/{app}/canary/abort`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn abort_canary(
        &self,
        app: &AppName,
        request: &CanaryAbortRequest,
    ) -> Result<CanaryChanged, AdminError> {
        self.send(Method::POST, &format!("/v1/apps/{app}/canary/abort"), request).await
    }

    /// `GET /v1/apps/{app}/drains/{generation}?wait=…`: answers when drained, or after `wait`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn drain(
        &self,
        app: &AppName,
        generation: Generation,
        wait: Span,
    ) -> Result<DrainReceipt, AdminError> {
        self.get(&format!("/v1/apps/{app}/drains/{generation}?wait={wait}"), ANSWER + wait.0).await
    }

    /// `GET /v1/apps/{app}/bake?wait=…`: answers when the outcome is known, or after `wait`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn bake(&self, app: &AppName, wait: Span) -> Result<Bake, AdminError> {
        self.get(&format!("/v1/apps/{app}/bake?wait={wait}"), ANSWER + wait.0).await
    }

    /// `GET /v1/apps/{app}/slots/{slot}/in-flight`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn in_flight(&self, app: &AppName, slot: Slot) -> Result<InFlight, AdminError> {
        self.get(&format!("/v1/apps/{app}/slots/{slot}/in-flight"), ANSWER).await
    }

    /// `PUT /v1/apps/{app}/slots/{slot}`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn register(
        &self,
        app: &AppName,
        slot: Slot,
        request: &RegisterRequest,
    ) -> Result<Changed, AdminError> {
        self.send(Method::PUT, &format!("/v1/apps/{app}/slots/{slot}"), request).await
    }

    /// `POST /v1/apps/{app}/claim`: from its answer on, older leases change nothing.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn claim(&self, app: &AppName, claim: &Claim) -> Result<Changed, AdminError> {
        self.send(Method::POST, &format!("/v1/apps/{app}/claim"), claim).await
    }

    /// `POST /v1/apps/{app}/progress`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn progress(&self, app: &AppName, progress: &Progress) -> Result<Changed, AdminError> {
        self.send(Method::POST, &format!("/v1/apps/{app}/progress"), progress).await
    }

    /// `POST /v1/apps/{app}/pause`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn pause(&self, app: &AppName, request: &PauseRequest) -> Result<Changed, AdminError> {
        self.send(Method::POST, &format!("/v1/apps/{app}/pause"), request).await
    }

    /// `POST /v1/apps/{app}/resume`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn resume(&self, app: &AppName) -> Result<Changed, AdminError> {
        self.ask(Method::POST, &format!("/v1/apps/{app}/resume"), None, ANSWER).await
    }

    /// `POST /v1/apps/{app}/stop`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn stop(&self, app: &AppName, request: &StopRequest) -> Result<Changed, AdminError> {
        self.send(Method::POST, &format!("/v1/apps/{app}/stop"), request).await
    }

    /// `POST /v1/apps/{app}/preview`: a pass to the standby slot.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn preview(&self, app: &AppName, request: &PreviewRequest) -> Result<Previewed, AdminError> {
        self.send(Method::POST, &format!("/v1/apps/{app}/preview"), request).await
    }

    /// `POST /v1/apps/{app}/smoke`: answers when all requests have been answered, or have had their time.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn smoke(&self, app: &AppName, request: &SmokeRequest) -> Result<Smoked, AdminError> {
        let within = request.asks.iter().map(|ask| ask.timeout.0).sum::<Duration>() + ANSWER;
        self.send_within(Method::POST, &format!("/v1/apps/{app}/smoke"), request, within).await
    }

    /// `POST /v1/reload`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn reload(&self) -> Result<Reloaded, AdminError> {
        self.ask(Method::POST, "/v1/reload", None, ANSWER).await
    }

    /// `GET /v1/events`: everything that happens from now on.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn events(&self) -> Result<EventStream, AdminError> {
        let answer = connection::exchange(&self.socket, Method::GET, "/v1/events", None, ANSWER).await?;
        EventStream::new(answer).await
    }

    /// `GET /v1/top`: what is asked for, again and again.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn top(&self, every: Option<Duration>) -> Result<EventStream, AdminError> {
        let path = match every {
            Some(every) => format!("/v1/top?every={}ms", every.as_millis()),
            None => "/v1/top".to_owned(),
        };
        let answer = connection::exchange(&self.socket, Method::GET, &path, None, ANSWER).await?;
        EventStream::new(answer).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, within: Duration) -> Result<T, AdminError> {
        self.ask(Method::GET, path, None, within).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, AdminError> {
        self.send_within(method, path, body, ANSWER).await
    }

    async fn send_within<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        within: Duration,
    ) -> Result<T, AdminError> {
        let body = serde_json::to_vec(body).map_err(|error| AdminError::Gibberish(error.to_string()))?;
        self.ask(method, path, Some(body), within).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        within: Duration,
    ) -> Result<T, AdminError> {
        let asked = tokio::time::timeout(within, async {
            let answer = connection::exchange(&self.socket, method, path, body, within).await?;
            connection::read(answer).await
        });
        asked.await.map_err(|_| AdminError::Timeout(within))?
    }
}
