//! Compression: which answers are compressed, for whom, and what their heads say then.
//!
//! Pingora's own module ([`pingora::modules`]) weighs no `q`, knows neither types nor sizes, holds back what a slow stream
//! has said, and costs every request; so the encoders that come with it are driven here. What an application has compressed,
//! cut in parts, signed or forbidden to change goes on as it is. Called by the gateway.

mod accept;
mod encoder;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use switcher_config::settings::{Coding, Compress};

use super::vary::vary;

pub use encoder::Encoder;

/// Whose value would be wrong for a body with another coding.
const OF_THE_BYTES: [HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// What is never compressed, whatever the settings say: whoever reads it waits for each piece, or frames it by its own rules.
const NEVER: [&[u8]; 2] = [b"text/event-stream", b"application/grpc"];

/// What is compressed in one place, and how.
#[derive(Debug)]
pub struct Compressor {
    algorithms: Vec<Coding>,
    types: Vec<MediaTypes>,
    min_size: u64,
}

/// One media type, or several by what stands before and behind a `*`.
#[derive(Debug)]
enum MediaTypes {
    One(Box<[u8]>),
    Several(Box<[u8]>, Box<[u8]>),
}

impl MediaTypes {
    fn new(types: &str) -> Self {
        match types.split_once('*') {
            Some((before, after)) => Self::Several(before.as_bytes().into(), after.as_bytes().into()),
            None => Self::One(types.as_bytes().into()),
        }
    }

    fn fit(&self, media: &[u8]) -> bool {
        match self {
            Self::One(one) => **one == *media,
            Self::Several(before, after) => {
                media.len() >= before.len() + after.len()
                    && media.starts_with(before)
                    && media.ends_with(after)
            }
        }
    }
}

impl Compressor {
    /// Prepares what the settings say.
    #[must_use]
    pub fn new(settings: &Compress) -> Self {
        Self {
            algorithms: settings.algorithms.clone(),
            types: settings.types.iter().map(|types| MediaTypes::new(types)).collect(),
            min_size: settings.min_size.0.max(1),
        }
    }

    /// Changes the head of an answer to this request, if its body is to be compressed, and gives what compresses it.
    ///
    /// # Errors
    /// When there are too many headers, or no memory for the encoder.
    pub fn begin(&self, request: &RequestHeader, answer: &mut ResponseHeader) -> Result<Option<Encoder>> {
        if answer.status == StatusCode::NOT_MODIFIED {
            return revalidated(request, answer).map(|()| None);
        }
        if !self.could(answer) {
            return Ok(None);
        }
        // Also when this client takes nothing (RFC 9110 section 12.5.5).
        vary(answer, "accept-encoding")?;
        // HTTP/1.0 knows no chunks, without which the end of the answer would be that of the connection.
        let coding = accept::preferred(&request.headers, &self.algorithms);
        let Some(coding) = coding.filter(|_| request.version > Version::HTTP_10) else { return Ok(None) };
        let length = length(&answer.headers);
        answer.insert_header(header::CONTENT_ENCODING, coding.name())?;
        weaken(answer)?;
        answer.remove_header(&header::CONTENT_LENGTH);
        // Parts are counted in bytes of the body as it is sent, which the application does not know.
        answer.remove_header(&header::ACCEPT_RANGES);
        if request.method == Method::HEAD {
            return Ok(None);
        }
        answer.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        Encoder::new(coding, length).map(Some)
    }

    /// Whether the answer is compressed for a client that takes it.
    fn could(&self, answer: &ResponseHeader) -> bool {
        let bodyless = answer.status.is_informational()
            || matches!(
                answer.status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
            );
        let headers = &answer.headers;
        !bodyless
            && headers.get(header::CONTENT_TYPE).is_some_and(|media| self.is_for(media.as_bytes()))
            && length(headers).is_none_or(|length| length >= self.min_size)
            && !OF_THE_BYTES.iter().any(|name| headers.contains_key(name))
            && !says(headers, &header::CACHE_CONTROL, "no-transform")
    }

    fn is_for(&self, media: &[u8]) -> bool {
        let end = media.iter().position(|b| matches!(b, b';' | b' ')).unwrap_or(media.len());
        let media = media[..end].to_ascii_lowercase();
        self.types.iter().any(|types| types.fit(&media))
            && !NEVER.iter().any(|never| media.starts_with(never))
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a list in a header has this word.
fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lists = headers.get_all(name).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
}

/// The bytes are others now, so the tag may only say that they mean the same (RFC 9110 section 8.8.1).
fn weaken(answer: &mut ResponseHeader) -> Result<()> {
    let Some(tag) = answer.headers.get(header::ETAG).map(HeaderValue::as_bytes) else { return Ok(()) };
    if tag.starts_with(b"W/") {
        return Ok(());
    }
    match HeaderValue::from_bytes(&[b"W/", tag].concat()) {
        Ok(weak) if tag.starts_with(b"\"") => answer.insert_header(header::ETAG, weak),
        Ok(_) | Err(_) => {
            answer.remove_header(&header::ETAG);
            Ok(())
        }
    }
}

/// A client that has what was compressed for it is to recognise it by its tag (RFC 9111 section 4.3.4).
fn revalidated(request: &RequestHeader, answer: &mut ResponseHeader) -> Result<()> {
    let Some(tag) = answer.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else { return Ok(()) };
    let weak = format!("W/{tag}");
    if tag.starts_with('"') && says(&request.headers, &header::IF_NONE_MATCH, &weak) {
        vary(answer, "accept-encoding")?;
        weaken(answer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> ResponseHeader {
        let mut answer = ResponseHeader::build(status, None).expect("a head");
        for (name, value) in headers {
            answer.append_header(*name, *value).expect("a header");
        }
        answer
    }

    fn request(method: &str, accept: &str) -> RequestHeader {
        let mut request = RequestHeader::build(method, b"/", None).expect("a head");
        request.insert_header("accept-encoding", accept).expect("a header");
        request
    }

    fn compress(request: &RequestHeader, answer: &mut ResponseHeader) -> bool {
        let compressor = Compressor::new(&Compress::default());
        compressor.begin(request, answer).expect("a head").is_some()
    }

    const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

    #[test]
    fn the_head_says_what_is_done_to_the_body() {
        let mut page = answer(
            200,
            &[
                HTML,
                ("content-length", "5000"),
                ("etag", "\"a\""),
                ("vary", "Origin"),
                ("accept-ranges", "bytes"),
            ],
        );
        assert!(compress(&request("GET", "gzip"), &mut page));
        let said = |name: &str| page.headers.get(name).map(|value| value.to_str().expect("text"));
        assert_eq!(said("content-encoding"), Some("gzip"));
        assert_eq!((said("content-length"), said("transfer-encoding")), (None, Some("chunked")));
        assert_eq!((said("etag"), said("accept-ranges")), (Some("W/\"a\""), None));
        let vary: Vec<_> = page.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["Origin", "accept-encoding"]);
    }

    #[test]
    fn head_has_the_same_headers_and_no_body() {
        let mut page = answer(200, &[HTML, ("content-length", "5000")]);
        assert!(!compress(&request("HEAD", "br"), &mut page));
        assert_eq!(page.headers["content-encoding"], "br");
        assert!(!page.headers.contains_key("content-length"));
    }

    #[test]
    fn whoever_takes_nothing_is_told_that_others_do() {
        let mut page = answer(200, &[HTML, ("content-length", "5000"), ("etag", "\"a\"")]);
        assert!(!compress(&request("GET", "identity"), &mut page));
        assert_eq!(
            (page.headers["vary"].as_bytes(), page.headers["etag"].as_bytes()),
            (&b"accept-encoding"[..], &b"\"a\""[..])
        );
        assert!(!page.headers.contains_key("content-encoding"));
    }

    #[test]
    fn what_must_not_be_changed_is_not() {
        for (status, headers) in [
            (200, vec![("content-type", "image/png")]),
            (200, vec![("content-type", "text/event-stream")]),
            (200, vec![("content-type", "application/grpc+json")]),
            (200, vec![]),
            (200, vec![HTML, ("content-length", "1023")]),
            (200, vec![HTML, ("content-length", "0")]),
            (200, vec![HTML, ("content-encoding", "gzip")]),
            (200, vec![HTML, ("cache-control", "public, No-Transform")]),
            (200, vec![HTML, ("repr-digest", "sha-256=:AA==:")]),
            (206, vec![HTML, ("content-range", "bytes 0-1/2")]),
            (206, vec![HTML]),
            (204, vec![HTML]),
            (304, vec![HTML, ("etag", "\"a\"")]),
            (103, vec![HTML]),
        ] {
            let before = answer(status, &headers);
            let mut after = before.clone();
            assert!(!compress(&request("GET", "gzip, br, zstd"), &mut after), "{headers:?}");
            assert_eq!(after.headers, before.headers, "{headers:?}");
        }
    }

    #[test]
    fn a_tag_that_was_weakened_is_recognised_when_nothing_changed() {
        let mut unchanged = answer(304, &[("etag", "\"a\"")]);
        let mut asked = request("GET", "gzip");
        asked.insert_header("if-none-match", "\"b\", W/\"a\"").expect("a header");
        compress(&asked, &mut unchanged);
        assert_eq!(unchanged.headers["etag"], "W/\"a\"");
    }

    #[test]
    fn types_are_compared_without_parameters_and_case() {
        let compressor = Compressor::new(&Compress::default());
        for media in
            ["text/plain", "Application/JSON;charset=utf-8", "application/ld+json", "image/svg+xml ;x"]
        {
            assert!(compressor.is_for(media.as_bytes()), "{media}");
        }
        for media in ["image/png", "application/jsonx", "application/+jso", "video/mp4", "", "text"] {
            assert!(!compressor.is_for(media.as_bytes()), "{media}");
        }
    }
}
