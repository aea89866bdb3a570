//! `mirror`: the location that it names as the place that copies of requests go to. Pure.

use super::location::Around;
use super::scope::Scope;
use super::upstream::pool;
use crate::import::action::Later;
use crate::import::note::Note;
use crate::import::sheet::Entry;
use crate::import::site::{Imported, Route};
use crate::import::tree::{At, Node};

/// Puts the place of the first `mirror` that holds into a route; the others are told.
pub(super) fn copied(route: &mut Route, scope: &Scope<'_>, around: &Around<'_>, imported: &mut Imported) {
    let _ = scope.one("mirror_request_body").map(Node::take_whole);
    for node in scope.all("mirror") {
        let path = node.word(0).unwrap_or_default();
        if path == "off" {
            continue;
        }
        let place = around
            .server
            .children
            .iter()
            .find(|child| child.name == "location" && child.seen().last() == Some(&path));
        let found = place.filter(|_| route.copied.is_empty()).and_then(|place| {
            let pass = place.get("proxy_pass")?;
            let found = pool(pass, &scope.within(place), &around.root, imported).ok()?;
            let _ = place.take().words();
            for name in ["internal", "proxy_set_header", "proxy_pass_request_body"] {
                place.all(name).for_each(Node::set_aside);
            }
            found.uri.is_none().then_some(found.upstreams)
        });
        match found {
            Some(upstreams) => {
                route.copied = upstreams.into_iter().map(|at| At::new(at.value, &at.place)).collect();
                route.keys.push(Entry::line("mirror", "{share: 100%}").from(&node.place, node.shown()));
                imported.notes.push(Note::differs(&node.place, node.shown(), Later::MIRRORED));
            }
            None => imported.notes.push(Note::left(&node.place, node.shown(), Later::Mirror.suggestion())),
        }
    }
}
