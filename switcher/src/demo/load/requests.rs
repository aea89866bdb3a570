//! Clients whose exchanges end: small requests, slow ones, downloads and uploads.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, future, stream};
use http::{Method, Response};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::link::{Body, Link, late, root_cause};
use super::tally::{Failure, Fault, Lane};
use crate::demo::pattern::{self, Digest};

/// The longest that one exchange may take. Far above what any of them needs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long slow requests, downloads and uploads take.
const SLOW_MILLIS: u64 = 400;
/// Size of a download or upload.
const TRANSFER_BYTES: u64 = 200_000;
/// Size of a small POST.
const POST_BYTES: u64 = 512;
/// How much of an unexpected body a failure shows, in bytes.
const EXCERPT: usize = 300;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS: usize = 4;

/// One sort of exchange that ends by itself.
#[derive(Debug, Clone, Copy)]
enum Errand {
    Hello,
    Post,
    Slow,
    Download,
    Upload,
}

/// Runs exchanges of `lane` until the load stops.
pub(super) async fn run(client: Client, lane: Lane) {
    let mut link = client.link();
    while !client.stopped() {
        match lane {
            Lane::Http2 => batch(&client, &mut link).await,
            Lane::KeepAlive => errand(&client, &mut link, lane, Errand::Hello).await,
            Lane::Posts => errand(&client, &mut link, lane, Errand::Post).await,
            Lane::Slow => errand(&client, &mut link, lane, Errand::Slow).await,
            Lane::Downloads => errand(&client, &mut link, lane, Errand::Download).await,
            Lane::Uploads => errand(&client, &mut link, lane, Errand::Upload).await,
            Lane::Streams | Lane::Websockets => return,
        }
        client.pause().await;
    }
}

/// Several requests at once on one connection.
async fn batch(client: &Client, link: &mut Link) {
    let begun = Instant::now();
    if let Err(failure) = link.open().await {
        client.failed(Lane::Http2, begun, &failure).await;
        return;
    }
    let errands = (0..HTTP2_STREAMS).map(|i| {
        let mut link = link.share();
        let sort = if i % 2 == 0 { Errand::Hello } else { Errand::Post };
        async move { errand(client, &mut link, Lane::Http2, sort).await }
    });
    future::join_all(errands).await;
}

async fn errand(client: &Client, link: &mut Link, lane: Lane, sort: Errand) {
    let begun = Instant::now();
    let outcome = timeout(PATIENCE, exchange(client, link, sort)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(late(format!("{sort:?}: not done after {PATIENCE:?}"))));
    match outcome {
        Ok(()) => client.recorder.ok(lane),
        Err(failure) => {
            link.close();
            client.failed(lane, begun, &failure).await;
        }
    }
}

async fn exchange(client: &Client, link: &mut Link, sort: Errand) -> Result<(), Failure> {
    // Connecting comes first: the clock of "who may answer" starts when the request is ready to go.
    link.open().await?;
    let expected = client.expectation.begin();
    let (method, path) = sort.request();
    let response = link.send(method, &path, || sort.body()).await?;
    if let Err(failure) = client.judge(expected, response.status(), response.headers()) {
        return Err(Failure::new(
            failure.fault,
            format!("{path}: {}: {}", failure.what, excerpt(response).await),
        ));
    }
    let version = Client::version(response.headers()).to_owned();
    sort.check(&path, &version, response).await
}

impl Errand {
    fn request(self) -> (Method, String) {
        match self {
            Self::Hello => (Method::GET, "/".to_owned()),
            Self::Slow => (Method::GET, format!("/slow?ms={SLOW_MILLIS}")),
            Self::Download => (Method::GET, format!("/bytes?n={TRANSFER_BYTES}&ms={SLOW_MILLIS}")),
            Self::Post | Self::Upload => (Method::POST, "/upload".to_owned()),
        }
    }

    fn body(self) -> Body {
        match self {
            Self::Hello | Self::Slow | Self::Download => Empty::new().boxed_unsync(),
            Self::Post => Full::new(pattern::chunk(0, POST_BYTES)).boxed_unsync(),
            Self::Upload => slow_upload(),
        }
    }

    async fn check(self, path: &str, version: &str, response: Response<Incoming>) -> Result<(), Failure> {
        match self {
            Self::Hello => text(path, response, &format!("hello from {version}\n")).await,
            Self::Slow => text(path, response, "slow\n").await,
            Self::Post => text(path, response, &Digest::of_pattern(POST_BYTES).line()).await,
            Self::Upload => text(path, response, &Digest::of_pattern(TRANSFER_BYTES).line()).await,
            Self::Download => download(path, response).await,
        }
    }
}

/// An upload whose length is not declared, spread over time.
fn slow_upload() -> Body {
    const PIECES: u64 = 8;
    let body = stream::iter(pattern::pieces(TRANSFER_BYTES, PIECES)).then(|piece| async move {
        sleep(Duration::from_millis(SLOW_MILLIS / PIECES)).await;
        Ok(Frame::data(piece))
    });
    StreamBody::new(body).boxed_unsync()
}

fn truncated(path: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(Fault::Truncated, format!("{path}: {what}"))
}

/// The beginning of an answer that should not have come.
async fn excerpt(response: Response<Incoming>) -> String {
    match response.into_body().collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            format!("{:?}", String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]))
        }
        Err(error) => format!("its body broke off: {}", root_cause(&error)),
    }
}

async fn text(path: &str, response: Response<Incoming>, expected: &str) -> Result<(), Failure> {
    let body = response.into_body().collect().await;
    let body: Bytes = body
        .map_err(|error| truncated(path, format!("the body broke off: {}", root_cause(&error))))?
        .to_bytes();
    if body == expected.as_bytes() {
        Ok(())
    } else {
        let got = String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned();
        Err(truncated(path, format!("the body is {got:?} instead of {expected:?}")))
    }
}

async fn download(path: &str, response: Response<Incoming>) -> Result<(), Failure> {
    let mut body = response.into_body();
    let mut digest = Digest::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let cause = root_cause(&error);
            truncated(path, format!("broke off after {} of {TRANSFER_BYTES} bytes: {cause}", digest.length))
        })?;
        digest.update(frame.data_ref().map_or(&[][..], |data| &data[..]));
    }
    if digest == Digest::of_pattern(TRANSFER_BYTES) {
        Ok(())
    } else {
        Err(truncated(path, format!("{} bytes with another checksum than sent", digest.length)))
    }
}
