//! `auth_request`: the location that it names as the service that is asked for leave. Pure.

use super::location::Around;
use super::scope::Scope;
use super::upstream::pool;
use crate::import::action::{Action, ForwardAuth, Later};
use crate::import::note::Note;
use crate::import::site::Imported;
use crate::import::tree::Node;

/// Who is asked; a guard that stays closed where that cannot be said.
pub(super) fn asked(node: &Node, scope: &Scope<'_>, around: &Around<'_>, imported: &mut Imported) -> Action {
    let path = node.seen().first().copied().unwrap_or_default().to_owned();
    let closed = || Action::Later(Later::Guard(format!("auth_request {path}")));
    let names = |child: &&Node| child.name == "location" && child.seen().last() == Some(&path.as_str());
    let Some(place) = around.server.children.iter().find(names) else { return closed() };
    let _ = place.take().words();
    let Some(pass) = place.get("proxy_pass") else { return closed() };
    let Ok(pool) = pool(pass, &scope.within(place), &around.root, imported) else { return closed() };
    let [upstream] = pool.upstreams.as_slice() else { return closed() };
    let address = &upstream.value.address;
    if address.contains("unix:") {
        return closed();
    }
    let scheme = if address.starts_with("https://") { "" } else { "http://" };
    let target = pool.uri.clone().unwrap_or_else(|| path.clone());
    for name in ["internal", "proxy_pass_request_body", "proxy_set_header"] {
        place.all(name).for_each(Node::set_aside);
    }
    let suggestion = "it is asked with X-Forwarded-Method, -Proto, -Host, -Uri and -For, and with the headers of the request; what \
                      it answers beside 2xx is the client's answer. Clients that ask for its path reach the application";
    imported.notes.push(Note::differs(&node.place, node.shown(), suggestion));
    let set = scope.all("auth_request_set");
    let response_headers = set.iter().filter_map(|set| told(set, scope)).collect();
    let url = format!("{scheme}{address}{target}");
    Action::ForwardAuth(ForwardAuth { url, request_headers: Vec::new(), response_headers })
}

/// The header of its yes that the application gets by the same name.
fn told(set: &Node, scope: &Scope<'_>) -> Option<String> {
    let [variable, value] = set.seen()[..] else { return None };
    let header = value.strip_prefix("$upstream_http_")?.replace('_', "-");
    let passed =
        scope.all("proxy_set_header").into_iter().find(|node| node.seen().get(1) == Some(&variable))?;
    let name = passed.seen().first().copied()?.to_owned();
    if !name.eq_ignore_ascii_case(&header) {
        return None;
    }
    set.take_whole();
    Some(name)
}

/// The header that a variable stands for which the service that is asked has set.
pub(super) fn names(scope: &Scope<'_>, variable: &str) -> Option<String> {
    let set =
        scope.all("auth_request_set").into_iter().find(|node| node.seen().first() == Some(&variable))?;
    told(set, scope)
}
