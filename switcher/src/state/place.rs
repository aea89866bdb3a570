//! Where an application's memory lies: `<state_dir>/<environment>/`, or `…/apps/<app>/` below it.
//!
//! One application has the folder of its environment, where scripts look for `state.json`. A second one gets
//! a folder of its own, and never moves the first.

use std::path::{Component, Path, PathBuf};

use switcher_config::AppName;

/// Which folder of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The environment's own.
    Top,
    /// `apps/<app>/` in it.
    Own,
}

/// Decides. `top_app` is whose `state.json` lies in the environment's folder, `own_exists` whether `app` has one
/// in a folder of its own, `sole` whether it is the only one that is deployed. Pure.
#[must_use]
pub fn place(app: &AppName, top_app: Option<&AppName>, own_exists: bool, sole: bool) -> Place {
    match top_app {
        Some(top) if top == app => Place::Top,
        Some(_) => Place::Own,
        None if own_exists || !sole => Place::Own,
        None => Place::Top,
    }
}

/// Whether a name can name the folder of an environment.
#[must_use]
pub(super) fn names_a_folder(environment: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    !environment.is_empty() && !environment.starts_with('.') && environment.chars().all(plain)
}

/// Whether a folder lies where the system makes room by itself. `temporary` is `$TMPDIR`. Pure; the paths are
/// absolute, and free of links as far as they exist.
#[must_use]
pub(super) fn is_temporary(folder: &Path, temporary: &Path) -> bool {
    let roots = [Path::new("/tmp"), Path::new("/var/tmp"), Path::new("/dev/shm"), temporary];
    roots.into_iter().filter(|root| root.components().count() > 1).any(|root| folder.starts_with(root))
}

/// The path as the system would find it: links followed as far as it exists, `..` resolved in the rest.
#[must_use]
pub(super) fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find_map(|ancestor| {
        let real = ancestor.canonicalize().ok()?;
        Some((real, absolute.strip_prefix(ancestor).ok()?.to_owned()))
    });
    let Some((mut real, rest)) = existing else { return absolute };
    for part in rest.components() {
        if part == Component::ParentDir {
            real.pop();
        } else {
            real.push(part);
        }
    }
    real
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().expect("a name")
    }

    #[test]
    fn a_second_application_never_moves_the_first() {
        let (shop, blog) = (app("shop"), app("blog"));
        for (top, own, sole, expected) in [
            (None, false, true, Place::Top),
            (None, false, false, Place::Own),
            (None, true, true, Place::Own),
            (None, true, false, Place::Own),
            (Some(&shop), false, true, Place::Top),
            (Some(&shop), false, false, Place::Top),
            (Some(&shop), true, false, Place::Top),
            (Some(&blog), false, true, Place::Own),
            (Some(&blog), false, false, Place::Own),
            (Some(&blog), true, true, Place::Own),
        ] {
            assert_eq!(place(&shop, top, own, sole), expected, "{top:?} {own} {sole}");
        }
    }

    #[test]
    fn temporary_folders_are_known_also_behind_a_link() {
        let home = Path::new("/home/ada/tmp");
        for (folder, expected) in [
            ("/tmp/state", true),
            ("/tmp", true),
            ("/var/tmp/x/y", true),
            ("/dev/shm/state", true),
            ("/home/ada/tmp/state", true),
            ("/home/ada/state", false),
            ("/var/lib/switcher-deployments", false),
            ("/tmpfiles/state", false),
        ] {
            assert_eq!(is_temporary(Path::new(folder), home), expected, "{folder}");
        }
        assert!(!is_temporary(Path::new("/srv/state"), Path::new("/")), "a root that is everything");
        let link = tempfile::tempdir().expect("a folder");
        let behind = link.path().join("state");
        std::os::unix::fs::symlink("/var/tmp", &behind).expect("a link");
        assert_eq!(real(&behind.join("a/../b")), Path::new("/var/tmp/b"));
    }

    #[test]
    fn an_environment_is_one_folder() {
        for (name, good) in [
            ("production", true),
            ("eu-1.blue", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            (".x", false),
        ] {
            assert_eq!(names_a_folder(name), good, "{name}");
        }
    }
}
