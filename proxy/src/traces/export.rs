//! Sending spans to their collector: in batches, over a connection each, outside of every request.
//!
//! Invariant: a batch is sent, or counted as lost; what is in memory is one batch and the queue. A collector that is away is
//! complained of once, until it is there again. [`crate::compose`] runs it and ends it, a reload changes where it sends.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use switcher_config::UpstreamProtocol;
use switcher_config::secret_file::{self, Owner};
use switcher_config::settings::Traces as Settings;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsConnector;

use super::otlp;
use super::queue::{Batch, Brought, Queue};
use crate::edge::socket::Socket;
use crate::health::dial::{Io, verified};
use crate::health::probe::Driven;
use crate::metrics::{SpanMetrics, SpanOutcome};

/// How often spans are sent that do not fill a batch.
const EVERY: Duration = Duration::from_secs(1);

/// How long a collector may take for one batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a batch is sent at most.
const ATTEMPTS: u32 = 5;

/// The longest wait between two attempts, whatever the collector asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Where spans go.
pub struct Exporter {
    queue: Queue,
    to: ArcSwapOption<Settings>,
    metrics: SpanMetrics,
    full: Notify,
    ending: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

/// Why a batch was not taken.
struct Refused {
    why: String,
    /// It may be taken later, by its own word after so long.
    later: Option<Option<Duration>>,
}

impl Refused {
    const fn unreachable(why: String) -> Self {
        Self { why, later: Some(None) }
    }
}

impl Exporter {
    /// Sends nothing yet.
    #[must_use]
    pub fn new(settings: Option<&Settings>, metrics: SpanMetrics) -> Self {
        Self {
            queue: Queue::default(),
            to: ArcSwapOption::from_pointee(settings.cloned()),
            metrics,
            full: Notify::new(),
            ending: watch::Sender::new(false),
            ended: watch::Sender::new(false),
        }
    }

    /// From now on spans go there.
    pub fn set(&self, settings: Option<&Settings>) {
        self.to.store(settings.cloned().map(Arc::new));
    }

    /// Takes the spans of a request. Waits for nothing.
    pub fn push(&self, bytes: &[u8], spans: u64) {
        match self.queue.push(bytes, spans) {
            Brought::Waits => {}
            Brought::Full => self.full.notify_one(),
            Brought::Dropped => self.metrics.count(SpanOutcome::Dropped, spans),
        }
    }

    /// Sends what comes, until it is to end.
    pub async fn run(self: Arc<Self>) {
        let mut ending = self.ending.subscribe();
        let mut is_away = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.full.notified() => {}
                // The sender is in `self`.
                _ = ending.wait_for(|ending| *ending) => {}
            }
            // What waits now is sent whole; of what comes meanwhile, what fills a batch.
            let last = *ending.borrow();
            let mut due = self.queue.len();
            while let Some(batch) = if last || due > 0 { self.queue.take() } else { self.queue.take_full() } {
                due = due.saturating_sub(1);
                let outcome = self.deliver(&batch, &mut ending, &mut is_away).await;
                self.metrics.count(outcome, batch.spans);
            }
            if last {
                self.ended.send_replace(true);
                return;
            }
        }
    }

    /// Sends what waits, and no more. Ends within `limit`; what was not taken by then is lost.
    pub async fn close(&self, limit: Duration) {
        let mut ended = self.ended.subscribe();
        self.ending.send_replace(true);
        if tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await.is_err() {
            tracing::warn!("the last spans were not taken in time and are lost");
        }
    }

    async fn deliver(
        &self,
        batch: &Batch,
        ending: &mut watch::Receiver<bool>,
        is_away: &mut bool,
    ) -> SpanOutcome {
        for attempt in 1..=ATTEMPTS {
            let Some(to) = self.to.load_full() else { return SpanOutcome::Lost };
            let posted = tokio::time::timeout(PATIENCE, post(&to, batch)).await;
            let posted = posted.unwrap_or_else(|_| Err(Refused::unreachable("it takes too long".to_owned())));
            let Err(refused) = posted else {
                if std::mem::take(is_away) {
                    tracing::info!(collector = %to.address, "the collector takes spans again");
                }
                return SpanOutcome::Sent;
            };
            // Said once, not for each batch.
            if !std::mem::replace(is_away, true) {
                tracing::warn!(collector = %to.address, "the collector takes no spans: {}", refused.why);
            }
            let Some(asked) = refused.later.filter(|_| attempt < ATTEMPTS && !*ending.borrow()) else {
                return SpanOutcome::Lost;
            };
            let wait = asked.unwrap_or_else(|| Duration::from_secs(1 << (attempt - 1)));
            tokio::select! {
                () = tokio::time::sleep(wait.min(LONGEST_WAIT)) => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        }
        SpanOutcome::Lost
    }
}

/// Where the spans of a collector at this path are taken; a query stays behind it.
fn target(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let base = path.trim_end_matches('/');
    let path = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

async fn post(to: &Settings, batch: &Batch) -> Result<(), Refused> {
    let body = Bytes::from(otlp::request(&to.service, &batch.bytes));
    let mut request = Request::post(target(&to.target))
        .header(HOST, to.address.authority())
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(body))
        .map_err(|error| Refused::unreachable(error.to_string()))?;
    if let Some(file) = &to.token_file {
        request.headers_mut().insert(AUTHORIZATION, bearer(file).map_err(Refused::unreachable)?);
    }
    let io = open(to).await.map_err(Refused::unreachable)?;
    let broken = |error: hyper::Error| Refused::unreachable(format!("the connection broke: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
    let _driven = Driven::new(connection);
    // What its answer says beside the status is not read.
    let answer = sender.send_request(request).await.map_err(broken)?;
    judge(answer.status(), answer.headers())
}

/// What a status says (OTLP 1.5, "Failures" and "Throttling").
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Refused> {
    if status.is_success() {
        return Ok(());
    }
    let later = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let text = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Some(text.and_then(|text| text.parse().ok()).map(Duration::from_secs))
        }
        _ => None,
    };
    Err(Refused { why: format!("it answered {status}"), later })
}

/// The token, read each time: whoever replaces it tells nobody.
fn bearer(file: &std::path::Path) -> Result<HeaderValue, String> {
    let token = secret_file::read(file, Owner::Anybody)?;
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| format!("{}: it cannot stand in a header", file.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the token that these settings name can be used.
///
/// # Errors
/// A sentence that names the file, never what is in it.
pub fn check(settings: Option<&Settings>) -> Result<(), String> {
    let file = settings.and_then(|settings| settings.token_file.as_deref());
    file.map_or(Ok(()), |file| bearer(file).map(drop))
        .map_err(|why| format!("proxy.traces.token_file cannot be used: {why}"))
}

async fn open(to: &Settings) -> Result<Box<dyn Io>, String> {
    let unreachable = |error: std::io::Error| format!("cannot connect: {error}");
    let address = &to.address;
    let socket = match (address.socket_path(), address.socket_address()) {
        (Some(path), _) => Socket::Unix(UnixStream::connect(path.as_path()).await.map_err(unreachable)?),
        (None, Some(socket)) => Socket::Tcp(TcpStream::connect(socket).await.map_err(unreachable)?),
        (None, None) => {
            let named = (address.host(), address.port().unwrap_or_default());
            Socket::Tcp(TcpStream::connect(named).await.map_err(unreachable)?)
        }
    };
    match address.protocol() {
        UpstreamProtocol::Http1 | UpstreamProtocol::H2c => Ok(Box::new(socket)),
        UpstreamProtocol::Https => {
            let name = ServerName::try_from(address.host().to_owned())
                .map_err(|_| format!("{:?} is no name a certificate can have", address.host()))?;
            let mut client = rustls::ClientConfig::clone(&*verified()?);
            client.alpn_protocols = vec![b"http/1.1".to_vec()];
            let secure = TlsConnector::from(Arc::new(client)).connect(name, socket).await;
            let secure = secure.map_err(|error| format!("the TLS handshake failed: {error}"))?;
            Ok(Box::new(secure))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_that_of_traces_whether_it_is_said_or_not() {
        for (path, wanted) in [
            ("/", "/v1/traces"),
            ("/otlp", "/otlp/v1/traces"),
            ("/otlp/", "/otlp/v1/traces"),
            ("/v1/traces", "/v1/traces"),
        ] {
            assert_eq!(target(path), wanted);
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let later = |status: u16, after: Option<&'static str>| {
            let headers = after.map(|after| (RETRY_AFTER, HeaderValue::from_static(after)));
            let status = StatusCode::from_u16(status).expect("a status");
            judge(status, &headers.into_iter().collect()).err().map(|refused| refused.later)
        };
        assert_eq!(later(200, None), None);
        assert_eq!(later(202, None), None);
        for status in [400, 401, 404, 413, 500, 301] {
            assert_eq!(later(status, Some("1")), Some(None), "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(later(status, None), Some(Some(None)), "{status}");
            assert_eq!(later(status, Some("7")), Some(Some(Some(Duration::from_secs(7)))), "{status}");
        }
    }
}
