//! A page from a file, with its placeholders: `{status}`, `{reason}`, `{request_id}`, `{message}`.
//!
//! Pure. A page is taken apart once, when its file is read; what is filled in is escaped as its type demands, so that
//! nothing gets out of the place where the placeholder stood. Held by [`crate::pages`], filled in by [`crate::answer`]
//! and the gateway.

use std::borrow::Cow;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode};

use crate::answer::escaped;
use crate::request_id::RequestId;

/// A page, ready to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its media type.
    pub content_type: HeaderValue,
    escape: Escape,
    pieces: Vec<Piece>,
}

/// What a page is filled with.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// The status of the answer.
    pub status: StatusCode,
    /// The id of the request.
    pub id: &'a RequestId,
    /// What happened, in one sentence.
    pub message: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Bytes),
    Status,
    Reason,
    RequestId,
    Message,
}

const PLACEHOLDERS: [(&str, Piece); 4] = [
    ("{status}", Piece::Status),
    ("{reason}", Piece::Reason),
    ("{request_id}", Piece::RequestId),
    ("{message}", Piece::Message),
];

/// How a text is made harmless inside a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// HTML, SVG and XML.
    Markup,
    /// A string of JSON.
    Json,
    /// Plain text needs nothing.
    Text,
    /// Not a text: nothing is filled in.
    Opaque,
}

/// Extensions with their media type and how it is escaped.
const TYPES: [(&str, &str, Escape); 12] = [
    ("html", "text/html; charset=utf-8", Escape::Markup),
    ("htm", "text/html; charset=utf-8", Escape::Markup),
    ("xhtml", "application/xhtml+xml", Escape::Markup),
    ("xml", "application/xml", Escape::Markup),
    ("svg", "image/svg+xml", Escape::Markup),
    ("json", "application/json", Escape::Json),
    ("txt", "text/plain; charset=utf-8", Escape::Text),
    ("md", "text/markdown; charset=utf-8", Escape::Text),
    ("png", "image/png", Escape::Opaque),
    ("jpg", "image/jpeg", Escape::Opaque),
    ("gif", "image/gif", Escape::Opaque),
    ("webp", "image/webp", Escape::Opaque),
];

impl Page {
    /// The page in a file with these bytes. One without a known extension is plain text, or plain bytes.
    #[must_use]
    pub fn new(file: &Path, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let known = TYPES.iter().find(|(known, ..)| *known == extension);
        let is_text = std::str::from_utf8(&bytes).is_ok();
        let (media, escape) = match known {
            Some((_, media, escape)) => (*media, if is_text { *escape } else { Escape::Opaque }),
            None if is_text => ("text/plain; charset=utf-8", Escape::Text),
            None => ("application/octet-stream", Escape::Opaque),
        };
        let pieces = if escape == Escape::Opaque { vec![Piece::Text(bytes)] } else { pieces(&bytes) };
        Self { content_type: HeaderValue::from_static(media), escape, pieces }
    }

    /// Whether it is JSON, which clients that prefer JSON read.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.escape == Escape::Json
    }

    /// The page with everything filled in. One without placeholders is not copied.
    #[must_use]
    pub fn filled(&self, with: Filling<'_>) -> Bytes {
        if let [Piece::Text(all)] = &self.pieces[..] {
            return all.clone();
        }
        let mut out = BytesMut::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Status => out.extend_from_slice(with.status.as_str().as_bytes()),
                Piece::Reason => self.put(with.status.canonical_reason().unwrap_or("Error"), &mut out),
                Piece::RequestId => self.put(with.id.as_str(), &mut out),
                Piece::Message => self.put(with.message, &mut out),
            }
        }
        out.freeze()
    }

    fn put(&self, text: &str, out: &mut BytesMut) {
        let text: Cow<'_, str> = match self.escape {
            Escape::Markup => escaped(text).into(),
            Escape::Json => {
                let quoted = serde_json::Value::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned().into()
            }
            Escape::Text | Escape::Opaque => text.into(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Takes a page apart at its placeholders; what else stands in braces is text.
fn pieces(whole: &Bytes) -> Vec<Piece> {
    let (mut pieces, mut from, mut at) = (Vec::new(), 0, 0);
    while let Some(brace) = whole[at..].iter().position(|byte| *byte == b'{').map(|n| at + n) {
        match PLACEHOLDERS.iter().find(|(name, _)| whole[brace..].starts_with(name.as_bytes())) {
            Some((name, piece)) => {
                pieces.push(Piece::Text(whole.slice(from..brace)));
                pieces.push(piece.clone());
                from = brace + name.len();
                at = from;
            }
            None => at = brace + 1,
        }
    }
    pieces.push(Piece::Text(whole.slice(from..)));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(file: &str, text: &str) -> String {
        let headers =
            http::HeaderMap::from_iter([(crate::request_id::X_REQUEST_ID, HeaderValue::from_static("id-1"))]);
        let id = RequestId::of(&headers, true);
        let message = "Back at <noon> & \"later\" {status}.";
        let with = Filling { status: StatusCode::BAD_GATEWAY, id: &id, message };
        let page = Page::new(Path::new(file), text.to_owned()).filled(with);
        String::from_utf8(page.to_vec()).expect("text")
    }

    #[test]
    fn placeholders_are_filled_in_and_escaped_as_the_type_demands() {
        let all = "{status} {reason} {request_id} {message} {other} {{status}}";
        assert_eq!(
            filled("a.html", all),
            "502 Bad Gateway id-1 Back at &lt;noon&gt; &amp; &quot;later&quot; {status}. {other} {502}"
        );
        assert_eq!(
            filled("a.txt", all),
            "502 Bad Gateway id-1 Back at <noon> & \"later\" {status}. {other} {502}"
        );
        let json = filled("a.JSON", r#"{"message": "{message}", "status": {status}}"#);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["message"], "Back at <noon> & \"later\" {status}.");
        assert_eq!(json["status"], 502);
        for same in ["", "plain", "{", "a{b{", "{status", "h1 { color: red }"] {
            assert_eq!(filled("a.html", same), same);
        }
    }

    #[test]
    fn the_type_follows_the_extension_and_what_is_no_text_is_left_alone() {
        let media = |file: &str, bytes: &'static [u8]| Page::new(Path::new(file), bytes).content_type;
        for (file, bytes, wanted) in [
            ("sorry.html", &b"x"[..], "text/html; charset=utf-8"),
            ("SORRY.HTM", b"x", "text/html; charset=utf-8"),
            ("sorry.svg", b"x", "image/svg+xml"),
            ("sorry.json", b"{}", "application/json"),
            ("sorry.png", b"\x89PNG", "image/png"),
            ("sorry", b"x", "text/plain; charset=utf-8"),
            ("sorry.bin", b"\xff\xfe", "application/octet-stream"),
        ] {
            assert_eq!(media(file, bytes), wanted, "{file}");
        }
        let page = Page::new(Path::new("a.html"), &b"\xff{status}"[..]);
        assert_eq!(page.pieces, [Piece::Text(Bytes::from_static(b"\xff{status}"))]);
    }
}
