//! From an address to an engine that answered.
//!
//! The version of the API is not written into paths, so the engine speaks its own newest one to us; what it speaks is
//! asked once, and an engine that is too old is refused here rather than misunderstood later.

use std::path::Path;
use std::sync::Arc;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use http::HeaderValue;

use super::error::{cause, connection, said};
use super::{About, DockerError, DockerErrorKind, Engine, platform};
use crate::host::{HostAddress, TcpHost, Tunnel};

/// How long the head of an answer may take, in seconds. Bodies (progress, logs) are not bounded by it.
const ANSWER: u64 = 120;

/// The oldest API that is understood: Docker 20.10.
const OLDEST: (u32, u32) = (1, 41);

impl Engine {
    /// Connects to the engine and asks for its version.
    ///
    /// An engine behind [`HostAddress::Ssh`] is connected to by [`Engine::through`], since its tunnel may carry more.
    ///
    /// # Errors
    /// When nobody answers there, when it may not be used, or when it is too old.
    pub async fn connect(host: &HostAddress) -> Result<Self, DockerError> {
        let name = host.to_string();
        let (docker, local) = match host {
            HostAddress::Unix(path) => (unix(&name, path)?, true),
            HostAddress::Tcp(tcp) => (behind_tcp(host, tcp)?, false),
            HostAddress::Ssh(_) => {
                let message = format!("the engine {name} is reached by a tunnel, and none was opened");
                return Err(DockerError::new(DockerErrorKind::Unreachable, message));
            }
        };
        Self::answering(docker, name, local, None).await
    }

    /// Connects to the engine of a server through its tunnel, which stays open for as long as the engine is used.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn through(tunnel: Arc<Tunnel>) -> Result<Self, DockerError> {
        let name = HostAddress::Ssh(tunnel.host().clone()).to_string();
        tunnel
            .engine_answers()
            .await
            .map_err(|sentence| DockerError::new(DockerErrorKind::Unreachable, sentence))?;
        let docker = unix(&name, &tunnel.engine())?;
        Self::answering(docker, name, false, Some(tunnel)).await
    }

    async fn answering(
        docker: Docker,
        name: String,
        local: bool,
        tunnel: Option<Arc<Tunnel>>,
    ) -> Result<Self, DockerError> {
        let docker = docker.with_request_modifier(url_safe_credentials);
        let version = docker.version().await.map_err(|error| unanswered(&name, &error))?;
        let spoken = version.api_version.unwrap_or_default();
        let api = api(&spoken).ok_or_else(|| {
            let message =
                format!("what answers at {name} is no Docker Engine: it does not say which API it speaks");
            DockerError::new(DockerErrorKind::Gibberish, message)
        })?;
        if api < OLDEST {
            let message = format!(
                "the Docker Engine at {name} speaks API {spoken}, and 1.41 is needed; update it to Docker 20.10 or newer"
            );
            return Err(DockerError::new(DockerErrorKind::TooOld, message));
        }
        let (os, arch) = (version.os.unwrap_or_default(), version.arch.unwrap_or_default());
        // Only a 32-bit ARM comes in variants that matter, and only the description of the machine tells them apart.
        let machine = if arch == "arm" {
            let info =
                docker.info().await.map_err(|error| DockerError::of(&name, "describe itself", &error))?;
            info.architecture.unwrap_or_default()
        } else {
            String::new()
        };
        let platform = platform::of_engine(&os, &arch, &machine);
        Ok(Self {
            docker,
            about: Arc::new(About { name, local, api, platform, _tunnel: tunnel }),
            credentials: None,
        })
    }
}

/// What stands between us and the engine's version.
fn unanswered(name: &str, error: &bollard::errors::Error) -> DockerError {
    match said(error) {
        Some((_, words)) if words.contains("HTTPS server") => {
            let message = format!(
                "the Docker Engine at {name} speaks TLS only; $DOCKER_TLS_VERIFY=1 turns it on, and $DOCKER_CERT_PATH \
                 names the folder with ca.pem, cert.pem and key.pem"
            );
            DockerError::new(DockerErrorKind::Tls, message)
        }
        Some((status, words)) => {
            let message = format!("what answers at {name} is no Docker Engine: it says {status} {words}");
            DockerError::new(DockerErrorKind::Gibberish, message)
        }
        None => DockerError::of(name, "say its version", error),
    }
}

/// `1.41` as numbers.
fn api(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn unix(name: &str, path: &Path) -> Result<Docker, DockerError> {
    let text = path.to_str().ok_or_else(|| {
        DockerError::new(DockerErrorKind::Unreachable, format!("the path of {name} is no UTF-8"))
    })?;
    // The library only asks whether the file exists, and calls one that may not be looked at missing.
    if let Err(error) = std::fs::metadata(path) {
        return Err(connection(name, error.kind(), &error.to_string()));
    }
    Docker::connect_with_unix(text, ANSWER, API_DEFAULT_VERSION)
        .map_err(|error| DockerError::of(name, "be reached", &error))
}

fn behind_tcp(host: &HostAddress, tcp: &TcpHost) -> Result<Docker, DockerError> {
    let authority = tcp.authority();
    let Some(folder) = &tcp.certificates else {
        return Docker::connect_with_http(&authority, ANSWER, API_DEFAULT_VERSION)
            .map_err(|error| DockerError::of(&host.to_string(), "be reached", &error));
    };
    // The library takes the process's default; there is one already when somebody connected before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let [key, certificate, authority_file] = ["key.pem", "cert.pem", "ca.pem"].map(|name| folder.join(name));
    for file in [&key, &certificate, &authority_file] {
        if let Err(error) = std::fs::File::open(file) {
            let message = format!(
                "{host} is spoken to by TLS, and {} cannot be read: {error}; $DOCKER_CERT_PATH names the folder with \
                 ca.pem, cert.pem and key.pem",
                file.display()
            );
            return Err(DockerError::new(DockerErrorKind::Tls, message));
        }
    }
    Docker::connect_with_ssl(&authority, &key, &certificate, &authority_file, ANSWER, API_DEFAULT_VERSION)
        .map_err(|error| {
            let why = cause(&error);
            DockerError::new(
                DockerErrorKind::Tls,
                format!("the certificates for {host} cannot be used: {why}"),
            )
        })
}

/// The engine wants base64url where the library writes plain base64: a password that encodes to `+` or `/` would be
/// lost on the way.
fn url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        if let Some(value) = request.headers_mut().get_mut(name) {
            let safe: Vec<u8> = value
                .as_bytes()
                .iter()
                .map(|byte| match byte {
                    b'+' => b'-',
                    b'/' => b'_',
                    other => *other,
                })
                .collect();
            if let Ok(mut mended) = HeaderValue::from_bytes(&safe) {
                mended.set_sensitive(true);
                *value = mended;
            }
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    #[test]
    fn credentials_are_sent_as_base64url() {
        let login = br#"{"username":"tester","password":"p+w/with?odd~chars>>>???"}"#;
        let (plain, safe) = (STANDARD.encode(login), URL_SAFE.encode(login));
        assert_ne!(plain, safe, "this login does not tell the two apart");
        let request = http::Request::builder().header("X-Registry-Auth", plain).header("Accept", "a/b+c");
        let request = url_safe_credentials(request.body(bollard::body_full("".into())).expect("a request"));
        assert_eq!(request.headers()["x-registry-auth"], safe);
        assert!(request.headers()["x-registry-auth"].is_sensitive(), "it is not to be logged");
        assert_eq!(request.headers()["accept"], "a/b+c");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(api("1.9").expect("a version") < OLDEST && api("1.41") == Some(OLDEST));
        assert!(api("1.100").expect("a version") > OLDEST);
        assert_eq!(api(""), None);
    }
}
