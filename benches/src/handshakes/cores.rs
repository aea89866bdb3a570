//! Processor cores and their time: one core for the servers, another for the load, and who used how much.

use std::fs;
use std::process::Command;
use std::time::Duration;

use switcher::demo::trouble::Trouble;

/// Which core is whose. On a machine with one core both are the same.
#[derive(Debug)]
pub struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    /// The first two cores that this process may run on.
    ///
    /// # Errors
    /// When the system does not say which those are.
    pub fn of_this_machine() -> Result<Self, Trouble> {
        let status = fs::read_to_string("/proc/self/status").map_err(Trouble::system("read /proc"))?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0");
        let allowed = parse(list.trim());
        let server = allowed.first().copied().unwrap_or(0);
        Ok(Self { server, load: allowed.get(1).copied().unwrap_or(server) })
    }

    /// Puts this process, and every thread it starts from here on, onto the core of the load.
    ///
    /// # Errors
    /// When `taskset` of util-linux cannot.
    pub fn pin_to_load(&self) -> Result<(), Trouble> {
        let pid = std::process::id().to_string();
        let said = Command::new("taskset")
            .args(["-a", "-cp", &self.load.to_string(), &pid])
            .output()
            .map_err(Trouble::system("run taskset"))?;
        if said.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        Err(Trouble::system("choose a core")(std::io::Error::other(why)))
    }

    /// The words before a command line that put it onto the core of the servers.
    #[must_use]
    pub fn server_prefix(&self) -> [String; 3] {
        ["taskset".to_owned(), "-c".to_owned(), self.server.to_string()]
    }
}

/// `0-2,5` as numbers.
fn parse(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The processor time of a process so far, user and system, of all its threads that live. In nanoseconds as the
/// scheduler counts them: `utime` and `stime` of `/proc/PID/stat` come in hundredths of a second only.
///
/// # Errors
/// When the process is gone, or the kernel does not count.
pub fn used_by(pid: u32) -> Result<Duration, Trouble> {
    let cannot = || Trouble::system(format!("read the processor time of process {pid}"));
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).map_err(cannot())? {
        let path = thread.map_err(cannot())?.path().join("schedstat");
        // A thread that has ended meanwhile is no thread any more.
        let Ok(text) = fs::read_to_string(path) else { continue };
        let used = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        nanoseconds += used.ok_or_else(|| cannot()(std::io::ErrorKind::InvalidData.into()))?;
    }
    if nanoseconds == 0 {
        return Err(cannot()(std::io::ErrorKind::Unsupported.into()));
    }
    Ok(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cores_is_read() {
        assert_eq!(parse("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse("3"), [3]);
    }

    #[test]
    fn work_is_seen_in_the_processor_time() {
        let before = used_by(std::process::id()).expect("this process runs");
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert!(used_by(std::process::id()).expect("it still runs") > before);
        assert!(used_by(u32::MAX).is_err(), "nobody has that number");
    }
}
