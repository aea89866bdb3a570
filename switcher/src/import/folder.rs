//! Folders that are served: what must hold for each of them, wherever it was imported from.
//!
//! Invariant: no folder is served that holds the configuration itself, passwords or keys, and nothing is said of files that
//! does not act. Called by `take_over`, when all is read and nothing is assembled.

use std::path::{Path, PathBuf};

use super::action::{Action, Files, Later};
use super::note::Note;
use super::shelf::Shelf;
use super::site::{Imported, Route, Site};
use super::tree::At;

/// Where this program keeps what nobody may read.
const OWN: [&str; 4] =
    ["/var/lib/switcher", "/var/lib/switcher-deployments", "/run/switcher", "/etc/switcher"];

/// Looks at every folder. `sources` are the files that were read, `here` is where the configuration will stand.
pub fn settle(imported: &mut Imported, sources: &[PathBuf], shelf: &Shelf, here: &Path) {
    let mut private: Vec<PathBuf> = OWN.iter().map(PathBuf::from).collect();
    private.push(shelf.real(here));
    private.extend(sources.iter().map(|file| shelf.real(file)));
    let mut notes = Vec::new();
    imported.sites.iter_mut().for_each(behind_others);
    for site in &mut imported.sites {
        let applications = site.routes.iter().any(|route| !route.upstreams.is_empty());
        for route in &mut site.routes {
            one(route, applications, &private, shelf, here, &mut notes);
        }
    }
    imported.notes.append(&mut notes);
}

/// What must hold for the folder of a route. `applications`: whether something of its site is passed on.
fn one(
    route: &mut Route,
    applications: bool,
    private: &[PathBuf],
    shelf: &Shelf,
    here: &Path,
    notes: &mut Vec<Note>,
) {
    let bare = route.upstreams.is_empty();
    let Some(index) = route.actions.iter().position(|at| matches!(at.value, Action::Files(_))) else {
        return;
    };
    let place = route.actions[index].place.clone();
    stripped(route, index);
    let Some(index) = route.actions.iter().position(|at| matches!(at.value, Action::Files(_))) else {
        return;
    };
    let Action::Files(files) = &route.actions[index].value else { return };
    let root = files.root.clone();
    if private.iter().any(|private| private.starts_with(shelf.real(&here.join(&root)))) {
        let what = format!("files of {root}, which holds the configuration itself,");
        route.actions[index].value = closed(bare, what, &root);
        return;
    }
    if bare && let Some(rewrite) = route.actions.iter().find(|at| at.value.key() == Some("rewrite")) {
        let suggestion = "files are looked for by the path that was asked for, but for `strip`; move them, or write `files` by hand";
        notes.push(Note::left(&rewrite.place, format!("{}: files of {root}", route.what), suggestion));
        route.actions[index].value = Action::Later(Later::Files(root));
        return;
    }
    if bare && !applications {
        // Files are only read: there is no body to be bounded, and nobody to be told anything.
        route.actions.retain(|at| !matches!(at.value, Action::BodySize { .. } | Action::Request(_)));
    }
    if !Path::new(&root).is_absolute() {
        let suggestion = "this folder is looked for beside the configuration; write where it is";
        notes.push(Note::differs(&place, format!("files of {root}"), suggestion));
    }
    let suggestion = "a folder without the slash behind its name is sent on with 307, and one without `index.html` is answered 404; \
                      what begins with a dot is not served, nor what a link leads to outside of the folder";
    notes.push(Note::differs(&place, route.what.clone(), suggestion));
}

/// Applications that ask for more than a path come first among those of the same path alone: where such a one turns people
/// away, no files are served at longer paths that are applications of their own.
fn behind_others(site: &mut Site) {
    let turns_away = |at: &At<Action>| {
        at.value.guards() || matches!(at.value, Action::Answer { status, .. } if status >= 400)
    };
    let guards =
        |route: &Route| route.is_apart() && route.priority.is_none() && route.actions.iter().any(turns_away);
    if !site.routes.iter().any(guards) {
        return;
    }
    let longer = |route: &&Route| !route.is_apart() && route.path.path() != "/";
    let applications: Vec<String> = site
        .routes
        .iter()
        .filter(longer)
        .filter(|route| !route.upstreams.is_empty())
        .map(|route| route.path.path().to_owned())
        .collect();
    let whole = site.routes.iter().any(|route| !route.is_apart() && route.path.path() == "/");
    for route in site.routes.iter_mut().filter(|route| longer(&&**route)) {
        let path = route.path.path();
        if whole && !applications.iter().any(|above| path.starts_with(above.as_str())) {
            continue;
        }
        let bare = route.upstreams.is_empty();
        for at in &mut route.actions {
            if let Action::Files(files) = &at.value {
                let what = format!("another route that turns people away from the files of {}", files.root);
                at.value = closed(bare, what, &files.root);
            }
        }
    }
}

/// A folder that is not served; without an application behind it nobody is let in there.
fn closed(bare: bool, what: String, root: &str) -> Action {
    Action::Later(if bare { Later::Guard(what) } else { Later::Files(root.to_owned()) })
}

/// What is taken off the path before is taken off for the files too.
fn stripped(route: &mut Route, index: usize) {
    let bare = route.upstreams.is_empty();
    let found = route.actions.iter().position(|at| matches!(at.value, Action::Strip(_))).filter(|_| bare);
    let Some(at) = found else { return };
    let Action::Strip(path) = route.actions[at].value.clone() else { return };
    if let Action::Files(Files { strip, .. }) = &mut route.actions[index].value
        && strip.is_none()
    {
        *strip = Some(path);
        route.actions.remove(at);
    }
}
