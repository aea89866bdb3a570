//! Room on the disks that are written to, and whether what is written stays. Pure.

use std::path::PathBuf;

use super::Finding;
use crate::phrase;

/// Less than this is too little, in bytes.
const LEAST: u64 = 1 << 30;
/// Less than one part in so many is too little.
const SHARE: u64 = 20;

/// A folder, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it is: a key, or `Docker's data`.
    pub key: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What was seen of its disk, or why nothing was.
    pub disk: Result<Disk, String>,
    /// Whether this command writes there.
    pub ours: bool,
}

/// A disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// What may still be written, in bytes.
    pub free: u64,
    /// Its size, in bytes.
    pub size: u64,
    /// Whether nothing may be written to it.
    pub read_only: bool,
    /// Whether it is in memory, so that a restart empties it.
    pub in_memory: bool,
    /// Whether this user may write to the folder, or make it.
    pub writable: bool,
}

/// Judges them. `temporary` is whether state in memory was allowed by name.
#[must_use]
pub fn check(places: &[Place], temporary: bool) -> Vec<Finding> {
    places.iter().flat_map(|place| judge(place, temporary)).collect()
}

fn judge(place: &Place, temporary: bool) -> Vec<Finding> {
    let (key, path) = (place.key, place.path.display());
    let disk = match &place.disk {
        Ok(disk) => disk,
        Err(why) => {
            let says = format!("{path} ({key}) cannot be looked at: {why}");
            return vec![Finding::warning("disk", says, format!("`ls -ld {path}`"))];
        }
    };
    let mut findings = Vec::new();
    if disk.read_only {
        let says =
            format!("the disk of {path} ({key}) is mounted read-only, so nothing can be remembered there");
        findings.push(Finding::failed(
            "disk",
            says,
            format!("`findmnt -T {path}`, then mount it read-write"),
        ));
    } else if place.ours && !disk.writable {
        let says = format!("this user may not write to {path} ({key})");
        findings.push(Finding::failed("disk", says, "run as the user who deploys, or as root"));
    }
    if disk.free < LEAST || disk.free < disk.size / SHARE {
        let says = format!(
            "{} of {} are free on the disk of {path} ({key}); 1 GiB and a twentieth are needed",
            phrase::size(disk.free),
            phrase::size(disk.size)
        );
        findings.push(Finding::failed("disk", says, "make room: `switcher prune`, or a larger disk"));
    }
    if place.ours && disk.in_memory {
        let says = format!("{path} ({key}) is in memory: a restart of the machine forgets every deployment");
        let remedy = "set `switcher.state_dir` to a folder on a disk, such as /var/lib/switcher-deployments";
        findings.push(if temporary {
            Finding::warning("disk", says, remedy)
        } else {
            Finding::failed("disk", says, remedy)
        });
    }
    if findings.is_empty() {
        let says = format!("{} are free on the disk of {path} ({key})", phrase::size(disk.free));
        findings.push(Finding::ok("disk", says));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_disk_has_room_is_writable_and_stays() {
        let good =
            Disk { free: 50 * GIB, size: 100 * GIB, read_only: false, in_memory: false, writable: true };
        for (disk, ours, verdict, part) in [
            (good, true, Verdict::Ok, "50"),
            (Disk { free: GIB - 1, size: 2 * GIB, ..good }, true, Verdict::Failed, "1 GiB"),
            (Disk { free: 4 * GIB, ..good }, false, Verdict::Failed, "a twentieth"),
            (Disk { read_only: true, writable: false, ..good }, true, Verdict::Failed, "read-only"),
            (Disk { writable: false, ..good }, true, Verdict::Failed, "may not write"),
            (Disk { writable: false, ..good }, false, Verdict::Ok, "50"),
            (Disk { in_memory: true, ..good }, true, Verdict::Failed, "in memory"),
            (Disk { in_memory: true, ..good }, false, Verdict::Ok, "50"),
        ] {
            let place = Place { key: "switcher.state_dir", path: "/srv".into(), disk: Ok(disk), ours };
            let found = check(&[place], false);
            assert_eq!((found.len(), found[0].verdict), (1, verdict), "{found:?}");
            assert!(found[0].says.contains(part), "{found:?}");
        }
        let place = |disk| Place { key: "x", path: "/srv".into(), disk, ours: true };
        let found = check(&[place(Ok(Disk { in_memory: true, ..good }))], true);
        assert_eq!(found[0].verdict, Verdict::Warning);
        assert_eq!(check(&[place(Err("gone".to_owned()))], true)[0].verdict, Verdict::Warning);
    }
}
