//! Balancing that cannot work: a slot whose upstreams all weigh nothing.

use super::{quietly, upstreams};
use crate::node::Node;
use crate::reader::Reader;
use crate::{Slot, Weight};

/// Tells what does not fit together in an application's balancing.
pub(super) fn check(app: &Node, reader: &mut Reader) {
    for slot in Slot::ALL {
        let Some(node) = upstreams(app, slot).filter(|node| !node.is_null() && !node.items().is_empty())
        else {
            continue;
        };
        let nothing =
            |item: &Node| quietly::<Weight>(item.get("weight")).is_some_and(|weight| weight.get() == 0);
        if node.items().iter().all(nothing) {
            let message = format!("every upstream of {slot} has the weight 0, so none would get a request");
            reader.under(&format!("slots.{slot}"), |reader| {
                reader.wrong(node, message, "give one of them a weight from 1 to 100, or leave `weight` out");
            });
        }
    }
}
