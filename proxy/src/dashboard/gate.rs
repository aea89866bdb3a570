//! Who may act: whoever sends the token from a page of this very listener, and does not guess.
//!
//! The token travels in the form's body, never in a cookie, so no other site can have a browser send it along. Where the
//! form came from is looked at nevertheless. Invariant: a token that is wrong counts, and nobody is heard for a while after
//! a few of them; comparing takes the same time whatever was sent.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;

use crate::preview::Token;

/// How many wrong tokens are heard in [`WINDOW`].
const TRIES: usize = 5;

/// For how long a wrong token counts.
const WINDOW: Duration = Duration::from_secs(60);

/// When wrong tokens came.
#[derive(Debug, Default)]
pub struct Gate(Mutex<VecDeque<Instant>>);

/// Why somebody may not act: the status, a title and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) sentence: String,
}

impl Closed {
    fn new(status: StatusCode, title: &'static str, sentence: impl Into<String>) -> Self {
        Self { status, title, sentence: sentence.into() }
    }

    /// Nobody may act here at all.
    pub(super) fn off() -> Self {
        let sentence = "This dashboard only shows. To act from here, name a file with a token in \
            proxy.dashboard.token_file; the command line acts anyway: switcher promote.";
        Self::new(StatusCode::FORBIDDEN, "This dashboard only shows", sentence)
    }
}

impl Gate {
    /// Whether somebody with this token may act now.
    pub(super) fn admit(&self, file: Option<&Path>, sent: &str, now: Instant) -> Result<(), Closed> {
        let Some(file) = file else { return Err(Closed::off()) };
        // Read each time, so that a new token is the token at once.
        let token = Token::read(file).map_err(|why| {
            let sentence = format!("The token cannot be read, so nobody can be let in: {why}");
            Closed::new(StatusCode::SERVICE_UNAVAILABLE, "There is no token", sentence)
        })?;
        let mut wrong = self.0.lock();
        while wrong.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            wrong.pop_front();
        }
        if wrong.len() >= TRIES {
            let sentence =
                "Too many wrong tokens were sent. Wait a minute, or use the command line: switcher promote.";
            return Err(Closed::new(StatusCode::TOO_MANY_REQUESTS, "Too many wrong tokens", sentence));
        }
        if token.is(sent) {
            return Ok(());
        }
        wrong.push_back(now);
        let sentence = "This is not the token. Nothing was changed.";
        Err(Closed::new(StatusCode::FORBIDDEN, "Wrong token", sentence))
    }
}

/// Whether a form was sent from a page of this listener, as far as the browser tells. A client that tells nothing is no
/// browser, and needs the token like everybody.
pub(super) fn same_origin(headers: &HeaderMap) -> Result<(), Closed> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).unwrap_or_default();
    let own = |origin: &str| {
        origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    };
    let foreign = text(header::HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| site != "same-origin")
        || text(header::ORIGIN).is_some_and(|origin| !own(origin));
    if !foreign {
        return Ok(());
    }
    let sentence = "The form was sent from another site. Nothing was changed.";
    Err(Closed::new(StatusCode::FORBIDDEN, "From another site", sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use switcher_config::durable::{Durability, replace};

    #[test]
    fn after_a_few_wrong_tokens_the_right_one_has_to_wait_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        replace(&file, b"a-token-of-16-characters", 0o600, Durability::Unsynced).expect("a file");
        let (gate, now) = (Gate::default(), Instant::now());
        let status = |sent: &str, at| gate.admit(Some(&file), sent, at).map_err(|closed| closed.status);
        assert_eq!(status("a-token-of-16-characters", now), Ok(()));
        for _ in 0..TRIES {
            assert_eq!(status("a-token-of-16-character", now), Err(StatusCode::FORBIDDEN));
        }
        assert_eq!(status("a-token-of-16-characters", now), Err(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(status("a-token-of-16-characters", now + WINDOW), Ok(()));
        assert_eq!(gate.admit(None, "", now).map_err(|closed| closed.status), Err(StatusCode::FORBIDDEN));
        let none = gate.admit(Some(&folder.path().join("none")), "", now).map_err(|closed| closed.status);
        assert_eq!(none, Err(StatusCode::SERVICE_UNAVAILABLE));
    }

    #[test]
    fn a_form_of_another_site_is_told_by_what_the_browser_says() {
        let from = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            same_origin(&headers).is_ok()
        };
        let host = ("host", "127.0.0.1:9180");
        assert!(from(&[host]));
        assert!(from(&[host, ("origin", "http://127.0.0.1:9180"), ("sec-fetch-site", "same-origin")]));
        assert!(!from(&[host, ("origin", "http://evil.test")]));
        assert!(!from(&[host, ("origin", "null")]));
        assert!(!from(&[host, ("origin", "http://127.0.0.1:9181")]));
        assert!(!from(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!from(&[host, ("sec-fetch-site", "same-site")]));
    }
}
