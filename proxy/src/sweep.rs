//! Time limits of requests that have an upstream connection to themselves.
//!
//! One task looks at every exchange a few times a second and closes those whose upstream is silent for
//! too long. It knows what the exchange waits for and of what kind it is, so that a silent event stream
//! or WebSocket is left alone; and it costs a request nothing but a clock reading for each chunk. Of a thousand
//! applications and more each has its turn once a second, so that a proxy that does nothing costs next to nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switcher_config::settings::Timeouts;
use switcher_config::wire::Kind;

use crate::control::Control;
use crate::ledger::{Cause, Exchange, Ledger, Stage};
use crate::limits::Pace;
use crate::metrics::{Limit, LimitMetrics};

/// How often the exchanges are looked at; how late a limit may strike.
const TICK: Duration = Duration::from_millis(100);

/// In how many ticks everybody has had a turn where there are very many applications.
const TURNS: usize = 10;

/// How long a raw connection that one side has ended may be silent without an `idle` of its own. A peer that never ends its
/// side would keep it for ever; HAProxy's `timeout client-fin` and Traefik's `terminationDelay` are against the same.
pub const HALF_OPEN: Duration = Duration::from_secs(30);

/// How long a closed exchange gets to answer its client before it is aborted.
const LINGER: Duration = Duration::from_secs(1);

/// The limit that an exchange has overstepped, if any.
#[must_use]
pub fn overstepped(stage: Stage, kind: Kind, stalled: Duration, limits: &Timeouts) -> Option<Cause> {
    let (limit, cause) = match (stage, kind) {
        // Pingora itself limits how long a connection may take.
        (Stage::Opening, _) | (Stage::Answering, Kind::Streams | Kind::Websockets) => return None,
        (Stage::Waiting, _) => (limits.response.0, Cause::ResponseTimeout),
        (Stage::Sending, _) => (limits.idle.0, Cause::SlowRequest),
        // Without a time of its own it may be silent for ever.
        (Stage::Answering, Kind::Connections) if limits.idle.0.is_zero() => return None,
        (Stage::Ending, _) if limits.idle.0.is_zero() => (HALF_OPEN, Cause::IdleTimeout),
        (Stage::Answering, Kind::Requests | Kind::Uploads | Kind::Connections) | (Stage::Ending, _) => {
            (limits.idle.0, Cause::IdleTimeout)
        }
    };
    (stalled >= limit).then_some(cause)
}

/// Whether a body comes more slowly than it must, on the average since it began: until its end, though the answer may have
/// begun. Streams may be silent.
#[must_use]
pub fn trickles(kind: Kind, sending: Option<(Duration, u64)>, pace: Pace) -> bool {
    let asked_of = matches!(kind, Kind::Requests | Kind::Uploads);
    let Some((sending, received)) = sending.filter(|_| asked_of) else { return false };
    let counted = sending.saturating_sub(pace.grace).as_secs_f64();
    // A body is far below the sizes at which this loses bytes.
    #[allow(clippy::cast_precision_loss)]
    let missing = (received as f64) < counted * pace.rate as f64;
    missing
}

/// Sweeps for ever.
pub async fn run(control: Arc<Control>, metrics: LimitMetrics) {
    let mut lingering: Vec<(Instant, Arc<Exchange>)> = Vec::new();
    for turn in (0..TURNS).cycle() {
        tokio::time::sleep(TICK).await;
        let view = control.view();
        let limits = &view.settings.proxy.limits;
        let pace = Pace { rate: limits.body_rate.0, grace: limits.body_grace.0 };
        for (_, app) in view.turn(turn, TURNS) {
            let draining = app.drains.iter().filter(|d| !d.is_over()).map(|d| &d.epoch().ledger);
            let previews = app.previews.ledgers().map(|(_, ledger)| ledger);
            let canaries = app.canaries.ledgers().map(|(_, ledger)| ledger);
            let all = std::iter::once(&app.live.ledger).chain(draining).chain(previews).chain(canaries);
            for ledger in all.filter(|ledger| !ledger.is_empty()) {
                sweep(ledger, &app.app.settings().timeouts, pace, &metrics, &mut lingering);
            }
        }
        let now = Instant::now();
        lingering.retain(|(until, exchange)| {
            let wait = *until > now;
            if !wait {
                exchange.abort();
            }
            wait
        });
    }
}

fn sweep(
    ledger: &Ledger,
    limits: &Timeouts,
    pace: Pace,
    metrics: &LimitMetrics,
    lingering: &mut Vec<(Instant, Arc<Exchange>)>,
) {
    let now = Instant::now();
    for exchange in ledger.exchanges() {
        let limits = exchange.timeouts().unwrap_or(limits);
        let (stage, stalled) = exchange.stalled(now);
        // On a shared connection Pingora waits for the head of the answer, and can still tell the client.
        let pingoras = stage == Stage::Waiting && !exchange.has_socket();
        if exchange.cause().is_some() || pingoras {
            continue;
        }
        let trickles = trickles(exchange.kind(), exchange.sending(now), pace);
        let cause = trickles.then_some(Cause::SlowRequest);
        let cause = cause.or_else(|| overstepped(stage, exchange.kind(), stalled, limits));
        let Some(cause) = blamed(cause, &exchange, stalled, limits) else { continue };
        if trickles && cause == Cause::SlowRequest {
            metrics.acted(Limit::BodyRate);
        }
        exchange.close(cause);
        lingering.push((now + LINGER, exchange));
    }
}

/// Why an exchange is closed, once it is known who keeps it waiting. A client whose upstream does not read cannot send.
fn blamed(cause: Option<Cause>, exchange: &Exchange, stalled: Duration, limits: &Timeouts) -> Option<Cause> {
    if cause != Some(Cause::SlowRequest) || !exchange.is_backed_up() {
        return cause;
    }
    exchange.pardon();
    (stalled >= limits.idle.0).then_some(Cause::IdleTimeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switcher_config::Span;

    #[test]
    fn a_body_must_come_at_its_pace_after_the_grace_and_only_while_it_is_sent() {
        let pace = Pace { rate: 240, grace: Duration::from_secs(10) };
        let slow =
            |kind, seconds, received| trickles(kind, Some((Duration::from_secs(seconds), received)), pace);
        assert!(!slow(Kind::Uploads, 10, 0), "within the grace nothing is asked");
        assert!(slow(Kind::Uploads, 11, 239));
        assert!(!slow(Kind::Uploads, 11, 240));
        assert!(slow(Kind::Requests, 110, 100), "a byte a second");
        assert!(!slow(Kind::Streams, 999, 0));
        assert!(!trickles(Kind::Uploads, None, pace), "all of it came");
        let any = Pace { rate: 0, ..pace };
        assert!(!trickles(Kind::Uploads, Some((Duration::from_secs(999), 0)), any));
    }

    #[test]
    fn each_stage_has_its_own_limit_and_endless_answers_have_none() {
        let limits = Timeouts {
            connect: Span::seconds(5),
            response: Span::seconds(60),
            idle: Span::seconds(20),
            pool: Span::seconds(1),
        };
        let seconds = Duration::from_secs;
        for (stage, kind, stalled, expected) in [
            (Stage::Opening, Kind::Requests, 999, None),
            (Stage::Sending, Kind::Uploads, 19, None),
            (Stage::Sending, Kind::Uploads, 20, Some(Cause::SlowRequest)),
            (Stage::Waiting, Kind::Requests, 59, None),
            (Stage::Waiting, Kind::Streams, 60, Some(Cause::ResponseTimeout)),
            (Stage::Answering, Kind::Requests, 20, Some(Cause::IdleTimeout)),
            (Stage::Answering, Kind::Streams, 999, None),
            (Stage::Answering, Kind::Websockets, 999, None),
            (Stage::Opening, Kind::Connections, 999, None),
            (Stage::Answering, Kind::Connections, 20, Some(Cause::IdleTimeout)),
            (Stage::Ending, Kind::Connections, 20, Some(Cause::IdleTimeout)),
        ] {
            let found = overstepped(stage, kind, seconds(stalled), &limits);
            assert_eq!(found, expected, "{stage:?} {kind:?} {stalled}");
        }
    }

    #[test]
    fn half_a_raw_connection_does_not_stay_for_ever() {
        let unlimited = Timeouts {
            connect: Span::seconds(5),
            response: Span::seconds(60),
            idle: Span::seconds(0),
            pool: Span::seconds(1),
        };
        let judged =
            |stage, seconds| overstepped(stage, Kind::Connections, Duration::from_secs(seconds), &unlimited);
        assert_eq!(judged(Stage::Answering, 99_999), None);
        assert_eq!(judged(Stage::Ending, 29), None);
        assert_eq!(judged(Stage::Ending, 30), Some(Cause::IdleTimeout));
    }
}
