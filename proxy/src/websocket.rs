//! Where a WebSocket's frames begin and end (RFC 6455 section 5.2), so that a drain can end it with a close frame.
//!
//! A close frame may stand between two frames, never inside one: an end in the middle of a frame must stay a broken
//! connection. The gateway feeds everything that the upstream sends after its 101.

/// The close frame of a drain: status 1012 (service restart), reason "deploy drain.".
pub const DRAIN_CLOSE: &[u8] = b"\x88\x0f\x03\xf4deploy drain.";

/// The longest head of a frame: two bytes, eight of length, four of mask.
const LONGEST_HEAD: usize = 14;

/// Follows the frames of one direction of a WebSocket.
#[derive(Debug, Clone, Default)]
pub struct FrameTracker {
    head: [u8; LONGEST_HEAD],
    head_read: u8,
    payload_left: u64,
    close_sent: bool,
}

impl FrameTracker {
    /// Follows the next bytes, wherever they are cut.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        while let Some((&byte, rest)) = chunk.split_first() {
            if self.payload_left > 0 {
                let skip = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(chunk.len());
                self.payload_left -= skip as u64;
                chunk = &chunk[skip..];
            } else {
                self.head[usize::from(self.head_read)] = byte;
                self.head_read += 1;
                chunk = rest;
                if usize::from(self.head_read) == self.head_length() {
                    self.end_head();
                }
            }
        }
    }

    /// Whether the last byte was the last of a frame, or nothing was sent yet.
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.head_read == 0 && self.payload_left == 0
    }

    /// Whether a close frame was sent; nothing may follow it.
    #[must_use]
    pub const fn close_sent(&self) -> bool {
        self.close_sent
    }

    /// The length of the head that is being read, as far as its first two bytes tell.
    fn head_length(&self) -> usize {
        if self.head_read < 2 {
            return LONGEST_HEAD;
        }
        let length = match self.head[1] & 0x7f {
            127 => 8,
            126 => 2,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn end_head(&mut self) {
        self.payload_left = match self.head[1] & 0x7f {
            127 => self.head[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            126 => u64::from(self.head[2]) << 8 | u64::from(self.head[3]),
            short => u64::from(short),
        };
        self.close_sent |= self.head[0] & 0x0f == 8;
        self.head_read = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One frame: its opcode, how its length is written, whether it is masked.
    fn frame(opcode: u8, payload: usize, masked: bool) -> Vec<u8> {
        let mask_bit = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match payload {
            0..=125 => bytes.push(mask_bit | payload as u8),
            126..=65_535 => {
                bytes.push(mask_bit | 126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        bytes.extend(std::iter::repeat_n(0x88, if masked { 4 } else { 0 }));
        bytes.extend(std::iter::repeat_n(0x88, payload));
        bytes
    }

    #[test]
    fn a_boundary_is_after_a_whole_frame_only() {
        for (payload, masked) in
            [(0, false), (5, false), (125, true), (126, false), (65_535, true), (65_536, false)]
        {
            let bytes = frame(2, payload, masked);
            let mut tracker = FrameTracker::default();
            assert!(tracker.at_boundary());
            tracker.feed(&bytes[..bytes.len() - 1]);
            assert!(!tracker.at_boundary(), "{payload}");
            tracker.feed(&bytes[bytes.len() - 1..]);
            assert!(tracker.at_boundary(), "{payload}");
            assert!(!tracker.close_sent());
        }
    }

    #[test]
    fn the_drain_close_is_one_close_frame() {
        let mut tracker = FrameTracker::default();
        tracker.feed(DRAIN_CLOSE);
        assert!(tracker.at_boundary() && tracker.close_sent());
        assert_eq!(u16::from_be_bytes([DRAIN_CLOSE[2], DRAIN_CLOSE[3]]), 1012);
    }

    #[test]
    fn the_longest_length_does_not_overflow() {
        let mut tracker = FrameTracker::default();
        tracker.feed(&[0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert!(!tracker.at_boundary());
    }

    proptest! {
        /// After each byte the boundaries are where the frames end, however the bytes are cut into chunks.
        #[test]
        fn any_chunking_gives_the_same_boundaries(
            frames in prop::collection::vec((0_u8..11, prop_oneof![0_usize..130, 65_530_usize..65_545], any::<bool>()), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let mut bytes = Vec::new();
            let mut ends = std::collections::BTreeMap::from([(0, false)]);
            let mut closed = false;
            for (opcode, payload, masked) in frames {
                bytes.extend(frame(opcode, payload, masked));
                closed |= opcode == 8;
                ends.insert(bytes.len(), closed);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend(ends.keys());
            cuts.sort_unstable();
            let mut tracker = FrameTracker::default();
            let mut from = 0;
            for cut in cuts {
                tracker.feed(&bytes[from..cut]);
                from = cut;
                prop_assert_eq!(tracker.at_boundary(), ends.contains_key(&cut));
                if let Some(closed) = ends.get(&cut) {
                    prop_assert_eq!(tracker.close_sent(), *closed);
                }
            }
        }
    }
}
