//! Error pages in the place of answers: which file is for whom, and an upstream's answer exchanged for one.
//!
//! A client that prefers JSON gets no page, unless the page is JSON: an API's own words are worth more to it. What is
//! off costs a comparison. Called by `reply` for the proxy's own answers, by the hooks for an upstream's.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use switcher_config::settings::{ErrorPage, ErrorPagesFor};

use crate::answer::{Reason, prefers_json};
use crate::page::{Filling, Page};

use super::Shared;
use super::context::Context;

/// The headers that speak of a body that is not sent.
static OF_THE_BODY: [HeaderName; 15] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_DISPOSITION,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::ACCEPT_RANGES,
    header::ETAG,
    header::LAST_MODIFIED,
    header::EXPIRES,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// The error by which an answer gives way to a page that `reply` sends: nothing has failed.
pub(super) const GIVES_WAY: ErrorType = ErrorType::Custom("error page");

/// An upstream's answer that a page stands in for.
pub(super) enum Replacement {
    /// The head has been passed on; the first piece of the upstream's body becomes the page, the others nothing.
    Body(Option<Bytes>),
    /// The upstream sends no body whose place the page could take, or one without a known end, so head and page are
    /// sent by `reply`.
    Whole(Box<ResponseHeader>, Bytes),
}

/// The page for an answer of the proxy's own: the application's, else that of the whole proxy.
pub(super) fn own(ctx: &Context, request: &HeaderMap, reason: &Reason) -> Option<Arc<Page>> {
    let status = reason.status().as_u16();
    let shared = &ctx.shared;
    let of_app = ctx.settings.as_ref().and_then(|app| {
        let stopped = matches!(reason, Reason::Stopped { .. });
        let maintenance = app.maintenance.page.as_deref().filter(|_| stopped);
        maintenance.or_else(|| file_for(&app.error_pages, status)).and_then(|file| shared.pages.get(file))
    });
    let page = of_app.or_else(|| of_proxy(shared, reason))?;
    (page.is_json() || !prefers_json(request)).then_some(page)
}

/// The page of the whole proxy, also for what is no request: nobody knows then what its client prefers.
pub(super) fn of_proxy(shared: &Shared, reason: &Reason) -> Option<Arc<Page>> {
    let rules = shared.rules.load();
    file_for(&rules.error_pages, reason.status().as_u16()).and_then(|file| shared.pages.get(file))
}

/// The file for a status: pages for the fewest statuses come first.
fn file_for(pages: &[ErrorPage], status: u16) -> Option<&Path> {
    pages.iter().find(|page| page.is_for(status)).map(|page| page.file.as_path())
}

/// Puts a page in the place of an upstream's answer, if there is one for it. The head was dressed already.
///
/// # Errors
/// When the page has to be sent by `reply`, as answers to failures are.
pub(super) fn upstream(session: &Session, response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    let status = response.status;
    if !(status.is_client_error() || status.is_server_error()) {
        return Ok(());
    }
    let Some(page) = page_for(session, status, ctx) else { return Ok(()) };
    let reason = status.canonical_reason().unwrap_or("an error");
    let message = format!("The application answered {}, {reason}.", status.as_u16());
    let body = page.filled(Filling { status, id: &ctx.id, message: &message });
    let comes = body_comes(&response.headers);
    for name in &OF_THE_BODY {
        response.remove_header(name);
    }
    response.insert_header(header::CONTENT_TYPE, &page.content_type)?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    response.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    response.append_header(header::VARY, "accept")?;
    if session.req_header().method == Method::HEAD {
        return Ok(());
    }
    if comes {
        ctx.replacement = Some(Replacement::Body(Some(body)));
        return Ok(());
    }
    ctx.replacement = Some(Replacement::Whole(Box::new(response.clone()), body));
    Err(Error::explain(GIVES_WAY, "a page takes the place of the answer").into_in())
}

fn page_for(session: &Session, status: StatusCode, ctx: &Context) -> Option<Arc<Page>> {
    let settings = ctx.settings.as_ref()?;
    // A smoke test is about what the application says; streams and gRPC are read by programs.
    if settings.error_pages_for != ErrorPagesFor::All || ctx.smokes || ctx.event_stream || ctx.grpc {
        return None;
    }
    let page = ctx.shared.pages.get(file_for(&settings.error_pages, status.as_u16())?)?;
    (page.is_json() || !prefers_json(&session.req_header().headers)).then_some(page)
}

/// The longest body of an upstream that is read to be thrown away, in bytes, so that its connection can be used again.
const READ_OUT: u64 = 64 * 1024;

/// Whether a short body comes for certain after this head of an upstream's answer. Any other may never end.
fn body_comes(head: &HeaderMap) -> bool {
    let length =
        head.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| (1..=READ_OUT).contains(&length))
}

/// A piece of an upstream's body, in whose place the page is sent.
pub(super) fn body(body: &mut Option<Bytes>, ctx: &mut Context) {
    if let Some(Replacement::Body(page)) = &mut ctx.replacement {
        *body = page.take();
    }
}
