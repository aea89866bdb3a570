//! The proxy's own answers: why a request did not reach an upstream, told to its client in one sentence.
//!
//! Invariant: what comes from clients is escaped and cut short before it is repeated; every answer carries the
//! request id and says what happened, never more than a stranger may know. Called by the gateway.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use switcher_config::{Bytes as Size, Slot};

use crate::hygiene::Violation;
use crate::page::{Filling, Page};
use crate::request_id::RequestId;

/// Why the proxy answers by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// 404: no application has this host.
    UnknownHost {
        /// The host asked for.
        host: String,
    },
    /// 404: the host is known, no application of it has this path.
    NoPath,
    /// 421: the connection was opened for another name.
    Misdirected {
        /// The host asked for.
        host: String,
        /// The name of the TLS handshake.
        sni: String,
    },
    /// 421: the application demands client certificates, and the connection was not opened with one of them.
    NoClientCertificate {
        /// The host asked for.
        host: String,
    },
    /// 404: the folder that is served has no such file.
    NoFile,
    /// 405: what is served from a folder is only read.
    OnlyRead,
    /// 500: a file that is there cannot be read.
    UnreadableFile,
    /// 404: an authority's token that nobody waits for.
    UnknownToken,
    /// 400: the request cannot be understood.
    BadRequest {
        /// What is wrong with it, as the end of a sentence.
        why: &'static str,
    },
    /// 400, or what else the rule says that it breaks: the request is malformed, ambiguous, or not served by anybody.
    Malformed(Violation),
    /// 413: the body is larger than the application takes.
    BodyTooLarge {
        /// What it takes.
        limit: Size,
    },
    /// 408: the client did not go on sending its request.
    SlowRequest,
    /// 503: the live slot has no upstream that may be tried.
    NoUpstream {
        /// The live slot.
        slot: Slot,
    },
    /// 503: a preview was asked for, and the standby slot has no upstreams.
    NothingToPreview {
        /// The standby slot.
        slot: Slot,
    },
    /// 403: the pass of a preview's link is wrong, or has ended.
    PreviewOver,
    /// 403: the client's address is not let in.
    NotLetIn,
    /// 401: no name and password that are let in came along.
    NoLogin {
        /// What is asked for (RFC 9110 section 11.6.1).
        challenge: HeaderValue,
    },
    /// 503: nobody said in time whether the request may pass.
    NoVerdict,
    /// 429: more is asked for than may be.
    TooMany {
        /// When to come back.
        retry_after: Duration,
    },
    /// 429: too much is asked for at once.
    TooManyAtOnce,
    /// 502: no upstream took the connection.
    ConnectFailed,
    /// 504: the upstream was silent for too long.
    UpstreamTimeout,
    /// 502: the upstream broke the connection or the protocol.
    UpstreamBroken,
    /// 503: the application was paused for longer than a request is held.
    Paused {
        /// When to come back.
        retry_after: Duration,
    },
    /// 503: the application is paused and its queue is full.
    QueueFull {
        /// When to come back.
        retry_after: Duration,
    },
    /// 503: every upstream has as many requests as it may, and too many wait already or this one waited for too long.
    Overloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// 503: the application mostly fails and is left alone for a while.
    Broken {
        /// When to come back.
        retry_after: Duration,
    },
    /// 503: the application is stopped.
    Stopped {
        /// The operator's sentence for the maintenance page.
        message: Option<String>,
    },
    /// 503: the process is going away.
    ShuttingDown,
}

/// An answer, ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, content-length among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body; leave it out when the request is a HEAD.
    pub body: Bytes,
}

impl Reason {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownHost { .. } | Self::NoPath | Self::NoFile | Self::UnknownToken => {
                StatusCode::NOT_FOUND
            }
            Self::OnlyRead => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnreadableFile => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Misdirected { .. } | Self::NoClientCertificate { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::Malformed(violation) => violation.status(),
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowRequest => StatusCode::REQUEST_TIMEOUT,
            Self::ConnectFailed | Self::UpstreamBroken => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::PreviewOver | Self::NotLetIn => StatusCode::FORBIDDEN,
            Self::NoLogin { .. } => StatusCode::UNAUTHORIZED,
            Self::TooMany { .. } | Self::TooManyAtOnce => StatusCode::TOO_MANY_REQUESTS,
            Self::NoVerdict
            | Self::NoUpstream { .. }
            | Self::NothingToPreview { .. }
            | Self::Paused { .. }
            | Self::QueueFull { .. }
            | Self::Overloaded { .. }
            | Self::Broken { .. }
            | Self::Stopped { .. }
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable name of the case, for scripts and the access log.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownHost { .. } => "unknown_host",
            Self::NoPath => "no_path",
            Self::NoFile => "no_file",
            Self::OnlyRead => "only_read",
            Self::UnreadableFile => "unreadable_file",
            Self::Misdirected { .. } => "misdirected",
            Self::NoClientCertificate { .. } => "client_certificate",
            Self::UnknownToken => "unknown_token",
            Self::BadRequest { .. } | Self::Malformed(_) => "bad_request",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::SlowRequest => "slow_request",
            Self::NoUpstream { .. } => "no_upstream",
            Self::NothingToPreview { .. } => "nothing_to_preview",
            Self::PreviewOver => "preview_over",
            Self::NotLetIn => "address",
            Self::NoLogin { .. } => "login",
            Self::NoVerdict => "forward_auth",
            Self::TooMany { .. } => "rate_limit",
            Self::TooManyAtOnce => "in_flight",
            Self::ConnectFailed => "connect_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamBroken => "upstream_broken",
            Self::Paused { .. } => "paused",
            Self::QueueFull { .. } => "queue_full",
            Self::Overloaded { .. } => "overloaded",
            Self::Broken { .. } => "breaker",
            Self::Stopped { .. } => "stopped",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// The answer, in the form that the client prefers.
    #[must_use]
    pub fn answer(&self, request: &HeaderMap, id: &RequestId) -> Answer {
        let form = Form::preferred_by(request);
        let body = match form {
            Form::Html => self.html(id),
            Form::Json => self.json(id),
            Form::Text => format!("{}\nRequest id: {id}\n", self.sentence()),
        };
        self.with(HeaderValue::from_static(form.content_type()), body.into())
    }

    /// The answer with a page from a file as its body.
    #[must_use]
    pub fn answer_by(&self, page: &Page, id: &RequestId) -> Answer {
        let message = self.sentence();
        let body = page.filled(Filling { status: self.status(), id, message: &message });
        self.with(page.content_type.clone(), body)
    }

    fn with(&self, content_type: HeaderValue, body: Bytes) -> Answer {
        let mut headers = vec![
            (header::CONTENT_TYPE, content_type),
            (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::VARY, HeaderValue::from_static("accept")),
        ];
        if let Self::Malformed(violation) = self
            && let Some(methods) = violation.allow()
        {
            headers.push((header::ALLOW, HeaderValue::from_static(methods)));
        }
        if *self == Self::OnlyRead {
            headers.push((header::ALLOW, HeaderValue::from_static("GET, HEAD")));
        }
        if let Self::NoLogin { challenge } = self {
            headers.push((header::WWW_AUTHENTICATE, challenge.clone()));
        }
        if let Some(seconds) = self.retry_after() {
            headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        Answer { status: self.status(), headers, body }
    }

    /// What happened, in one sentence, without markup.
    fn sentence(&self) -> Cow<'static, str> {
        match self {
            Self::UnknownHost { host } => format!("No application is served at {}.", quoted(host)).into(),
            Self::NoPath => "No application is served at this path.".into(),
            Self::NoFile => "There is no such file.".into(),
            Self::OnlyRead => "Files are only read here; ask with GET or HEAD.".into(),
            Self::UnreadableFile => "The file cannot be read at the moment.".into(),
            Self::Misdirected { host, sni } => format!(
                "This connection was opened for {}, so it cannot ask for {}; open a new connection.",
                quoted(sni),
                quoted(host)
            )
            .into(),
            Self::NoClientCertificate { host } => format!(
                "{} demands a client certificate, and this connection was not opened with one for it; open a TLS connection for that name and show yours.",
                quoted(host)
            )
            .into(),
            Self::UnknownToken => "No certificate authority is expected to ask for this token.".into(),
            Self::BadRequest { why } => format!("The request cannot be understood: {why}.").into(),
            Self::Malformed(violation) => format!("The request is refused: {}.", violation.why()).into(),
            Self::BodyTooLarge { limit } => {
                format!("The request's body is larger than the {limit} that this application takes.").into()
            }
            Self::SlowRequest => "The rest of the request did not come in time.".into(),
            Self::NoUpstream { slot } => {
                format!("No upstream of the live slot, {slot}, can take requests.").into()
            }
            Self::NothingToPreview { slot } => {
                format!("There is nothing to preview: no version is in the standby slot, {slot}.").into()
            }
            Self::PreviewOver => {
                "This link to a preview is not valid, or its time is over; ask for a new one.".into()
            }
            Self::NotLetIn => "Requests from your address are not let in.".into(),
            Self::NoLogin { .. } => "A name and a password are asked for.".into(),
            Self::NoVerdict => "Whether you are let in could not be found out; try again shortly.".into(),
            Self::TooMany { .. } => "Too many requests; try again later.".into(),
            Self::TooManyAtOnce => "Too many requests at once; try again shortly.".into(),
            Self::ConnectFailed => "The application could not be reached.".into(),
            Self::UpstreamTimeout => "The application did not answer in time.".into(),
            Self::UpstreamBroken => "The application broke off its answer.".into(),
            Self::Paused { .. } => "The application is paused; try again shortly.".into(),
            Self::QueueFull { .. } => {
                "The application is paused and too many requests wait already; try again shortly.".into()
            }
            Self::Overloaded { .. } => "The application has more to do than it can; try again shortly.".into(),
            Self::Broken { .. } => "The application fails too often; try again shortly.".into(),
            Self::Stopped { message: Some(message) } => message.clone().into(),
            Self::Stopped { message: None } => "The application is stopped for maintenance.".into(),
            Self::ShuttingDown => "The server is restarting; try again shortly.".into(),
        }
    }

    /// Whole seconds, rounded up, at least one.
    fn retry_after(&self) -> Option<u64> {
        let wait = match self {
            Self::Paused { retry_after }
            | Self::QueueFull { retry_after }
            | Self::Overloaded { retry_after }
            | Self::Broken { retry_after }
            | Self::TooMany { retry_after } => *retry_after,
            Self::TooManyAtOnce | Self::NoVerdict | Self::ShuttingDown => Duration::from_secs(1),
            Self::UnknownHost { .. }
            | Self::NoPath
            | Self::NoFile
            | Self::OnlyRead
            | Self::UnreadableFile
            | Self::Misdirected { .. }
            | Self::NoClientCertificate { .. }
            | Self::UnknownToken
            | Self::BadRequest { .. }
            | Self::Malformed(_)
            | Self::BodyTooLarge { .. }
            | Self::SlowRequest
            | Self::NoUpstream { .. }
            | Self::NothingToPreview { .. }
            | Self::PreviewOver
            | Self::NotLetIn
            | Self::NoLogin { .. }
            | Self::ConnectFailed
            | Self::UpstreamTimeout
            | Self::UpstreamBroken
            | Self::Stopped { .. } => return None,
        };
        Some(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
    }

    fn json(&self, id: &RequestId) -> String {
        let mut body = serde_json::json!({
            "error": self.code(),
            "status": self.status().as_u16(),
            "message": self.sentence(),
            "request_id": id.as_str(),
        })
        .to_string();
        body.push('\n');
        body
    }

    fn html(&self, id: &RequestId) -> String {
        let status = self.status();
        let (title, note) = match self {
            Self::Stopped { .. } => ("Down for maintenance", String::new()),
            Self::Paused { .. }
            | Self::QueueFull { .. }
            | Self::Overloaded { .. }
            | Self::Broken { .. }
            | Self::ShuttingDown => ("One moment, please", format!("{} \u{b7} ", status.as_u16())),
            Self::UnknownHost { .. }
            | Self::NoPath
            | Self::NoFile
            | Self::OnlyRead
            | Self::UnreadableFile
            | Self::Misdirected { .. }
            | Self::NoClientCertificate { .. }
            | Self::UnknownToken
            | Self::BadRequest { .. }
            | Self::Malformed(_)
            | Self::BodyTooLarge { .. }
            | Self::SlowRequest
            | Self::NoUpstream { .. }
            | Self::NothingToPreview { .. }
            | Self::PreviewOver
            | Self::NotLetIn
            | Self::NoLogin { .. }
            | Self::NoVerdict
            | Self::TooMany { .. }
            | Self::TooManyAtOnce
            | Self::ConnectFailed
            | Self::UpstreamTimeout
            | Self::UpstreamBroken => {
                (status.canonical_reason().unwrap_or("Error"), format!("{} \u{b7} ", status.as_u16()))
            }
        };
        PAGE.replace("{title}", title)
            .replace("{note}", &note)
            .replace("{id}", &escaped(id.as_str()))
            .replace("{sentence}", &escaped(&self.sentence()))
    }
}

/// The page of every answer: no script, nothing loaded from anywhere. The sentence is filled in last,
/// so that nothing inside it is taken for a placeholder.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
:root { color-scheme: light dark; }
body { display: grid; place-content: center; min-height: 100vh; margin: 0; font: 1.05rem/1.6 system-ui, sans-serif; }
main { max-width: 34rem; padding: 2rem; }
h1 { margin: 0 0 .75rem; font-size: 1.7rem; font-weight: 600; }
p { margin: 0 0 1.5rem; overflow-wrap: anywhere; }
small { opacity: .6; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{sentence}</p>
<small>{note}Request id {id}</small>
</main>
</body>
</html>
"#;

/// How much of a text from a client is repeated, in characters.
const REPEATED: usize = 120;

/// A text from a client: printable, cut short, in quotes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for (at, c) in text.chars().enumerate() {
        if at == REPEATED {
            out.push('…');
            break;
        }
        if c.is_ascii_graphic() && c != '"' && c != '\\' || c == ' ' {
            out.push(c);
        } else {
            let _ = write!(out, "{}", c.escape_default());
        }
    }
    out.push('"');
    out
}

/// A text for HTML, inside an element or an attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Whether a client reads JSON rather than a page.
#[must_use]
pub fn prefers_json(request: &HeaderMap) -> bool {
    Form::preferred_by(request) == Form::Json
}

/// The forms an answer comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Html,
    Json,
}

impl Form {
    /// The form that `Accept` (RFC 9110 section 12.5.1) ranks highest; text when it does not say.
    ///
    /// Among equals, an exact type beats a wildcard, and the one named first beats the others.
    fn preferred_by(request: &HeaderMap) -> Self {
        let mut best = (0, 0, Self::Text);
        let ranges =
            request.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        for range in ranges {
            let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
            let Some((exactness, form)) = Self::of_range(media.trim()) else { continue };
            let rank = (quality(parameters), exactness);
            if rank.0 > 0 && rank > (best.0, best.1) {
                best = (rank.0, rank.1, form);
            }
        }
        best.2
    }

    /// How exactly a media range names a form, and which.
    fn of_range(media: &str) -> Option<(u8, Self)> {
        let media = media.to_ascii_lowercase();
        match media.as_str() {
            "text/html" | "application/xhtml+xml" => Some((3, Self::Html)),
            "application/json" => Some((3, Self::Json)),
            "application/*" => Some((2, Self::Json)),
            "text/plain" => Some((3, Self::Text)),
            "text/*" => Some((2, Self::Text)),
            "*/*" => Some((1, Self::Text)),
            other if other.ends_with("+json") => Some((3, Self::Json)),
            _ => None,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// The `q` of a media range in thousandths; 1000 when it has none, 0 when it is garbage.
fn quality(parameters: &str) -> u16 {
    let q = parameters
        .split(';')
        .filter_map(|p| p.split_once('='))
        .find(|(n, _)| n.trim().eq_ignore_ascii_case("q"));
    let Some((_, value)) = q else { return 1000 };
    match value.trim().parse::<f32>() {
        // A number from 0 to 1, so the thousandths fit.
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u16,
        Ok(_) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> RequestId {
        let headers =
            HeaderMap::from_iter([(crate::request_id::X_REQUEST_ID, HeaderValue::from_static("id-1"))]);
        RequestId::of(&headers, true)
    }

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))])
    }

    fn every_reason() -> Vec<Reason> {
        let retry_after = Duration::from_millis(1500);
        vec![
            Reason::UnknownHost { host: "nowhere.example".into() },
            Reason::NoPath,
            Reason::Misdirected { host: "a.example".into(), sni: "b.example".into() },
            Reason::NoClientCertificate { host: "a.example".into() },
            Reason::UnknownToken,
            Reason::BadRequest { why: "it has no host" },
            Reason::Malformed(Violation::Trace),
            Reason::SlowRequest,
            Reason::NoUpstream { slot: Slot::Blue },
            Reason::NothingToPreview { slot: Slot::Green },
            Reason::NotLetIn,
            Reason::NoLogin { challenge: HeaderValue::from_static("Basic realm=\"shop\"") },
            Reason::NoVerdict,
            Reason::TooMany { retry_after: Duration::from_millis(1500) },
            Reason::TooManyAtOnce,
            Reason::PreviewOver,
            Reason::ConnectFailed,
            Reason::UpstreamTimeout,
            Reason::UpstreamBroken,
            Reason::Paused { retry_after },
            Reason::QueueFull { retry_after },
            Reason::Overloaded { retry_after },
            Reason::Broken { retry_after },
            Reason::Stopped { message: None },
            Reason::Stopped { message: Some("Back at noon.".into()) },
            Reason::ShuttingDown,
        ]
    }

    #[test]
    fn every_reason_has_its_status_and_sentence() {
        let text: String = every_reason()
            .iter()
            .map(|reason| {
                let answer = reason.answer(&HeaderMap::new(), &id());
                let retry = answer.headers.iter().find(|(name, _)| name == header::RETRY_AFTER);
                let retry = retry.map_or("", |(_, value)| value.to_str().unwrap());
                let body = String::from_utf8(answer.body.to_vec()).unwrap();
                format!("{} {} [{retry}] {}", answer.status.as_u16(), reason.code(), body)
            })
            .collect();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_browser_gets_a_page_and_a_program_gets_json() {
        let stopped = Reason::Stopped { message: Some("Back at <noon> & \"later\" {title}.".into()) };
        let page = stopped.answer(&accept("text/html"), &id());
        insta::assert_snapshot!(std::str::from_utf8(&page.body).unwrap());
        let json = stopped.answer(&accept("application/json"), &id());
        insta::assert_snapshot!(std::str::from_utf8(&json.body).unwrap(), @r#"{"error":"stopped","status":503,"message":"Back at <noon> & \"later\" {title}.","request_id":"id-1"}"#);
    }

    #[test]
    fn the_form_is_the_one_that_accept_ranks_highest() {
        for (value, form) in [
            ("*/*", Form::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Html),
            ("application/json", Form::Json),
            ("application/json, text/plain, */*", Form::Json),
            ("text/html;q=0.5, application/json;q=0.9", Form::Json),
            ("application/vnd.api+json", Form::Json),
            ("text/html;q=0, */*", Form::Text),
            ("*/*;q=0.9, text/html;q=0.1", Form::Text),
            ("TEXT/HTML; charset=utf-8; Q=0.7, text/plain;q=0.6", Form::Html),
            ("application/json;q=2", Form::Text),
            ("image/png", Form::Text),
            ("", Form::Text),
        ] {
            assert_eq!(Form::preferred_by(&accept(value)), form, "{value}");
        }
    }

    #[test]
    fn nothing_of_a_client_gets_out_of_its_sentence() {
        let evil = "<script>alert('x')</script>\r\nSet-Cookie: a=b\u{202e}".to_owned() + &"x".repeat(500);
        let reason = Reason::UnknownHost { host: evil };
        for value in ["text/html", "application/json", "text/plain"] {
            let answer = reason.answer(&accept(value), &id());
            let body = std::str::from_utf8(&answer.body).unwrap();
            assert!(!body.contains('\r') && !body.contains('\u{202e}'), "{body}");
            assert!(!body.contains(&"x".repeat(130)), "{body}");
            assert!(value != "text/html" || !body.contains("<script"), "{body}");
        }
        let json: serde_json::Value =
            serde_json::from_slice(&reason.answer(&accept("application/json"), &id()).body).unwrap();
        assert_eq!(json["status"], 404);
    }

    #[test]
    fn the_headers_fit_the_body() {
        for reason in every_reason() {
            for value in ["text/html", "application/json", "text/plain"] {
                let answer = reason.answer(&accept(value), &id());
                let headers: HeaderMap = answer.headers.into_iter().collect();
                assert_eq!(headers[header::CONTENT_LENGTH], answer.body.len().to_string());
                assert_eq!(headers[header::CACHE_CONTROL], "no-store");
                assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(value));
            }
        }
    }
}
