//! Fixed addresses of containers within a network. Pure.
//!
//! The invariant: an address that ever belonged to blue is never given to green, and the other way round. A proxy
//! that still holds the old address of a slot can then never reach the other version by mistake. Called by the
//! Docker runtime.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use switcher_config::Slot;

/// How far down from the top of a subnet is looked for a free address: also a `/64` must come to an end.
const FURTHEST: u64 = 4096;

/// The address of one replica: counted from the top of the subnet, where the engine's own numbering comes last. Blue
/// has the odd places, green the even ones; what is `taken` by others is stepped over. None when nothing is free.
#[must_use]
pub fn address_for(subnet: IpNet, slot: Slot, replica: u16, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let parity = match slot {
        Slot::Blue => 0,
        Slot::Green => 1,
    };
    let wanted = 2 * u64::from(replica.max(1) - 1) + parity;
    (wanted..FURTHEST)
        .step_by(2)
        .map_while(|place| from_top(subnet, place))
        .find(|address| !taken.contains(address))
}

/// The address `place` below the highest usable one; none where the subnet ends. The network itself, its first
/// address (the gateway, as a rule) and IPv4's broadcast address are nobody's.
fn from_top(subnet: IpNet, place: u64) -> Option<IpAddr> {
    match subnet {
        IpNet::V4(net) => {
            let below = u32::try_from(place).ok()?.checked_add(1)?;
            let address = u32::from(net.broadcast()).checked_sub(below)?;
            (address > u32::from(net.network()).checked_add(1)?).then(|| IpAddr::V4(address.into()))
        }
        IpNet::V6(net) => {
            let address = u128::from(net.broadcast()).checked_sub(u128::from(place))?;
            (address > u128::from(net.network()).checked_add(1)?).then(|| IpAddr::V6(address.into()))
        }
    }
}

/// The lower half of a subnet, for addresses that the engine hands out by itself; none where there is none.
#[must_use]
pub(super) fn lower_half(subnet: IpNet) -> Option<IpNet> {
    subnet.subnets(subnet.prefix_len() + 1).ok()?.next()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a subnet")
    }

    fn free(subnet: &str, slot: Slot, replica: u16) -> Option<String> {
        address_for(net(subnet), slot, replica, &BTreeSet::new()).map(|address| address.to_string())
    }

    #[test]
    fn addresses_count_down_from_the_top() {
        assert_eq!(free("10.1.2.0/24", Slot::Blue, 1).as_deref(), Some("10.1.2.254"));
        assert_eq!(free("10.1.2.0/24", Slot::Green, 1).as_deref(), Some("10.1.2.253"));
        assert_eq!(free("10.1.2.0/24", Slot::Blue, 2).as_deref(), Some("10.1.2.252"));
        assert_eq!(free("172.20.0.0/16", Slot::Green, 2).as_deref(), Some("172.20.255.251"));
        assert_eq!(free("fd00::/64", Slot::Blue, 1).as_deref(), Some("fd00::ffff:ffff:ffff:ffff"));
    }

    #[test]
    fn a_subnet_that_is_too_small_has_none() {
        // .0 is the network, .1 the gateway, .3 the broadcast address: one is left.
        assert_eq!(free("10.0.0.0/30", Slot::Blue, 1).as_deref(), Some("10.0.0.2"));
        assert_eq!(free("10.0.0.0/30", Slot::Green, 1), None);
        assert_eq!(free("10.0.0.0/32", Slot::Blue, 1), None);
        assert_eq!(free("0.0.0.0/0", Slot::Blue, 1).as_deref(), Some("255.255.255.254"));
    }

    #[test]
    fn the_lower_half_never_meets_the_top() {
        assert_eq!(lower_half(net("10.1.2.0/24")), Some(net("10.1.2.0/25")));
        assert_eq!(lower_half(net("10.1.2.3/32")), None);
    }

    proptest! {
        #[test]
        fn nobody_gets_what_is_taken_nor_what_the_other_slot_could_have(
            prefix in 20_u8..=28,
            taken in prop::collection::btree_set(1_u32..256, 0..40),
            replicas in 1_u16..5,
        ) {
            let subnet: IpNet = format!("10.9.0.0/{prefix}").parse().expect("a subnet");
            let IpNet::V4(v4) = subnet else { unreachable!() };
            let taken: BTreeSet<IpAddr> =
                taken.into_iter().map(|below| IpAddr::V4((u32::from(v4.broadcast()) - below).into())).collect();
            let parity = |slot| -> BTreeSet<u8> {
                (1..=replicas)
                    .filter_map(|replica| address_for(subnet, slot, replica, &taken))
                    .map(|address| {
                        assert!(!taken.contains(&address) && subnet.contains(&address));
                        let IpAddr::V4(address) = address else { unreachable!() };
                        address.octets()[3] % 2
                    })
                    .collect()
            };
            prop_assert!(parity(Slot::Blue).is_disjoint(&parity(Slot::Green)));
        }
    }
}
