//! Somebody else's clock, from the `Date` header of a registry or an authority.
//!
//! The connection proves nothing on purpose: a clock that is off makes good certificates look bad, and that is what is
//! looked for. Nothing but the header is read, and nothing secret is sent.

use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::ServerName;
use switcher_config::settings::{Settings, Tls};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::database::unproven_tls;
use crate::doctor::Finding;
use crate::doctor::clock::{Reading, check};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// The longest head that is read, in bytes.
const HEAD: usize = 16 << 10;

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    host: String,
    port: Option<u16>,
    path: String,
}

/// Compares the clocks; none when the configuration names nobody to ask.
pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    let Some(source) = source(settings) else { return Vec::new() };
    let asked = timeout(PATIENCE, ask(&source)).await;
    let reading = asked.unwrap_or_else(|_| Err(format!("{} does not answer", source.host)));
    vec![check(&reading)]
}

/// The registry of an application, else the authority that certificates come from.
fn source(settings: &Settings) -> Option<Source> {
    let deployed = settings.apps.values().filter_map(|app| app.deploy.as_ref());
    if let Some(image) = deployed.filter_map(|deploy| deploy.image.as_ref()).next() {
        let registry = match image.registry() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        return Some(place(registry, "/v2/"));
    }
    let automatic = settings.apps.values().any(|app| matches!(app.tls, Tls::Auto | Tls::OnDemand));
    let url = settings.acme.as_ref().filter(|_| automatic)?.directories.first()?.url().to_owned();
    let (_, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some(place(authority, &format!("/{path}")))
}

fn place(authority: &str, path: &str) -> Source {
    let (host, port) = match authority.rsplit_once(':').map(|(host, port)| (host, port.parse().ok())) {
        Some((host, Some(port))) => (host, Some(port)),
        Some((_, None)) | None => (authority, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Source { host, port, path: path.to_owned() }
}

/// By TLS; a server at a port of its own may speak without.
async fn ask(source: &Source) -> Result<Reading, String> {
    let unreachable = |error: std::io::Error| format!("{} cannot be reached: {error}", source.host);
    let connect = || TcpStream::connect((source.host.as_str(), source.port.unwrap_or(443)));
    let name = ServerName::try_from(source.host.clone()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(std::sync::Arc::new(unproven_tls()?));
    match connector.connect(name, connect().await.map_err(unreachable)?).await {
        Ok(stream) => head(source, stream).await,
        Err(_) if source.port.is_some() => head(source, connect().await.map_err(unreachable)?).await,
        Err(error) => Err(unreachable(error)),
    }
}

async fn head(source: &Source, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<Reading, String> {
    let broken = |error: std::io::Error| format!("{} broke off: {error}", source.host);
    let question = format!(
        "HEAD {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: switcher\r\nConnection: close\r\n\r\n",
        source.path, source.host
    );
    stream.write_all(question.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    while answer.len() < HEAD && !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await.map_err(broken)? == 0 {
            break;
        }
    }
    let ours = Timestamp::now();
    let theirs = date(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| format!("{} answers without a Date header", source.host))?;
    Ok(Reading { source: source.host.clone(), theirs, ours })
}

/// The `Date` header of an answer (RFC 9110 section 6.6.1).
fn date(head: &str) -> Option<Timestamp> {
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim().to_owned())
    })?;
    jiff::fmt::rfc2822::parse(&value).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read() {
        let head = "HTTP/1.1 401 Unauthorized\r\ndate: Sun, 22 Nov 2026 00:40:14 GMT\r\n\r\n";
        assert_eq!(date(head), "2026-11-22T00:40:14Z".parse().ok());
        assert_eq!(date("HTTP/1.1 200 OK\r\n\r\n"), None);
    }

    #[test]
    fn a_registry_may_have_a_port() {
        for (text, host, port) in [
            ("ghcr.io", "ghcr.io", None),
            ("127.0.0.1:5000", "127.0.0.1", Some(5000)),
            ("[::1]:5000", "::1", Some(5000)),
        ] {
            let found = place(text, "/v2/");
            assert_eq!((found.host.as_str(), found.port), (host, port));
        }
    }

    #[tokio::test]
    async fn a_server_with_another_time_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let answers = tokio::spawn(async move {
            // The first one brings a handshake of TLS, which is not understood.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut begun = [0; 4];
                stream.read_exact(&mut begun).await.expect("a question");
                if &begun == b"HEAD" {
                    let answer = b"HTTP/1.1 200 OK\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n\r\n";
                    stream.write_all(answer).await.expect("an answer");
                }
            }
        });
        let source = place(&format!("127.0.0.1:{port}"), "/v2/");
        let found = check(&ask(&source).await);
        assert!(found.says.contains("ahead of that of 127.0.0.1"), "{found:?}");
        answers.await.expect("both were answered");
    }
}
