//! The settings of middleware: what is done with a request on its way to an upstream, and with its answer on the way back.
//!
//! The order is that of the fields. The same keys stand at three levels: what a path says comes before what its
//! application says, and that before what the whole proxy says, key by key.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::{Cached, Compress, Cors, HashBy, Timeouts};
use crate::{Bytes, PathPrefix, Share, Span, UpstreamAddress};

/// A key that may be left to the level above.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Own<T> {
    /// The level above says it.
    #[default]
    Inherited,
    /// Nothing is done here, whatever the level above says (`off`).
    Off,
    /// This is done.
    Is(T),
}

impl<T: Clone> Own<T> {
    fn over(&self, above: &Self) -> Self {
        match self {
            Self::Inherited => above.clone(),
            own @ (Self::Off | Self::Is(_)) => own.clone(),
        }
    }
}

impl<T> Own<T> {
    /// The same with another value.
    #[must_use]
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Own<U> {
        match self {
            Self::Inherited => Own::Inherited,
            Self::Off => Own::Off,
            Self::Is(value) => Own::Is(change(value)),
        }
    }

    /// What is done, if anything.
    #[must_use]
    pub const fn get(&self) -> Option<&T> {
        match self {
            Self::Inherited | Self::Off => None,
            Self::Is(value) => Some(value),
        }
    }
}

/// Everything that can be done at one level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Middleware {
    /// Networks of clients that are let in; all others are answered 403.
    pub allow: Own<Vec<IpNet>>,
    /// Networks of clients that are answered 403.
    pub deny: Own<Vec<IpNet>>,
    /// How often one may ask.
    pub rate_limit: Own<RateLimit>,
    /// How much one may ask for at once.
    pub in_flight: Own<InFlight>,
    /// Which pages of other origins may read answers.
    pub cors: Own<Cors>,
    /// Who may ask, by name and password.
    pub basic_auth: Own<BasicAuth>,
    /// Who is asked whether one may ask.
    pub forward_auth: Own<ForwardAuth>,
    /// The largest body of a request; larger ones are answered 413.
    pub body_size: Own<Bytes>,
    /// Where requests are sent on to.
    pub redirects: Own<Vec<Redirect>>,
    /// The folder whose files are answered in the application's place.
    pub files: Own<Files>,
    /// What is answered in the application's place.
    pub answer: Own<FixedAnswer>,
    /// When an application that mostly fails is left alone for a while.
    pub breaker: Own<Breaker>,
    /// What is taken in whole before an upstream is asked.
    pub buffer: Own<Buffer>,
    /// Whether answers are held that their application declares cacheable.
    pub cache: Own<Cached>,
    /// Which target the application sees.
    pub rewrite: Own<Rewrite>,
    /// Headers of the request as the application sees them.
    pub request_headers: Own<HeaderRules>,
    /// Headers of the answer as the client sees them.
    pub response_headers: Own<HeaderRules>,
    /// How the answer is compressed.
    pub compress: Own<Compress>,
}

impl Middleware {
    /// This level with what it leaves to the level above.
    #[must_use]
    pub fn over(&self, above: &Self) -> Self {
        Self {
            allow: self.allow.over(&above.allow),
            deny: self.deny.over(&above.deny),
            rate_limit: self.rate_limit.over(&above.rate_limit),
            in_flight: self.in_flight.over(&above.in_flight),
            cors: self.cors.over(&above.cors),
            basic_auth: self.basic_auth.over(&above.basic_auth),
            forward_auth: self.forward_auth.over(&above.forward_auth),
            body_size: self.body_size.over(&above.body_size),
            redirects: self.redirects.over(&above.redirects),
            files: self.files.over(&above.files),
            answer: self.answer.over(&above.answer),
            breaker: self.breaker.over(&above.breaker),
            buffer: self.buffer.over(&above.buffer),
            cache: self.cache.over(&above.cache),
            rewrite: self.rewrite.over(&above.rewrite),
            request_headers: self.request_headers.over(&above.request_headers),
            response_headers: self.response_headers.over(&above.response_headers),
            compress: self.compress.over(&above.compress),
        }
    }
}

impl Middleware {
    /// Whether a request meets anything here.
    #[must_use]
    pub fn does_something(&self) -> bool {
        let nothing = HeaderRules::default();
        self.allow.get().is_some()
            || self.deny.get().is_some()
            || self.rate_limit.get().is_some()
            || self.in_flight.get().is_some()
            || self.cors.get().is_some()
            || self.basic_auth.get().is_some()
            || self.forward_auth.get().is_some()
            || self.body_size.get().is_some()
            || self.redirects.get().is_some_and(|redirects| !redirects.is_empty())
            || self.files.get().is_some()
            || self.answer.get().is_some()
            || self.breaker.get().is_some()
            || self.buffer.get().is_some()
            || self.cache.get().is_some()
            || self.rewrite.get().is_some_and(|rewrite| *rewrite != Rewrite::default())
            || [&self.request_headers, &self.response_headers]
                .iter()
                .any(|rules| rules.get().is_some_and(|r| *r != nothing))
            || self.compress.get().is_some()
    }

    /// The same with every file in this folder, unless it says where it is.
    pub(super) fn within(&mut self, folder: &Path) {
        if let Own::Is(basic_auth) = &mut self.basic_auth {
            basic_auth.file = folder.join(&basic_auth.file);
        }
        if let Own::Is(files) = &mut self.files {
            files.root = folder.join(&files.root);
        }
    }
}

/// The middleware of a path below that of its application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathMiddleware {
    /// The path and all below it; the longest one that fits counts.
    pub path: PathPrefix,
    /// What is done there.
    pub middleware: Middleware,
    /// How long upstreams are waited for there. Default: as everywhere in the application.
    pub timeouts: PathTimeouts,
}

/// The limits on waiting for upstreams that a path has of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathTimeouts {
    /// To open a connection, TLS included.
    pub connect: Option<Span>,
    /// From the whole request sent to the head of the answer.
    pub response: Option<Span>,
    /// Between two reads or writes of a body.
    pub idle: Option<Span>,
}

impl PathTimeouts {
    /// The limits there; none when they are those of the application.
    #[must_use]
    pub fn over(&self, app: &Timeouts) -> Option<Timeouts> {
        let all = Timeouts {
            connect: self.connect.unwrap_or(app.connect),
            response: self.response.unwrap_or(app.response),
            idle: self.idle.unwrap_or(app.idle),
            pool: app.pool,
        };
        (all != *app).then_some(all)
    }
}

/// How often one may ask: a bucket that fills at a steady rate and holds so many requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests.
    pub requests: u32,
    /// In which time. Default 1s.
    pub per: Span,
    /// How many at once, when nothing was asked for a while. Default: as many as `requests`.
    pub burst: Option<u32>,
    /// Whose requests are counted together. Default the client's.
    pub by: HashBy,
}

/// How much one may ask for at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// How many requests.
    pub requests: u32,
    /// Whose requests are counted together. Default: everybody's.
    pub by: Option<HashBy>,
}

/// Who may ask, by name and password (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// The file that `htpasswd -B` writes. Relative to the configuration file's folder, and in
    /// [`super::Settings::for_proxy`] no longer.
    pub file: PathBuf,
    /// What browsers show. Default `restricted`.
    pub realm: String,
    /// The header in which the application is told the name. Default none.
    pub user_header: Option<String>,
    /// Whether the application sees the password too. Default false.
    pub forward: bool,
}

/// Who is asked, before each request, whether it may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Where the one is who is asked.
    pub address: UpstreamAddress,
    /// What is asked for: path and query.
    pub target: String,
    /// The headers of the request that are shown; `None` means all. Default all.
    pub request_headers: Option<Vec<String>>,
    /// The headers of a yes that the application gets; a client's own of these names never reach it. Default none.
    pub response_headers: Vec<String>,
    /// How long the whole answer may take. Default 5s.
    pub timeout: Span,
}

/// Where requests are sent on to whose path fits a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The pattern, of the crate regex, held against the path.
    pub from: String,
    /// A path or URL, with `$1` for what the pattern has caught. The query goes along.
    pub to: String,
    /// 301, 302, 303, 307 or 308. Default 308.
    pub status: u16,
}

/// The folder whose files are answered in the application's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The folder. Relative to the configuration file's folder, and in [`super::Settings::for_proxy`] no longer.
    pub root: PathBuf,
    /// Taken off the front of the path before the file is looked for. Default none.
    pub strip: Option<PathPrefix>,
    /// What becomes of a path without a file. Default 404.
    pub missing: Missing,
    /// Whether compressed files beside the files are sent to those who take them. Default true.
    pub precompressed: bool,
}

/// What becomes of a path without a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It is answered 404.
    NotFound,
    /// It goes on to the application.
    Application,
    /// This one, with a slash in front, is answered.
    File(String),
}

/// What is answered in the application's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedAnswer {
    /// The status. Default 200.
    pub status: u16,
    /// The body. Default empty.
    pub body: String,
    /// The media type of the body. Default `text/plain; charset=utf-8`.
    pub content_type: String,
}

/// When an application that mostly fails is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// From which share of failures on. Default 50%.
    pub errors: Share,
    /// Of how many requests at least. Default 20.
    pub requests: u32,
    /// Within how long. Default 10s.
    pub window: Span,
    /// For how long; then one request tries. Default 10s.
    pub open: Span,
}

/// Bodies that are taken in whole before they are passed on, so that slow clients keep no upstream waiting. One at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// The largest body of a request for which that is done.
    pub request: Option<Bytes>,
    /// The largest body of an answer for which that is done.
    pub response: Option<Bytes>,
}

/// Which target the application sees: first `strip`, then `replace`, then `prefix`. The query stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Taken off the front of the path.
    pub strip: Option<PathPrefix>,
    /// What is replaced in the path.
    pub replace: Option<Replace>,
    /// Put in front of the path.
    pub prefix: Option<PathPrefix>,
}

/// What is replaced in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replace {
    /// The pattern, of the crate regex.
    pub from: String,
    /// What stands in its place, with `$1` for what the pattern has caught.
    pub to: String,
}

/// As the value of a header of requests: the client's address, as `X-Forwarded-For` would name it.
pub const CLIENT_IP: &str = "{client_ip}";

/// What is changed of headers: `remove` first, then `set`, then `add`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Taken away.
    pub remove: Vec<String>,
    /// Put in the place of what is there.
    pub set: Vec<(String, String)>,
    /// Put beside what is there.
    pub add: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_level_says_comes_before_what_the_one_above_says_key_by_key() {
        let net = |text: &str| vec![text.parse::<IpNet>().expect("a network")];
        let above = Middleware {
            allow: Own::Is(net("10.0.0.0/8")),
            deny: Own::Is(net("10.1.0.0/16")),
            ..Middleware::default()
        };
        let below = Middleware { allow: Own::Off, ..Middleware::default() };
        let both = below.over(&above);
        assert_eq!((both.allow.get(), both.deny.get()), (None, above.deny.get()));
        assert_eq!(both.rate_limit, Own::Inherited);
    }
}
