//! The bytes of downloads and uploads: a pattern that both ends know, so that a missing, repeated or
//! foreign byte is seen. Used by the app and by the load; nothing here touches a socket.

use bytes::Bytes;

/// The byte at an offset of every generated body.
#[must_use]
pub const fn byte_at(offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 16)).to_le_bytes()[0]
}

/// `length` bytes of the pattern from `offset` on.
#[must_use]
pub fn chunk(offset: u64, length: u64) -> Bytes {
    (offset..offset + length).map(byte_at).collect()
}

/// A body cut into pieces of equal size (the last one may be shorter).
pub fn pieces(total: u64, count: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
    let size = total.div_ceil(count.max(1)).max(1);
    (0..total.div_ceil(size)).map(move |i| chunk(i * size, size.min(total - i * size)))
}

/// Length and checksum of a body that arrives in pieces (FNV-1a, 64 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Bytes seen.
    pub length: u64,
    state: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { length: 0, state: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Digest {
    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        for byte in bytes {
            self.state = (self.state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The digest of the first `length` bytes of the pattern.
    #[must_use]
    pub fn of_pattern(length: u64) -> Self {
        let mut digest = Self::default();
        pieces(length, 1 + length / 65_536).for_each(|piece| digest.update(&piece));
        digest
    }

    /// The line that the app answers an upload with: length and checksum.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {:016x}\n", self.length, self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_whole() {
        for (total, count) in [(0, 3), (1, 3), (10, 3), (1000, 7), (5, 0)] {
            let whole: Vec<u8> = pieces(total, count).flatten().collect();
            assert_eq!(whole, chunk(0, total), "{total} in {count}");
        }
    }

    #[test]
    fn a_digest_sees_a_missing_a_changed_and_a_moved_byte() {
        let of = |bytes: &[u8]| {
            let mut digest = Digest::default();
            digest.update(bytes);
            digest
        };
        let good = chunk(0, 1000).to_vec();
        assert_eq!(of(&good), Digest::of_pattern(1000));
        let (mut changed, mut moved) = (good.clone(), good.clone());
        changed[500] ^= 1;
        moved.swap(1, 2);
        for bad in [&good[1..], &good[..999], &changed, &moved] {
            assert_ne!(of(bad), Digest::of_pattern(1000));
        }
    }
}
