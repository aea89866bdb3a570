//! The keys of middleware, in the order in which they act.

use std::path::PathBuf;

use ipnet::IpNet;

use crate::section::{record, section};
use crate::settings::{Buffer, Cached, Compress, Cors, HashBy, Missing, Own};
use crate::values::{
    AnswerStatus, AskedUrl, BufferSize, ClearHeaders, Copied, Header, HiddenHeaders, Limit, Line, NoFile,
    Pattern, Positive, RedirectStatus, Text,
};
use crate::{Bytes, PathPrefix, Share, Span};

section! {
    /// What is done with requests on their way to an upstream and with their answers, in the order of these keys. Each may be
    /// `off`, whatever the level above says.
    MiddlewareKeys {
        /// Networks of clients that are let in; all others are answered 403.
        allow: Own<Vec<IpNet>> = Own::Inherited;
        /// Networks of clients that are answered 403.
        deny: Own<Vec<IpNet>> = Own::Inherited;
        /// How often one may ask; then 429 with Retry-After.
        rate_limit: Own<RateLimitKeys> = Own::Inherited;
        /// How much one may ask for at once; then 429.
        in_flight: Own<InFlightKeys> = Own::Inherited;
        /// Which pages of other origins may read answers; asked before a login, for browsers ask without one.
        cors: Own<Cors> = Own::Inherited;
        /// Names and passwords of those who may ask; all others are answered 401.
        basic_auth: Own<BasicAuthKeys> = Own::Inherited;
        /// Who is asked whether one may ask: the answer lets a request through (2xx), or is the client's.
        forward_auth: Own<ForwardAuthKeys> = Own::Inherited;
        /// The largest body of a request; larger ones are answered 413. There is no default: left out, a body may be of any
        /// size, for bodies are passed on and not kept.
        body_size: Own<Bytes> = Own::Inherited;
        /// Where requests are sent on to: the first pattern that fits the path.
        redirects: Own<Vec<RedirectKeys>> = Own::Inherited;
        /// The folder whose files are answered in the application's place.
        files: Own<FilesKeys> = Own::Inherited;
        /// What is answered in the application's place.
        answer: Own<FixedAnswerKeys> = Own::Inherited;
        /// When an application that mostly fails is left alone for a while; then 503 with Retry-After.
        breaker: Own<BreakerKeys> = Own::Inherited;
        /// What is taken in whole before an upstream is asked, so that a slow client keeps none waiting.
        buffer: Own<Buffer> = Own::Inherited;
        /// Whether answers are held that their application declares cacheable: `on` or `off`. How much is held stands in `proxy.cache`.
        cache: Own<Cached> = Own::Inherited;
        /// Which target the application sees.
        rewrite: Own<RewriteKeys> = Own::Inherited;
        /// Headers of the request as the application sees them.
        request_headers: Own<RequestHeaderKeys> = Own::Inherited;
        /// Headers of the answer as the client sees them.
        response_headers: Own<ResponseHeaderKeys> = Own::Inherited;
        /// How the answer is compressed: `on`, or what is compressed and how.
        compress: Own<Compress> = Own::Inherited;
    }
}

section! {
    /// How long upstreams are waited for at a path; what is left out is as in the application's `timeouts`.
    PathTimeoutKeys {
        /// To open a connection, TLS included.
        connect: Option<Positive> = None;
        /// From the whole request sent to the head of the answer.
        response: Option<Positive> = None;
        /// Between two reads or writes of a body. Streams and WebSockets are exempt.
        idle: Option<Positive> = None;
    }
}

record! {
    /// How often one may ask: a bucket that fills at a steady rate.
    RateLimitKeys, "write for example `rate_limit: {requests: 100, per: 1m, burst: 20}`" {
        /// How many requests.
        requests: Limit;
        /// In which time.
        per: Positive = Positive(Span::seconds(1));
        /// How many at once, when nothing was asked for a while. Default: as many as `requests`.
        burst: Option<Limit> = None;
        /// Whose requests are counted together: `client` (its address; of IPv6 a /64), `path`, `header NAME` or `cookie NAME`. Requests without it are not counted.
        by: HashBy = HashBy::Client;
    }
}

record! {
    /// How much one may ask for at once.
    InFlightKeys, "write for example `in_flight: {requests: 10, by: client}`" {
        /// How many requests.
        requests: Limit;
        /// Whose requests are counted together, as in `rate_limit`; those without it are counted together. Left out: everybody's.
        by: Option<HashBy> = None;
    }
}

record! {
    /// Names and passwords of those who may ask.
    BasicAuthKeys, "write for example `basic_auth: {file: users.htpasswd}`" {
        /// The file that `htpasswd -B` writes, with bcrypt or apr1; relative to the configuration file's folder, picked up again when it changes.
        file: PathBuf;
        /// What browsers show.
        realm: Line = Line("restricted".into());
        /// The header in which the application is told the name.
        user_header: Option<Header> = None;
        /// Whether the application sees the password too.
        forward: bool = false;
    }
}

record! {
    /// Who is asked, before each request, whether it may pass.
    ForwardAuthKeys, "write for example `forward_auth: {url: http://127.0.0.1:9091/verify, response_headers: [X-User]}`" {
        /// The URL that is asked with a GET, and with X-Forwarded-Method, -Proto, -Host, -Uri and -For.
        url: AskedUrl;
        /// The headers of the request that it is shown; left out: all but those of the body.
        request_headers: Option<Vec<Copied>> = None;
        /// The headers of its yes that the application gets; a client's own of these names never reach it.
        response_headers: Vec<Copied> = Vec::new();
        /// How long its whole answer may take; then nobody passes, with 503.
        timeout: Positive = Positive(Span::seconds(5));
    }
}

record! {
    /// Where requests are sent on to whose path fits a pattern.
    RedirectKeys, "write for example `redirects: [{from: ^/old/(.*)$, to: /new/$1}]`" {
        /// The pattern, held against the path.
        from: Pattern;
        /// A path or URL, with `$1` for what the pattern has caught in brackets. The query goes along.
        to: Line;
        /// 301, 302, 303, 307 or 308.
        status: RedirectStatus = RedirectStatus(308);
    }
}

record! {
    /// The folder whose files are answered: to GET and HEAD, with ETag, Last-Modified and ranges; of a folder its `index.html`.
    FilesKeys, "write for example `files: {root: /srv/site}`" {
        /// The folder, relative to the configuration file's. What begins with a dot is not served (but `.well-known`), nor what a link leads to outside of it.
        root: PathBuf;
        /// Taken off the front of the path before the file is looked for.
        strip: Option<PathPrefix> = None;
        /// What becomes of a path without a file: `404`, `application`, or the path of a file that is answered then, such as `/index.html`.
        missing: NoFile = NoFile(Missing::NotFound);
        /// Whether a file beside it with `.zst`, `.br` or `.gz` at the end of its name is sent to those who take it.
        precompressed: bool = true;
    }
}

section! {
    /// What is answered in the application's place.
    FixedAnswerKeys {
        /// The status, from 200 on.
        status: AnswerStatus = AnswerStatus(200);
        /// The body.
        body: Option<Text> = None;
        /// The media type of the body.
        content_type: Line = Line("text/plain; charset=utf-8".into());
    }
}

section! {
    /// When an application that mostly fails is left alone for a while. Each slot begins anew with a switch.
    BreakerKeys {
        /// From which share of failures on: answers of 500 and above, and none at all.
        errors: Share = Share::percent(50);
        /// Of how many requests at least.
        requests: Limit = Limit(20);
        /// Within how long.
        window: Positive = Positive(Span::seconds(10));
        /// For how long; then one request tries, and the others follow when it was answered.
        open: Positive = Positive(Span::seconds(10));
    }
}

section! {
    /// Bodies that are taken in whole before they are passed on, so that slow clients keep no upstream waiting.
    BufferKeys {
        /// The largest body of a request that is taken in before an upstream is asked. A larger one, and one of unknown length, is passed on as it comes.
        request: Option<BufferSize> = None;
        /// The largest body of an answer that is taken in before its client is sent any of it. What is larger is passed on from there, streams and what says `X-Accel-Buffering: no` from the beginning.
        response: Option<BufferSize> = None;
    }
}

section! {
    /// Which target the application sees: first `strip`, then `replace`, then `prefix`. The query stays.
    RewriteKeys {
        /// Taken off the front of the path.
        strip: Option<PathPrefix> = None;
        /// What is replaced in the path.
        replace: Option<ReplaceKeys> = None;
        /// Put in front of the path.
        prefix: Option<PathPrefix> = None;
    }
}

record! {
    /// What is replaced in the path.
    ReplaceKeys, "write for example `replace: {from: ^/v1/, to: /v2/}`" {
        /// The pattern.
        from: Pattern;
        /// What stands in its place, with `$1` for what the pattern has caught in brackets.
        to: Line;
    }
}

section! {
    /// Headers of the request: `remove` first, then `set`, then `add`. Values are never shown.
    RequestHeaderKeys {
        /// Taken away.
        remove: Vec<Header> = Vec::new();
        /// Put in the place of what is there. `{client_ip}` as the whole value is the client's address.
        set: HiddenHeaders = HiddenHeaders::default();
        /// Put beside what is there.
        add: HiddenHeaders = HiddenHeaders::default();
    }
}

section! {
    /// Headers of the answer: `remove` first, then `set`, then `add`.
    ResponseHeaderKeys {
        /// Taken away.
        remove: Vec<Header> = Vec::new();
        /// Put in the place of what is there.
        set: ClearHeaders = ClearHeaders::default();
        /// Put beside what is there.
        add: ClearHeaders = ClearHeaders::default();
    }
}
