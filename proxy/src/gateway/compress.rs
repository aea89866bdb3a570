//! Compression on the request path: answers of applications piece by piece, the proxy's own in one go.

use bytes::Bytes;
use http::header;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use super::context::Context;

/// Prepares the compression of an application's answer, whose head is dressed.
pub(super) fn head(request: &RequestHeader, answer: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    if let Some(compressor) = ctx.chain.as_ref().and_then(|chain| chain.compress.as_ref()) {
        ctx.encoder = compressor.begin(request, answer)?.map(Box::new);
    }
    Ok(())
}

/// A piece of the answer's body, or its end.
pub(super) fn body(body: &mut Option<Bytes>, end: bool, ctx: &mut Context) -> Result<()> {
    let Some(encoder) = &mut ctx.encoder else { return Ok(()) };
    let piece = body.take().unwrap_or_default();
    if !end {
        *body = Some(encoder.piece(&piece)?).filter(|out| !out.is_empty());
    } else if let Some(encoder) = ctx.encoder.take() {
        *body = Some(encoder.finish(&piece)?);
    }
    Ok(())
}

/// What is left of the body when trailers end it, which then have no place behind it (RFC 9110 section 6.5.1).
pub(super) fn trailers(ctx: &mut Context) -> Result<Option<Bytes>> {
    ctx.encoder.take().map(|encoder| encoder.finish(&[])).transpose()
}

/// The body of an answer of the proxy's own.
pub(super) fn whole(
    request: &RequestHeader,
    answer: &mut ResponseHeader,
    body: Bytes,
    ctx: &Context,
) -> Result<Bytes> {
    let compressor = ctx.chain.as_ref().and_then(|chain| chain.compress.as_ref());
    let Some(compressor) = compressor.filter(|_| !body.is_empty()) else { return Ok(body) };
    let Some(encoder) = compressor.begin(request, answer)? else { return Ok(body) };
    let body = encoder.finish(&body)?;
    answer.remove_header(&header::TRANSFER_ENCODING);
    answer.insert_header(header::CONTENT_LENGTH, body.len())?;
    Ok(body)
}
