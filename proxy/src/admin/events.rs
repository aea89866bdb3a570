//! Events as they happen, as server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use futures::Stream;
use switcher_config::wire::Event;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Admin;

/// Everything that happens from now on. A reader that lags too far behind gets a comment that says how much it missed.
#[utoipa::path(get, path = "/v1/events", responses((status = 200, content_type = "text/event-stream", body = Event)))]
pub(super) async fn events(
    State(admin): State<Admin>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let stream = futures::stream::unfold(admin.control.events(), |mut events| async move {
        let event = next(&mut events).await?;
        Some((Ok(event), events))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

async fn next(events: &mut Receiver<Event>) -> Option<sse::Event> {
    match events.recv().await {
        Ok(event) => {
            let data = serde_json::to_value(&event).ok()?;
            let name = data.get("event").and_then(serde_json::Value::as_str).unwrap_or("event").to_owned();
            Some(sse::Event::default().event(name).data(data.to_string()))
        }
        Err(RecvError::Lagged(missed)) => {
            Some(sse::Event::default().comment(format!("{missed} events were missed")))
        }
        Err(RecvError::Closed) => None,
    }
}
