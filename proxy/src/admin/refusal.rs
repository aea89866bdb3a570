//! Refusals as HTTP: the one place where a reason becomes a status.

use axum::Json;
use axum::extract::FromRequest;
use axum::extract::rejection::JsonRejection;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use switcher_config::AppName;
use switcher_config::wire::{Refusal, RefusalReason};

use crate::decide::Denied;
use crate::view::View;

/// A refusal on its way out.
pub(super) struct Refused(pub(super) Box<Refusal>);

impl Refused {
    /// A refusal that is about no application.
    pub(super) fn new(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self(Box::new(Refusal { reason, message: message.into(), active: None, generation: None }))
    }

    /// A denial with what is live now.
    pub(super) fn of(denied: Denied, view: &View, app: &str) -> Self {
        let now = app.parse::<AppName>().ok().and_then(|name| view.apps.get(&name));
        Self(Box::new(Refusal {
            reason: denied.reason,
            message: denied.message,
            active: now.map(|app| app.routing.active),
            generation: now.map(|app| app.routing.generation),
        }))
    }

    /// No application has this name.
    pub(super) fn unknown_app(view: &View, app: &str) -> Self {
        let known: Vec<&str> = view.apps.keys().map(AppName::as_str).collect();
        Self::new(
            RefusalReason::UnknownApp,
            format!("there is no app {app:?}; there is {}", known.join(", ")),
        )
    }
}

const fn status_of(reason: RefusalReason) -> StatusCode {
    match reason {
        RefusalReason::UnknownApp
        | RefusalReason::UnknownDrain
        | RefusalReason::UnknownBake
        | RefusalReason::UnknownCanary
        | RefusalReason::UnknownCertificate => StatusCode::NOT_FOUND,
        RefusalReason::BadRequest => StatusCode::BAD_REQUEST,
        RefusalReason::GenerationMoved
        | RefusalReason::SlotIsLive
        | RefusalReason::CanaryGoesOn
        | RefusalReason::StaleFence
        | RefusalReason::LeaseHeld => StatusCode::CONFLICT,
        RefusalReason::Unhealthy
        | RefusalReason::AlreadyActive
        | RefusalReason::NoUpstreams
        | RefusalReason::PreviewOff => StatusCode::PRECONDITION_FAILED,
        RefusalReason::BadConfiguration => StatusCode::UNPROCESSABLE_ENTITY,
        RefusalReason::TooManyWatchers => StatusCode::TOO_MANY_REQUESTS,
        RefusalReason::CertificateFailed => StatusCode::BAD_GATEWAY,
        RefusalReason::NotSaved => StatusCode::INSUFFICIENT_STORAGE,
        RefusalReason::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        RefusalReason::ReadOnly => StatusCode::FORBIDDEN,
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (status_of(self.0.reason), Json(self.0)).into_response()
    }
}

/// A JSON body; what is wrong with it is a refusal like any other. No body at all is an empty object.
pub(super) struct Body<T>(pub(super) T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Refused> {
        let bad = |why: String| Refused::new(RefusalReason::BadRequest, why);
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|e| bad(e.to_string()))?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        axum::Json::<T>::from_bytes(text).map(|Json(value)| Self(value)).map_err(|error: JsonRejection| {
            bad(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        })
    }
}

/// No such path; for a mutation, because none is accepted here.
pub(super) async fn read_only(method: Method, uri: Uri) -> Response {
    if method == Method::GET || method == Method::HEAD {
        return not_found(uri).await;
    }
    let message = "this listener only reads; changes are made over the admin socket".to_owned();
    Refused::new(RefusalReason::ReadOnly, message).into_response()
}

/// No such path.
pub(super) async fn not_found(uri: Uri) -> Response {
    let message = format!("there is no {} here; see /openapi.json", uri.path());
    let refusal = Refusal { reason: RefusalReason::BadRequest, message, active: None, generation: None };
    (StatusCode::NOT_FOUND, Json(refusal)).into_response()
}
