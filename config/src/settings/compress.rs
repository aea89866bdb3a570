//! The settings of compression: which answers are compressed, and how.

use crate::Bytes;

/// How answers are compressed for clients that take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// What a client is offered that takes several just as well: the first of these. Default zstd, br, gzip.
    pub algorithms: Vec<Coding>,
    /// Media types, in lower case, with at most one `*`. Default those of text.
    pub types: Vec<String>,
    /// What is smaller is left as it is. Default 1KiB.
    pub min_size: Bytes,
}

impl Default for Compress {
    fn default() -> Self {
        crate::values::CompressKeys::default().into()
    }
}

/// A content coding (RFC 9110 section 8.4.1) with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `zstd` (RFC 8878), 1 to 12. Default 3.
    Zstd(u8),
    /// `br` (RFC 7932), 0 to 9. Default 4.
    Brotli(u8),
    /// `gzip` (RFC 1952), 1 to 9. Default 5.
    Gzip(u8),
}

impl Coding {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd(_) => "zstd",
            Self::Brotli(_) => "br",
            Self::Gzip(_) => "gzip",
        }
    }

    /// Its level.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::Zstd(level) | Self::Brotli(level) | Self::Gzip(level) => level,
        }
    }
}
