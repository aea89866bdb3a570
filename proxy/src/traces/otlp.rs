//! OTLP as bytes: spans in protobuf, as `opentelemetry/proto/trace/v1/trace.proto` numbers their fields.
//!
//! Pure. Written by hand, because a dozen fields are all there is: the generated code would bring prost and four more
//! crates. A span is written once, when its request is over, and kept as bytes from then on. Called by `span`
//! and [`super::export`].

/// How much of a text from a client is kept, in bytes.
const LONGEST: usize = 1024;

/// A message in the making.
#[derive(Debug, Default, Clone)]
pub struct Message(Vec<u8>);

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Number(u64),
}

impl Message {
    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// The number and the wire type of a field.
    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    /// A number.
    pub fn number(&mut self, field: u32, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    /// A number of eight bytes.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A number of four bytes.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Bytes, a text, or a message that is written already.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message inside.
    pub fn message(&mut self, field: u32, inner: &Self) {
        self.bytes(field, &inner.0);
    }

    /// An attribute: a `KeyValue`. Long texts are cut.
    pub fn attribute(&mut self, field: u32, key: &str, value: Value<'_>) {
        let mut any = Self::default();
        match value {
            Value::Text(text) => any.bytes(1, &text.as_bytes()[..text.floor_char_boundary(LONGEST)]),
            Value::Number(number) => any.number(3, number),
        }
        let mut pair = Self::default();
        pair.bytes(1, key.as_bytes());
        pair.message(2, &any);
        self.message(field, &pair);
    }
}

/// An `ExportTraceServiceRequest` with these spans, each written as a field of `ScopeSpans`.
#[must_use]
pub fn request(service: &str, spans: &[u8]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let mut resource = Message::default();
    resource.attribute(1, "service.name", Value::Text(service));
    resource.attribute(1, "service.version", Value::Text(version));
    resource.attribute(1, "process.pid", Value::Number(std::process::id().into()));
    let mut scope = Message::default();
    scope.bytes(1, b"switcher");
    scope.bytes(2, version.as_bytes());
    let mut scope_spans = Message::default();
    scope_spans.message(1, &scope);
    scope_spans.0.extend_from_slice(spans);
    let mut resource_spans = Message::default();
    resource_spans.message(1, &resource);
    resource_spans.message(2, &scope_spans);
    let mut request = Message::default();
    request.message(1, &resource_spans);
    request.into_bytes()
}

/// What a collector says of spans that it took in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// How many it did not take.
    pub rejected: u64,
    /// Why, in its own words.
    pub why: String,
}

/// What an `ExportTraceServiceResponse` says that is no plain success; none also for what is no such thing.
#[must_use]
pub fn partial(answer: &[u8]) -> Option<Partial> {
    let mut partial = Partial { rejected: 0, why: String::new() };
    let mut answer = Fields(answer);
    while let Some((field, value)) = answer.next() {
        let (1, Field::Bytes(inner)) = (field, value) else { continue };
        let mut inner = Fields(inner);
        while let Some((field, value)) = inner.next() {
            match (field, value) {
                (1, Field::Number(rejected)) => partial.rejected = rejected,
                (2, Field::Bytes(why)) => {
                    let why = String::from_utf8_lossy(why);
                    partial.why = why[..why.floor_char_boundary(LONGEST)].to_owned();
                }
                (_, Field::Number(_) | Field::Bytes(_)) => {}
            }
        }
    }
    (partial.rejected > 0).then_some(partial)
}

/// The value of a field that is read.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, as far as they can be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn next(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => Field::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Bytes(self.take(4)?),
            // Groups, which nobody writes any more.
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_protobuf_has_it() {
        let mut message = Message::default();
        message.number(1, 300);
        message.fixed64(2, 1);
        message.fixed32(3, 1);
        message.attribute(4, "k", Value::Text("v"));
        message.attribute(4, "n", Value::Number(1));
        let wanted = [
            &b"\x08\xac\x02"[..],
            b"\x11\x01\0\0\0\0\0\0\0",
            b"\x1d\x01\0\0\0",
            b"\x22\x08\x0a\x01k\x12\x03\x0a\x01v",
            b"\x22\x07\x0a\x01n\x12\x02\x18\x01",
        ]
        .concat();
        assert_eq!(message.into_bytes(), wanted);
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let mut message = Message::default();
        message.attribute(1, "k", Value::Text(&"é".repeat(100_000)));
        assert!(message.into_bytes().len() < LONGEST + 32);
    }

    fn answer(rejected: u64, why: &str) -> Vec<u8> {
        let mut partial = Message::default();
        partial.number(1, rejected);
        partial.bytes(2, why.as_bytes());
        let mut answer = Message::default();
        answer.message(1, &partial);
        answer.into_bytes()
    }

    #[test]
    fn what_a_collector_rejects_is_read_whatever_else_it_says() {
        let said = |rejected, why: &str| Some(Partial { rejected, why: why.to_owned() });
        assert_eq!(partial(&answer(300, "too old")), said(300, "too old"));
        assert_eq!(partial(&answer(0, "be quick")), None, "it took all of them");
        assert_eq!(partial(&[]), None);
        let mut more = Message::default();
        more.number(7, 1 << 40);
        more.fixed64(8, 2);
        more.fixed32(9, 3);
        more.bytes(10, b"new");
        let more = [more.into_bytes(), answer(1, &"x".repeat(5000))].concat();
        assert_eq!(partial(&more), said(1, &"x".repeat(LONGEST)));
        let whole = answer(300, "too old");
        for cut in 0..whole.len() {
            assert_eq!(partial(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(partial(br#"{"partialSuccess":{"rejectedSpans":"3"}}"#), None, "not what was asked for");
        assert_eq!(partial(&[0xff; 40]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_is_too_odd_to_be_read(answer in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = partial(&answer);
        }
    }
}
