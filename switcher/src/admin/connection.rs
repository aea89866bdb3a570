//! One question and its answer over one connection.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use switcher_config::wire::Refusal;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::error::{AdminError, ConnectProblem};

/// How long the system may take to hand the connection to the proxy.
const CONNECT: Duration = Duration::from_secs(2);

/// Sends the question; answers with the head of the answer, its body still to be read.
pub(super) async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
    within: Duration,
) -> Result<Response<Incoming>, AdminError> {
    let stream = connect(socket).await?;
    let lost = |error: hyper::Error| AdminError::Lost(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // The connection ends by itself when both the answer and the sender are gone.
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "switcher")
        .header(header::ACCEPT, "*/*");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|error| AdminError::Gibberish(error.to_string()))?;
    timeout(within, sender.send_request(request))
        .await
        .map_err(|_| AdminError::Timeout(within))?
        .map_err(lost)
}

/// Reads the body: the value, or the refusal.
pub(super) async fn read<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, AdminError> {
    let (status, body) = whole(answer).await?;
    if status.is_success() {
        serde_json::from_slice(&body)
            .map_err(|error| AdminError::Gibberish(format!("{status} with {}: {error}", beginning(&body))))
    } else {
        Err(refusal(status, &body))
    }
}

/// Reads a body of text; none when the proxy answers that there is no such thing (404).
pub(super) async fn read_text(answer: Response<Incoming>) -> Result<Option<String>, AdminError> {
    let (status, body) = whole(answer).await?;
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if !status.is_success() {
        return Err(refusal(status, &body));
    }
    String::from_utf8(body.to_vec())
        .map(Some)
        .map_err(|_| AdminError::Gibberish(format!("{status} with {}", beginning(&body))))
}

async fn whole(answer: Response<Incoming>) -> Result<(StatusCode, Bytes), AdminError> {
    let status = answer.status();
    let collected =
        answer.into_body().collect().await.map_err(|error| AdminError::Lost(error.to_string()))?;
    Ok((status, collected.to_bytes()))
}

/// What an answer says that is no success.
fn refusal(status: StatusCode, body: &[u8]) -> AdminError {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => AdminError::Refused(Box::new(refusal)),
        Err(_) => AdminError::Gibberish(format!("{status} with {}", beginning(body))),
    }
}

async fn connect(socket: &Path) -> Result<UnixStream, AdminError> {
    match timeout(CONNECT, UnixStream::connect(socket)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let socket_file = std::fs::metadata(socket).ok().map(|file| file.file_type().is_socket());
            Err(AdminError::Connect(ConnectProblem::from_io(&error, socket_file)))
        }
        Err(_) => Err(AdminError::Connect(ConnectProblem::Busy)),
    }
}

/// The first bytes of a body, as one line.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect();
    if line.is_empty() { "an empty body".to_owned() } else { format!("`{line}`") }
}
