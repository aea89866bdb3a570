//! Chunked bodies (RFC 9112 section 7.1): where one ends, however its bytes are cut.
//!
//! Stricter than the grammar in what is bounded, never laxer. The bytes themselves go on untouched.

use super::field::{is_forbidden_trailer, is_token, is_value};
use super::violation::Violation;

/// The longest line of a size and its extensions, in bytes.
const LONGEST_LINE: u32 = 256;
/// All extensions of a body together, in bytes.
const EXTENSIONS: u32 = 16 * 1024;
/// All trailers of a body together, in bytes.
const TRAILERS: u32 = 8 * 1024;
/// More digits than this are refused by the parser behind us.
const LONGEST_SIZE: u32 = 15;
/// The longest forbidden trailer is `proxy-authorization`; what is longer than this need not be known.
const NAME: usize = 24;

/// Follows a chunked body through its bytes.
#[derive(Debug, Clone)]
pub struct Chunks {
    at: At,
    /// Bytes of the line that is being read; the digits of a size while they are read.
    line: u32,
    extensions: u32,
    trailers: u32,
    /// The name of the trailer that is being read, in lower case, as far as it fits.
    name: [u8; NAME],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the digits of a size.
    Size(u64),
    /// In blanks behind a size, where an extension may follow (RFC 9112 section 7.1.1).
    Blank(u64),
    /// In an extension of a chunk of this size.
    Extension(u64),
    /// Behind the CR of a size's line.
    SizeFeed(u64),
    /// So many bytes before the end of the data.
    Data(u64),
    /// Behind the data.
    DataReturn,
    DataFeed,
    /// Where a trailer or the last empty line begins.
    Line,
    /// In the name of a trailer.
    Name,
    /// In the value of a trailer.
    Value,
    ValueFeed,
    /// Behind the CR of the last empty line.
    LastFeed,
    /// It has ended.
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunks {
    /// At the beginning of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self { at: At::Size(0), line: 0, extensions: 0, trailers: 0, name: [0; NAME] }
    }

    /// How many of these bytes belong to this body, and whether it has ended with them.
    ///
    /// # Errors
    /// When they break a rule. Then nothing behind them can be told from a request: the connection ends.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), Violation> {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            match self.at {
                At::End => break,
                At::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - used);
                    used += take;
                    let left = left - take as u64;
                    self.at = if left == 0 { At::DataReturn } else { At::Data(left) };
                }
                At::Size(_) | At::Blank(_) | At::Extension(_) | At::SizeFeed(_) => {
                    self.at = self.in_size_line(byte)?;
                    used += 1;
                }
                At::DataReturn | At::DataFeed => {
                    self.at = self.behind_data(byte)?;
                    used += 1;
                }
                At::Line | At::Name | At::Value | At::ValueFeed | At::LastFeed => {
                    self.at = self.in_trailers(byte)?;
                    used += 1;
                }
            }
        }
        Ok((used, self.at == At::End))
    }

    fn in_size_line(&mut self, byte: u8) -> Result<At, Violation> {
        self.line += 1;
        match (self.at, byte) {
            (At::Size(_), _) if (byte as char).is_ascii_hexdigit() => self.digit(byte),
            (At::Size(_), _) if self.line == 1 => Err(Violation::ChunkSize),
            (At::Size(size) | At::Extension(size), b'\r') => Ok(At::SizeFeed(size)),
            (At::Size(size) | At::Blank(size), b';') => self.extend(size),
            (At::Size(size) | At::Blank(size), b' ' | b'\t') => self.extend(size).map(|_| At::Blank(size)),
            (At::Extension(size), _) if is_value(byte) && byte.is_ascii() => self.extend(size),
            (At::SizeFeed(0), b'\n') => Ok(At::Line),
            (At::SizeFeed(size), b'\n') => {
                self.line = 0;
                Ok(At::Data(size))
            }
            (At::Extension(_) | At::Blank(_), _) => Err(Violation::ChunkExtension),
            (_, _) => Err(Violation::ChunkSize),
        }
    }

    fn digit(&self, byte: u8) -> Result<At, Violation> {
        let At::Size(size) = self.at else { return Err(Violation::ChunkSize) };
        let digit = (byte as char).to_digit(16).filter(|_| self.line <= LONGEST_SIZE);
        digit.map(|digit| At::Size(size << 4 | u64::from(digit))).ok_or(Violation::ChunkSize)
    }

    fn extend(&mut self, size: u64) -> Result<At, Violation> {
        self.extensions += 1;
        let fits = self.line <= LONGEST_LINE && self.extensions <= EXTENSIONS;
        if fits { Ok(At::Extension(size)) } else { Err(Violation::ChunkExtension) }
    }

    fn behind_data(&mut self, byte: u8) -> Result<At, Violation> {
        match (self.at, byte) {
            (At::DataReturn, b'\r') => Ok(At::DataFeed),
            (At::DataFeed, b'\n') => Ok(At::Size(0)),
            (_, _) => Err(Violation::ChunkEnd),
        }
    }

    fn in_trailers(&mut self, byte: u8) -> Result<At, Violation> {
        self.trailers += 1;
        if self.trailers > TRAILERS {
            return Err(Violation::TrailerSize);
        }
        match (self.at, byte) {
            (At::Line, b'\r') => Ok(At::LastFeed),
            (At::LastFeed, b'\n') => Ok(At::End),
            (At::Line, _) if is_token(byte) => {
                self.line = 0;
                self.note(byte);
                Ok(At::Name)
            }
            (At::Name, b':') => self.named(),
            (At::Name, _) if is_token(byte) => {
                self.note(byte);
                Ok(At::Name)
            }
            (At::Value, b'\r') => Ok(At::ValueFeed),
            (At::Value, _) if is_value(byte) => Ok(At::Value),
            (At::ValueFeed, b'\n') => Ok(At::Line),
            (_, _) => Err(Violation::TrailerForm),
        }
    }

    fn note(&mut self, byte: u8) {
        if let Some(place) = self.name.get_mut(self.line as usize) {
            *place = byte.to_ascii_lowercase();
        }
        self.line += 1;
    }

    fn named(&self) -> Result<At, Violation> {
        let name = &self.name[..NAME.min(self.line as usize)];
        if is_forbidden_trailer(name) { Err(Violation::TrailerForbidden) } else { Ok(At::Value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a body that is followed by another request.
    fn follow(body: &str) -> Result<(usize, bool), Violation> {
        let mut chunks = Chunks::new();
        chunks.feed([body, "GET /next"].concat().as_bytes())
    }

    #[test]
    fn a_good_body_ends_where_it_ends() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n",
            "5;a=b;c=\"d e\"\r\nhello\r\n0 ;x\r\n\r\n",
            "1\r\n\r\r\n0\r\nX-Sum: 5 \u{e4}\r\nY:\r\n\r\n",
            "000000000000001\r\nx\r\n0\r\n\r\n",
        ] {
            assert_eq!(follow(body), Ok((body.len(), true)), "{body:?}");
        }
    }

    #[test]
    fn a_bad_body_breaks_its_rule() {
        let line = format!("5;{}\r\n", "a".repeat(256));
        let many = format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(90);
        let trailers = format!("0\r\n{}", "X: y\r\n".repeat(1400));
        for (body, violation) in [
            ("\r\n", Violation::ChunkSize),
            ("x", Violation::ChunkSize),
            ("0x5\r\n", Violation::ChunkSize),
            ("+5\r\n", Violation::ChunkSize),
            ("-1\r\n", Violation::ChunkSize),
            (" 5\r\n", Violation::ChunkSize),
            ("5\n", Violation::ChunkSize),
            ("5\rx", Violation::ChunkSize),
            ("0000000000000005\r\n", Violation::ChunkSize),
            ("fffffffffffffffff\r\n", Violation::ChunkSize),
            ("5 \r\n", Violation::ChunkExtension),
            ("5 x\r\n", Violation::ChunkExtension),
            ("5;a\nb\r\n", Violation::ChunkExtension),
            ("5;\0\r\n", Violation::ChunkExtension),
            ("5;a\rb", Violation::ChunkSize),
            (&line, Violation::ChunkExtension),
            (&many, Violation::ChunkExtension),
            ("5\r\nhelloX", Violation::ChunkEnd),
            ("5\r\nhello\n", Violation::ChunkEnd),
            ("5\r\nhello\rX", Violation::ChunkEnd),
            ("0\r\n\n", Violation::TrailerForm),
            ("0\r\n\rX", Violation::TrailerForm),
            ("0\r\nX : y\r\n", Violation::TrailerForm),
            ("0\r\nX\r\n", Violation::TrailerForm),
            ("0\r\nX: y\n", Violation::TrailerForm),
            ("0\r\nX: \0\r\n", Violation::TrailerForm),
            ("0\r\nX: y\r\n z\r\n", Violation::TrailerForm),
            ("0\r\nContent-Length: 5\r\n", Violation::TrailerForbidden),
            ("0\r\nTRANSFER-ENCODING: chunked\r\n", Violation::TrailerForbidden),
            ("0\r\nHost: a\r\n", Violation::TrailerForbidden),
            ("0\r\nX-Forwarded-For: a\r\n", Violation::TrailerForbidden),
            ("0\r\nproxy-authorization: a\r\n", Violation::TrailerForbidden),
            (&trailers, Violation::TrailerSize),
        ] {
            assert_eq!(follow(body), Err(violation), "{body:?}");
        }
    }

    #[test]
    fn an_ended_body_takes_nothing_more() {
        let mut chunks = Chunks::new();
        assert_eq!(chunks.feed(b"0\r\n\r\n"), Ok((5, true)));
        assert_eq!(chunks.feed(b"GET"), Ok((0, true)));
    }
}
