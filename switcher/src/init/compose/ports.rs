//! `ports` and `expose`: which TCP ports a container listens on.

use switcher_config::document::Item;

use crate::init::interpolation::{by_defaults, pieces};
use crate::init::service::Service;

/// Reads `ports`, in the short and in the long form.
pub(super) fn published(service: &mut Service, item: Item<'_>) {
    for port in item.items() {
        let (inside, outside, protocol) = if port.is_section() {
            let text = |key| port.get(key).and_then(Item::text).map(str::to_owned);
            (text("target").unwrap_or_default(), text("published"), text("protocol"))
        } else {
            short(port.text().unwrap_or_default())
        };
        if protocol.is_some_and(|protocol| protocol != "tcp") {
            service.leave(port.line(), "ports", "only TCP is proxied; publish this port another way");
            continue;
        }
        match number(&inside) {
            Some(number) => add(service, number),
            None => service.leave(port.line(), "ports", "this is no single port; name it as `deploy.port`"),
        }
        service.published.extend(outside.as_deref().and_then(by_defaults));
    }
}

/// `[[host:]outside:]inside[/protocol]`.
fn short(text: &str) -> (String, Option<String>, Option<String>) {
    let (text, protocol) = match pieces(text, '/').as_slice() {
        [port, protocol] => ((*port).to_owned(), Some((*protocol).to_owned())),
        _ => (text.to_owned(), None),
    };
    let parts = pieces(&text, ':');
    let inside = parts.last().copied().unwrap_or_default().to_owned();
    let outside = (parts.len() > 1).then(|| parts[parts.len() - 2].to_owned());
    (inside, outside.filter(|port| !port.is_empty()), protocol)
}

/// A port that is written, or that is the default of a name.
pub(super) fn number(text: &str) -> Option<u16> {
    by_defaults(text)?.trim_end_matches("/tcp").parse().ok().filter(|port| *port != 0)
}

/// Adds a port that was not met yet.
pub(super) fn add(service: &mut Service, port: u16) {
    if !service.ports.contains(&port) {
        service.ports.push(port);
    }
}
