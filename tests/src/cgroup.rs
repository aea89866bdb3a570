//! A control group of a test's own, which bounds the memory of the processes in it.
//!
//! Of either version, whichever this machine has. It is removed when dropped, after its processes have ended.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::certificate::put;

/// A control group.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// One whose processes have so many bytes of memory together. None where groups cannot be made.
    #[must_use]
    pub fn with_memory(bytes: u64) -> Option<Self> {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("switcher-{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed));
        let (above, version) = own()?;
        let path = above.join(name);
        std::fs::create_dir(&path).ok()?;
        let group = Self { path, version };
        let (limit, swap) = match version {
            Version::One => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            Version::Two => ("memory.max", "memory.swap.max"),
        };
        if !group.path.join(limit).exists() {
            return None;
        }
        put(&group.path.join(limit), &bytes.to_string());
        // Without a limit on swap, where there is any, nothing would ever be short.
        let with_swap = if version == Version::One { bytes } else { 0 };
        if group.path.join(swap).exists() {
            put(&group.path.join(swap), &with_swap.to_string());
        }
        Some(group)
    }

    /// The script by which `sh -c` becomes a command within the group.
    #[must_use]
    pub fn script(&self) -> String {
        format!("echo $$ > '{}' && exec \"$@\"", self.path.join("cgroup.procs").display())
    }

    /// How many of its processes were killed for want of memory.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn killed(&self) -> u64 {
        let file = if self.version == Version::One { "memory.oom_control" } else { "memory.events" };
        let text = std::fs::read_to_string(self.path.join(file)).expect("the group's events");
        let killed = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        killed.expect("a count").parse().expect("a number")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.path) {
            eprintln!("{} stays: {error}", self.path.display());
        }
    }
}

/// The group of this process that bounds memory.
fn own() -> Option<(PathBuf, Version)> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let below = |top: &str, path: &str| {
        let path = Path::new(top).join(path.trim_start_matches('/'));
        // In a container the path may be that of the host, and what is seen begins here.
        if path.is_dir() { path } else { PathBuf::from(top) }
    };
    for line in text.lines() {
        if let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..]
            && controllers.split(',').any(|name| name == "memory")
        {
            return Some((below("/sys/fs/cgroup/memory", path), Version::One));
        }
    }
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = below("/sys/fs/cgroup", path);
    // A group that has processes may have none below it that bounds memory (the rule against inner processes).
    let above = if own == Path::new("/sys/fs/cgroup") { own } else { own.parent()?.to_owned() };
    Some((above, Version::Two))
}
