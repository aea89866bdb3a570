//! Whether a state folder can be believed: nobody but this user and root may change it, or put another in its place.
//!
//! The deployer follows what is remembered there, and is run by root. So a folder that a less trusted process can write,
//! such as the proxy's own, is refused. Called when the memory is opened, and again once its folders are made.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::StateError;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    link: bool,
    user: u32,
    group: u32,
    mode: u32,
}

impl From<&Metadata> for Seen {
    fn from(there: &Metadata) -> Self {
        Self { link: there.is_symlink(), user: there.uid(), group: there.gid(), mode: there.mode() }
    }
}

/// Who looks: user and group.
type Me = (u32, u32);

/// What is wrong with a folder; `ours` is the state folder and what lies in it, otherwise it lies above. Pure.
fn fault(seen: Seen, ours: bool, (user, group): Me) -> Option<&'static str> {
    if ours && seen.link {
        return Some("is a link");
    }
    if seen.user != 0 && seen.user != user {
        return Some("belongs to another user");
    }
    let sticky = !ours && seen.mode & 0o1000 != 0;
    let by_group = seen.mode & 0o020 != 0 && seen.group != 0 && seen.group != group;
    let by_others = seen.mode & 0o002 != 0 || by_group;
    // The rights of a link mean nothing.
    (by_others && !sticky && !seen.link).then_some("may be written by other users")
}

/// Refuses a state folder that others may change. `given` is as it was configured, `state_dir` where that really is,
/// `folder` an application's in it. What is not there yet is no fault.
///
/// # Errors
/// When one of them, or a folder above, is another user's, may be written by others, or is a link.
pub(super) fn check(given: &Path, state_dir: &Path, folder: &Path) -> Result<(), StateError> {
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let look = |path: &Path, ours: bool| {
        let Ok(there) = path.symlink_metadata() else { return Ok(()) };
        match fault(Seen::from(&there), ours, me) {
            Some(why) => Err(StateError::Untrusted { folder: path.to_owned(), why }),
            None => Ok(()),
        }
    };
    let given = std::path::absolute(given).unwrap_or_else(|_| given.to_owned());
    given.ancestors().try_for_each(|path| look(path, path == given))?;
    folder.ancestors().try_for_each(|path| look(path, path.starts_with(state_dir)))?;
    ["leases", "deployments"].iter().try_for_each(|name| look(&folder.join(name), true))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_this_user_and_root_may_change_it() {
        let proxy = 998;
        for (user, group, mode, ours, me, good) in [
            (0, 0, 0o700, true, (0, 0), true),
            (1000, 1000, 0o775, true, (1000, 1000), true),
            (0, 0, 0o755, false, (1000, 1000), true),
            (0, 0, 0o1777, false, (0, 0), true),
            (0, 0, 0o1777, true, (0, 0), false),
            (0, 0, 0o777, false, (0, 0), false),
            (proxy, proxy, 0o750, false, (0, 0), false),
            (proxy, proxy, 0o700, true, (0, 0), false),
            (0, proxy, 0o770, true, (0, 0), false),
            (0, proxy, 0o750, true, (0, 0), true),
        ] {
            let seen = Seen { link: false, user, group, mode };
            assert_eq!(fault(seen, ours, me).is_none(), good, "{seen:?} {ours} {me:?}");
        }
    }

    #[test]
    fn a_real_folder_is_looked_at_with_all_above_it() {
        let home = tempfile::tempdir().expect("a folder");
        let above = home.path().canonicalize().expect("a path").join("above");
        let state = above.join("state");
        let folder = state.join("production");
        fs::create_dir_all(&folder).expect("folders");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("rights");
        };
        [&above, &state, &folder].into_iter().for_each(|path| mode(path, 0o755));
        check(&state, &state, &folder).expect("it is ours");
        for wide in [&above, &state, &folder] {
            mode(wide, 0o777);
            let error = check(&state, &state, &folder).expect_err("others may write");
            assert!(error.to_string().contains(&format!("{} may be written", wide.display())), "{error}");
            mode(wide, 0o755);
        }
        let link = above.join("link");
        symlink(&state, &link).expect("a link");
        let error = check(&link, &state, &folder).expect_err("a link");
        assert!(error.to_string().contains("link is a link"), "{error}");
        symlink("/etc", folder.join("leases")).expect("a link");
        check(&state, &state, &folder).expect_err("a planted link");
    }
}
