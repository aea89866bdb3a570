//! The gRPC health protocol (`grpc.health.v1.Health/Check`), as far as a probe needs it: two tiny messages,
//! written and read by hand. Pure. Called by [`super::probe`].

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;

/// The path of the call.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// The body of a call: one uncompressed message, a `HealthCheckRequest` whose field 1 is the service.
#[must_use]
pub fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put(message);
    body.freeze()
}

/// Judges an answer: its body, and the headers that carry `grpc-status` (the trailers, or the head when there is no body).
///
/// # Errors
/// A sentence about what the server said instead of `SERVING`.
pub fn judge(service: &str, status: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let code = status.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u32>().ok());
    let message = status.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or_default();
    match code {
        Some(0) => {}
        Some(5) => return Err(format!("the health service does not know the service {service:?}")),
        Some(12) => return Err("the server has no gRPC health service".into()),
        Some(code) => {
            return Err(format!("the health service answered grpc-status {code} {message}")
                .trim_end()
                .into());
        }
        None => return Err("the answer has no grpc-status; this is no gRPC server".into()),
    }
    match serving_status(body) {
        Some(1) => Ok(()),
        Some(0) => Err("the health service says UNKNOWN".into()),
        Some(2) => Err("the health service says NOT_SERVING".into()),
        Some(3) => Err(format!("the health service does not know the service {service:?}")),
        Some(other) => Err(format!("the health service says status {other}, which is not known")),
        None => Err("the health service's answer cannot be understood".into()),
    }
}

/// Field 1 of the `HealthCheckResponse` in the first message; 0 when it is left out, as protobuf does with zeros.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (head, rest) = body.split_at_checked(5)?;
    let (&compressed, length) = head.split_first()?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let mut message = rest.get(..length)?;
    if compressed != 0 {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (_, 0) => {
                take_varint(&mut message)?;
            }
            (_, 2) => {
                let skip = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(skip..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn status(code: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static(code));
        headers
    }

    #[test]
    fn a_call_names_its_service() {
        assert_eq!(&request("")[..], b"\0\0\0\0\0");
        assert_eq!(&request("shop")[..], b"\0\0\0\0\x06\x0a\x04shop");
        let long = request(&"s".repeat(300));
        assert_eq!(&long[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn only_serving_is_healthy() {
        assert_eq!(judge("", &status("0"), b"\0\0\0\0\x02\x08\x01"), Ok(()));
        let extra_fields = b"\0\0\0\0\x07\x12\x01x\x18\x05\x08\x01";
        assert_eq!(judge("", &status("0"), extra_fields), Ok(()), "unknown fields are passed over");
    }

    #[test]
    fn every_other_answer_is_a_sentence() {
        for (code, body, sentence) in [
            ("0", &b"\0\0\0\0\0"[..], "the health service says UNKNOWN"),
            ("0", b"\0\0\0\0\x02\x08\x02", "the health service says NOT_SERVING"),
            ("0", b"\0\0\0\0\x02\x08\x03", "the health service does not know the service \"shop\""),
            ("0", b"\0\0\0\0\x02\x08\x09", "the health service says status 9, which is not known"),
            ("0", b"\0\0\0\0\x02\x08", "the health service's answer cannot be understood"),
            ("0", b"\x01\0\0\0\x02\x08\x01", "the health service's answer cannot be understood"),
            ("0", b"", "the health service's answer cannot be understood"),
            (
                "0",
                b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                "the health service's answer cannot be understood",
            ),
            ("5", b"", "the health service does not know the service \"shop\""),
            ("12", b"", "the server has no gRPC health service"),
            ("13", b"", "the health service answered grpc-status 13"),
            ("x", b"", "the answer has no grpc-status; this is no gRPC server"),
        ] {
            assert_eq!(judge("shop", &status(code), body), Err(sentence.into()));
        }
    }
}
