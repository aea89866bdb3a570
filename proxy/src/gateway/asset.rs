//! Asset fallback: what one slot answers 404 is asked of the other one.
//!
//! A page of the old version that is open in a browser asks for files of the old version, and a page of the new one, met
//! through a cache, for files of the new. Invariant: the other slot can only help. Its answer is given if it has the file;
//! if it has it neither, or gives no good answer in time, the request goes back to the slot that it came from. Wherever it
//! is it holds a lease there, and nowhere else.

use std::time::Duration;

use http::{Method, StatusCode};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};
use switcher_config::Slot;
use switcher_config::wire::{Health, Kind};

use crate::epoch::Pass;
use crate::ledger::NewExchange;
use crate::metrics::Fallback;

use super::again;
use super::context::Context;

/// How far a request is with the other slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Asked {
    /// It was not asked.
    #[default]
    Not,
    /// It is asked now, after this slot has answered 404.
    After(Slot),
    /// It was asked.
    Over,
}

/// The head of an answer is there.
///
/// # Errors
/// When it is not given to the client, because another slot is asked; it is dropped with its connection.
pub(super) fn after_answer(session: &mut Session, status: StatusCode, ctx: &mut Context) -> Result<()> {
    let moved = match ctx.asked {
        Asked::Not => status == StatusCode::NOT_FOUND && is_asset(session, ctx) && ask_other(session, ctx),
        Asked::Over => false,
        Asked::After(_) if status.is_informational() => false,
        Asked::After(_) => match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => {
                settle(ctx, Fallback::Found);
                false
            }
            StatusCode::NOT_FOUND => {
                settle(ctx, Fallback::Missing);
                false
            }
            _ => go_back(session, ctx),
        },
    };
    if !moved {
        return Ok(());
    }
    ctx.asks_again = true;
    Err(Error::explain(ErrorType::HTTPStatus(status.as_u16()), "the other slot is asked").into_up())
}

/// Whether an answer may be that of another slot than the request came to.
pub(super) fn was_asked(ctx: &Context) -> bool {
    ctx.asked != Asked::Not
}

/// Whether the client may be given what the other slot has.
fn is_asset(session: &mut Session, ctx: &Context) -> bool {
    let Some(fallback) = ctx.settings.as_ref().and_then(|settings| settings.asset_fallback.as_ref()) else {
        return false;
    };
    let request = session.req_header();
    matches!(request.method, Method::GET | Method::HEAD)
        && !ctx.previews
        && fallback.covers(request.uri.path())
        && session.is_body_empty()
        && again::repeatable(session, ctx)
}

/// Moves the request to the other slot, if that has a healthy upstream.
fn ask_other(session: &Session, ctx: &mut Context) -> bool {
    let Some(from) = ctx.pass.as_ref().map(|pass| pass.epoch().slot) else { return false };
    let moved = enter(session, ctx, from.other(), true);
    if moved {
        // The real answer is not the live slot's alone any more.
        ctx.copied = None;
        ctx.asked = Asked::After(from);
    }
    moved
}

/// Moves the request back to the slot that it came from. False when it is with that already.
fn go_back(session: &Session, ctx: &mut Context) -> bool {
    let Asked::After(from) = ctx.asked else { return false };
    settle(ctx, Fallback::Failed);
    ctx.overloaded = false;
    enter(session, ctx, from, false)
}

fn settle(ctx: &mut Context, outcome: Fallback) {
    ctx.asked = Asked::Over;
    if let Some(app) = &ctx.app {
        ctx.shared.metrics.fell_back(&app.name, outcome);
    }
}

fn enter(session: &Session, ctx: &mut Context, slot: Slot, healthy: bool) -> bool {
    let Some(lease) = ctx.app.as_ref().and_then(|app| app.enter_slot(slot)) else { return false };
    let mut upstreams = lease.epoch().upstreams.iter().map(|one| &one.upstream);
    if healthy && !upstreams.any(|one| one.weight() > 0 && one.health() == Health::Healthy) {
        return false;
    }
    let request = session.req_header();
    let (abort, kind) = (ctx.request.abort.clone(), ctx.exchange().map(|exchange| exchange.kind()));
    let pass: Pass = lease.admit(NewExchange {
        method: request.method.clone(),
        uri: request.uri.clone(),
        request_id: ctx.id.clone(),
        started: ctx.started,
        kind: kind.unwrap_or(Kind::Requests),
        abort,
        timeouts: ctx.chain.as_ref().and_then(|chain| chain.timeouts.clone()),
    });
    ctx.go_over(pass);
    true
}

/// How long the other slot may be silent, while it is asked or gives its answer.
pub(super) fn patience(ctx: &Context) -> Option<Duration> {
    let settings = ctx.settings.as_ref()?;
    let fallback = settings.asset_fallback.as_ref().filter(|_| matches!(ctx.asked, Asked::After(_)))?;
    Some(fallback.timeout.0.min(ctx.timeouts(settings).response.0))
}

/// Whether a request that failed at the other slot goes back to the one that it came from. It has no more patience than
/// that.
pub(super) fn gives_up(session: &Session, ctx: &mut Context, error: &Error) -> bool {
    matches!(ctx.asked, Asked::After(_))
        && *error.esource() != ErrorSource::Downstream
        && session.response_written().is_none()
        && ctx.cause().is_none()
        && go_back(session, ctx)
}
