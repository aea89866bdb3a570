//! Which leases may still change the routing: the newest that was shown, and every newer one.
//!
//! The lease itself is kept by the deployer, where it may run out while its owner sleeps. This check is what makes
//! that harmless: of two owners the proxy obeys the later one alone, whatever the clocks say (Martin Kleppmann,
//! "How to do distributed locking", 2016, on fencing tokens). Pure; [`decide`](crate::decide) asks.

use std::cmp::Ordering;

use switcher_config::wire::{Fence, RefusalReason};

use crate::decide::Denied;

/// The longest name of a holder, in bytes.
const LONGEST_HOLDER: usize = 128;

/// The lease to remember when `asked` is shown, or why it is refused.
///
/// A greater number wins. The same number is taken from the same holder only: a repetition, no second owner.
///
/// # Errors
/// [`RefusalReason::StaleFence`] when the lease was lost, [`RefusalReason::BadRequest`] when its holder has no
/// printable name.
pub fn admit(now: Option<&Fence>, asked: &Fence) -> Result<Fence, Denied> {
    let printable = asked.holder.bytes().all(|byte| byte.is_ascii_graphic());
    if asked.holder.is_empty() || asked.holder.len() > LONGEST_HOLDER || !printable {
        let message =
            format!("the holder of a lease is a word of 1 to {LONGEST_HOLDER} printable ASCII characters");
        return Err(Denied { reason: RefusalReason::BadRequest, message });
    }
    let Some(now) = now else { return Ok(asked.clone()) };
    let lost = |how: &str| {
        let message = format!(
            "lease {} of {} {how} lease {} of {}",
            asked.number, asked.holder, now.number, now.holder
        );
        Err(Denied { reason: RefusalReason::StaleFence, message })
    };
    match asked.number.cmp(&now.number) {
        Ordering::Greater => Ok(asked.clone()),
        Ordering::Equal if asked.holder == now.holder => Ok(asked.clone()),
        Ordering::Equal => lost("was never the one that counts: its number is that of"),
        Ordering::Less => lost("was lost to"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(number: u64, holder: &str) -> Fence {
        Fence { number, holder: holder.to_owned() }
    }

    #[test]
    fn a_newer_lease_wins_and_the_same_may_be_shown_again() {
        for (now, asked) in [
            (None, lease(0, "ann")),
            (Some(lease(3, "ann")), lease(4, "bob")),
            (Some(lease(3, "ann")), lease(9, "ann")),
            (Some(lease(3, "ann")), lease(3, "ann")),
        ] {
            assert_eq!(admit(now.as_ref(), &asked), Ok(asked), "{now:?}");
        }
    }

    #[test]
    fn a_lost_lease_is_refused_naming_both_owners() {
        let now = lease(4, "bob");
        for (asked, words) in [
            (lease(3, "ann"), "lease 3 of ann was lost to lease 4 of bob"),
            (lease(3, "bob"), "lease 3 of bob was lost to lease 4 of bob"),
            (
                lease(4, "ann"),
                "lease 4 of ann was never the one that counts: its number is that of lease 4 of bob",
            ),
        ] {
            let denied = admit(Some(&now), &asked).expect_err("refused");
            assert_eq!((denied.reason, denied.message.as_str()), (RefusalReason::StaleFence, words));
        }
    }

    #[test]
    fn a_holder_has_a_name_that_can_be_printed() {
        for holder in ["", "two words", "a\nb", "é", &"x".repeat(129)] {
            let denied = admit(None, &lease(1, holder)).expect_err("refused");
            assert_eq!(denied.reason, RefusalReason::BadRequest, "{holder:?}");
        }
        assert!(admit(None, &lease(1, &"x".repeat(128))).is_ok());
    }
}
