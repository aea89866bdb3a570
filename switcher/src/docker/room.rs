//! Whether there is room for an image on the engine's disk.
//!
//! What came over the network is unpacked beside itself, so an image needs about three times what is downloaded.
//! Only an engine on this machine can be asked; elsewhere the engine says it itself, when it is too late.

use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::{DockerError, DockerErrorKind, Engine};

/// Less than this is never enough, in bytes.
const LEAST: u64 = 512 * MIB;

const MIB: u64 = 1024 * 1024;

/// What a byte that is downloaded takes on disk: itself, and unpacked about twice as much.
const UNPACKED: u64 = 3;

/// The room on the engine's disk when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// So many bytes are free where the engine keeps its images.
    Free {
        /// Where.
        root_dir: PathBuf,
        /// Bytes that the engine may use.
        bytes: u64,
    },
    /// The engine's disk is none of this machine's.
    Unknown {
        /// Why, in words.
        why: String,
    },
}

impl Room {
    /// Whether so many bytes to download fit; without any it asks for the least that is of use.
    ///
    /// # Errors
    /// [`DockerErrorKind::NoSpace`] when they do not.
    pub fn fits(&self, download: u64) -> Result<(), DockerError> {
        let Self::Free { root_dir, bytes } = self else { return Ok(()) };
        let needed = download.saturating_mul(UNPACKED).max(LEAST);
        if *bytes >= needed {
            return Ok(());
        }
        let because = if needed == LEAST {
            "that is the least that is of use".to_owned()
        } else {
            format!("{UNPACKED} times the {} MiB to download, since they are unpacked", mib(download))
        };
        let message = format!(
            "there is no room for the image: {} MiB are free in {}, where the engine keeps its images, and {} MiB are \
             needed ({because}); make room, for example with `switcher prune`",
            bytes / MIB,
            root_dir.display(),
            mib(needed)
        );
        Err(DockerError::new(DockerErrorKind::NoSpace, message))
    }
}

/// Rounded up, so that nothing is called 0 MiB.
const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}

impl Engine {
    /// Looks at the room on the engine's disk.
    ///
    /// # Errors
    /// When the engine cannot be asked where it keeps its images.
    pub async fn room(&self) -> Result<Room, DockerError> {
        if !self.is_local() {
            let why = format!("the engine at {} keeps its images on another machine", self.name());
            return Ok(Room::Unknown { why });
        }
        Ok(free(Path::new(&self.info().await?.root_dir)))
    }
}

/// What is free in a folder for users who are not root (the reserve is the system's).
fn free(root_dir: &Path) -> Room {
    match statvfs(root_dir) {
        Ok(disk) => {
            Room::Free { root_dir: root_dir.to_owned(), bytes: disk.f_bavail.saturating_mul(disk.f_frsize) }
        }
        Err(error) => Room::Unknown { why: format!("{} cannot be looked at: {error}", root_dir.display()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_needs_three_times_its_download_and_never_less_than_the_least() {
        let room = |bytes| Room::Free { root_dir: PathBuf::from("/var/lib/docker"), bytes };
        assert_eq!(room(LEAST).fits(0), Ok(()));
        assert_eq!(room(3000 * MIB).fits(1000 * MIB), Ok(()));
        let error = room(2999 * MIB).fits(1000 * MIB).expect_err("too little");
        assert_eq!(error.kind(), DockerErrorKind::NoSpace);
        let text = error.to_string();
        assert!(text.contains("2999 MiB are free in /var/lib/docker") && text.contains("3000 MiB"), "{text}");
        let text = room(LEAST - 1).fits(1).expect_err("less than the least").to_string();
        assert!(text.contains("511 MiB") && text.contains("512 MiB"), "{text}");
    }

    #[test]
    fn a_disk_that_cannot_be_seen_stops_nothing() {
        let room = free(Path::new("/nonexistent/docker"));
        assert!(matches!(&room, Room::Unknown { why } if why.contains("/nonexistent/docker")), "{room:?}");
        assert_eq!(room.fits(u64::MAX), Ok(()));
        assert!(matches!(free(Path::new("/")), Room::Free { bytes, .. } if bytes > 0));
    }
}
