//! Removing what an engine leaves behind: containers, processes, mounts, bridges, addresses, control groups, files.
//!
//! Everything is found by the engine's folder or by its range of addresses, so nothing of anybody else is touched,
//! and every step may be repeated. Nothing here fails: what cannot be removed is left to the next attempt.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the end of a killed process is waited for.
const DEATH: Duration = Duration::from_secs(5);
/// What an engine is made of, as the kernel abbreviates it.
const PROGRAMS: [&str; 3] = ["dockerd", "containerd", "containerd-shim"];

/// Has the engine remove all its containers.
pub(super) fn remove_containers(socket: &Path) {
    let Some(answer) = ask(socket, "GET", "/containers/json?all=1") else { return };
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let containers: Vec<serde_json::Value> = serde_json::from_str(body).unwrap_or_default();
    for id in containers.iter().filter_map(|container| container["Id"].as_str()) {
        ask(socket, "DELETE", &format!("/containers/{id}?force=1&v=1"));
    }
}

/// Blocking, as it is called while a value is dropped.
fn ask(socket: &Path, method: &str, path: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(DEATH)).ok()?;
    stream.write_all(format!("{method} {path} HTTP/1.0\r\nhost: docker\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Kills the daemons and shims of the engine in this folder, and what their containers run.
pub(super) fn end_processes(folder: &Path) {
    let ours: Vec<Process> = processes().into_iter().filter(|process| process.belongs_to(folder)).collect();
    let shims: Vec<i32> = ours.iter().filter(|p| p.name == PROGRAMS[2]).map(|p| p.pid).collect();
    let inside = processes().into_iter().filter(|process| shims.contains(&process.parent));
    let all: Vec<i32> = inside.map(|p| p.pid).chain(ours.iter().map(|p| p.pid)).collect();
    for pid in all.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let begun = Instant::now();
    while begun.elapsed() < DEATH && processes().iter().any(|process| all.contains(&process.pid)) {
        std::thread::yield_now();
    }
    for id in ours.iter().filter_map(Process::container) {
        remove_groups(&id);
    }
}

/// Removes a file with the number of a process that has ended, as soon as it has: the daemon believes such a file
/// also when the number is that of a zombie, or of anything else by now.
pub(super) fn forget_dead(file: &Path) {
    let pid = || fs::read_to_string(file).ok()?.trim().parse().ok();
    let alive = || pid().and_then(process).is_some_and(|process| PROGRAMS.contains(&process.name.as_str()));
    let begun = Instant::now();
    // A killed daemon takes its containerd along, a moment later.
    while alive() && begun.elapsed() < DEATH {
        std::thread::yield_now();
    }
    let _ = fs::remove_file(file);
}

struct Process {
    pid: i32,
    parent: i32,
    name: String,
    command: Vec<String>,
}

impl Process {
    fn belongs_to(&self, folder: &Path) -> bool {
        let inside = |word: &String| word.contains(&format!("{}/", folder.display()));
        PROGRAMS.contains(&self.name.as_str()) && self.command.iter().any(inside)
    }

    /// The container that a shim is for.
    fn container(&self) -> Option<String> {
        self.command.iter().skip_while(|word| *word != "-id").nth(1).cloned()
    }
}

/// Every process that is alive, in this or another namespace.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // A zombie has ended; only its parent can do more.
    let state = fields.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    debug_assert!(!state.is_empty());
    let parent = fields.next()?.parse().ok()?;
    let name = start.split_once('(')?.1.to_owned();
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = command.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    Some(Process { pid, parent, name, command: command.collect() })
}

/// A control group stays after the last process when nobody removes it.
fn remove_groups(container: &str) {
    let top = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in controllers.chain([top.to_owned()]) {
        let _ = fs::remove_dir(folder.join("docker").join(container));
    }
}

/// Unmounts everything below the folder: a killed daemon leaves its data, its networks and its overlays mounted.
pub(super) fn unmount(folder: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = places.filter(|place| place.starts_with(folder)).collect();
    below.reverse();
    for place in below {
        let _ = Command::new("umount").arg("--lazy").arg(place).status();
    }
}

/// Addresses of this machine: device and address.
fn addresses() -> Vec<(String, String)> {
    let output = Command::new("ip").args(["-4", "-oneline", "address"]).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    let pair = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let device = words.next()?.to_owned();
        Some((device, words.nth(1)?.to_owned()))
    };
    String::from_utf8_lossy(&output).lines().filter_map(pair).collect()
}

/// Removes the bridges with an address that begins so, and such addresses of the loopback device.
pub(super) fn remove_addresses(prefix: &str) {
    for (device, address) in addresses().iter().filter(|(_, address)| address.starts_with(prefix)) {
        let arguments: &[&str] = if device == "lo" {
            &["address", "delete", address, "dev", "lo"]
        } else if device.starts_with("br-") {
            &["link", "delete", device]
        } else {
            continue;
        };
        let _ = Command::new("ip").args(arguments).status();
    }
}

/// Whether this machine has an address or a route that begins so.
pub(super) fn in_use(prefix: &str) -> bool {
    let output = Command::new("ip").args(["-4", "route", "show", "table", "all"]).output();
    let routes =
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    routes.split_whitespace().any(|word| word.starts_with(prefix))
}

/// Removes the folder. What was unmounted lazily may be busy for a moment.
pub(super) fn remove_folder(folder: &Path) {
    let begun = Instant::now();
    while folder.exists() && fs::remove_dir_all(folder).is_err() && begun.elapsed() < DEATH {
        std::thread::yield_now();
    }
}
