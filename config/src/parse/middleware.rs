//! The sections of middleware turned into settings, and back.

use crate::keys::{
    BasicAuthKeys, BreakerKeys, FilesKeys, FixedAnswerKeys, ForwardAuthKeys, InFlightKeys, MiddlewareKeys,
    PathTimeoutKeys, RateLimitKeys, RedirectKeys, ReplaceKeys, RequestHeaderKeys, ResponseHeaderKeys,
    RewriteKeys,
};
use crate::settings::{
    BasicAuth, Breaker, Files, FixedAnswer, ForwardAuth, HeaderRules, InFlight, Middleware, Own,
    PathMiddleware, PathTimeouts, RateLimit, Redirect, Replace, Rewrite,
};
use crate::values::{
    AnswerStatus, AskedUrl, ClearHeaders, Copied, Header, HiddenHeaders, Limit, Line, NoFile, PathKeys,
    Paths, Pattern, Positive, RedirectStatus, Text,
};

fn all<T, U: From<T>>(own: Own<Vec<T>>) -> Own<Vec<U>> {
    own.map(|list| list.into_iter().map(Into::into).collect())
}

impl From<MiddlewareKeys> for Middleware {
    fn from(keys: MiddlewareKeys) -> Self {
        Self {
            allow: keys.allow,
            deny: keys.deny,
            rate_limit: keys.rate_limit.map(Into::into),
            in_flight: keys.in_flight.map(Into::into),
            cors: keys.cors,
            basic_auth: keys.basic_auth.map(Into::into),
            forward_auth: keys.forward_auth.map(Into::into),
            body_size: keys.body_size,
            redirects: all(keys.redirects),
            files: keys.files.map(Into::into),
            answer: keys.answer.map(Into::into),
            breaker: keys.breaker.map(Into::into),
            buffer: keys.buffer,
            cache: keys.cache,
            rewrite: keys.rewrite.map(Into::into),
            request_headers: keys.request_headers.map(Into::into),
            response_headers: keys.response_headers.map(Into::into),
            compress: keys.compress,
        }
    }
}

impl From<Middleware> for MiddlewareKeys {
    fn from(middleware: Middleware) -> Self {
        Self {
            allow: middleware.allow,
            deny: middleware.deny,
            rate_limit: middleware.rate_limit.map(Into::into),
            in_flight: middleware.in_flight.map(Into::into),
            cors: middleware.cors,
            basic_auth: middleware.basic_auth.map(Into::into),
            forward_auth: middleware.forward_auth.map(Into::into),
            body_size: middleware.body_size,
            redirects: all(middleware.redirects),
            files: middleware.files.map(Into::into),
            answer: middleware.answer.map(Into::into),
            breaker: middleware.breaker.map(Into::into),
            buffer: middleware.buffer,
            cache: middleware.cache,
            rewrite: middleware.rewrite.map(Into::into),
            request_headers: middleware.request_headers.map(Into::into),
            response_headers: middleware.response_headers.map(Into::into),
            compress: middleware.compress,
        }
    }
}

impl From<Paths> for Vec<PathMiddleware> {
    fn from(Paths(paths): Paths) -> Self {
        let one = |(path, PathKeys { middleware, timeouts }): (_, PathKeys)| PathMiddleware {
            path,
            middleware: middleware.into(),
            timeouts: timeouts.into(),
        };
        paths.into_iter().map(one).collect()
    }
}

impl From<Vec<PathMiddleware>> for Paths {
    fn from(paths: Vec<PathMiddleware>) -> Self {
        let one = |PathMiddleware { path, middleware, timeouts }| {
            (path, PathKeys { middleware: middleware.into(), timeouts: timeouts.into() })
        };
        Self(paths.into_iter().map(one).collect())
    }
}

impl From<PathTimeoutKeys> for PathTimeouts {
    fn from(PathTimeoutKeys { connect, response, idle }: PathTimeoutKeys) -> Self {
        let [connect, response, idle] = [connect, response, idle].map(|time| time.map(|time| time.0));
        Self { connect, response, idle }
    }
}

impl From<PathTimeouts> for PathTimeoutKeys {
    fn from(PathTimeouts { connect, response, idle }: PathTimeouts) -> Self {
        let [connect, response, idle] = [connect, response, idle].map(|time| time.map(Positive));
        Self { connect, response, idle }
    }
}

impl From<RateLimitKeys> for RateLimit {
    fn from(RateLimitKeys { requests, per, burst, by }: RateLimitKeys) -> Self {
        Self { requests: requests.0, per: per.0, burst: burst.map(|burst| burst.0), by }
    }
}

impl From<RateLimit> for RateLimitKeys {
    fn from(RateLimit { requests, per, burst, by }: RateLimit) -> Self {
        Self { requests: Limit(requests), per: Positive(per), burst: burst.map(Limit), by }
    }
}

impl From<InFlightKeys> for InFlight {
    fn from(InFlightKeys { requests, by }: InFlightKeys) -> Self {
        Self { requests: requests.0, by }
    }
}

impl From<InFlight> for InFlightKeys {
    fn from(InFlight { requests, by }: InFlight) -> Self {
        Self { requests: Limit(requests), by }
    }
}

impl From<BasicAuthKeys> for BasicAuth {
    fn from(BasicAuthKeys { file, realm, user_header, forward }: BasicAuthKeys) -> Self {
        Self { file, realm: realm.0, user_header: user_header.map(|header| header.0), forward }
    }
}

impl From<BasicAuth> for BasicAuthKeys {
    fn from(BasicAuth { file, realm, user_header, forward }: BasicAuth) -> Self {
        Self { file, realm: Line(realm), user_header: user_header.map(Header), forward }
    }
}

fn uncopied(names: Vec<Copied>) -> Vec<String> {
    names.into_iter().map(|name| name.0).collect()
}

fn copied(names: Vec<String>) -> Vec<Copied> {
    names.into_iter().map(Copied).collect()
}

impl From<ForwardAuthKeys> for ForwardAuth {
    fn from(keys: ForwardAuthKeys) -> Self {
        Self {
            address: keys.url.address,
            target: keys.url.target,
            request_headers: keys.request_headers.map(uncopied),
            response_headers: uncopied(keys.response_headers),
            timeout: keys.timeout.0,
        }
    }
}

impl From<ForwardAuth> for ForwardAuthKeys {
    fn from(auth: ForwardAuth) -> Self {
        Self {
            url: AskedUrl { address: auth.address, target: auth.target },
            request_headers: auth.request_headers.map(copied),
            response_headers: copied(auth.response_headers),
            timeout: Positive(auth.timeout),
        }
    }
}

impl From<RedirectKeys> for Redirect {
    fn from(RedirectKeys { from, to, status }: RedirectKeys) -> Self {
        Self { from: from.0, to: to.0, status: status.0 }
    }
}

impl From<Redirect> for RedirectKeys {
    fn from(Redirect { from, to, status }: Redirect) -> Self {
        Self { from: Pattern(from), to: Line(to), status: RedirectStatus(status) }
    }
}

impl From<FilesKeys> for Files {
    fn from(FilesKeys { root, strip, missing, precompressed }: FilesKeys) -> Self {
        Self { root, strip, missing: missing.0, precompressed }
    }
}

impl From<Files> for FilesKeys {
    fn from(Files { root, strip, missing, precompressed }: Files) -> Self {
        Self { root, strip, missing: NoFile(missing), precompressed }
    }
}

impl From<FixedAnswerKeys> for FixedAnswer {
    fn from(FixedAnswerKeys { status, body, content_type }: FixedAnswerKeys) -> Self {
        let body = body.map(|text| text.0).unwrap_or_default();
        Self { status: status.0, body, content_type: content_type.0 }
    }
}

impl From<FixedAnswer> for FixedAnswerKeys {
    fn from(FixedAnswer { status, body, content_type }: FixedAnswer) -> Self {
        let body = Some(body).filter(|body| !body.is_empty()).map(Text);
        Self { status: AnswerStatus(status), body, content_type: Line(content_type) }
    }
}

impl From<BreakerKeys> for Breaker {
    fn from(BreakerKeys { errors, requests, window, open }: BreakerKeys) -> Self {
        Self { errors, requests: requests.0, window: window.0, open: open.0 }
    }
}

impl From<Breaker> for BreakerKeys {
    fn from(Breaker { errors, requests, window, open }: Breaker) -> Self {
        Self { errors, requests: Limit(requests), window: Positive(window), open: Positive(open) }
    }
}

impl From<RewriteKeys> for Rewrite {
    fn from(RewriteKeys { strip, replace, prefix }: RewriteKeys) -> Self {
        let replace = replace.map(|ReplaceKeys { from, to }| Replace { from: from.0, to: to.0 });
        Self { strip, replace, prefix }
    }
}

impl From<Rewrite> for RewriteKeys {
    fn from(Rewrite { strip, replace, prefix }: Rewrite) -> Self {
        let replace = replace.map(|Replace { from, to }| ReplaceKeys { from: Pattern(from), to: Line(to) });
        Self { strip, replace, prefix }
    }
}

fn names(headers: Vec<Header>) -> Vec<String> {
    headers.into_iter().map(|header| header.0).collect()
}

fn headers(names: Vec<String>) -> Vec<Header> {
    names.into_iter().map(Header).collect()
}

impl From<RequestHeaderKeys> for HeaderRules {
    fn from(RequestHeaderKeys { remove, set, add }: RequestHeaderKeys) -> Self {
        Self { remove: names(remove), set: set.0, add: add.0 }
    }
}

impl From<HeaderRules> for RequestHeaderKeys {
    fn from(HeaderRules { remove, set, add }: HeaderRules) -> Self {
        Self { remove: headers(remove), set: HiddenHeaders(set), add: HiddenHeaders(add) }
    }
}

impl From<ResponseHeaderKeys> for HeaderRules {
    fn from(ResponseHeaderKeys { remove, set, add }: ResponseHeaderKeys) -> Self {
        Self { remove: names(remove), set: set.0, add: add.0 }
    }
}

impl From<HeaderRules> for ResponseHeaderKeys {
    fn from(HeaderRules { remove, set, add }: HeaderRules) -> Self {
        Self { remove: headers(remove), set: ClearHeaders(set), add: ClearHeaders(add) }
    }
}
