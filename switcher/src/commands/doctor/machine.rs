//! The facts of this machine: listeners, disks, what names resolve to. Read from `/proc` and the system; nothing is
//! opened, bound or written.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags};
use switcher_config::settings::Settings;
use switcher_config::{AppName, HostPattern};

use super::Around;
use crate::docker::Engine;
use crate::doctor::Finding;
use crate::doctor::disk::{self, Disk, Place};
use crate::doctor::names::{self, Name};
use crate::doctor::ports::{Holder, Port};

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` (statfs(2)).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// `LISTEN` in `/proc/net/tcp` (include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// Who listens where the proxy is to listen. A port that the system chooses is nobody's yet.
pub(super) async fn ports(settings: &Settings) -> Vec<Port> {
    let proxy = &settings.proxy;
    let http = proxy.http.iter().map(|listener| ("proxy.http", listener));
    let https = proxy.https.iter().map(|tls| ("proxy.https", &tls.listener));
    let tcp = http.chain(https).filter_map(|(key, listener)| Some((key, listener.listen.tcp()?)));
    let raw = settings.raw_addresses().into_iter().map(|address| ("tcp.listen", address));
    let wanted: Vec<(&'static str, SocketAddr)> =
        tcp.chain(raw).filter(|(_, address)| address.port() != 0).collect();
    blocking(move || {
        let listeners = listeners();
        let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
        let first: u16 = first.and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
        let root = rustix::process::geteuid().is_root();
        let look = |(key, address): (&'static str, SocketAddr)| {
            let inode = listeners.iter().find(|(held, _)| meets(*held, address)).map(|(_, inode)| *inode);
            let holder = inode.map_or(Holder::Nobody, holder);
            Port { key, address, holder, privileged: address.port() < first && !root }
        };
        wanted.into_iter().map(look).collect()
    })
    .await
}

async fn blocking<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// Every listening socket: its address and its inode.
fn listeners() -> Vec<(SocketAddr, u64)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(listener).collect()
}

fn listener(line: &str) -> Option<(SocketAddr, u64)> {
    let cells: Vec<&str> = line.split_whitespace().collect();
    if *cells.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = cells.get(1)?.split_once(':')?;
    Some(((ip(address)?, u16::from_str_radix(port, 16).ok()?).into(), cells.get(9)?.parse().ok()?))
}

/// An address as the kernel writes it: words of 32 bits, each in the byte order of the machine.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for at in 0..4 {
        bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
    }
    Some(Ipv6Addr::from(bytes).to_canonical())
}

/// Whether a listener stands in the way of another one.
fn meets(held: SocketAddr, wanted: SocketAddr) -> bool {
    // `[::]` takes IPv4 as well, `0.0.0.0` only that.
    let covers = |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    held.port() == wanted.port()
        && (held.ip() == wanted.ip() || covers(held.ip(), wanted.ip()) || covers(wanted.ip(), held.ip()))
}

/// The process that has a socket open.
fn holder(inode: u64) -> Holder {
    let socket = PathBuf::from(format!("socket:[{inode}]"));
    let has = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.map(|entry| entry.path()).any(|link| fs::read_link(link).is_ok_and(|target| target == socket))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(has);
    found.map_or(Holder::Hidden, |pid| {
        let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Holder::Process { pid, program: program.trim().to_owned() }
    })
}

/// What the hosts of the applications resolve to.
pub(super) async fn names(settings: &Settings, apps: Vec<AppName>, here: bool) -> Vec<Finding> {
    let ours = if here { Some(blocking(addresses).await) } else { None };
    let mut findings = Vec::new();
    for app in &apps {
        let hosts = settings.apps.get(app).into_iter().flat_map(|app| &app.hosts);
        let exact = hosts.filter_map(|host| match host {
            HostPattern::Exact(name) if name.parse::<IpAddr>().is_err() => Some(name.clone()),
            HostPattern::Exact(_) | HostPattern::Wildcard(_) => None,
        });
        let looks = exact.map(|host| async move {
            let looked = tokio::net::lookup_host((host.as_str(), 0)).await;
            let addresses = looked.map(|found| found.map(|address| address.ip()).collect::<BTreeSet<_>>());
            let addresses =
                addresses.map(|found| found.into_iter().collect()).map_err(|error| error.to_string());
            Name { host, addresses }
        });
        let looked = futures::future::join_all(looks).await;
        findings.extend(looked.iter().map(|name| names::check(name, ours.as_ref()).of_app(app)));
    }
    findings
}

/// The addresses of this machine.
fn addresses() -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let mut last: Option<IpAddr> = None;
    for line in fs::read_to_string("/proc/net/fib_trie").unwrap_or_default().lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    for line in fs::read_to_string("/proc/net/if_inet6").unwrap_or_default().lines() {
        let hex = line.split_whitespace().next().and_then(|hex| u128::from_str_radix(hex, 16).ok());
        found.extend(hex.map(|bits| IpAddr::from(Ipv6Addr::from(bits))));
    }
    found
}

/// The disks that are written to. Those of a server are not seen from here.
pub(super) async fn disks(around: &Around<'_>) -> Vec<Finding> {
    let mut wanted: Vec<(&'static str, PathBuf, bool)> = Vec::new();
    if let Some(loaded) = &around.loaded {
        if loaded.settings.apps.values().any(|app| app.deploy.is_some()) {
            wanted.push(("switcher.state_dir", loaded.settings.switcher.state_dir.clone(), true));
        }
        if around.remote.is_none() {
            wanted.push(("proxy.data_dir", loaded.settings.proxy.data_dir.clone(), false));
        }
    }
    if let Some(root) = docker_root(around.engine.as_ref()).await {
        wanted.push(("Docker's data", root, false));
    }
    let allowed = std::env::var("SWITCHER_ALLOW_TEMPORARY_STATE").is_ok_and(|value| value == "1");
    let look = |(key, path, ours): (&'static str, PathBuf, bool)| {
        let disk = look(&path).map_err(|error| error.to_string());
        Place { key, path, disk, ours }
    };
    let places = blocking(move || wanted.into_iter().map(look).collect::<Vec<_>>()).await;
    disk::check(&places, allowed)
}

async fn docker_root(engine: Option<&Engine>) -> Option<PathBuf> {
    let engine = engine.filter(|engine| engine.is_local())?;
    let root = engine.info().await.ok()?.root_dir;
    Some(PathBuf::from(root)).filter(|root| root.is_absolute() && root.exists())
}

/// The disk of a folder, which may not be there yet.
fn look(path: &Path) -> rustix::io::Result<Disk> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let (room, kind) = (rustix::fs::statvfs(there)?, rustix::fs::statfs(there)?.f_type);
    Ok(Disk {
        free: room.f_bavail.saturating_mul(room.f_frsize),
        size: room.f_blocks.saturating_mul(room.f_frsize),
        read_only: room.f_flag.contains(StatVfsMountFlags::RDONLY),
        in_memory: u64::try_from(kind).is_ok_and(|kind| IN_MEMORY.contains(&kind)),
        writable: rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_with_its_name() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = socket.local_addr().expect("its address");
        let inode = listeners().into_iter().find(|(held, _)| meets(*held, address)).expect("it is listed").1;
        let Holder::Process { pid, program } = holder(inode) else { panic!("it is this process") };
        assert_eq!(pid, std::process::id());
        assert!(!program.is_empty());
        drop(socket);
        assert!(!listeners().into_iter().any(|(held, _)| held == address));
    }

    #[test]
    fn wide_listeners_stand_in_the_way_of_narrow_ones() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (held, wanted, meet) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "0.0.0.0:81", false),
        ] {
            assert_eq!(meets(at(held), at(wanted)), meet, "{held} {wanted}");
        }
    }

    #[test]
    fn this_machine_has_the_loopback_address() {
        assert!(addresses().contains(&IpAddr::from(Ipv4Addr::LOCALHOST)));
        assert!(look(Path::new("/nowhere/at/all")).expect("the root's disk").size > 0);
    }
}
