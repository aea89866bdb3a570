//! What is asked for just now, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use futures::Stream;
use switcher_config::Span;
use switcher_config::wire::{Refusal, RefusalReason, Traffic};
use tokio::time::{MissedTickBehavior, interval_at};

use super::Admin;
use super::refusal::Refused;

/// How often figures may come, and how seldom.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// How often figures come.
#[derive(serde::Deserialize)]
pub(super) struct Every {
    every: Option<Span>,
}

/// Requests, errors and latency by application, slot and path, of each second from now on.
#[utoipa::path(get, path = "/v1/top",
    params(("every" = Option<String>, Query, description = "How often; 100ms to 60s, 1s when it is left out")),
    responses((status = 200, content_type = "text/event-stream", body = Traffic), (status = 400, body = Refusal)))]
pub(super) async fn top(
    State(admin): State<Admin>,
    every: Result<Query<Every>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Refused> {
    let bad = |why: String| Refused::new(RefusalReason::BadRequest, why);
    let Query(Every { every }) = every.map_err(|error| bad(error.body_text()))?;
    let every = every.map_or(Duration::from_secs(1), |every| every.0);
    if !EVERY.contains(&every) {
        return Err(bad("`every` lies between 100ms and 60s".to_owned()));
    }
    let watcher = admin.top.watch().map_err(|_| {
        Refused::new(RefusalReason::TooManyWatchers, "too many watch already; end one of them")
    })?;
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = futures::stream::unfold((watcher, ticks), |(mut watcher, mut ticks)| async move {
        ticks.tick().await;
        let data = serde_json::to_string(&watcher.take()).ok()?;
        Some((Ok(sse::Event::default().event("traffic").data(data)), (watcher, ticks)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
