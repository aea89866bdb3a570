//! The encoders: one for each answer that is under way, fed piece by piece.
//!
//! A piece is as large as Pingora reads, 64 KiB at most, so that no connection waits long for its turn. Of an answer whose
//! length is not known every piece is flushed: what an application has said so far is what its client sees. In flight one takes
//! about 0.3 MiB (gzip), 1 to 2 MiB (br) or up to 2 MiB (zstd; as much less as its answer is short).

use std::io;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use pingora::{ErrorType, OrErr as _, Result};
use switcher_config::settings::Coding;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

/// How far back matches are looked for, as a power of two: a quarter of a MiB. More takes that much more memory for each
/// answer in flight, and text gains next to nothing by it.
const BROTLI_WINDOW: u32 = 18;

/// The same for zstd: half a MiB. Clients must take 8 MiB (RFC 9659 section 3).
const ZSTD_WINDOW: u32 = 19;

/// What Brotli writes at once.
const BROTLI_BUFFER: usize = 4096;

/// What compresses the body of one answer.
pub struct Encoder {
    kind: Kind,
    /// Whether each piece goes on at once.
    flush: bool,
}

enum Kind {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Box<ZstdEncoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// What compresses a body, of this length if that is known.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn new(coding: Coding, length: Option<u64>) -> Result<Self> {
        let kind = match coding {
            Coding::Gzip(level) => Kind::Gzip(GzEncoder::new(Vec::new(), Compression::new(u32::from(level)))),
            Coding::Brotli(level) => {
                let window = length.map_or(BROTLI_WINDOW, |length| window_for(length).min(BROTLI_WINDOW));
                Kind::Brotli(Box::new(CompressorWriter::new(
                    Vec::new(),
                    BROTLI_BUFFER,
                    u32::from(level),
                    window,
                )))
            }
            Coding::Zstd(level) => Kind::Zstd(Box::new(zstd(level, length).or_err(COMPRESSION, "zstd")?)),
        };
        Ok(Self { kind, flush: length.is_none() })
    }

    /// A piece of the body; what comes out may be empty.
    ///
    /// # Errors
    /// When the body is not as long as was said.
    pub fn piece(&mut self, input: &[u8]) -> Result<Bytes> {
        let done = self.write(input);
        done.or_err(COMPRESSION, "a piece of a body")?;
        Ok(std::mem::take(self.output()).into())
    }

    /// The last piece of the body.
    ///
    /// # Errors
    /// When the body is not as long as was said.
    pub fn finish(mut self, input: &[u8]) -> Result<Bytes> {
        self.flush = false;
        self.write(input).or_err(COMPRESSION, "the last piece of a body")?;
        let output = match self.kind {
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Brotli(encoder) => Ok(encoder.into_inner()),
            Kind::Zstd(encoder) => encoder.finish(),
        };
        output.map(Bytes::from).or_err(COMPRESSION, "the end of a body")
    }

    fn write(&mut self, input: &[u8]) -> io::Result<()> {
        let (encoder, flush): (&mut dyn io::Write, bool) = match &mut self.kind {
            Kind::Gzip(encoder) => (encoder, self.flush),
            Kind::Brotli(encoder) => (encoder.as_mut(), self.flush),
            Kind::Zstd(encoder) => (encoder.as_mut(), self.flush),
        };
        encoder.write_all(input)?;
        if flush { encoder.flush() } else { Ok(()) }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.get_mut(),
            Kind::Brotli(encoder) => encoder.get_mut(),
            Kind::Zstd(encoder) => encoder.get_mut(),
        }
    }
}

const COMPRESSION: ErrorType = ErrorType::Custom("compression");

/// An encoder whose tables are as large as its body needs.
fn zstd(level: u8, length: Option<u64>) -> io::Result<ZstdEncoder<'static, Vec<u8>>> {
    let mut encoder = ZstdEncoder::new(Vec::new(), i32::from(level))?;
    encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW))?;
    encoder.set_pledged_src_size(length)?;
    Ok(encoder)
}

/// The smallest window that holds so much, as a power of two; Brotli knows none below 10 (RFC 7932 section 9.1).
fn window_for(length: u64) -> u32 {
    length.saturating_add(16).checked_next_power_of_two().map_or(u32::MAX, u64::ilog2).max(10)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const CODINGS: [Coding; 6] = [
        Coding::Gzip(1),
        Coding::Gzip(9),
        Coding::Brotli(0),
        Coding::Brotli(9),
        Coding::Zstd(1),
        Coding::Zstd(12),
    ];

    /// What can be read of a body that may not have ended yet.
    fn decoded(coding: Coding, body: &[u8]) -> (Vec<u8>, bool) {
        let mut decoder: Box<dyn io::Read> = match coding {
            Coding::Gzip(_) => Box::new(flate2::read::GzDecoder::new(body)),
            Coding::Brotli(_) => Box::new(brotli::Decompressor::new(body, 4096)),
            Coding::Zstd(_) => Box::new(zstd::stream::read::Decoder::new(body).expect("a decoder")),
        };
        let mut out = Vec::new();
        let mut byte = [0; 1];
        loop {
            match decoder.read(&mut byte) {
                Ok(0) => return (out, true),
                Ok(_) => out.push(byte[0]),
                Err(_) => return (out, false),
            }
        }
    }

    fn text(lines: usize) -> Vec<u8> {
        (0..lines)
            .flat_map(|line| format!("line {line} of a text that says much the same\n").into_bytes())
            .collect()
    }

    #[test]
    fn a_body_of_many_pieces_comes_out_whole_and_smaller() {
        for coding in CODINGS {
            for (lines, known) in [(1, true), (1, false), (20_000, true), (20_000, false)] {
                let body = text(lines);
                let mut encoder =
                    Encoder::new(coding, known.then_some(body.len() as u64)).expect("an encoder");
                let mut out = Vec::new();
                for piece in body.chunks(60_000) {
                    out.extend_from_slice(&encoder.piece(piece).expect("a piece"));
                }
                out.extend_from_slice(&encoder.finish(b"").expect("the end"));
                assert_eq!(decoded(coding, &out), (body.clone(), true), "{coding:?} {lines} {known}");
                assert!(
                    lines == 1 || out.len() < body.len() / 4,
                    "{coding:?}: {} of {}",
                    out.len(),
                    body.len()
                );
            }
        }
    }

    #[test]
    fn of_a_body_without_a_length_everything_said_can_be_read_at_once() {
        for coding in CODINGS {
            let mut encoder = Encoder::new(coding, None).expect("an encoder");
            let mut out = Vec::new();
            for (at, line) in ["{\"a\":1}\n", "{\"b\":2}\n"].into_iter().enumerate() {
                out.extend_from_slice(&encoder.piece(line.as_bytes()).expect("a piece"));
                let (read, ended) = decoded(coding, &out);
                assert_eq!((read.len(), ended), (8 * (at + 1), false), "{coding:?}");
            }
            out.extend_from_slice(&encoder.finish(b"").expect("the end"));
            assert_eq!(decoded(coding, &out), (b"{\"a\":1}\n{\"b\":2}\n".to_vec(), true));
        }
    }

    #[test]
    fn a_body_that_is_cut_short_is_seen_to_be() {
        for coding in CODINGS {
            let mut encoder = Encoder::new(coding, None).expect("an encoder");
            let out = encoder.piece(&text(100)).expect("a piece");
            assert!(!decoded(coding, &out).1, "{coding:?}");
        }
    }
}
