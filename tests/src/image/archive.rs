//! A tar archive (POSIX ustar) in memory: files and folders, owned by root, all of the same age.

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

const BLOCK: usize = 512;

impl Archive {
    /// Adds a file.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, mode, b'0', content);
    }

    /// Adds a folder.
    pub fn folder(&mut self, name: &str, mode: u32) {
        self.entry(&format!("{name}/"), mode, b'5', &[]);
    }

    fn entry(&mut self, name: &str, mode: u32, kind: u8, content: &[u8]) {
        assert!(name.len() <= 100, "{name}: longer than an entry's name may be");
        let mut head = [0; BLOCK];
        let mut put = |at: usize, field: &[u8]| head[at..at + field.len()].copy_from_slice(field);
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000\x000000000");
        put(124, format!("{:011o}", content.len()).as_bytes());
        put(136, b"00000000000");
        // The sum is taken with blanks in its own place.
        put(148, b"        ");
        put(156, &[kind]);
        put(257, b"ustar\x0000");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend(head);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    /// The archive's bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn tar_reads_what_was_written() {
        let mut archive = Archive::default();
        archive.folder("etc", 0o755);
        archive.file("etc/motd", 0o640, &[b'x'; 600]);
        let file = tempfile::NamedTempFile::new().expect("a file");
        super::super::put(file.path(), &archive.finish());
        let listed = Command::new("tar").arg("-tvf").arg(file.path()).output().expect("tar runs");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let lines: Vec<&str> = listed.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("drwxr-xr-x"), "{listed}");
        assert!(lines[1].starts_with("-rw-r-----") && lines[1].contains(" 600 "), "{listed}");
    }
}
