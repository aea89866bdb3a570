//! The bytes of downloads and the checksum of uploads, as the load of `switcher::demo` knows them.

/// The byte at an offset of every download.
const fn byte_at(offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 16)).to_le_bytes()[0]
}

/// `length` bytes of the pattern from `offset` on.
pub(crate) fn chunk(offset: u64, length: u64) -> Vec<u8> {
    (offset..offset + length).map(byte_at).collect()
}

/// Length and checksum of a body that arrives in pieces (FNV-1a, 64 bits).
pub(crate) struct Digest {
    length: u64,
    state: u64,
}

impl Digest {
    /// Of no bytes.
    pub(crate) const fn new() -> Self {
        Self { length: 0, state: 0xcbf2_9ce4_8422_2325 }
    }

    /// Takes the next bytes in.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        for byte in bytes {
            self.state = (self.state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// What an upload is answered with.
    pub(crate) fn line(&self) -> String {
        format!("{} {:016x}\n", self.length, self.state)
    }
}
