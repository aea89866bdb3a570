//! What registries say through the engine, as people read it. Pure.
//!
//! The engine wraps a registry's answer into words of its own and a status that is often 500, so the kind of trouble
//! is read from the words.

use bollard::errors::Error as ClientError;
use switcher_config::ImageReference;

use super::DockerErrorKind as Kind;
use super::error::{MAKE_ROOM, refused, said};
use super::{DockerError, Engine};

/// Phrases of engines and registries, and what they mean; the first that fits wins.
const PHRASES: &[(Kind, &[&str])] = &[
    (
        Kind::Platform,
        &["no matching manifest", "does not match the specified platform", "image operating system"],
    ),
    (Kind::RegistryRefused, &["toomanyrequests", "too many requests"]),
    (
        Kind::Unauthorized,
        &[
            "unauthorized",
            "no basic auth credentials",
            "access denied",
            "access to the resource is denied",
            "authentication required",
            "authorization failed",
            "incorrect username or password",
            "may require 'docker login'",
            "denied: ",
            "403 forbidden",
            "insufficient_scope",
        ],
    ),
    (Kind::ImageUnknown, &["manifest unknown", "name unknown", "repository does not exist", ": not found"]),
    (
        Kind::RegistryUnreachable,
        &[
            "connection refused",
            "no such host",
            "i/o timeout",
            "server misbehaving",
            "network is unreachable",
            "no route to host",
            "context deadline exceeded",
            "timeout exceeded",
            "client.timeout",
            "tls handshake timeout",
            "unexpected eof",
            ": eof",
            "connection reset by peer",
            "broken pipe",
            "temporary failure in name resolution",
            "bad gateway",
            "service unavailable",
            "gateway timeout",
            "internal server error",
        ],
    ),
    (
        Kind::RegistryRefused,
        &["received unexpected http status", "server gave http response to https client", "x509:", "tls: "],
    ),
];

/// What kind of trouble a registry's words are about `image`.
fn kind(status: u16, words: &str, image: &ImageReference) -> Kind {
    let general = refused(status, words);
    if general == Kind::NoSpace {
        return general;
    }
    // Names are chosen by people: `acme/unauthorized` is no trouble.
    let text = words.replace(image.repository(), "").to_ascii_lowercase();
    let fits = |(_, phrases): &&(Kind, &[&str])| phrases.iter().any(|phrase| text.contains(phrase));
    match PHRASES.iter().find(fits) {
        Some((kind, _)) => *kind,
        None if status == 401 || status == 403 => Kind::Unauthorized,
        None if general == Kind::NotFound => Kind::ImageUnknown,
        None => general,
    }
}

impl Engine {
    /// What went wrong with an image of a registry; `login` says whether credentials were sent.
    pub(super) fn refused_image(
        &self,
        image: &ImageReference,
        login: bool,
        error: &ClientError,
    ) -> DockerError {
        match said(error) {
            Some((status, words)) => told(image, login, kind(status, words, image), words),
            None => self.failed(&format!("get the image {image}"), error),
        }
    }
}

/// The sentence: image, registry, the engine's words, the way out.
fn told(image: &ImageReference, login: bool, kind: Kind, words: &str) -> DockerError {
    let registry = image.registry();
    let log_in = match registry {
        "docker.io" => "docker login".to_owned(),
        _ => format!("docker login {registry}"),
    };
    let message = if kind == Kind::Unauthorized && login {
        format!(
            "the registry {registry} does not let us have {image}: {words}; the credentials of Docker's configuration \
             file were sent and do not suffice: log in again with `{log_in}`, and check that the image's name is right"
        )
    } else if kind == Kind::Unauthorized {
        format!(
            "the registry {registry} does not let us have {image}: {words}; log in with `{log_in}`, and check that \
             the image's name is right"
        )
    } else if kind == Kind::ImageUnknown {
        format!(
            "the registry {registry} has no image {image}: {words}; check the name, and that it was pushed"
        )
    } else if kind == Kind::RegistryUnreachable {
        format!(
            "the engine cannot reach the registry {registry} for {image}: {words}; check the registry's name, the \
             engine's network and its DNS, then try again"
        )
    } else if kind == Kind::RegistryRefused && words.to_ascii_lowercase().contains("too") {
        format!(
            "the registry {registry} wants fewer requests and did not give {image}: {words}; wait, or log in with \
             `{log_in}`: registries allow more to those they know"
        )
    } else if kind == Kind::RegistryRefused {
        format!(
            "the registry {registry} did not give {image}: {words}; a registry without HTTPS, or with a \
                 certificate of its own, is made known to the engine in /etc/docker/daemon.json or /etc/docker/certs.d"
        )
    } else if kind == Kind::Platform {
        format!(
            "{image} is not made for the platform that was chosen: {words}; build it for that platform, or set `platform`"
        )
    } else if kind == Kind::NoSpace {
        format!("there is no room for {image} on the engine's disk: {words}{MAKE_ROOM}")
    } else {
        format!("the engine could not get {image} from the registry {registry}: {words}")
    };
    DockerError::new(kind, message)
}

#[cfg(test)]
mod tests;
