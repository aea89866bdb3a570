//! Which leases may still change the routing: the newest that was shown, and every newer one.
//!
//! The lease itself is kept by the deployer, where it may run out while its owner sleeps. This check is what makes
//! that harmless: of two owners the proxy obeys the later one alone, whatever the clocks say (Martin Kleppmann,
//! "How to do distributed locking", 2016, on fencing tokens). Pure; [`decide`](crate::decide) asks.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use switcher_config::wire::{Claim, Fence, RefusalReason};

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

/// The longest that a claim holds without being renewed.
const LONGEST_CLAIM: Duration = Duration::from_secs(30 * 60);

/// A claim that holds. In memory alone: a proxy that restarts learns of it when it is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where the lease is kept.
    place: String,
    /// Whose it is.
    holder: String,
    /// Until when.
    until: Instant,
}

/// What holds after a claim, or why it is refused: two operators whose leases are kept in different places know
/// nothing of each other, and meet here.
///
/// # Errors
/// [`RefusalReason::LeaseHeld`] while a claim of another place holds.
pub fn exclude(held: Option<&Held>, asked: &Claim, now: Instant) -> Result<Option<Held>, Denied> {
    let Some(place) = &asked.place else { return Ok(held.cloned()) };
    if let Some(other) = held.filter(|held| held.place != *place && held.until > now) {
        let message = format!(
            "{} holds the lease, which is kept in another place ({}), for at least {} s more",
            other.holder,
            other.place,
            other.until.duration_since(now).as_secs() + 1
        );
        return Err(Denied { reason: RefusalReason::LeaseHeld, message });
    }
    let length = Duration::from_secs(asked.seconds).min(LONGEST_CLAIM);
    let holds = || Held { place: place.clone(), holder: asked.holder.clone(), until: now + length };
    Ok((!length.is_zero()).then(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(place: &str, seconds: u64) -> Claim {
        Claim { number: 1, holder: format!("lock_{place}"), place: Some(place.to_owned()), seconds }
    }

    #[test]
    fn a_claim_excludes_other_places_until_it_ends_or_is_given_back() {
        let now = Instant::now();
        let held = exclude(None, &claim("here", 60), now).expect("nobody holds it");
        let soon = now + Duration::from_secs(59);
        let refused = exclude(held.as_ref(), &claim("there", 60), soon).expect_err("it is held");
        assert_eq!(refused.reason, RefusalReason::LeaseHeld);
        assert_eq!(
            refused.message,
            "lock_here holds the lease, which is kept in another place (here), for at least 2 s more"
        );
        let renewed = exclude(held.as_ref(), &claim("here", 60), soon).expect("its own");
        let late = now + Duration::from_secs(61);
        assert!(exclude(renewed.as_ref(), &claim("there", 60), late).is_err(), "it was renewed");
        assert!(exclude(held.as_ref(), &claim("there", 60), late).is_ok(), "it has ended");
        assert_eq!(exclude(held.as_ref(), &claim("here", 0), soon), Ok(None), "it was given back");
    }

    #[test]
    fn a_claim_without_a_place_excludes_nobody_and_frees_nothing() {
        let now = Instant::now();
        let held = exclude(None, &claim("here", 60), now).expect("nobody holds it");
        let bare = Claim::from(lease(2, "bob"));
        assert_eq!(exclude(held.as_ref(), &bare, now), Ok(held.clone()));
        assert_eq!(exclude(None, &bare, now), Ok(None));
    }

    #[test]
    fn no_claim_holds_for_longer_than_half_an_hour() {
        let now = Instant::now();
        let held = exclude(None, &claim("here", u64::MAX), now).expect("nobody holds it");
        let later = now + LONGEST_CLAIM;
        assert!(exclude(held.as_ref(), &claim("there", 1), later).is_ok());
    }

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
