//! A control group of a test's own, with a limit on memory, for whatever a test starts in it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A control group. It is removed when dropped; whatever ran in it must have ended.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// A group that may have so many bytes of memory.
    ///
    /// # Errors
    /// Why none can be made here: neither version of control groups, or no right to.
    pub fn with_memory(bytes: u64) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("switcher-test-{}-{number}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory");
        let (above, limit) = if first.join("memory.limit_in_bytes").exists() {
            (first, "memory.limit_in_bytes")
        } else {
            let second = Path::new("/sys/fs/cgroup");
            put(&second.join("cgroup.subtree_control"), "+memory")?;
            (second, "memory.max")
        };
        let folder = above.join(name);
        std::fs::create_dir(&folder)?;
        let group = Self { folder };
        put(&group.folder.join(limit), &bytes.to_string())?;
        Ok(group)
    }

    /// A script that moves its shell into the group and becomes what its arguments say.
    #[must_use]
    pub fn script(&self) -> String {
        format!("echo $$ > '{}' && exec \"$@\"", self.folder.join("cgroup.procs").display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.folder) {
            eprintln!("{} stays: {error}", self.folder.display());
        }
    }
}

fn put(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}
