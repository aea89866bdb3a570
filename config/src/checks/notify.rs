//! What `switcher.notify` says, compared with itself.

use crate::node::{Node, Value};
use crate::reader::Reader;

/// Tells of every entry that has no address, or two.
pub(super) fn check(root: &Node, reader: &mut Reader) {
    let Some(notify) = root.get("switcher").and_then(|switcher| switcher.given("notify")) else { return };
    let listed = matches!(notify.value, Value::Sequence(_));
    for (index, item) in notify.items().iter().enumerate() {
        if !matches!(item.value, Value::Mapping(_)) {
            continue;
        }
        let message = match (item.given("url"), item.given("url_file")) {
            (Some(_), None) | (None, Some(_)) => continue,
            (Some(_), Some(_)) => "the address is written twice, as `url` and in `url_file`",
            (None, None) => "there is no address to tell anything to",
        };
        let hint =
            "write `url_file: FILE`, a file with mode 0600 that holds the address, or `url: \"${NAME}\"`";
        let place = if listed { format!("switcher.notify[{index}]") } else { "switcher.notify".to_owned() };
        reader.under(&place, |reader| reader.wrong(item, message, hint));
    }
}
