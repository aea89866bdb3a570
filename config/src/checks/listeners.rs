//! The names of listeners, and the applications that are served at them.

use std::collections::BTreeSet;

use super::quietly;
use crate::node::Node;
use crate::reader::{Reader, list, meant, shown};
use crate::values::{ListenerName, UNNAMED};

/// The names that listeners have.
pub(super) fn named(proxy: Option<&Node>) -> Vec<String> {
    let of = |key| proxy.and_then(|proxy| proxy.get(key)).map_or(&[][..], Node::items);
    let listeners = of("http").iter().chain(of("https"));
    let names = listeners.filter_map(|node| quietly::<ListenerName>(node.get("name")));
    let names: BTreeSet<String> = names.map(|name| name.0).filter(|name| name != UNNAMED).collect();
    names.into_iter().collect()
}

/// Tells names that no listener has.
pub(super) fn check(app: &Node, named: &[String], reader: &mut Reader) {
    let wanted = app.get("listeners").map_or(&[][..], Node::items);
    let mut known: Vec<&str> = named.iter().map(String::as_str).collect();
    known.push(UNNAMED);
    for (index, node) in wanted.iter().enumerate() {
        let Some(ListenerName(name)) = quietly(Some(node)) else { continue };
        if known.contains(&name.as_str()) {
            continue;
        }
        let message = format!("there is no listener named {}", shown(node, &name));
        let hint = match meant(&name, &known) {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!(
                "give one its name, for example `http: {{listen: 0.0.0.0:8080, name: {name}}}`; there is {}",
                list(&known)
            ),
        };
        reader.under(&format!("listeners[{index}]"), |reader| reader.wrong(node, message, hint));
    }
}
