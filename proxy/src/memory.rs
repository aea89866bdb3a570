//! Memory: how much of what the process may have is used, and what is done before the kernel ends it.
//!
//! What it may have is the least limit of its control groups (`docker run --memory`, `MemoryMax=`); without one nothing
//! is watched. Once memory is short, there are no more connections than at that moment: who comes gets the place of an
//! idle one or waits in the kernel's queue, and who is there is served. Where that is not enough, idle ones leave unasked.
//! Of requests of HTTP/2 only so many are begun at once, since a few clients can ask for thousands of answers and take none,
//! faster than a meter could be read. What is decided is [`Pressure`], which is pure; [`watch`] reads the meter and carries it out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{info, warn};

use crate::edge::crowd::Crowd;
use crate::metrics::{Limit, LimitMetrics};

/// How often the meter is read. Two small reads.
const TICK: Duration = Duration::from_millis(100);

/// Of 100 parts, from where on memory is short.
const SHORT: u64 = 85;

/// Of 100 parts, from where on idle connections leave unasked.
const VERY_SHORT: u64 = 92;

/// Of 100 parts, below which there is enough again.
const ENOUGH: u64 = 75;

/// One in so many connections leaves at each look while memory is very short.
const LEAVING: usize = 20;

/// So many connections there may always be: a proxy serves somebody.
const LEAST: usize = 16;

/// What a request over HTTP/2 whose answer is not taken keeps, in bytes: its own state, what came of the answer and what
/// waits to be sent of it.
const STREAM: u64 = 256 << 10;

/// Limits from here on are none: the kernel's "unlimited" is a number of this kind.
const UNLIMITED: u64 = 1 << 60;

/// How one version of control groups names its files.
struct Version {
    /// Where it is mounted, in the order in which it is looked for.
    mounts: &'static [&'static str],
    /// How its line of `/proc/self/cgroup` begins, after the number.
    controller: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// The lines of `memory.stat` that count files' pages, which the kernel takes back by itself.
    files: [&'static str; 2],
}

/// Version 2 first (the kernel's `admin-guide/cgroup-v2`), then 1 (`admin-guide/cgroup-v1/memory`).
const VERSIONS: [Version; 2] = [
    Version {
        mounts: &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
        controller: "",
        limit: "memory.max",
        usage: "memory.current",
        files: ["inactive_file", "active_file"],
    },
    Version {
        mounts: &["sys/fs/cgroup/memory"],
        controller: "memory",
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        files: ["total_inactive_file", "total_active_file"],
    },
];

/// Reads what the control group with the least limit uses. Its files stay open: no descriptor is needed to read them.
#[derive(Debug)]
pub struct Meter {
    limit: u64,
    usage: File,
    stat: File,
    files: [&'static str; 2],
}

impl Meter {
    /// The meter of this process; none when nothing limits its memory.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find(Path::new("/"), &groups)
    }

    /// The group with the least limit among those of `groups`, which is what `/proc/self/cgroup` says, and those above
    /// them. In a container the path may be that of the host: then what is mounted at the top is its own group.
    fn find(root: &Path, groups: &str) -> Option<Self> {
        let mut least: Option<Self> = None;
        for version in &VERSIONS {
            let Some(path) = groups.lines().find_map(|line| version.path(line)) else { continue };
            let up = path.ancestors().map(|path| path.strip_prefix("/").unwrap_or(path));
            let folders =
                up.flat_map(|group| version.mounts.iter().map(move |mount| root.join(mount).join(group)));
            let found = folders.filter_map(|folder| version.open(&folder).ok().flatten());
            least = least.into_iter().chain(found).min_by_key(|meter| meter.limit);
        }
        least
    }

    /// The bytes that are used and that the kernel cannot take back.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn used(&self) -> io::Result<u64> {
        let used = number(&text(&self.usage)?)?;
        let stat = text(&self.stat)?;
        let of = |name| {
            stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok())
        };
        let files: u64 = self.files.into_iter().filter_map(of).sum();
        Ok(used.saturating_sub(files))
    }
}

impl Version {
    /// The group that a line of `/proc/self/cgroup` names, when it is of this version.
    fn path<'l>(&self, line: &'l str) -> Option<&'l Path> {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        controllers.split(',').any(|controller| controller == self.controller).then_some(Path::new(path))
    }

    fn open(&self, folder: &Path) -> io::Result<Option<Meter>> {
        let limit = std::fs::read_to_string(folder.join(self.limit))?;
        // "max" is none.
        let Some(limit) = number(&limit).ok().filter(|limit| *limit < UNLIMITED) else { return Ok(None) };
        let open = |name: &str| File::open(folder.join(name));
        Ok(Some(Meter { limit, usage: open(self.usage)?, stat: open("memory.stat")?, files: self.files }))
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A file of the kernel from its beginning, anew each time.
fn text(file: &File) -> io::Result<String> {
    let (mut bytes, mut length) = (vec![0; 4096], 0);
    loop {
        let read = file.read_at(&mut bytes[length..], length as u64)?;
        length += read;
        if read == 0 {
            bytes.truncate(length);
            return String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into());
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
}

/// The least limit on this process's memory, in bytes.
#[must_use]
pub fn limit() -> Option<u64> {
    Meter::of_this_process().map(|meter| meter.limit)
}

/// Whether memory is short, and how many connections there may be then.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    most: Option<usize>,
}

/// What one look at the meter changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Memory is short now: no more connections than so many.
    Short(usize),
    /// That was not enough: so many.
    Fewer(usize),
    /// There is enough again.
    Enough,
}

impl Pressure {
    /// Whether it is.
    #[must_use]
    pub const fn is_short(self) -> bool {
        self.most.is_some()
    }

    /// One look: `used` of `limit` bytes, with so many connections open.
    pub fn look(&mut self, used: u64, limit: u64, open: usize) -> Option<Change> {
        let over = |parts: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(parts);
        let change = match self.most {
            None => over(SHORT).then_some(Change::Short(open.max(LEAST)))?,
            Some(_) if !over(ENOUGH) => Change::Enough,
            Some(most) => {
                over(VERY_SHORT).then_some(())?;
                let most = most.min(open);
                Change::Fewer((most - most.div_ceil(LEAVING)).max(LEAST))
            }
        };
        self.most = match change {
            Change::Short(most) | Change::Fewer(most) => Some(most),
            Change::Enough => None,
        };
        Some(change)
    }
}

/// Room for requests of HTTP/2 beyond the first of their connections: a quarter of the limit on memory.
#[derive(Debug)]
pub struct Streams {
    /// None where nothing limits memory.
    room: Option<Semaphore>,
    metrics: LimitMetrics,
}

impl Streams {
    /// As many as so many bytes are enough for.
    #[must_use]
    pub fn within(memory: Option<u64>, metrics: LimitMetrics) -> Self {
        let count = |limit: u64| usize::try_from(limit / 4 / STREAM).unwrap_or(usize::MAX);
        let room = memory.map(|limit| Semaphore::new(count(limit).clamp(1, Semaphore::MAX_PERMITS)));
        Self { room, metrics }
    }

    /// Whether anybody may ever have to wait.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.room.is_some()
    }

    /// Waits until there is room for one more, which is its until what is returned is dropped.
    pub async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        let room = self.room.as_ref()?;
        if let Ok(permit) = room.try_acquire() {
            return Some(permit);
        }
        self.metrics.acted(Limit::Memory);
        // It is never closed.
        room.acquire().await.ok()
    }

    /// Lets in as many as there are, and no more. Returns how much room that took away.
    fn squeeze(&self) -> usize {
        self.room.as_ref().map_or(0, |room| room.forget_permits(usize::MAX))
    }

    fn relieve(&self, taken: usize) {
        if let Some(room) = &self.room {
            room.add_permits(taken);
        }
    }
}

/// Watches for ever, when there is a limit.
pub async fn watch(crowd: Arc<Crowd>, streams: Arc<Streams>) {
    let Some(meter) = Meter::of_this_process() else { return };
    let (mut pressure, mut taken) = (Pressure::default(), 0);
    loop {
        // When many come at once, sooner.
        let _ = tokio::time::timeout(TICK, crowd.grown()).await;
        // Who cannot say it now is asked again.
        let Ok(used) = meter.used() else { continue };
        let (open, limit) = (crowd.open(), meter.limit);
        match pressure.look(used, limit, open) {
            Some(Change::Short(most)) => {
                crowd.squeeze(Some(most));
                taken = streams.squeeze();
                warn!(
                    used,
                    limit, open, "memory is short: idle connections are closed, new ones wait for room"
                );
            }
            Some(Change::Fewer(most)) => {
                crowd.squeeze(Some(most));
                crowd.thin(open.saturating_sub(most)).await;
            }
            Some(Change::Enough) => {
                crowd.squeeze(None);
                streams.relieve(taken);
                info!(used, limit, open, "there is enough memory again");
            }
            None => {}
        }
        if pressure.is_short() {
            give_back();
        }
    }
}

/// Has the allocator give back what it keeps for later. Each thread's part must be asked for on that thread, also when
/// it has nothing to do: more short tasks than there are threads wake them all, sooner or later.
fn give_back() {
    for _ in 0..2 * tokio::runtime::Handle::current().metrics().num_workers() {
        // SAFETY: it takes no pointer and may be called at any time on any thread.
        tokio::spawn(async { unsafe { libmimalloc_sys::mi_collect(true) } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, group: &str, files: &[(&str, &str)]) {
        let folder = root.join(group);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in files {
            use std::io::Write as _;
            File::create(folder.join(name))
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .expect("a file");
        }
    }

    fn group_v2<'t>(max: &'t str, current: &'t str) -> [(&'static str, &'t str); 3] {
        let stat = "anon 5\nfile 9\ninactive_file 300\nactive_file 40\nslab 7\n";
        [("memory.max", max), ("memory.current", current), ("memory.stat", stat)]
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts_and_pages_of_files_do_not() {
        let root = tempfile::tempdir().expect("a folder");
        put(root.path(), "sys/fs/cgroup/system.slice", &group_v2("2000\n", "1500\n"));
        put(root.path(), "sys/fs/cgroup/system.slice/proxy.service", &group_v2("max\n", "1000\n"));
        let meter = Meter::find(root.path(), "0::/system.slice/proxy.service\n").expect("a limit");
        assert_eq!((meter.limit, meter.used().expect("a figure")), (2000, 1160));
        assert!(Meter::find(root.path(), "0::/elsewhere\n").is_none(), "nothing is limited there");
        assert!(Meter::find(root.path(), "nonsense").is_none());
    }

    #[test]
    fn version_1_is_read_too_and_a_container_finds_its_own_group_at_the_top() {
        let root = tempfile::tempdir().expect("a folder");
        let stat = "cache 1\ntotal_inactive_file 10\ntotal_active_file 20\n";
        let files = [
            ("memory.limit_in_bytes", "67108864\n"),
            ("memory.usage_in_bytes", "130\n"),
            ("memory.stat", stat),
        ];
        put(root.path(), "sys/fs/cgroup/memory", &files);
        let groups = "5:cpu,cpuacct:/\n4:memory:/docker/0123\n0::/\n";
        let meter = Meter::find(root.path(), groups).expect("a limit");
        assert_eq!((meter.limit, meter.used().expect("a figure")), (64 << 20, 100));
        put(root.path(), "sys/fs/cgroup/memory", &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        assert!(Meter::find(root.path(), groups).is_none(), "as much as there is");
    }

    #[test]
    fn it_is_short_until_it_is_clearly_enough_and_fewer_only_while_it_gets_worse() {
        let mut pressure = Pressure::default();
        assert_eq!(pressure.look(84, 100, 500), None);
        assert_eq!(pressure.look(85, 100, 500), Some(Change::Short(500)));
        assert_eq!(pressure.look(91, 100, 500), None);
        assert_eq!(pressure.look(92, 100, 500), Some(Change::Fewer(475)));
        assert_eq!(pressure.look(99, 100, 480), Some(Change::Fewer(451)));
        assert_eq!(pressure.look(75, 100, 300), None, "not yet");
        assert_eq!(pressure.look(74, 100, 300), Some(Change::Enough));
        assert_eq!(pressure.look(74, 100, 300), None);
        assert_eq!(pressure.look(100, 100, 1), Some(Change::Short(LEAST)));
        assert_eq!(pressure.look(100, 100, 1), Some(Change::Fewer(LEAST)));
    }

    #[tokio::test]
    async fn so_many_requests_of_http2_have_room_and_the_next_one_waits() {
        let metrics = LimitMetrics::for_tests();
        let streams = Streams::within(Some(8 * STREAM), metrics.clone());
        let (one, _two) = (streams.enter().await, streams.enter().await);
        let mut third = Box::pin(streams.enter());
        assert!(futures::poll!(&mut third).is_pending());
        assert_eq!(metrics.count(Limit::Memory), 1);
        drop(one);
        assert!(third.await.is_some());
        assert!(Streams::within(None, metrics.clone()).enter().await.is_none(), "it is not asked for");
        assert!(Streams::within(Some(1), metrics).enter().await.is_some(), "a proxy serves somebody");
    }

    #[tokio::test]
    async fn while_memory_is_short_no_more_are_begun_than_there_are() {
        let streams = Streams::within(Some(16 * STREAM), LimitMetrics::for_tests());
        let one = streams.enter().await;
        let taken = streams.squeeze();
        assert_eq!(taken, 3);
        drop(one);
        let _again = streams.enter().await;
        let mut more = Box::pin(streams.enter());
        assert!(futures::poll!(&mut more).is_pending());
        streams.relieve(taken);
        assert!(more.await.is_some());
    }
}
