//! Once more: which failure sends a request to another upstream, and what a failure says of the upstream that it was with.
//!
//! Nothing was sent where no connection was taken: any request may go on. Otherwise the request may have been acted upon, so only an
//! idempotent one (RFC 9110 section 9.2.2) whose body can be sent again is, and only where the settings say so.

use http::StatusCode;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};
use switcher_config::settings::RetryOn;

use crate::epoch::Pass;
use crate::ledger::Cause;
use crate::tick::Tick;

use super::context::Context;

/// Whether the request goes to another upstream after this failure. Takes it out of the budget.
pub(super) fn may(ctx: &Context, on: RetryOn) -> bool {
    let (Some(settings), Some(epoch)) = (&ctx.settings, ctx.pass.as_ref().map(Pass::epoch)) else {
        return false;
    };
    let mut others = epoch.upstreams.iter().enumerate();
    let left = others.any(|(index, one)| !ctx.tried.contains(index) && one.upstream.weight() > 0);
    if !left || ctx.cause().is_some() {
        return false;
    }
    let Some(retries) = &settings.retries else { return on == RetryOn::Connect };
    // A stale connection of the pool was no attempt.
    let attempts = ctx.tries.saturating_sub(ctx.stale.into());
    if !retries.on.contains(&on) || attempts >= retries.attempts.into() {
        return false;
    }
    let affordable = epoch.budget.take(Tick::now(), retries.budget);
    if !affordable {
        epoch.metrics.retry_refused();
    }
    affordable
}

/// Whether the request may be sent twice.
pub(super) fn repeatable(session: &Session, ctx: &Context) -> bool {
    session.req_header().method.is_idempotent()
        && !session.as_ref().retry_buffer_truncated()
        && session.response_written().is_none()
        && ctx.cause().is_none()
}

/// The head of an answer is there.
///
/// # Errors
/// When another upstream is asked instead; the answer is dropped with its connection.
pub(super) fn after_answer(session: &Session, status: StatusCode, ctx: &mut Context) -> Result<()> {
    let on = match status {
        StatusCode::BAD_GATEWAY => RetryOn::BadGateway,
        StatusCode::SERVICE_UNAVAILABLE => RetryOn::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => RetryOn::GatewayTimeout,
        _ => return Ok(()),
    };
    let wanted = ctx.settings.as_ref().is_some_and(|settings| settings.retries.is_some());
    if !wanted || !repeatable(session, ctx) || !may(ctx, on) {
        return Ok(());
    }
    judge(ctx, Some(status.as_str()));
    ctx.asks_again = true;
    Err(Error::explain(ErrorType::HTTPStatus(status.as_u16()), "another upstream is asked").into_up())
}

/// Whether an exchange that broke goes to another upstream: its connection broke before an answer.
pub(super) fn after_break(ctx: &Context, error: &Error) -> bool {
    let timed_out = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
    *error.esource() == ErrorSource::Upstream
        && !timed_out
        && ctx.settings.as_ref().is_some_and(|s| s.retries.is_some())
        && may(ctx, RetryOn::Reset)
}

/// Tells how the upstream in use answered, where outliers are left out.
pub(super) fn judge(ctx: &Context, failure: Option<&str>) {
    let Some(limits) = ctx.settings.as_ref().and_then(|settings| settings.outliers) else { return };
    if let (Some(index), Some(pass)) = (ctx.upstream_index(), &ctx.pass) {
        pass.epoch().judge(index, failure, &limits, Tick::now());
    }
}

/// Tells that an exchange broke, if the upstream is to blame.
pub(super) fn judge_break(ctx: &Context, error: &Error) {
    let ours = match ctx.cause() {
        Some(Cause::Drain | Cause::Shutdown | Cause::SlowRequest) => true,
        Some(Cause::ResponseTimeout | Cause::IdleTimeout) => {
            return judge(ctx, Some("it did not answer in time"));
        }
        None => false,
    };
    if !ours && *error.esource() == ErrorSource::Upstream {
        judge(ctx, Some("it broke the connection"));
    }
}
