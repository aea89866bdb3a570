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
}
