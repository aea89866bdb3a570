//! Every way to break a rule: its status, its name, its section, and how it is told to the client.

use http::StatusCode;

/// The methods that a 405 names: RFC 9110 section 9 and RFC 5789, without those that are refused.
const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What is known of a violation.
struct Facts {
    status: StatusCode,
    rule: &'static str,
    section: &'static str,
    why: &'static str,
}

macro_rules! violations {
    ($($name:ident = $status:ident $rule:literal $section:literal $why:literal;)+) => {
        /// A rule that a request breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Violation {
            $(#[doc = concat!("RFC ", $section, ": ", $why, ".")] $name,)+
        }

        impl Violation {
            /// Every one, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }

        static FACTS: &[Facts] = &[
            $(Facts { status: StatusCode::$status, rule: $rule, section: $section, why: $why },)+
        ];
    };
}

violations! {
    RequestLine = BAD_REQUEST "request_line" "9112 section 3" "its request line is malformed";
    Version = HTTP_VERSION_NOT_SUPPORTED "version" "9110 section 2.5" "its version of HTTP is not served here";
    Method = NOT_IMPLEMENTED "method" "9110 section 9.1" "its method is not known";
    Trace = METHOD_NOT_ALLOWED "trace" "9110 section 9.3.8" "TRACE is not allowed";
    Connect = METHOD_NOT_ALLOWED "connect" "9110 section 9.3.6" "CONNECT is not allowed";
    Target = BAD_REQUEST "target" "9112 section 3.2" "its target is malformed";
    TargetSize = URI_TOO_LONG "target_size" "9112 section 3" "its target is too long";
    HeadSize = REQUEST_HEADER_FIELDS_TOO_LARGE "head_size" "9110 section 5.4" "its headers are too large";
    FieldCount = REQUEST_HEADER_FIELDS_TOO_LARGE "field_count" "9110 section 5.4" "it has too many headers";
    LineEnd = BAD_REQUEST "line_end" "9112 section 2.2" "a line of its head does not end with CR LF";
    FieldLine = BAD_REQUEST "field_line" "9112 section 5" "a header line has no colon";
    FieldFold = BAD_REQUEST "field_fold" "9112 section 5.2" "a header goes on over a second line";
    FieldName = BAD_REQUEST "field_name" "9110 section 5.1" "a header has a malformed name";
    FieldBlank = BAD_REQUEST "field_blank" "9112 section 5.1" "there is a blank between a header's name and its colon";
    FieldValue = BAD_REQUEST "field_value" "9110 section 5.5" "a header holds a control character";
    FieldDisguise = BAD_REQUEST "field_disguise" "9110 section 5.1" "a header looks like one that frames the body";
    HostMissing = BAD_REQUEST "host_missing" "9112 section 3.2" "it names no host";
    HostRepeated = BAD_REQUEST "host_repeated" "9112 section 3.2" "it names its host more than once";
    HostForm = BAD_REQUEST "host_form" "9110 section 7.2" "its host is malformed";
    HostDiffers = BAD_REQUEST "host_differs" "9112 section 3.2.2" "its target and its host do not agree";
    LengthRepeated = BAD_REQUEST "length_repeated" "9110 section 8.6" "it has more than one content-length";
    LengthForm = BAD_REQUEST "length_form" "9110 section 8.6" "its content-length is malformed";
    LengthBesideCoding = BAD_REQUEST "length_beside_coding" "9112 section 6.3" "it has both a content-length and a transfer-encoding";
    CodingRepeated = BAD_REQUEST "coding_repeated" "9112 section 6.1" "it has more than one transfer-encoding";
    CodingForm = BAD_REQUEST "coding_form" "9112 section 6.3" "its transfer-encoding is not chunked";
    CodingUnknown = NOT_IMPLEMENTED "coding_unknown" "9112 section 6.1" "its transfer-encoding is not known";
    CodingVersion = BAD_REQUEST "coding_version" "9112 section 6.1" "HTTP/1.0 knows no transfer-encoding";
    Expect = EXPECTATION_FAILED "expect" "9110 section 10.1.1" "nothing but 100-continue can be expected";
    ConnectionOption = BAD_REQUEST "connection_option" "9110 section 7.6.1" "its connection header names what it must not";
    UpgradeMethod = BAD_REQUEST "upgrade_method" "6455 section 4.1" "a WebSocket is asked for with GET over HTTP/1.1 or later";
    UpgradeBody = BAD_REQUEST "upgrade_body" "6455 section 4.1" "a request for a WebSocket has no body";
    ConnectionField = BAD_REQUEST "connection_field" "9113 section 8.2.2" "HTTP/2 knows no headers about connections";
    Te = BAD_REQUEST "te" "9113 section 8.2.2" "in HTTP/2 the header te can only say trailers";
    FieldPadding = BAD_REQUEST "field_padding" "9113 section 8.2.1" "a header begins or ends with a blank";
    Preface = BAD_REQUEST "preface" "9113 section 3.4" "it does not begin with the preface of HTTP/2";
    Scheme = BAD_REQUEST "scheme" "9113 section 8.3.1" "its scheme is neither http nor https";
    ChunkSize = BAD_REQUEST "chunk_size" "9112 section 7.1" "a chunk of its body has a malformed size";
    ChunkEnd = BAD_REQUEST "chunk_end" "9112 section 7.1" "a chunk of its body does not end with CR LF";
    ChunkExtension = BAD_REQUEST "chunk_extension" "9112 section 7.1.1" "the extensions of its chunks are malformed or too large";
    TrailerForm = BAD_REQUEST "trailer_form" "9112 section 7.1.2" "a trailer is malformed";
    TrailerForbidden = BAD_REQUEST "trailer_forbidden" "9110 section 6.5.1" "a trailer is one that belongs into the head";
    TrailerSize = REQUEST_HEADER_FIELDS_TOO_LARGE "trailer_size" "9110 section 5.4" "its trailers are too large";
}

impl Violation {
    /// The status of the answer. The connection is closed after it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.facts().status
    }

    /// What is wrong, as the end of a sentence.
    #[must_use]
    pub fn why(self) -> &'static str {
        self.facts().why
    }

    /// The stable name of the rule, for metrics.
    #[must_use]
    pub fn rule(self) -> &'static str {
        self.facts().rule
    }

    /// Where the rule comes from, as in `9112 section 5.2`.
    #[must_use]
    pub fn section(self) -> &'static str {
        self.facts().section
    }

    /// The value of `Allow`, which a 405 owes its client (RFC 9110 section 15.5.6).
    #[must_use]
    pub fn allow(self) -> Option<&'static str> {
        (self.status() == StatusCode::METHOD_NOT_ALLOWED).then_some(ALLOW)
    }

    /// The violation that a reader ended with, when its error is one: so the stream of a connection tells the gateway.
    #[must_use]
    pub fn within(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }

    fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (RFC {})", self.why(), self.section())
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for std::io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, violation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_can_end_with_a_violation() {
        let error = std::io::Error::from(Violation::ChunkSize);
        assert_eq!(Violation::within(&error), Some(Violation::ChunkSize));
        assert_eq!(error.to_string(), "a chunk of its body has a malformed size (RFC 9112 section 7.1)");
        assert_eq!(Violation::within(&std::io::ErrorKind::InvalidData.into()), None);
    }

    #[test]
    fn every_rule_has_a_name_of_its_own_a_section_and_a_sentence() {
        let mut names = std::collections::HashSet::new();
        for (at, violation) in Violation::ALL.iter().enumerate() {
            assert_eq!(*violation as usize, at);
            assert!(names.insert(violation.rule()), "{violation:?}");
            assert!(violation.rule().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{violation:?}");
            assert!(violation.section().contains(" section "), "{violation:?}");
            assert!(!violation.why().ends_with('.'), "{violation:?}");
            assert!(violation.status().is_client_error() || violation.status().is_server_error());
            assert_eq!(violation.allow().is_some(), violation.status() == 405, "{violation:?}");
        }
    }
}
