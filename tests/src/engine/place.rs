//! The place of an engine on this machine: a folder, a range of addresses, and the number that both follow from.
//!
//! A place is taken by a lock on a file, so engines of tests that run at the same time never meet. Whoever takes it
//! first removes what a former owner, killed before it could tidy up, has left there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::leftovers;

/// Engines at once on one machine.
const PLACES: u8 = 40;
/// The first of them has the addresses 10.200.0.0/16.
const FIRST: u8 = 200;

/// A place that is nobody else's while this value lives. It is cleared when dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u8,
    folder: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes a free place and clears it.
    pub(super) fn take() -> Self {
        let locks = std::env::temp_dir().join("switcher-test-engines");
        std::fs::create_dir_all(&locks).expect("a folder for the locks of engines");
        for number in FIRST..FIRST + PLACES {
            let lock = File::create(locks.join(number.to_string())).expect("a lock's file");
            if lock.try_lock().is_err() {
                continue;
            }
            // Unix sockets have room for 107 bytes, and containerd adds some of its own.
            let folder = PathBuf::from(format!("/tmp/switcher-engine-{number}"));
            let place = Self { number, folder, _lock: lock };
            place.clear();
            if !leftovers::in_use(&place.prefix()) {
                place.furnish();
                return place;
            }
        }
        panic!("{PLACES} engines run already, or their addresses are in use");
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its networks take their addresses from.
    pub(super) fn pool(&self) -> String {
        format!("{}0.0/16", self.prefix())
    }

    /// An address of this machine that no network of the engine has: the last of the range.
    pub(super) fn host(&self) -> String {
        format!("{}255.254", self.prefix())
    }

    fn prefix(&self) -> String {
        format!("10.{}.", self.number)
    }

    fn furnish(&self) {
        std::fs::create_dir_all(&self.folder).expect("the engine's folder");
        let address = format!("{}/32", self.host());
        let added = Command::new("ip").args(["address", "add", &address, "dev", "lo"]).status();
        assert!(
            added.is_ok_and(|status| status.success()),
            "{address} cannot be added to the loopback device"
        );
    }

    fn clear(&self) {
        leftovers::end_processes(&self.folder);
        leftovers::unmount(&self.folder);
        leftovers::remove_addresses(&self.prefix());
        leftovers::remove_folder(&self.folder);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}
