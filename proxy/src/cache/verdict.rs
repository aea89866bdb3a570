//! Whether an answer may be held, and for how long (RFC 9111 sections 3 and 4.2). A pure function of request and answer.
//!
//! Only what its application declares: nothing is guessed from `Last-Modified`. The directives are read by pingora-cache.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName};
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora_cache::cache_control::{CacheControl, Cacheable, InterpretCacheControl as _};
use pingora_cache::filters::{calculate_expires_header_time, calculate_serve_stale_durations};
use pingora_cache::{CacheMeta, CacheMetaDefaults, NoCacheReason, RespCacheable};

use crate::hop::HopByHop;

/// What is guessed of an answer that says nothing: nothing.
const NOTHING: CacheMetaDefaults = CacheMetaDefaults::new(|_| None, 0, 0);

/// The answers that are held. Errors are not: an application that fails is to be asked again.
const STATUSES: [StatusCode; 6] = [
    StatusCode::OK,
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

/// What is held of this answer, if anything is. How old it is was told by what just came of the application, which may have
/// been no more than that this is still the same.
#[must_use]
pub fn of(answer: &ResponseHeader, age: Duration, authorized: bool, now: SystemTime) -> RespCacheable {
    held(answer, age, authorized, now)
        .map_or(RespCacheable::Uncacheable(NoCacheReason::OriginNotCache), RespCacheable::Cacheable)
}

fn held(answer: &ResponseHeader, age: Duration, authorized: bool, now: SystemTime) -> Option<CacheMeta> {
    let headers = &answer.headers;
    if !STATUSES.contains(&answer.status)
        || headers.contains_key(header::SET_COOKIE)
        || headers.contains_key(header::CONTENT_RANGE)
        || headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"))
        || varies(headers).any(|name| name == "*")
    {
        return None;
    }
    let control = CacheControl::from_resp_headers(answer);
    let control = control.as_ref();
    if control.is_some_and(|control| control.is_cacheable() == Cacheable::No)
        || authorized && !control.is_some_and(CacheControl::allow_caching_authorized_req)
    {
        return None;
    }
    let declared = control.and_then(CacheControl::fresh_duration);
    let fresh_until = match declared {
        // An answer without a lifetime is stale in the second in which it came.
        Some(lifetime) if lifetime <= age => now.checked_sub(Duration::from_secs(1))?,
        Some(lifetime) => now.checked_add(lifetime - age)?,
        None => calculate_expires_header_time(answer)?,
    };
    let validated = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    if fresh_until < now && !validated {
        return None;
    }
    let (_, stale_if_error) = calculate_serve_stale_durations(control, &NOTHING);
    let must_ask = control.is_some_and(CacheControl::no_cache);
    let mut head = answer.clone();
    control.inspect(|control| control.strip_private_headers(&mut head));
    strip(&mut head);
    let sent = now.checked_sub(age)?;
    Some(CacheMeta::new(fresh_until, sent, 0, if must_ask { 0 } else { stale_if_error }, head))
}

/// How old an answer is already (RFC 9111 section 4.2.3).
#[must_use]
pub fn age(headers: &HeaderMap, now: SystemTime) -> Duration {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let said = text(header::AGE).and_then(|age| age.trim().parse().ok()).map(Duration::from_secs);
    let sent = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let apparent = sent.and_then(|sent| now.duration_since(sent).ok());
    said.unwrap_or_default().max(apparent.unwrap_or_default())
}

/// The headers of the request that choose between answers.
pub fn varies(answer: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = answer.get_all(header::VARY).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// Takes away what belongs to the connection that the answer came by, and its age and date, which are told anew each time.
fn strip(head: &mut ResponseHeader) {
    let hop = HopByHop::of_response(head.status, &head.headers);
    let named: Vec<HeaderName> = hop.removals().cloned().collect();
    for name in
        named.iter().chain([&header::TRANSFER_ENCODING, &header::TRAILER, &header::AGE, &header::DATE])
    {
        head.remove_header(name);
    }
    head.set_version(Version::HTTP_11);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> ResponseHeader {
        let mut answer = ResponseHeader::build(status, None).expect("a head");
        for (name, value) in headers {
            answer.append_header(*name, *value).expect("a header");
        }
        answer
    }

    fn date(before: u64) -> String {
        httpdate::fmt_http_date(now() - Duration::from_secs(before))
    }

    fn judged(status: u16, headers: &[(&'static str, &str)], authorized: bool) -> Option<CacheMeta> {
        let answer = answer(status, headers);
        held(&answer, age(&answer.headers, now()), authorized, now())
    }

    /// For how many seconds it is fresh; none when it is not held, and 0 when it has to be asked about each time.
    fn fresh(headers: &[(&'static str, &str)], authorized: bool) -> Option<u64> {
        judged(200, headers, authorized)
            .map(|meta| meta.fresh_until().duration_since(now()).map_or(0, |left| left.as_secs()))
    }

    #[test]
    fn only_what_is_declared_is_held_and_for_as_long_as_it_is() {
        let late = httpdate::fmt_http_date(now() + Duration::from_secs(30));
        for (headers, seconds) in [
            (vec![], None),
            (vec![("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], None),
            (vec![("cache-control", "public")], None),
            (vec![("cache-control", "max-age=60")], Some(60)),
            (vec![("cache-control", "max-age=60, s-maxage=10")], Some(10)),
            (vec![("cache-control", "public"), ("cache-control", "max-age=5")], Some(5)),
            (vec![("cache-control", "max-age=60"), ("age", "20")], Some(40)),
            (vec![("cache-control", "max-age=60"), ("age", "60")], None),
            (vec![("cache-control", "max-age=60"), ("date", &date(45))], Some(15)),
            (vec![("cache-control", "max-age=60"), ("date", &date(45)), ("age", "50")], Some(10)),
            (vec![("expires", &late)], Some(30)),
            (vec![("expires", &late), ("cache-control", "max-age=7")], Some(7)),
            (vec![("expires", "0")], None),
            (vec![("cache-control", "max-age=0")], None),
            (vec![("cache-control", "max-age=0"), ("etag", "\"a\"")], Some(0)),
            (vec![("cache-control", "no-cache"), ("etag", "\"a\"")], Some(0)),
            (vec![("cache-control", "no-store, max-age=60")], None),
            (vec![("cache-control", "private, max-age=60")], None),
            (vec![("cache-control", "max-age=60"), ("set-cookie", "a=b")], None),
            (vec![("cache-control", "max-age=60"), ("vary", "accept, *")], None),
            (vec![("cache-control", "max-age=60"), ("vary", "accept")], Some(60)),
            (vec![("cache-control", "max-age=60"), ("content-range", "bytes 0-1/2")], None),
            (vec![("cache-control", "max-age=60"), ("content-type", "text/event-stream")], None),
        ] {
            assert_eq!(fresh(&headers, false), seconds, "{headers:?}");
        }
        for status in [201, 204, 206, 304, 404, 500, 503] {
            assert!(judged(status, &[("cache-control", "max-age=60")], false).is_none(), "{status}");
        }
    }

    #[test]
    fn what_was_asked_for_with_credentials_is_held_only_when_it_says_so() {
        for (control, seconds) in [
            ("max-age=60", None),
            ("public, max-age=60", Some(60)),
            ("s-maxage=60", Some(60)),
            ("must-revalidate, max-age=60", Some(60)),
        ] {
            assert_eq!(fresh(&[("cache-control", control)], true), seconds, "{control}");
        }
    }

    #[test]
    fn an_error_is_stood_in_for_only_where_that_is_declared() {
        for (control, seconds) in [
            ("max-age=60", 0),
            ("max-age=60, stale-if-error=300", 300),
            ("max-age=60, stale-if-error=300, must-revalidate", 0),
            ("s-maxage=60, stale-if-error=300", 0),
        ] {
            let meta = judged(200, &[("cache-control", control)], false).expect("held");
            assert_eq!(meta.stale_if_error_sec(), seconds, "{control}");
            assert_eq!(meta.stale_while_revalidate_sec(), 0);
        }
        let always_asked = [("cache-control", "no-cache, stale-if-error=9"), ("etag", "\"a\"")];
        assert_eq!(judged(200, &always_asked, false).expect("held").stale_if_error_sec(), 0);
    }

    #[test]
    fn what_belongs_to_the_connection_is_not_held() {
        let whole = [
            ("cache-control", "max-age=6000000000, no-cache=\"x-secret\""),
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("age", "3"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-kept", "1"),
        ];
        let meta = judged(200, &whole, false).expect("held");
        let names: Vec<_> = meta.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["cache-control", "x-kept"]);
    }
}
