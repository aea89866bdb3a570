//! Tables for each kind of removal, and the promises over random memories.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;
use switcher_config::{Generation, Span};

use super::*;
use crate::container::Ended;
use crate::deploy::order::Purpose;
use crate::deployment::Release;
use crate::runtime::Replica;
use crate::snapshot::{Condition, Snapshot};
use crate::state::record::{HealthStatus, LockRecord, SCHEMA};

const DAY: i64 = 86_400;

/// The deployment that was made on that day.
fn id(day: i64) -> DeploymentId {
    let millis = u64::try_from(day * DAY * 1000).expect("a day after the beginning");
    format!("dep_{}", ulid::Ulid::from_parts(millis, 1)).parse().expect("an id")
}

fn at(day: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(day * DAY)
}

fn record(day: i64, status: Status) -> DeploymentRecord {
    DeploymentRecord {
        image: format!("shop@{day}"),
        health_status: HealthStatus::Healthy,
        status,
        ..DeploymentRecord::begun(id(day), format!("v{day}"), Slot::Blue, "op@host".into(), at(day))
    }
}

fn running(day: i64, runs: bool) -> Running {
    let ended = Ended { code: 0, out_of_memory: false, error: None };
    let state = if runs { ContainerState::Running { since: at(day) } } else { ContainerState::Exited(ended) };
    let container = format!("shop-{day}");
    let replica = Replica { container, address: None, state, health: None, restarts: 0 };
    Running {
        deployment: id(day),
        version: format!("v{day}"),
        image: format!("shop@{day}"),
        replicas: vec![replica],
        remains: Vec::new(),
    }
}

fn image(day: i64, on: char) -> OnEngine {
    OnEngine {
        recorded: format!("shop@{day}"),
        name: format!("shop@{day}"),
        version: format!("v{day}"),
        id: format!("sha256:{on}"),
        bytes: 100,
    }
}

fn listed(day: i64, deployment: Option<i64>) -> Listed {
    let snapshot = Snapshot {
        id: SnapshotId::new(at(day)),
        deployment: deployment.map(id),
        database: "shop@db".to_owned(),
        tool: "pg_dump 15.1".to_owned(),
        server: "15.1".to_owned(),
        size_bytes: 10,
        sha256: String::new(),
        created_at: at(day),
        tables: 1,
    };
    Listed { snapshot, condition: Condition::Good }
}

fn one_off(name: &str, role: &str, deployment: Option<i64>, state: ContainerState) -> Container {
    let mut labels = BTreeMap::from([(label::ROLE.to_owned(), role.to_owned())]);
    labels.extend(deployment.map(|day| (label::DEPLOYMENT.to_owned(), id(day).to_string())));
    Container {
        id: name.to_owned(),
        name: name.to_owned(),
        labels,
        image: String::new(),
        state,
        health: None,
        addresses: BTreeMap::new(),
        restarts: 0,
    }
}

fn exited() -> ContainerState {
    ContainerState::Exited(Ended { code: 0, out_of_memory: false, error: None })
}

fn order(day: i64) -> Order {
    Order {
        id: id(day),
        purpose: Purpose::Deploy,
        app: "shop".parse().expect("a name"),
        environment: "production".into(),
        waiting: None,
        release: Release { version: format!("v{day}"), image: None, git_commit: None },
        slot: Slot::Green,
        seen: Generation::FIRST,
        began_at: at(day),
        by: "op@host".into(),
        keep_previous: Span::seconds(60),
        compatible: true,
        patience: None,
        drain: None,
        force: false,
        canary: None,
        bake: None,
        stages: Vec::new(),
    }
}

/// Everything that a test sees, owned: blue is live.
#[derive(Debug)]
struct World {
    state: State,
    history: Vec<DeploymentRecord>,
    dialled: bool,
    canary: bool,
    inside: PerSlot<Option<Running>>,
    one_offs: Vec<Container>,
    images: Vec<OnEngine>,
    snapshots: Vec<Listed>,
    folders: Vec<DeploymentFolder>,
    open: Option<Order>,
    retain: Retain,
    keep: Option<Duration>,
}

const TODAY: i64 = 100;

impl World {
    /// v90 is live, v80 was before and is warm in green, v10 to v70 were live once; every image is on the engine.
    fn new() -> Self {
        let live = record(90, Status::Active);
        let mut before = record(80, Status::Superseded);
        before.warm_until = Some(at(TODAY + 1));
        let older = (1..=7).rev().map(|n| record(n * 10, Status::Superseded));
        let history: Vec<_> = [live.clone(), before.clone()].into_iter().chain(older).collect();
        let state = State {
            schema: SCHEMA,
            environment: "production".into(),
            app: "shop".into(),
            current_deployment: Some(live),
            previous_deployment: Some(before),
            deployment_history: Vec::new(),
            lock: LockRecord::default(),
        };
        let marks = "abcdefghi".chars();
        Self {
            state,
            images: (1..=9).zip(marks).map(|(n, mark)| image(n * 10, mark)).collect(),
            snapshots: Vec::new(),
            folders: (1..=9).map(|n| DeploymentFolder { id: id(n * 10), bytes: 5 }).collect(),
            history,
            dialled: true,
            canary: false,
            inside: PerSlot { blue: Some(running(90, true)), green: Some(running(80, true)) },
            one_offs: Vec::new(),
            open: None,
            retain: Retain { images: 3, snapshots: 1, logs: Span(days(30)) },
            keep: Some(days(7)),
        }
    }

    fn prune(&self) -> Vec<Removal> {
        let seen = Seen {
            state: &self.state,
            history: &self.history,
            active: Slot::Blue,
            standby_dialled: self.dialled,
            canary: self.canary,
            inside: &self.inside,
            one_offs: &self.one_offs,
            images: &self.images,
            snapshots: &self.snapshots,
            folders: &self.folders,
            open: self.open.as_ref(),
        };
        what_to_prune(&seen, Bounds { retain: &self.retain, snapshots: self.keep, now: at(TODAY) })
    }

    fn pruned<T>(&self, which: impl Fn(&Removal) -> Option<T>) -> Vec<T> {
        self.prune().iter().filter_map(which).collect()
    }

    fn images_gone(&self) -> Vec<String> {
        self.pruned(
            |removal| if let Removal::Image { image, .. } = removal { Some(image.clone()) } else { None },
        )
    }

    fn cools(&self) -> bool {
        !self.pruned(|removal| matches!(removal, Removal::Standby { .. }).then_some(())).is_empty()
    }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY.unsigned_abs())
}

#[test]
fn images_beside_those_in_use_and_the_newest_that_were_live_go() {
    let mut world = World::new();
    assert_eq!(world.images_gone(), ["shop@10", "shop@20", "shop@30", "shop@40"]);
    world.retain.images = 0;
    assert_eq!(world.images_gone().len(), 7, "what is live and what was before stay whatever is retained");
    world.retain.images = 99;
    assert!(world.images_gone().is_empty());
}

#[test]
fn what_never_was_live_takes_no_place_and_goes() {
    let mut world = World::new();
    for record in world.history.iter_mut().filter(|record| record.version == "v70") {
        record.status = Status::Failed;
    }
    let gone = world.images_gone();
    assert!(gone.contains(&"shop@70".to_owned()) && !gone.contains(&"shop@40".to_owned()), "{gone:?}");
    world.inside.green = Some(running(70, false));
    assert!(!world.images_gone().contains(&"shop@70".to_owned()), "unless it lies in a slot");
}

#[test]
fn a_release_that_was_deployed_twice_takes_one_place() {
    let mut world = World::new();
    for record in world.history.iter_mut().filter(|record| record.version == "v70") {
        record.image = "shop@60".to_owned();
    }
    let gone = world.images_gone();
    assert!(!gone.contains(&"shop@60".to_owned()) && !gone.contains(&"shop@40".to_owned()), "{gone:?}");
}

#[test]
fn an_image_that_a_kept_release_knows_by_another_name_stays() {
    let mut world = World::new();
    world.images[0].id = world.images[8].id.clone();
    assert!(!world.images_gone().contains(&"shop@10".to_owned()));
}

#[test]
fn the_bytes_of_an_image_with_two_names_are_counted_once() {
    let mut world = World::new();
    world.images[0].id = world.images[1].id.clone();
    let bytes: u64 =
        world.prune().iter().filter(|r| matches!(r, Removal::Image { .. })).map(Removal::bytes).sum();
    assert_eq!(bytes, 300, "four names, three images");
}

#[test]
fn the_standby_slot_goes_cold_when_its_time_is_over() {
    let mut world = World::new();
    let warm = |world: &mut World, until: Option<i64>| {
        world.state.previous_deployment.as_mut().expect("one before").warm_until = until.map(at);
    };
    assert!(!world.cools(), "it is warm until tomorrow");
    warm(&mut world, None);
    assert!(!world.cools(), "nobody said until when");
    warm(&mut world, Some(TODAY));
    assert!(world.cools());
    world.open = Some(order(95));
    assert!(!world.cools(), "somebody is at work in it");
    world.open = None;
    world.inside.green = Some(running(80, false));
    assert!(world.cools(), "it ended, and the proxy still dials it");
    world.dialled = false;
    assert!(!world.cools(), "it is cold already");
    let mut world = World::new();
    warm(&mut world, Some(TODAY - 1));
    assert!(world.cools());
    world.canary = true;
    assert!(!world.cools(), "a part of the clients is in there");
}

#[test]
fn a_prepared_release_and_what_the_state_calls_live_are_never_stopped() {
    let mut world = World::new();
    let mut prepared = record(95, Status::Deploying);
    prepared.warm_until = Some(at(1));
    world.history.insert(0, prepared);
    world.inside.green = Some(running(95, true));
    assert!(!world.cools());
    world.inside.green = Some(running(90, true));
    world.state.current_deployment.as_mut().expect("a live one").warm_until = Some(at(1));
    assert!(!world.cools());
    world.inside.green = Some(running(33, true));
    assert!(!world.cools(), "nobody knows it");
}

#[test]
fn one_offs_go_once_they_have_ended_and_nobody_goes_on_with_them() {
    let mut world = World::new();
    world.one_offs = vec![
        one_off("ended", "migrate", Some(70), exited()),
        one_off("dump", "snapshot", None, exited()),
        one_off("runs", "migrate", Some(70), ContainerState::Running { since: at(99) }),
        one_off("made", "migrate", Some(70), ContainerState::Created),
        one_off("served", "app", Some(70), exited()),
    ];
    let gone = |world: &World| {
        world.pruned(|removal| {
            if let Removal::OneOff { container, .. } = removal { Some(container.clone()) } else { None }
        })
    };
    assert_eq!(gone(&world), ["ended", "dump"]);
    world.open = Some(order(70));
    assert_eq!(gone(&world), [""; 0], "its migration is waited for");
    world.open = Some(order(71));
    assert_eq!(gone(&world), ["ended"]);
}

#[test]
fn snapshots_of_kept_deployments_stay_and_so_do_all_without_a_section() {
    let mut world = World::new();
    world.snapshots = vec![listed(99, None), listed(90, None), listed(50, Some(50)), listed(10, Some(10))];
    let named = world.snapshots[1].snapshot.id.to_string();
    let gone = |world: &World| {
        world.pruned(|removal| {
            if let Removal::Snapshot { created_at, .. } = removal { Some(*created_at) } else { None }
        })
    };
    assert_eq!(gone(&world), [at(10), at(90)], "v50 is among the releases that are kept");
    world.state.current_deployment.as_mut().expect("a live one").snapshot = Some(named);
    assert_eq!(gone(&world), [at(10)], "the one before the live deployment's migrations stays");
    world.keep = None;
    assert!(gone(&world).is_empty());
}

#[test]
fn old_logs_go_but_not_those_of_what_is_in_use() {
    let mut world = World::new();
    let gone = |world: &World| {
        world.pruned(|removal| {
            if let Removal::Logs { deployment, .. } = removal { Some(deployment.clone()) } else { None }
        })
    };
    assert_eq!(gone(&world), (1..=7).map(|n| id(n * 10)).collect::<Vec<_>>(), "30 days are over for day 70");
    world.inside.green = Some(running(20, false));
    world.open = Some(order(30));
    assert_eq!(gone(&world), [10, 40, 50, 60, 70].map(id));
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Deploying),
        Just(Status::Active),
        Just(Status::Failed),
        Just(Status::RolledBack),
        Just(Status::Superseded)
    ]
}

prop_compose! {
    fn worlds()(
        history in prop::collection::vec((status(), 0_i64..12, prop::option::of(90_i64..110)), 0..12),
        current in 0_i64..12,
        before in 0_i64..12,
        blue in prop::option::of(0_i64..12),
        green in prop::option::of((0_i64..12, any::<bool>())),
        dialled in any::<bool>(),
        retained in 0_u16..4,
        open in prop::option::of(0_i64..12),
    ) -> World {
        let mut world = World::new();
        world.history = (0_i64..12).zip(history).map(|(day, (status, image, warm_until))| DeploymentRecord {
            image: format!("shop@{image}"),
            warm_until: warm_until.map(at),
            ..record(day, status)
        }).collect();
        world.history.reverse();
        let known = |day: i64| world.history.iter().find(|record| record.id == id(day)).cloned();
        world.state.current_deployment = known(current);
        world.state.previous_deployment = known(before);
        let inside = |day: i64, runs: bool| Running {
            image: known(day).map(|record| record.image).unwrap_or_default(),
            ..running(day, runs)
        };
        world.inside = PerSlot { blue: blue.map(|day| inside(day, true)), green: green.map(|(day, runs)| inside(day, runs)) };
        world.images = (0..12).map(|day| image(day, 'a')).collect();
        for (number, image) in world.images.iter_mut().enumerate() {
            image.id = format!("sha256:{number}");
        }
        world.snapshots = (0..12).map(|day| listed(day, Some(day))).collect();
        world.folders = (0..12).map(|day| DeploymentFolder { id: id(day), bytes: 5 }).collect();
        world.dialled = dialled;
        world.retain.images = retained;
        world.open = open.map(order);
        world
    }
}

proptest! {
    #[test]
    fn what_is_live_what_was_before_and_what_lies_in_a_slot_lose_nothing(world in worlds()) {
        let state = &world.state;
        let records: Vec<_> = state.current_deployment.iter().chain(&state.previous_deployment).collect();
        let inside: Vec<_> = [&world.inside.blue, &world.inside.green].into_iter().flatten().collect();
        let ids: BTreeSet<_> = records.iter().map(|r| &r.id).chain(inside.iter().map(|r| &r.deployment)).collect();
        let images: BTreeSet<_> = records.iter().map(|r| &r.image).chain(inside.iter().map(|r| &r.image)).collect();
        for removal in world.prune() {
            match removal {
                Removal::Standby { slot, deployment, warm_until, .. } => {
                    prop_assert_eq!(slot, Slot::Green, "the live slot is never stopped");
                    prop_assert!(state.current_deployment.as_ref().is_none_or(|current| current.id != deployment));
                    prop_assert!(warm_until <= at(TODAY) && world.open.is_none());
                    let known = world.history.iter().find(|record| record.id == deployment).expect("a record");
                    prop_assert!(!matches!(known.status, Status::Deploying | Status::Failed));
                }
                Removal::Image { image, .. } => prop_assert!(!images.contains(&image), "{image}"),
                Removal::Snapshot { created_at, .. } => {
                    prop_assert!(ids.iter().all(|id| id.began_at() != created_at), "{created_at}");
                }
                Removal::Logs { deployment, .. } => {
                    prop_assert!(!ids.contains(&deployment));
                    prop_assert!(world.open.as_ref().is_none_or(|order| order.id != deployment));
                }
                Removal::OneOff { .. } => {}
            }
        }
    }

    #[test]
    fn pruning_what_is_left_removes_nothing_more(mut world in worlds()) {
        let first = world.prune();
        for removal in first {
            match removal {
                Removal::Standby { .. } => {
                    world.dialled = false;
                    let green = world.inside.green.take().expect("a standby");
                    world.inside.green = Some(Running { replicas: Vec::new(), ..green });
                }
                Removal::Image { image, .. } => world.images.retain(|there| there.name != image),
                Removal::Snapshot { snapshot, .. } => world.snapshots.retain(|there| there.snapshot.id != snapshot),
                Removal::Logs { deployment, .. } => world.folders.retain(|there| there.id != deployment),
                Removal::OneOff { .. } => {}
            }
        }
        prop_assert_eq!(world.prune(), []);
    }
}
