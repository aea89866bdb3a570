//! Requests to the outside, with limits: the public address of an application, registries, webhooks.
//!
//! Certificates are judged by the system's roots. No redirect is followed unless it is asked for: an answer that leads
//! elsewhere is told, and no credential follows it.

use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// A client whose requests take `timeout` at most, from the name's lookup to the last byte. The roots in `ca_file` are
/// believed beside the system's.
///
/// # Errors
/// A sentence, when the file cannot be read or holds no certificate.
pub fn client(timeout: Duration, ca_file: Option<&Path>) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("switcher/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .timeout(timeout)
        .redirect(Policy::none());
    if let Some(file) = ca_file {
        let told = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let pem = std::fs::read(file).map_err(|error| told(&error))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|error| told(&reason(&error)))?;
        if roots.is_empty() {
            return Err(told(&"there is no certificate in it"));
        }
        builder = builder.tls_certs_merge(roots);
    }
    builder.build().map_err(|error| reason(&error))
}

/// The innermost reason, which says what happened; never the address, which may hold credentials.
#[must_use]
pub fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
