//! A body whose every byte follows from its position, so that a lost, doubled or moved byte shows.

use std::sync::OnceLock;

use bytes::Bytes;

const PERIOD: usize = 251;
const PIECE: usize = 64 * 1024;

/// The pattern twice over a piece: every piece is a slice of it, so that neither side computes while it streams.
fn table() -> &'static Bytes {
    static TABLE: OnceLock<Bytes> = OnceLock::new();
    TABLE
        .get_or_init(|| (0..PIECE + PERIOD).map(|at| u8::try_from(at % PERIOD).unwrap_or_default()).collect())
}

/// Where in the table the byte at `offset` stands first.
fn phase(offset: u64) -> usize {
    usize::try_from(offset % PERIOD as u64).unwrap_or_default()
}

/// `length` bytes of the pattern from `offset` on.
#[must_use]
pub fn bytes(offset: u64, length: usize) -> Bytes {
    if length <= PIECE {
        return table().slice(phase(offset)..phase(offset) + length);
    }
    let mut all = Vec::with_capacity(length);
    while let Some(data) = piece(all.len() as u64, length as u64) {
        let at = offset + all.len() as u64;
        all.extend_from_slice(&bytes(at, data.len()));
    }
    all.into()
}

/// The next piece of a pattern of `total` bytes of which `sent` are out; `None` at the end.
#[must_use]
pub fn piece(sent: u64, total: u64) -> Option<Bytes> {
    let left = usize::try_from(total - sent).unwrap_or(PIECE).min(PIECE);
    (left > 0).then(|| bytes(sent, left))
}

/// Checks a pattern as it arrives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Check {
    /// How many bytes arrived.
    pub bytes: u64,
    /// Whether one of them was not the one that belongs there.
    pub broken: bool,
}

impl Check {
    /// Takes the next bytes in.
    pub fn feed(&mut self, data: &[u8]) {
        for part in data.chunks(PIECE) {
            self.broken |= part != bytes(self.bytes, part.len());
            self.bytes += part.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_whole_in_any_pieces_and_broken_by_a_lost_byte() {
        let (mut whole, mut lossy) = (Check::default(), Check::default());
        let mut sent = 0;
        while let Some(data) = piece(sent, 200_000) {
            sent += data.len() as u64;
            whole.feed(&data[..1]);
            whole.feed(&data[1..]);
            lossy.feed(&data[1..]);
        }
        assert_eq!(whole, Check { bytes: 200_000, broken: false });
        assert!(lossy.broken);
    }
}
