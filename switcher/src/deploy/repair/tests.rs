//! A table of what may be found and what mends it, and the promise that traffic is never taken away.

use jiff::Timestamp;
use proptest::prelude::*;
use switcher_config::Slot;

use super::*;
use crate::container::Ended;
use crate::runtime::Replica;
use crate::state::record::{HealthStatus, LockRecord, SCHEMA};

fn id(n: u64) -> DeploymentId {
    format!("dep_{}", ulid::Ulid::from_parts(n, 1)).parse().expect("an id")
}

fn record(n: u64, status: Status, slot: Slot) -> DeploymentRecord {
    DeploymentRecord {
        health_status: HealthStatus::Healthy,
        status,
        ..DeploymentRecord::begun(id(n), format!("v{n}"), slot, "op@host".into(), Timestamp::UNIX_EPOCH)
    }
}

/// A release in a slot; each replica by the last number of its address, none when it has ended.
fn running(n: u64, replicas: &[Option<u8>]) -> Running {
    let ended = || ContainerState::Exited(Ended { code: 1, out_of_memory: false, error: None });
    let replica = |at: &Option<u8>| Replica {
        container: format!("shop-{n}"),
        address: at.map(address),
        state: at.map_or_else(ended, |_| ContainerState::Running { since: Timestamp::UNIX_EPOCH }),
        health: None,
        restarts: 0,
    };
    Running {
        deployment: id(n),
        version: format!("v{n}"),
        image: String::new(),
        replicas: replicas.iter().map(replica).collect(),
        remains: Vec::new(),
    }
}

fn address(last: u8) -> UpstreamAddress {
    format!("10.0.0.{last}:80").parse().expect("an address")
}

fn proxy(active: Slot, registered: &PerSlot<Vec<u8>>) -> AppStatus {
    let slot = |slot: Slot| {
        let upstreams = registered.get(slot).iter().map(|last| {
            serde_json::json!({"address": address(*last), "health": "healthy", "last_check": null, "checks": []})
        });
        let upstreams: Vec<_> = upstreams.collect();
        serde_json::json!({"health": "healthy", "release": null, "upstreams": upstreams,
            "in_flight": {"requests": 0, "uploads": 0, "streams": 0, "websockets": 0}})
    };
    serde_json::from_value(serde_json::json!({
        "active": active, "generation": 7, "mode": "open", "held": 0, "draining": [],
        "slots": {"blue": slot(Slot::Blue), "green": slot(Slot::Green)},
    }))
    .expect("a status")
}

/// Everything that is seen, owned.
#[derive(Debug, Clone)]
struct World {
    active: Slot,
    registered: PerSlot<Vec<u8>>,
    inside: PerSlot<Option<Running>>,
    state: State,
    history: Vec<DeploymentRecord>,
    replicas: Option<u16>,
}

impl World {
    /// v2 is live in blue, v1 is warm in green, and everything agrees. v3 failed.
    fn new() -> Self {
        let live = record(2, Status::Active, Slot::Blue);
        let before = record(1, Status::Superseded, Slot::Green);
        Self {
            active: Slot::Blue,
            registered: PerSlot { blue: vec![21, 22], green: vec![11, 12] },
            inside: PerSlot {
                blue: Some(running(2, &[Some(22), Some(21)])),
                green: Some(running(1, &[Some(11), Some(12)])),
            },
            history: vec![record(3, Status::Failed, Slot::Green), live.clone(), before.clone()],
            state: State {
                schema: SCHEMA,
                environment: "production".into(),
                app: "shop".into(),
                current_deployment: Some(live),
                previous_deployment: Some(before),
                deployment_history: Vec::new(),
                lock: LockRecord::default(),
            },
            replicas: None,
        }
    }

    fn found(&self) -> Vec<Finding> {
        let proxy = proxy(self.active, &self.registered);
        diagnose(&Seen {
            proxy: &proxy,
            inside: &self.inside,
            state: &self.state,
            history: &self.history,
            replicas: self.replicas,
        })
    }

    fn remedies(&self) -> Vec<Remedy> {
        self.found().into_iter().map(|finding| finding.remedy).collect()
    }
}

fn changed(change: impl FnOnce(&mut World)) -> Vec<Remedy> {
    let mut world = World::new();
    change(&mut world);
    world.remedies()
}

#[test]
fn nothing_is_found_where_everything_agrees() {
    assert_eq!(World::new().found(), []);
    let before_the_first = |world: &mut World| {
        world.state = State::new("production", &"shop".parse().expect("a name"));
        world.history.clear();
        world.inside = PerSlot { blue: None, green: None };
    };
    assert_eq!(changed(before_the_first), [], "slots that somebody else fills are not ours to mend");
    assert_eq!(changed(|world| world.registered.blue = vec![22, 21]), [], "the order means nothing");
}

#[test]
fn a_standby_slot_that_is_cold_or_empty_is_as_it_should_be() {
    let cold = |world: &mut World| {
        world.inside.green = Some(running(1, &[None, None]));
        world.registered.green.clear();
    };
    assert_eq!(changed(cold), []);
    let empty = |world: &mut World| {
        world.inside.green = None;
        world.registered.green.clear();
    };
    assert_eq!(changed(empty), []);
}

#[test]
fn containers_of_the_live_slot_that_do_not_run_are_started() {
    let start = Remedy::Start { slot: Slot::Blue, deployment: id(2) };
    assert_eq!(changed(|world| world.inside.blue = Some(running(2, &[Some(21), None]))), [start]);
}

#[test]
fn a_live_slot_that_moved_is_told_to_the_proxy() {
    let moved = |world: &mut World| world.inside.blue = Some(running(2, &[Some(31), Some(32)]));
    let upstreams = vec![address(31), address(32)];
    assert_eq!(changed(moved), [Remedy::Readdress { slot: Slot::Blue, upstreams, version: "v2".into() }]);
}

#[test]
fn a_live_slot_with_too_few_containers_gets_them_back() {
    let start = || Remedy::Start { slot: Slot::Blue, deployment: id(2) };
    let lost = |world: &mut World| {
        world.replicas = Some(2);
        world.inside.blue = Some(running(2, &[Some(21)]));
    };
    assert_eq!(changed(lost), [start()]);
    let all_lost = |world: &mut World| {
        world.state.current_deployment.as_mut().expect("a live one").image = "shop@sha256:0".into();
        world.inside.blue = None;
    };
    assert_eq!(changed(all_lost), [start()]);
}

#[test]
fn a_proxy_that_lost_its_memory_gets_back_what_is_recorded_and_teaches_the_state_nothing() {
    let restore = || Remedy::Restore {
        slot: Slot::Blue,
        upstreams: vec![address(22), address(21)],
        version: "v2".into(),
    };
    let empty = |world: &mut World| {
        world.active = Slot::Green;
        world.registered = PerSlot { blue: Vec::new(), green: Vec::new() };
    };
    assert_eq!(changed(empty), [restore()]);
    let behind = |world: &mut World| {
        world.active = Slot::Green;
        world.state.current_deployment.as_mut().expect("a live one").generation = Some(8);
    };
    assert_eq!(changed(behind), [restore()]);
    let nothing_runs = |world: &mut World| {
        empty(world);
        world.inside.blue = None;
    };
    assert_eq!(changed(nothing_runs), [Remedy::Person]);
    // The same slot: it is only told where the containers are.
    let upstreams = vec![address(22), address(21)];
    assert_eq!(
        changed(|world| world.registered.blue.clear()),
        [Remedy::Readdress { slot: Slot::Blue, upstreams, version: "v2".into() }]
    );
}

#[test]
fn the_state_follows_the_proxy() {
    let other = |world: &mut World| world.active = Slot::Green;
    assert_eq!(changed(other), [Remedy::Adopt { deployment: id(1), slot: Slot::Green }]);
    let never_recorded = |world: &mut World| world.state.current_deployment = None;
    assert_eq!(changed(never_recorded), [Remedy::Adopt { deployment: id(2), slot: Slot::Blue }]);
    let wrong_slot = |world: &mut World| {
        world.state.current_deployment.as_mut().expect("a live one").active_slot = Slot::Green;
    };
    assert_eq!(changed(wrong_slot), [Remedy::Adopt { deployment: id(2), slot: Slot::Blue }]);
}

#[test]
fn a_warm_slot_that_the_proxy_forgot_is_registered_again() {
    let register = || Remedy::Register {
        slot: Slot::Green,
        upstreams: vec![address(11), address(12)],
        version: "v1".into(),
    };
    assert_eq!(changed(|world| world.registered.green.clear()), [register()]);
    assert_eq!(changed(|world| world.registered.green = vec![11, 99]), [register()]);
}

#[test]
fn what_failed_or_nobody_knows_is_not_registered() {
    for stranger in [3, 9] {
        let there = |world: &mut World| {
            world.registered.green.clear();
            world.inside.green = Some(running(stranger, &[Some(11)]));
        };
        assert_eq!(changed(there), [], "v{stranger}");
    }
}

#[test]
fn addresses_of_the_standby_slot_behind_which_nothing_runs_are_withdrawn() {
    let withdraw = Remedy::Withdraw { slot: Slot::Green };
    assert_eq!(changed(|world| world.inside.green = None), std::slice::from_ref(&withdraw));
    assert_eq!(changed(|world| world.inside.green = Some(running(1, &[Some(11), None]))), [withdraw]);
}

#[test]
fn what_has_no_safe_answer_is_a_persons() {
    assert_eq!(changed(|world| world.inside.blue = None), [Remedy::Person], "live, and not ours");
    let stranger = |world: &mut World| world.inside.blue = Some(running(9, &[Some(21), Some(22)]));
    assert_eq!(changed(stranger), [Remedy::Person], "live, and in no history");
    let nothing = |world: &mut World| world.inside.blue = Some(running(2, &[]));
    assert_eq!(changed(nothing), [Remedy::Person], "live, and none of its addresses is known");
}

#[test]
fn the_most_urgent_comes_first_and_one_finding_hides_no_other() {
    let everything = |world: &mut World| {
        world.active = Slot::Green;
        world.inside.green = Some(running(1, &[Some(13), Some(14)]));
        world.inside.blue = None;
    };
    let upstreams = vec![address(13), address(14)];
    let expected = [
        Remedy::Readdress { slot: Slot::Green, upstreams, version: "v1".into() },
        Remedy::Adopt { deployment: id(1), slot: Slot::Green },
        Remedy::Withdraw { slot: Slot::Blue },
    ];
    assert_eq!(changed(everything), expected);
}

fn slots() -> impl Strategy<Value = Slot> {
    prop_oneof![Just(Slot::Blue), Just(Slot::Green)]
}

fn inside() -> impl Strategy<Value = Option<Running>> {
    let replicas = prop::collection::vec(prop::option::weighted(0.8, 1_u8..6), 0..3);
    prop::option::weighted(0.8, (1_u64..6, replicas)).prop_map(|found| found.map(|(n, at)| running(n, &at)))
}

prop_compose! {
    fn worlds()(
        active in slots(),
        blue in prop::collection::vec(1_u8..6, 0..3),
        green in prop::collection::vec(1_u8..6, 0..3),
        in_blue in inside(),
        in_green in inside(),
        current in prop::option::of((1_u64..6, slots())),
        known in prop::collection::btree_map(1_u64..6, any::<bool>(), 0..5),
    ) -> World {
        let mut world = World::new();
        world.active = active;
        world.registered = PerSlot { blue, green };
        world.inside = PerSlot { blue: in_blue, green: in_green };
        world.state.current_deployment = current.map(|(n, slot)| record(n, Status::Active, slot));
        let status = |failed| if failed { Status::Failed } else { Status::Superseded };
        world.history = known.into_iter().map(|(n, failed)| record(n, status(failed), Slot::Blue)).collect();
        world
    }
}

proptest! {
    #[test]
    fn no_remedy_takes_the_live_slot_away(world in worlds()) {
        let live = world.inside.get(world.active).as_ref();
        for remedy in world.remedies() {
            match remedy {
                Remedy::Withdraw { slot } | Remedy::Register { slot, .. } => prop_assert_ne!(slot, world.active),
                Remedy::Start { slot, deployment } => {
                    prop_assert_eq!(slot, world.active);
                    let recorded = world.state.current_deployment.as_ref().map(|current| &current.id);
                    prop_assert_eq!(Some(&deployment), live.map(|inside| &inside.deployment).or(recorded));
                }
                Remedy::Restore { slot, upstreams, .. } => {
                    let serves = !world.registered.get(world.active).is_empty();
                    prop_assert!(!serves, "traffic is taken from what serves");
                    prop_assert_eq!(Some(upstreams), world.inside.get(slot).as_ref().and_then(Running::addresses));
                }
                Remedy::Readdress { slot, upstreams, .. } => {
                    prop_assert_eq!(slot, world.active);
                    prop_assert!(!upstreams.is_empty(), "its addresses were taken away");
                    prop_assert_eq!(Some(upstreams), live.and_then(Running::addresses));
                }
                Remedy::Adopt { slot, deployment } => {
                    prop_assert_eq!(slot, world.active);
                    prop_assert_eq!(Some(&deployment), live.map(|inside| &inside.deployment));
                    prop_assert!(world.history.iter().any(|record| record.id == deployment));
                }
                Remedy::Clear { .. } | Remedy::Person => {}
            }
        }
    }

    #[test]
    fn what_is_registered_in_the_standby_slot_runs_there(world in worlds()) {
        for remedy in world.remedies() {
            if let Remedy::Register { slot, upstreams, .. } = remedy {
                prop_assert!(!upstreams.is_empty());
                prop_assert_eq!(Some(upstreams), world.inside.get(slot).as_ref().and_then(Running::addresses));
            }
        }
    }
}
