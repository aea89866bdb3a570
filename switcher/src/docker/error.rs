//! Everything that can go wrong with an engine: a kind for decisions, a sentence for people.
//!
//! Pure. The sentence names the engine or the image and the way out, and never a credential.

use std::error::Error;
use std::io;

use bollard::errors::Error as ClientError;

use crate::code::Code;

/// What an engine did not do, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DockerError {
    kind: DockerErrorKind,
    message: String,
}

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerErrorKind {
    /// Nobody answers at the engine's address.
    Unreachable,
    /// The engine's socket may not be opened.
    Permission,
    /// The certificates of the connection are missing or refused.
    Tls,
    /// The engine is older than what is understood.
    TooOld,
    /// The connection broke in the middle; nobody knows whether the engine did it.
    Lost,
    /// The engine said nothing in time; nobody knows whether it did it.
    Timeout,
    /// What was asked for does not exist on the engine: image, container, network.
    NotFound,
    /// There is one already, or it is in use.
    Conflict,
    /// The registry has no such image.
    ImageUnknown,
    /// The registry wants a login, or refuses the one it got.
    Unauthorized,
    /// The registry does not answer.
    RegistryUnreachable,
    /// The registry answered, and not with what was asked for: too many requests, or its own trouble.
    RegistryRefused,
    /// A credential helper is missing or failed, or Docker's configuration file is damaged.
    Credentials,
    /// There is no room on the engine's disk.
    NoSpace,
    /// The image is not made for the engine's platform.
    Platform,
    /// A file on this machine cannot be read, or is no image.
    File,
    /// The engine refused, for a reason that only its own words say.
    Refused,
    /// What answers is not understood.
    Gibberish,
}

impl DockerErrorKind {
    /// The code that a command fails with.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Unreachable | Self::Lost | Self::Timeout => Code::DockerUnreachable,
            Self::Permission => Code::DockerPermission,
            Self::Tls => Code::DockerTls,
            Self::TooOld | Self::Gibberish => Code::DockerUnsuited,
            Self::NotFound | Self::Conflict | Self::Refused => Code::DockerRefused,
            Self::NoSpace => Code::DockerNoSpace,
            Self::ImageUnknown | Self::Unauthorized | Self::RegistryUnreachable | Self::RegistryRefused => {
                Code::ImageUnavailable
            }
            Self::Credentials => Code::ImageLogin,
            Self::Platform => Code::ImagePlatform,
            Self::File => Code::ImageFile,
        }
    }
}

impl DockerError {
    /// An error whose sentence is complete.
    pub(crate) const fn new(kind: DockerErrorKind, message: String) -> Self {
        Self { kind, message }
    }

    /// What kind of trouble it is.
    #[must_use]
    pub const fn kind(&self) -> DockerErrorKind {
        self.kind
    }

    /// What the engine called `name` could not do, from what its client met.
    pub(super) fn of(name: &str, doing: &str, error: &ClientError) -> Self {
        if let Some((status, words)) = said(error) {
            let kind = refused(status, words);
            let remedy = if kind == DockerErrorKind::NoSpace { MAKE_ROOM } else { "" };
            return Self::new(
                kind,
                format!("the Docker Engine at {name} could not {doing}: {words}{remedy}"),
            );
        }
        if matches!(error, ClientError::RequestTimeoutError) {
            let message = format!("the Docker Engine at {name} did not answer in time when asked to {doing}");
            return Self::new(DockerErrorKind::Timeout, message);
        }
        if matches!(error, ClientError::SocketNotFoundError(_)) {
            return connection(name, io::ErrorKind::NotFound, "");
        }
        broken(name, doing, error)
    }
}

/// What to do when the engine's disk is full.
pub(super) const MAKE_ROOM: &str = "; make room on the engine's disk, for example with `switcher prune`";

/// The engine's own words and their status, when it answered at all; a stream has no status of its own (500).
pub(super) fn said(error: &ClientError) -> Option<(u16, &str)> {
    let bare = |text: &'_ str| -> usize { text.trim_end().trim_end_matches('.').len() };
    if let ClientError::DockerResponseServerError { status_code, message } = error {
        return Some((*status_code, message[..bare(message)].trim_start()));
    }
    if let ClientError::DockerStreamError { error } = error {
        return Some((500, error[..bare(error)].trim_start()));
    }
    None
}

/// A connection that could not be made, or broke.
fn broken(name: &str, doing: &str, error: &ClientError) -> DockerError {
    let words = cause(error);
    if chain(inside(error)).any(is_tls) {
        let message = format!(
            "the Docker Engine at {name} and this machine do not trust each other: {words}; $DOCKER_CERT_PATH names \
             the folder with ca.pem, cert.pem and key.pem"
        );
        return DockerError::new(DockerErrorKind::Tls, message);
    }
    let connecting = chain(error).any(|cause| {
        cause
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
    });
    if connecting {
        let kind =
            chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last();
        return connection(name, kind.unwrap_or(io::ErrorKind::Other), &words);
    }
    if chain(error).any(|cause| cause.is::<serde_json::Error>())
        || matches!(error, ClientError::JsonDataError { .. } | ClientError::StrParseError { .. })
    {
        let message = format!("what answers at {name} is not understood when asked to {doing}: {words}");
        return DockerError::new(DockerErrorKind::Gibberish, message);
    }
    DockerError::new(
        DockerErrorKind::Lost,
        format!("the connection to the Docker Engine at {name} broke when it was asked to {doing}: {words}"),
    )
}

/// Nobody, or nobody for us, at the address.
pub(super) fn connection(name: &str, kind: io::ErrorKind, words: &str) -> DockerError {
    let (kind, message) = if kind == io::ErrorKind::NotFound {
        let message = format!("there is no Docker Engine at {name}: the socket does not exist; {RUNNING}");
        (DockerErrorKind::Unreachable, message)
    } else if kind == io::ErrorKind::ConnectionRefused {
        (DockerErrorKind::Unreachable, format!("nobody answers at {name}; {RUNNING}"))
    } else if kind == io::ErrorKind::PermissionDenied {
        let message = format!(
            "the Docker Engine at {name} may not be used by this user; add the user to the group `docker` \
             (`usermod -aG docker USER`, then log in again) or run the command as root"
        );
        (DockerErrorKind::Permission, message)
    } else {
        (DockerErrorKind::Unreachable, format!("the Docker Engine at {name} cannot be reached: {words}"))
    };
    DockerError::new(kind, message)
}

/// What to do when nobody answers.
const RUNNING: &str = "is Docker running (`systemctl start docker`)? Another engine is named with --host";

/// The kind of a refusal, from its status and the engine's own words.
pub(super) fn refused(status: u16, message: &str) -> DockerErrorKind {
    let words = message.to_ascii_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    if has(&["no space left on device", "not enough space", "disk quota exceeded"]) {
        return DockerErrorKind::NoSpace;
    }
    match status {
        404 => DockerErrorKind::NotFound,
        409 => DockerErrorKind::Conflict,
        _ => DockerErrorKind::Refused,
    }
}

/// The error of the system that the client's own stands for without naming it as its source.
fn inside(error: &ClientError) -> &(dyn Error + 'static) {
    if let ClientError::IOError { err } = error { err } else { error }
}

/// Every cause, the error itself first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| <dyn Error>::source(*cause))
}

/// The words of the innermost cause: the outer ones tell only which layer of the client passed it on.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

/// Whether TLS is to blame: it hides inside an error of the system, which does not name it as its source.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inside.is_some_and(|inner| is_tls(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16, message: &str) -> DockerError {
        let error = ClientError::DockerResponseServerError { status_code, message: message.to_owned() };
        DockerError::of("unix:///d.sock", "remove the image shop", &error)
    }

    #[test]
    fn an_answer_keeps_the_engines_words_and_gets_a_kind() {
        for (status, words, kind) in [
            (404, "No such image: shop", DockerErrorKind::NotFound),
            (409, "conflict: the image is being used by a container", DockerErrorKind::Conflict),
            (500, "write /var/lib/docker/x: no space left on device", DockerErrorKind::NoSpace),
            (500, "something broke.\n", DockerErrorKind::Refused),
        ] {
            let error = answered(status, words);
            assert_eq!(error.kind(), kind, "{words}");
            let words = words.trim_end_matches(".\n");
            let expected =
                format!("the Docker Engine at unix:///d.sock could not remove the image shop: {words}");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn trouble_with_the_socket_says_what_to_do() {
        for (kind, remedy) in [
            (io::ErrorKind::NotFound, "is Docker running"),
            (io::ErrorKind::ConnectionRefused, "is Docker running"),
            (io::ErrorKind::PermissionDenied, "usermod -aG docker"),
            (io::ErrorKind::HostUnreachable, "no route to host"),
        ] {
            let text = connection("tcp://h:2375", kind, "no route to host").to_string();
            assert!(text.contains("tcp://h:2375") && text.contains(remedy), "{text}");
        }
    }

    #[test]
    fn tls_is_recognised_inside_an_error_of_the_system() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::BadCertificate);
        let hidden = ClientError::IOError { err: io::Error::new(io::ErrorKind::InvalidData, alert) };
        assert_eq!(DockerError::of("tcp://h:2376", "answer", &hidden).kind(), DockerErrorKind::Tls);
        let deeper = io::Error::other(io::Error::other(rustls::Error::DecryptError));
        let hidden = ClientError::IOError { err: deeper };
        assert_eq!(DockerError::of("tcp://h:2376", "answer", &hidden).kind(), DockerErrorKind::Tls);
        let other = ClientError::IOError { err: io::ErrorKind::BrokenPipe.into() };
        assert_eq!(DockerError::of("tcp://h:2376", "answer", &other).kind(), DockerErrorKind::Lost);
    }
}
