//! Sending spans to their collector: in batches, over a connection each, outside of every request.
//!
//! Invariant: each span is sent, or counted as lost; what is left when the process ends is told in its log. What is in memory
//! is one batch and the queue. A collector that is away is complained of once, until it is there again, and one that takes
//! only some spans once. [`crate::compose`] runs it and ends it, a reload changes where it sends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use switcher_config::UpstreamProtocol;
use switcher_config::secret_file::{self, Owner};
use switcher_config::settings::Traces as Settings;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsConnector;

use super::otlp::{self, Partial};
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

/// How much of an answer is read, in bytes.
const SAID: usize = 64 << 10;

/// The longest wait between two attempts, whatever the collector asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Where spans go.
pub struct Exporter {
    queue: Queue,
    to: ArcSwapOption<Settings>,
    metrics: SpanMetrics,
    /// How many spans the batch has that is sent now.
    in_hand: AtomicU64,
    /// The TLS client for a collector that wants one: reading the roots is not for each batch.
    client: OnceLock<Arc<ClientConfig>>,
    full: Notify,
    ending: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

/// What was complained of already.
#[derive(Default)]
struct Told {
    /// The collector takes nothing.
    away: bool,
    /// This collector rejects some.
    rejects: Option<Arc<Settings>>,
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
            in_hand: AtomicU64::new(0),
            client: OnceLock::new(),
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
        let mut told = Told::default();
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
                self.in_hand.store(batch.spans, Ordering::Relaxed);
                let sent = self.deliver(&batch, &mut ending, &mut told).await;
                self.in_hand.store(0, Ordering::Relaxed);
                self.metrics.count(SpanOutcome::Sent, sent);
                self.metrics.count(SpanOutcome::Lost, batch.spans - sent);
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
            let spans = self.queue.spans() + self.in_hand.load(Ordering::Relaxed);
            tracing::warn!(spans, "the last spans were not taken in time and are lost");
        }
    }

    /// Sends a batch, and says how many of its spans were taken.
    async fn deliver(&self, batch: &Batch, ending: &mut watch::Receiver<bool>, told: &mut Told) -> u64 {
        for attempt in 1..=ATTEMPTS {
            let Some(to) = self.to.load_full() else { return 0 };
            let posted = tokio::time::timeout(PATIENCE, self.post(&to, batch)).await;
            let posted = posted.unwrap_or_else(|_| Err(Refused::unreachable("it takes too long".to_owned())));
            let refused = match posted {
                Ok(partial) => return told.taken(&to, batch, partial),
                Err(refused) => refused,
            };
            // Said once, not for each batch.
            if !std::mem::replace(&mut told.away, true) {
                tracing::warn!(collector = %to.address, "the collector takes no spans: {}", refused.why);
            }
            let Some(asked) = refused.later.filter(|_| attempt < ATTEMPTS && !*ending.borrow()) else {
                return 0;
            };
            let wait = asked.unwrap_or_else(|| Duration::from_secs(1 << (attempt - 1)));
            tokio::select! {
                () = tokio::time::sleep(wait.min(LONGEST_WAIT)) => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        }
        0
    }

    /// Sends a batch once; what the collector says of it if it did not take all of its spans.
    async fn post(&self, to: &Settings, batch: &Batch) -> Result<Option<Partial>, Refused> {
        let body = Bytes::from(otlp::request(&to.service, &batch.bytes));
        let mut request = Request::post(target(&to.target))
            .header(HOST, to.address.authority())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body))
            .map_err(|error| Refused::unreachable(error.to_string()))?;
        if let Some(file) = &to.token_file {
            request.headers_mut().insert(AUTHORIZATION, bearer(file).map_err(Refused::unreachable)?);
        }
        let io = self.open(to).await.map_err(Refused::unreachable)?;
        let broken = |error: hyper::Error| Refused::unreachable(format!("the connection broke: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
        let _driven = Driven::new(connection);
        let answer = sender.send_request(request).await.map_err(broken)?;
        judge(answer.status(), answer.headers())?;
        // The spans are taken: nothing that goes wrong from here on has them sent again.
        let said = Limited::new(answer.into_body(), SAID).collect().await;
        Ok(said.ok().and_then(|said| otlp::partial(&said.to_bytes())))
    }

    fn client(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(client) = self.client.get() {
            return Ok(Arc::clone(client));
        }
        let mut client = ClientConfig::clone(&*verified()?);
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::clone(self.client.get_or_init(|| Arc::new(client))))
    }

    async fn open(&self, to: &Settings) -> Result<Box<dyn Io>, String> {
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
                let secure = TlsConnector::from(self.client()?).connect(name, socket).await;
                let secure = secure.map_err(|error| format!("the TLS handshake failed: {error}"))?;
                Ok(Box::new(secure))
            }
        }
    }
}

impl Told {
    /// A batch was taken, as far as the collector does not say otherwise: how many of its spans. What it rejects is wrong
    /// for good, so it is not sent again (OTLP 1.5, "Partial Success").
    fn taken(&mut self, to: &Arc<Settings>, batch: &Batch, partial: Option<Partial>) -> u64 {
        if std::mem::take(&mut self.away) {
            tracing::info!(collector = %to.address, "the collector takes spans again");
        }
        let Some(Partial { rejected, why }) = partial else { return batch.spans };
        // Said once until a reload: most batches have none of such spans, or all of them.
        if !self.rejects.as_ref().is_some_and(|known| Arc::ptr_eq(known, to)) {
            self.rejects = Some(Arc::clone(to));
            let collector = &to.address;
            tracing::warn!(%collector, rejected, why, "the collector rejects some spans, which are lost");
        }
        batch.spans.saturating_sub(rejected)
    }
}

/// Where the spans of a collector at this path are taken; a query stays behind it.
fn target(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let base = path.trim_end_matches('/');
    let path = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
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
