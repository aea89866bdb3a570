//! Balancing that cannot work: a slot whose upstreams all weigh nothing, a cookie for two things.

use super::{quietly, upstreams};
use crate::node::Node;
use crate::reader::Reader;
use crate::settings::Balance;
use crate::values::CookieName;
use crate::{Slot, Weight};

/// Tells what does not fit together in an application's balancing.
pub(super) fn check(app: &Node, reader: &mut Reader) {
    same_cookie(app, reader);
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

/// One cookie that is to name an upstream and a release.
fn same_cookie(app: &Node, reader: &mut Reader) {
    let sticky: Option<Balance> = quietly(app.get("balance"));
    let Some(affinity) = app.given("release_affinity") else { return };
    let Some(Balance::Sticky(sticky)) = sticky else { return };
    let named: Option<CookieName> = quietly(affinity.get("cookie"));
    if named.is_some_and(|named| named.0 == sticky) {
        let message = format!("the cookie {sticky:?} names the upstream already, by `balance.sticky`");
        let hint = "give one of them another name, or leave `cookie` out";
        reader.under("release_affinity.cookie", |reader| {
            reader.wrong(affinity.get("cookie").unwrap_or(affinity), message, hint);
        });
    }
}
