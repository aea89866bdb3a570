//! Hides secrets in everything that a deployment says: logs, progress, errors, what its children print.
//!
//! Two ways, both always: the secrets that are known, wherever they stand and however they are written (plain, in
//! JSON, percent-encoded, in base64), and what looks like a secret (`patterns`). Where in doubt more is hidden.
//! Made by [`crate::environment::Environment::secrets`].

mod lines;
mod patterns;
mod views;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

pub use lines::{LONGEST_LINE, Lines};
pub use patterns::names_a_secret;
pub use views::percent_decoded;

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// The shortest secret that is looked for, in bytes: hiding shorter ones would hide half of every text.
pub const SHORTEST: usize = 4;

/// The shortest base64 text that is looked for: what six bytes become wherever they stand.
const SHORTEST_BASE64: usize = 6;

/// How often what was hidden may make a secret of what stands around it.
const ROUNDS: usize = 16;

/// Knows the secrets of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct Redactor(Arc<Needles>);

struct Needles {
    /// None when it could not be made: then everything is hidden.
    automaton: Option<AhoCorasick>,
    /// Patterns from here on are base64.
    plain: usize,
    /// The longest pattern in bytes.
    longest: usize,
}

impl Redactor {
    /// Hides these secrets, and each line of those that have several. Texts under [`SHORTEST`] are left out.
    pub fn new(secrets: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut plain: Vec<Vec<u8>> = secrets.into_iter().flat_map(|secret| parts(secret.as_ref())).collect();
        plain.sort_unstable();
        plain.dedup();
        let encoded: Vec<Vec<u8>> = plain.iter().flat_map(|secret| base64_cores(secret)).collect();
        let all = || plain.iter().chain(&encoded);
        Self(Arc::new(Needles {
            automaton: AhoCorasick::new(all()).ok(),
            plain: plain.len(),
            longest: all().map(Vec::len).max().unwrap_or(0),
        }))
    }

    /// Knows no secret; still hides what looks like one.
    #[must_use]
    pub fn without_secrets() -> Self {
        Self::new(std::iter::empty::<&[u8]>())
    }

    /// The text with every secret replaced by [`MASK`]. It may have several lines.
    #[must_use]
    pub fn line(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // A mask and its neighbours could make a secret that has asterisks in it, so the result is looked at again.
        for _ in 0..ROUNDS {
            let hidden = self.hidden(&text);
            if hidden.is_empty() {
                return text;
            }
            text = mask(&text, &hidden);
        }
        MASK.to_owned()
    }

    /// Takes the output of a child as it comes and gives it back in whole lines, redacted.
    #[must_use]
    pub fn lines(&self) -> Lines {
        Lines::new(self.clone())
    }

    /// How many bytes may stand between the first and the last byte of a secret, however it is written.
    fn reach(&self) -> usize {
        // `\u0041` takes six bytes for one.
        (self.0.longest * 6).max(1024)
    }

    /// The places to be hidden: sorted, apart, on the borders of characters.
    fn hidden(&self, text: &str) -> Vec<Range<usize>> {
        let Some(automaton) = &self.0.automaton else {
            return Some(0..text.len()).filter(|_| text != MASK).into_iter().collect();
        };
        let mut found = patterns::find(text);
        for view in views::of(text) {
            for hit in automaton.find_overlapping_iter(view.bytes()) {
                let encoded = hit.pattern().as_usize() >= self.0.plain;
                let range = if encoded { base64_run(view.bytes(), hit.range()) } else { hit.range() };
                found.push(view.place(range));
            }
        }
        merge(text, found)
    }
}

/// Says nothing of what it knows.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.0.plain)
    }
}

/// The secret, and its lines, because output is looked at by the line.
fn parts(secret: &[u8]) -> Vec<Vec<u8>> {
    let lines = secret.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    // The frame of a PEM block is no secret.
    let lines = lines.filter(|line| !line.starts_with(b"-----"));
    [secret.trim_ascii()]
        .into_iter()
        .chain(lines)
        .filter(|s| s.len() >= SHORTEST)
        .map(<[u8]>::to_vec)
        .collect()
}

/// What base64 makes of a secret wherever it stands in the encoded text: at each of three offsets the characters that
/// depend on the secret alone.
fn base64_cores(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut cores = Vec::new();
    for offset in 0..3 {
        let padded = [&[0; 2][..offset], secret].concat();
        let first = [0, 2, 3][offset];
        // The last characters depend on what follows.
        let last = padded.len() / 3 * 4 + [0, 1, 2][padded.len() % 3];
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            let core = &text.as_bytes()[first.min(last)..last];
            if core.len() >= SHORTEST_BASE64 && !cores.iter().any(|known| known == core) {
                cores.push(core.to_vec());
            }
        }
    }
    cores
}

/// The whole base64 text around a hit: its ends hold bits of the secret too.
fn base64_run(bytes: &[u8], hit: Range<usize>) -> Range<usize> {
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let before = bytes[..hit.start].iter().rev().take_while(|byte| base64(byte)).count();
    let after = bytes[hit.end..].iter().take_while(|byte| base64(byte)).count();
    hit.start - before..hit.end + after
}

/// Sorts, widens to whole characters and joins what overlaps or touches.
fn merge(text: &str, mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in found {
        let range = text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end);
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            Some(_) | None => merged.push(range),
        }
    }
    merged
}

fn mask(text: &str, hidden: &[Range<usize>]) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for range in hidden {
        masked.push_str(&text[done..range.start]);
        masked.push_str(MASK);
        done = range.end;
    }
    masked.push_str(&text[done..]);
    masked
}

#[cfg(test)]
mod tests;
