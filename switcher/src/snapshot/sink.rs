//! Where a dump goes while it streams: a file, its checksum and its length; the program's last words beside it.
//!
//! A write that failed is remembered here, because whoever runs the program only learns that its output is not wanted.

use std::io;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use crate::container::Output;

/// How much of what a program says is kept: its last words name the reason.
const LAST_WORDS: usize = 8 * 1024;

/// How many more bytes are worth a word: each may become a line of somebody's log.
const WORD: u64 = 64 << 20;

/// Writes standard output to a file.
pub(super) struct Sink<'a> {
    file: File,
    hash: Sha256,
    /// The bytes that were taken.
    pub(super) written: u64,
    /// What the system said when a write failed.
    pub(super) failed: Option<io::Error>,
    /// What the program said.
    pub(super) words: Words,
    on: &'a mut (dyn FnMut(u64) + Send),
}

impl<'a> Sink<'a> {
    /// Into this file; `on` hears how many bytes there are.
    pub(super) fn new(file: std::fs::File, on: &'a mut (dyn FnMut(u64) + Send)) -> Self {
        let file = File::from_std(file);
        Self { file, hash: Sha256::new(), written: 0, failed: None, words: Words::default(), on }
    }

    /// Waits until everything is on the disk; answers the checksum.
    pub(super) async fn finish(mut self) -> io::Result<String> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        (self.on)(self.written);
        Ok(hex(&self.hash.finalize()))
    }

    async fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        // An error of this very write, not of the next one.
        self.file.flush().await?;
        self.hash.update(bytes);
        let before = self.written / WORD;
        self.written += bytes.len() as u64;
        if self.written / WORD > before {
            (self.on)(self.written);
        }
        Ok(())
    }
}

#[async_trait]
impl Output for Sink<'_> {
    async fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.take(bytes).await {
            let kind = error.kind();
            self.failed.get_or_insert(error);
            return Err(kind.into());
        }
        Ok(())
    }

    async fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.words.add(bytes);
        Ok(())
    }
}

/// Keeps standard output as text, up to a length, and the last words of standard error.
#[derive(Default)]
pub(super) struct Text {
    /// Standard output.
    pub(super) out: Vec<u8>,
    /// Standard error.
    pub(super) words: Words,
}

/// More than any table of contents; nothing that answers more is believed.
const LONGEST_TEXT: usize = 256 << 20;

#[async_trait]
impl Output for Text {
    async fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.out.len() + bytes.len() > LONGEST_TEXT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    async fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.words.add(bytes);
        Ok(())
    }
}

/// The last words of a program.
#[derive(Default)]
pub(super) struct Words(Vec<u8>);

impl Words {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(LAST_WORDS);
        self.0.drain(..surplus);
    }

    /// Its last lines as one sentence, without the program's own name before each.
    pub(super) fn sentence(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once(": error: ").map_or(line, |(_, rest)| rest).trim())
            .filter(|line| !line.is_empty())
            .collect();
        let from = lines.len().saturating_sub(6);
        lines[from..].join("; ").chars().filter(|c| !c.is_control()).collect()
    }
}

/// As `sha256sum` writes it.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_one_sentence_without_the_programs_name() {
        let mut words = Words::default();
        words.add(&[b'x'; 3 * LAST_WORDS]);
        words.add(b"\npg_dump: error: connection to server failed:\n  FATAL: no\x1b[31m\n\n");
        let text = words.sentence();
        assert!(text.ends_with("connection to server failed:; FATAL: no[31m"), "{text}");
        assert!(text.len() <= LAST_WORDS);
    }
}
