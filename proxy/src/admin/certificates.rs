//! Certificates: what is served, and what can be asked of those that the proxy renews.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use switcher_certs::manager::Refused as Denied;
use switcher_config::wire::{
    CertificateStatus, CheckRequest, Checked, Imported, Refusal, RefusalReason, RenewRequest, Renewed,
    RevokeRequest, Revoked,
};

use super::Admin;
use super::refusal::{Body, Refused};

/// The certificates that are served.
#[utoipa::path(get, path = "/v1/certificates", responses((status = 200, body = Vec<CertificateStatus>)))]
pub(super) async fn list(State(admin): State<Admin>) -> Json<Vec<CertificateStatus>> {
    Json(admin.certificates.status())
}

/// The root of the internal authority, in PEM.
#[utoipa::path(get, path = "/v1/certificates/root",
    responses((status = 200, body = String, content_type = "application/x-pem-file"), (status = 404, body = Refusal)))]
pub(super) async fn root(State(admin): State<Admin>) -> Response {
    match admin.manager.internal_root() {
        Some(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        None => {
            let message = "there is no internal authority; it is made with the first application that has `tls: internal`";
            Refused::new(RefusalReason::UnknownCertificate, message).into_response()
        }
    }
}

/// Renews certificates now, those that are due or all that are named. Answers when all attempts have ended.
#[utoipa::path(post, path = "/v1/certificates/renew", request_body = RenewRequest,
    responses((status = 200, body = Renewed), (status = 404, body = Refusal)))]
pub(super) async fn renew(
    State(admin): State<Admin>,
    Body(request): Body<RenewRequest>,
) -> Result<Json<Renewed>, Refused> {
    admin.manager.renew(request).await.map(Json).map_err(refused)
}

/// Revokes a certificate at the authority that issued it, and orders another one with a new key.
#[utoipa::path(post, path = "/v1/certificates/revoke", request_body = RevokeRequest,
    responses((status = 200, body = Revoked), (status = 404, body = Refusal), (status = 502, body = Refusal)))]
pub(super) async fn revoke(
    State(admin): State<Admin>,
    Body(request): Body<RevokeRequest>,
) -> Result<Json<Revoked>, Refused> {
    admin.manager.revoke(request).await.map(Json).map_err(refused)
}

/// Takes over what lies in the inbox of imports, `<data_dir>/certs/imported`.
#[utoipa::path(post, path = "/v1/certificates/import", responses((status = 200, body = Imported)))]
pub(super) async fn import(State(admin): State<Admin>) -> Result<Json<Imported>, Refused> {
    admin.manager.import().await.map(Json).map_err(refused)
}

/// Says what stands between names and their certificates, without ordering any.
#[utoipa::path(post, path = "/v1/certificates/check", request_body = CheckRequest,
    responses((status = 200, body = Checked)))]
pub(super) async fn check(
    State(admin): State<Admin>,
    Body(request): Body<CheckRequest>,
) -> Result<Json<Checked>, Refused> {
    Ok(Json(admin.manager.check(request).await))
}

fn refused(denied: Denied) -> Refused {
    let reason = match denied {
        Denied::Unknown(_) => RefusalReason::UnknownCertificate,
        Denied::Failed(_) => RefusalReason::CertificateFailed,
    };
    Refused::new(reason, denied.to_string())
}
