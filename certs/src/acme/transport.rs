//! HTTP to an authority: bounded in time and size, and it remembers when the authority wants to be left alone.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::AcmeError;
use crate::check::unnumbered;

/// How long one request may take. An authority that is slow on purpose answers `processing` at once.
const REQUEST: Duration = Duration::from_secs(30);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The largest answer that is read. A chain has some kilobytes.
const LARGEST_ANSWER: usize = 1 << 20;

/// How far in the future a wish to be left alone is believed.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(24 * 7);

/// A client for one authority.
#[derive(Clone)]
pub(super) struct Transport {
    client: reqwest::Client,
    rest: Rest,
}

/// Until when the authority wants to be left alone, by its own words.
#[derive(Clone, Default)]
pub(super) struct Rest(Arc<Mutex<Option<Timestamp>>>);

impl Rest {
    fn set(&self, until: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// What was told last; forgotten once taken.
    pub(super) fn take(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a directory says (RFC 8555 section 7.1.1, RFC 9773 section 4, draft-aaron-acme-profiles).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DirectoryAnswer {
    new_order: String,
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
}

/// See [`DirectoryAnswer`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    #[serde(default)]
    pub(super) external_account_required: bool,
    #[serde(default)]
    pub(super) profiles: std::collections::BTreeMap<String, String>,
}

impl Transport {
    /// A client that trusts the roots in this file, or the system's, and notes in `rest` until when the
    /// authority wants to be left alone.
    pub(super) fn new(ca_file: Option<&Path>, rest: Rest) -> Result<Self, AcmeError> {
        let mut builder = reqwest::Client::builder()
            .https_only(true)
            .timeout(REQUEST)
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none());
        let wrong = |path: &Path, why: String| AcmeError::Roots { path: path.to_owned(), why };
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|why| wrong(path, why.to_string()))?;
            let roots =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|why| wrong(path, why.to_string()))?;
            if roots.is_empty() {
                return Err(wrong(path, "it holds no certificate in PEM".into()));
            }
            builder = builder.tls_certs_only(roots);
        }
        let client = builder
            .build()
            .map_err(|why| AcmeError::Make { what: "an HTTPS client", why: innermost(&why) })?;
        Ok(Self { client, rest })
    }

    /// Reads a directory.
    pub(super) async fn directory(&self, url: &str) -> Result<DirectoryAnswer, AcmeError> {
        let unreachable = |why: String| AcmeError::Unreachable { ca: url.to_owned(), why };
        let nonsense = |why: String| AcmeError::Nonsense { ca: url.to_owned(), why };
        let request = Request::get(url).body(Bytes::new()).map_err(|why| nonsense(why.to_string()))?;
        let (head, body) = self.exchange(request).await.map_err(unreachable)?.into_parts();
        if !head.status.is_success() {
            return Err(nonsense(format!("its directory is answered with {}", head.status)));
        }
        let answer: DirectoryAnswer = serde_json::from_slice(&body)
            .map_err(|why| nonsense(format!("its directory is none of ACME's ({why})")))?;
        if answer.new_order.is_empty() {
            return Err(nonsense("its directory names no newOrder".into()));
        }
        Ok(answer)
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let request = reqwest::Request::try_from(request).map_err(|why| innermost(&why))?;
        let mut response = self.client.execute(request).await.map_err(|why| innermost(&why))?;
        self.note_rest(&response);
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|why| innermost(&why))? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER {
                return Err(format!("its answer is larger than {LARGEST_ANSWER} bytes"));
            }
        }
        let mut answer = Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }

    fn note_rest(&self, response: &reqwest::Response) {
        let tired = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        if !tired.contains(&response.status()) {
            return;
        }
        let value = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        if let Some(until) = value.and_then(|value| retry_after(value, Timestamp::now())) {
            self.rest.set(until);
        }
    }
}

/// `Retry-After` as a moment: seconds or a date (RFC 9110 section 10.2.3). What lies too far ahead is cut.
fn retry_after(value: &str, now: Timestamp) -> Option<Timestamp> {
    let value = value.trim();
    let until = match value.parse::<u32>() {
        Ok(seconds) => now.checked_add(SignedDuration::from_secs(seconds.into())).ok()?,
        Err(_) => rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?,
    };
    Some(until.min(now.checked_add(LONGEST_REST).ok()?))
}

/// The innermost cause, which says most: the outer ones only say that a request failed.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    plain(&cause.to_string())
}

/// The words of the network and of TLS for somebody who runs neither: without the number of the system's error,
/// and with what to do about an authority that is not trusted.
fn plain(cause: &str) -> String {
    if cause.contains("UnknownIssuer") {
        return "its certificate is from nobody that this machine trusts; for a private authority set \
                `acme.ca_file`, and look whether something on the way opens TLS"
            .to_owned();
    }
    unnumbered(cause).to_owned()
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let transport = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes);
            let response = transport.exchange(Request::from_parts(parts, body)).await;
            let response = response.map_err(|why| Error::Other(why.into()))?;
            Ok(BytesResponse::from(response.map(Full::new)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_network_says_is_told_without_its_numbers_and_with_what_to_do() {
        assert_eq!(plain("Connection refused (os error 111)"), "Connection refused");
        assert_eq!(plain("tls handshake eof"), "tls handshake eof");
        let told = plain("invalid peer certificate: UnknownIssuer");
        assert!(told.contains("set `acme.ca_file`"), "{told}");
    }

    #[test]
    fn retry_after_is_read_in_seconds_or_as_a_date_and_never_believed_for_long() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        let at = |text: &str| retry_after(text, now).map(|until| until.to_string());
        assert_eq!(at("120").as_deref(), Some("2026-11-21T12:02:00Z"));
        assert_eq!(at(" Sat, 21 Nov 2026 13:00:00 GMT ").as_deref(), Some("2026-11-21T13:00:00Z"));
        assert_eq!(at("4000000000").as_deref(), Some("2026-11-28T12:00:00Z"), "cut to a week");
        assert_eq!(at("soon"), None);
    }
}
