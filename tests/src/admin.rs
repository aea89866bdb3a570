//! The admin API over its unix socket: raw requests, and the calls with the types both programs share.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use switcher_config::wire::{
    AppStatus, Bake, CanaryAbortRequest, CanaryChanged, CanaryRequest, CertificateStatus, Changed,
    DrainReceipt, Fence, Imported, InFlight, Mirrored, PauseRequest, PromoteRequest, Refusal,
    RegisterRequest, Reloaded, RenewRequest, Renewed, RevokeRequest, Revoked, Status, StopRequest, Switched,
};
use switcher_config::{AppName, Generation, Slot};
use tokio::net::UnixStream;

use crate::http1::{Answer, Http1, request};
use crate::sse::Events;
use crate::until::{PATIENCE, within};

/// The admin API of one proxy.
#[derive(Debug, Clone)]
pub struct Admin {
    socket: PathBuf,
}

/// A call that was refused: the HTTP status and what was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The refusal.
    pub refusal: Refusal,
}

/// What a call came to.
pub type Outcome<T> = Result<T, Refused>;

impl Admin {
    /// The API at a socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// As the system says.
    pub async fn connect(&self) -> io::Result<Http1> {
        Ok(Http1::over(within(PATIENCE, "the admin socket", UnixStream::connect(&self.socket)).await?))
    }

    /// One raw exchange.
    ///
    /// # Errors
    /// When the proxy is not there, or leaves within the answer.
    pub async fn try_call(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let headers = [("Content-Type", "application/json"), ("Connection", "close")];
        self.connect().await?.try_exchange(&request(method, path, &headers, body.as_bytes())).await
    }

    /// One raw exchange.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_call(method, path, body).await.unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// A raw GET.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    async fn typed<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Outcome<T> {
        let body = serde_json::to_string(body).expect("JSON");
        let answer = self.call(method, path, if body == "null" { "" } else { &body }).await;
        understand(&answer)
    }

    /// The whole state.
    ///
    /// # Panics
    /// When there is no such answer.
    pub async fn status(&self) -> Status {
        self.typed("GET", "/v1/status", &()).await.expect("a status")
    }

    /// The state of the app `shop`.
    ///
    /// # Panics
    /// When there is no such app.
    pub async fn shop(&self) -> AppStatus {
        let mut status = self.status().await;
        let shop: AppName = "shop".parse().expect("a name");
        status.apps.remove(&shop).expect("the app `shop`")
    }

    /// Makes a slot of `shop` live.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn promote(&self, slot: Slot) -> Outcome<Switched> {
        self.promote_as(&PromoteRequest::of(slot)).await
    }

    /// Makes a slot of `shop` live, with every choice.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn promote_as(&self, wish: &PromoteRequest) -> Outcome<Switched> {
        self.typed("POST", "/v1/apps/shop/promote", wish).await
    }

    /// Begins or moves a canary of `shop`.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn canary(&self, wish: &CanaryRequest) -> Outcome<CanaryChanged> {
        self.typed("POST", "/v1/apps/shop/canary", wish).await
    }

    /// Ends the canary of `shop`.
    ///
    /// # Errors
    /// When none goes on.
    pub async fn abort_canary(&self, wish: &CanaryAbortRequest) -> Outcome<CanaryChanged> {
        self.typed("POST", "/v1/apps/shop/canary/abort", wish).await
    }

    /// The receipt of the drain of a generation of `shop`, once it is over or `wait` has passed.
    ///
    /// # Errors
    /// When no such drain is remembered.
    pub async fn drain(&self, generation: Generation, wait: &str) -> Outcome<DrainReceipt> {
        self.typed("GET", &format!("/v1/apps/shop/drains/{generation}?wait={wait}"), &()).await
    }

    /// The last bake of `shop`, once its outcome is known or `wait` has passed.
    ///
    /// # Errors
    /// When there was none.
    pub async fn bake(&self, wait: &str) -> Outcome<Bake> {
        self.typed("GET", &format!("/v1/apps/shop/bake?wait={wait}"), &()).await
    }

    /// What came of copies of requests of `shop`.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn mirrored(&self) -> Outcome<Mirrored> {
        self.typed("GET", "/v1/apps/shop/mirror", &()).await
    }

    /// What is inside a slot of `shop`.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn in_flight(&self, slot: Slot) -> Outcome<InFlight> {
        self.typed("GET", &format!("/v1/apps/shop/slots/{slot}/in-flight"), &()).await
    }

    /// Registers the addresses of a slot of `shop`.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn register(
        &self,
        slot: Slot,
        upstreams: &[String],
        release: Option<&str>,
    ) -> Outcome<Changed> {
        let upstreams = upstreams.iter().map(|u| u.parse().expect("an address")).collect();
        let release = release.map(str::to_owned);
        let wish =
            RegisterRequest { upstreams, release, expected_generation: None, moved: false, fence: None };
        self.register_as(slot, &wish).await
    }

    /// Registers the addresses of a slot of `shop`, with every choice.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn register_as(&self, slot: Slot, wish: &RegisterRequest) -> Outcome<Changed> {
        self.typed("PUT", &format!("/v1/apps/shop/slots/{slot}"), wish).await
    }

    /// Shows the lease under which `shop` is changed.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn claim(&self, lease: &Fence) -> Outcome<Changed> {
        self.typed("POST", "/v1/apps/shop/claim", lease).await
    }

    /// Pauses `shop`.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn pause(&self, max: Option<&str>) -> Outcome<Changed> {
        let max = max.map(|m| m.parse().expect("a span"));
        self.typed("POST", "/v1/apps/shop/pause", &PauseRequest { max }).await
    }

    /// Resumes `shop`.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn resume(&self) -> Outcome<Changed> {
        self.typed("POST", "/v1/apps/shop/resume", &()).await
    }

    /// Stops `shop`.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn stop(&self, message: Option<&str>) -> Outcome<Changed> {
        self.typed("POST", "/v1/apps/shop/stop", &StopRequest { message: message.map(str::to_owned) }).await
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// When it is bad.
    pub async fn reload(&self) -> Outcome<Reloaded> {
        self.typed("POST", "/v1/reload", &()).await
    }

    /// The certificates that are served.
    ///
    /// # Panics
    /// When there is no such answer.
    pub async fn certificates(&self) -> Vec<CertificateStatus> {
        self.typed("GET", "/v1/certificates", &()).await.expect("certificates")
    }

    /// Renews what covers these names now; none means all.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn renew(&self, names: &[&str]) -> Outcome<Renewed> {
        let names = names.iter().map(ToString::to_string).collect();
        self.typed("POST", "/v1/certificates/renew", &RenewRequest { names, force: true }).await
    }

    /// Revokes a certificate.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn revoke(&self, wish: &RevokeRequest) -> Outcome<Revoked> {
        self.typed("POST", "/v1/certificates/revoke", wish).await
    }

    /// Takes over what lies in the inbox.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn import(&self) -> Outcome<Imported> {
        self.typed("POST", "/v1/certificates/import", &()).await
    }

    /// Opens the stream of events.
    ///
    /// # Panics
    /// When the proxy is not there.
    pub async fn events(&self) -> Events {
        Events::open(self.connect().await.expect("the admin socket"), "/v1/events").await
    }
}

fn understand<T: DeserializeOwned>(answer: &Answer) -> Outcome<T> {
    if (200..300).contains(&answer.status) {
        return Ok(serde_json::from_slice(&answer.body)
            .unwrap_or_else(|e| panic!("not the promised type ({e}): {}", answer.text())));
    }
    let refusal = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|e| panic!("{} without a refusal ({e}): {}", answer.status, answer.text()));
    Err(Refused { status: answer.status, refusal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Head;
    use switcher_config::wire::RefusalReason;

    fn answer(status: u16, body: &str) -> Answer {
        let head = Head { line: String::new(), headers: Vec::new() };
        Answer { status, head, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_refusal_comes_with_its_status_and_reason() {
        let said =
            answer(409, r#"{"reason":"generation_moved","message":"moved","active":"blue","generation":4}"#);
        let refused = understand::<Changed>(&said).expect_err("refused");
        assert_eq!((refused.status, refused.refusal.reason), (409, RefusalReason::GenerationMoved));
        let fine = understand::<Changed>(&answer(200, r#"{"generation":4,"mode":"open"}"#)).expect("fine");
        assert_eq!(fine.generation.get(), 4);
    }

    #[test]
    #[should_panic(expected = "500 without a refusal")]
    fn an_error_without_a_refusal_is_a_failure() {
        let _ = understand::<Changed>(&answer(500, "oops"));
    }
}
