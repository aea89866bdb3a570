//! What can be asked of the proxy about certificates.
//!
//! An order takes as long as the authority and the DNS take, so those answers are waited for with patience.

use std::time::Duration;

use http::Method;
use switcher_config::wire::{
    CertificateStatus, CheckRequest, Checked, Imported, RenewRequest, Renewed, RevokeRequest, Revoked,
};

use super::{ANSWER, Admin, AdminError, connection};

/// How long an order may take: many names, each with minutes of DNS propagation, one after the other.
const ORDER: Duration = Duration::from_secs(3600);
/// How long looking at names may take: every look has its own timeout in the proxy.
const LOOK: Duration = Duration::from_secs(300);

impl Admin {
    /// `GET /v1/certificates`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn certificates(&self) -> Result<Vec<CertificateStatus>, AdminError> {
        self.get("/v1/certificates", ANSWER).await
    }

    /// `POST /v1/certificates/renew`: answers when every order has ended.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn renew(&self, request: &RenewRequest) -> Result<Renewed, AdminError> {
        self.send_within(Method::POST, "/v1/certificates/renew", request, ORDER).await
    }

    /// `POST /v1/certificates/revoke`: answers when the replacement's order has ended.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn revoke(&self, request: &RevokeRequest) -> Result<Revoked, AdminError> {
        self.send_within(Method::POST, "/v1/certificates/revoke", request, ORDER).await
    }

    /// `POST /v1/certificates/check`.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn check(&self, request: &CheckRequest) -> Result<Checked, AdminError> {
        self.send_within(Method::POST, "/v1/certificates/check", request, LOOK).await
    }

    /// `POST /v1/certificates/import`: makes the proxy look into its inbox.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn import(&self) -> Result<Imported, AdminError> {
        self.ask(Method::POST, "/v1/certificates/import", None, LOOK).await
    }

    /// `GET /v1/certificates/root`: the internal authority's root in PEM; none when there is no such authority.
    ///
    /// # Errors
    /// As [`Admin::status`].
    pub async fn root(&self) -> Result<Option<String>, AdminError> {
        let asked = tokio::time::timeout(ANSWER, async {
            let path = "/v1/certificates/root";
            let answer = connection::exchange(self.socket(), Method::GET, path, None, ANSWER).await?;
            connection::read_text(answer).await
        });
        asked.await.map_err(|_| AdminError::Timeout(ANSWER))?
    }
}
