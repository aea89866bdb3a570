//! What an answer says that it depends on. Called by what makes it depend: CORS and compression.

use http::header;
use pingora::Result;
use pingora::http::ResponseHeader;

/// Tells caches what else an answer depends on, unless they are told already (RFC 9110 section 12.5.5).
pub(super) fn vary(answer: &mut ResponseHeader, on: &str) -> Result<()> {
    let fields = answer.headers.get_all(header::VARY).iter().filter_map(|field| field.to_str().ok());
    let told = fields.flat_map(|field| field.split(',')).any(|name| {
        let name = name.trim();
        name == "*" || name.eq_ignore_ascii_case(on)
    });
    if !told {
        answer.append_header(header::VARY, on)?;
    }
    Ok(())
}
