//! How the configuration and the remembered routing come together, at start and at every reload.
//!
//! The routing file owns which slot is live and every registered address; the configuration owns the
//! fixed addresses. A pure function, so that each combination can be looked at in a table.

use switcher_config::PerSlot;
use switcher_config::settings::AppSettings;

use crate::affinity::adopted;
use crate::routing::{AppRouting, SlotRouting, SlotSource};

/// The routing of one application after reading its settings. A change makes the next generation.
#[must_use]
pub fn adopt(remembered: Option<&AppRouting>, settings: &AppSettings) -> AppRouting {
    let configured = settings.slots.map(|_, addresses| SlotRouting {
        upstreams: addresses.clone().unwrap_or_default(),
        release: None,
        source: SlotSource::Configured,
    });
    let Some(now) = remembered else {
        let first = AppRouting::new(settings.initial, configured);
        return adopted(first, settings.release_affinity.as_ref());
    };
    let slots = PerSlot::from_fn(|slot| {
        let (old, new) = (now.slots.get(slot), configured.get(slot));
        match old.source {
            SlotSource::Configured if old.upstreams != new.upstreams => new.clone(),
            SlotSource::Configured | SlotSource::Registered => old.clone(),
        }
    });
    let generation = if slots == now.slots { now.generation } else { now.generation.next() };
    // Something else is in the slot that was left.
    let other = now.active.other();
    let left = now.left.clone().filter(|_| slots.get(other).serves_as(now.slots.get(other)));
    let next = AppRouting { generation, slots, left, ..now.clone() };
    adopted(next, settings.release_affinity.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::app_settings;
    use switcher_config::{Generation, Slot};

    fn remembered() -> AppRouting {
        AppRouting { active: Slot::Green, ..adopt(None, &app_settings("127.0.0.1:1", "127.0.0.1:2")) }
    }

    #[test]
    fn the_first_start_takes_the_initial_slot_and_the_fixed_addresses() {
        let first = adopt(None, &app_settings("127.0.0.1:1", "127.0.0.1:2"));
        assert_eq!((first.active, first.generation), (Slot::Blue, Generation::FIRST));
        assert_eq!(first.slots.green.upstreams[0].to_string(), "127.0.0.1:2");
    }

    #[test]
    fn later_starts_keep_the_live_slot_and_the_generation() {
        let again = adopt(Some(&remembered()), &app_settings("127.0.0.1:1", "127.0.0.1:2"));
        assert_eq!(again, remembered());
    }

    #[test]
    fn changed_fixed_addresses_are_followed_one_generation_later() {
        let changed = adopt(Some(&remembered()), &app_settings("127.0.0.1:1", "127.0.0.1:3"));
        assert_eq!(changed.generation, remembered().generation.next());
        assert_eq!(changed.active, Slot::Green);
        assert_eq!(changed.slots.green.upstreams[0].to_string(), "127.0.0.1:3");
    }

    #[test]
    fn registered_addresses_win_over_fixed_ones() {
        let mut registered = remembered();
        registered.slots.blue.source = SlotSource::Registered;
        registered.slots.blue.upstreams = vec!["127.0.0.1:9".parse().expect("an address")];
        assert_eq!(adopt(Some(&registered), &app_settings("127.0.0.1:7", "127.0.0.1:2")), registered);
    }
}
