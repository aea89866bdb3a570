//! What outlives the process: the live slot and its generation, over crashes, full disks and broken files.

use std::path::Path;

use switcher_config::wire::{Fence, PromoteRequest, RefusalReason};
use switcher_config::{Generation, Slot};
use switcher_tests::certificate::put;
use switcher_tests::http1::get;
use switcher_tests::part::can;
use switcher_tests::{App, PATIENCE, Proxy, Setup, skip_or_fail, until_some};

async fn two() -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    (blue, green, proxy)
}

/// A proxy on green whose state file was saved twice, so that a last good copy exists.
async fn switched_twice() -> (App, App, Proxy) {
    let (blue, green, proxy) = two().await;
    for slot in [Slot::Green, Slot::Blue, Slot::Green] {
        proxy.admin().promote(slot).await.expect("promoted");
    }
    (blue, green, proxy)
}

#[tokio::test]
async fn the_live_slot_and_its_generation_outlive_a_kill() {
    let (_blue, _green, mut proxy) = two().await;
    let generation = proxy.admin().promote(Slot::Green).await.expect("promoted").generation;
    proxy.kill();
    proxy.restart().await;
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.generation), (Slot::Green, generation));
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn what_is_remembered_of_who_uses_nothing_new_is_what_every_version_reads() {
    let (blue, green, mut proxy) = two().await;
    let keys = |proxy: &Proxy| -> Vec<String> {
        let text = std::fs::read_to_string(proxy.routing()).expect("the state");
        let state: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        state["apps"]["shop"].as_object().expect("an application").keys().cloned().collect()
    };
    let plain = ["active", "generation", "gate", "slots"];
    for slot in [Slot::Green, Slot::Blue] {
        proxy.admin().promote(slot).await.expect("promoted");
        assert_eq!(keys(&proxy), plain);
    }
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(keys(&proxy), plain);
    // The negative control: who uses it has more, and nothing of that once it is not used any more.
    proxy.configure(Setup::two(&blue, &green).shop("release_affinity", "{for: 1h}"));
    proxy.admin().reload().await.expect("reloaded");
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(keys(&proxy), ["active", "generation", "gate", "slots", "since", "left"]);
    proxy.configure(Setup::two(&blue, &green));
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(keys(&proxy), plain);
}

fn lease(number: u64) -> Fence {
    Fence { number, holder: format!("lock_{number}") }
}

async fn refuses_the_lease_before(proxy: &Proxy, when: &str) {
    assert_eq!(proxy.admin().shop().await.fence, Some(lease(9)), "{when}");
    let fence = Some(lease(8));
    let stale = PromoteRequest { force: true, fence, ..PromoteRequest::of(Slot::Green) };
    let refused = proxy.admin().promote_as(&stale).await.expect_err(when);
    assert_eq!((refused.status, refused.refusal.reason), (409, RefusalReason::StaleFence), "{when}");
    assert_eq!(get(proxy.http(), "/").await.text(), "blue", "{when}");
}

#[tokio::test]
async fn a_lost_lease_stays_lost_over_a_kill_an_upgrade_a_reload_and_a_recovery() {
    let (_blue, _green, mut proxy) = two().await;
    assert!(!std::fs::read_to_string(proxy.routing()).expect("the state").contains("fence"));
    proxy.admin().claim(&lease(9)).await.expect("claimed");
    proxy.kill();
    proxy.restart().await;
    refuses_the_lease_before(&proxy, "after a kill").await;
    proxy.upgrade().await;
    refuses_the_lease_before(&proxy, "after an upgrade").await;
    proxy.admin().reload().await.expect("reloaded");
    refuses_the_lease_before(&proxy, "after a reload").await;
    put(&proxy.routing(), "{not json");
    refuses_to_start(&mut proxy).await;
    proxy.respawn(&["--recover-routing"]);
    proxy.wait_ready().await;
    refuses_the_lease_before(&proxy, "after a recovery").await;
}

#[tokio::test]
async fn a_lease_that_cannot_be_saved_is_not_taken() {
    let (_blue, _green, proxy) = two().await;
    let (data, aside) = (proxy.path("data"), proxy.path("aside"));
    std::fs::rename(&data, &aside).expect("taken away");
    put(&data, "a file where the folder was");
    let refused = proxy.admin().claim(&lease(9)).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (507, RefusalReason::NotSaved));
    assert_eq!(proxy.admin().shop().await.fence, None);
    std::fs::remove_file(&data).expect("removed");
    std::fs::rename(&aside, &data).expect("given back");
    proxy.admin().claim(&lease(8)).await.expect("claimed");
}

/// Where the 50 kills come: a fixed, uneven spread over the time that a promote takes.
fn moments() -> impl Iterator<Item = std::time::Duration> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        std::time::Duration::from_micros(state % 30_000)
    })
}

/// What a client of the admin API knows for sure: the last acknowledged state, and what it asked for since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    slot: Slot,
    generation: Generation,
}

/// Promotes back and forth until the proxy is gone; returns the last acknowledged state.
async fn promote_until_killed(proxy: &Proxy, mut known: Known) -> Known {
    let admin = proxy.admin();
    loop {
        let body = format!(r#"{{"slot":"{}","force":true}}"#, known.slot.other());
        let Ok(answer) = admin.try_call("POST", "/v1/apps/shop/promote", &body).await else { return known };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let switched = answer.json();
        let generation = serde_json::from_value(switched["generation"].clone()).expect("a generation");
        assert!(generation > known.generation, "the generation went back: {known:?} {switched}");
        known = Known { slot: known.slot.other(), generation };
    }
}

/// Whether a state found after a crash may be: the acknowledged one, or the one asked for and not yet acknowledged.
fn may_be(found: Known, acknowledged: Known) -> bool {
    let asked = Known { slot: acknowledged.slot.other(), generation: acknowledged.generation.next() };
    found == acknowledged || found == asked
}

#[tokio::test]
async fn after_fifty_kills_at_random_moments_it_was_always_back_on_an_acknowledged_slot() {
    let (_blue, _green, mut proxy) = two().await;
    let mut known = Known { slot: Slot::Blue, generation: proxy.generation().await };
    for (round, moment) in moments().take(50).enumerate() {
        let pid = proxy.pid();
        let killer = tokio::spawn(async move {
            tokio::time::sleep(moment).await;
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        });
        let acknowledged = promote_until_killed(&proxy, known).await;
        killer.await.expect("a kill");
        proxy.kill();
        proxy.restart().await;
        let shop = proxy.admin().shop().await;
        let found = Known { slot: shop.active, generation: shop.generation };
        assert!(
            may_be(found, acknowledged),
            "round {round}: {acknowledged:?} was acknowledged, {found:?} found"
        );
        assert_eq!(get(proxy.http(), "/").await.text(), found.slot.as_str());
        known = found;
    }
    assert!(known.generation > Generation::FIRST, "no promote was ever acknowledged");
}

#[test]
fn the_check_of_states_after_a_crash_sees_a_lost_and_a_made_up_switch() {
    let acknowledged = Known { slot: Slot::Green, generation: Generation::FIRST.next() };
    assert!(may_be(acknowledged, acknowledged));
    assert!(may_be(Known { slot: Slot::Blue, generation: acknowledged.generation.next() }, acknowledged));
    let lost = Known { slot: Slot::Blue, generation: Generation::FIRST };
    let started_empty = Known { slot: Slot::Blue, generation: acknowledged.generation };
    let made_up = Known { slot: Slot::Green, generation: acknowledged.generation.next() };
    assert!([lost, started_empty, made_up].into_iter().all(|found| !may_be(found, acknowledged)));
}

async fn refuses_to_start(proxy: &mut Proxy) -> String {
    proxy.kill();
    proxy.respawn(&[]);
    let exit = proxy.exit().await;
    assert!(exit.code.is_some_and(|code| code != 0), "{exit:?}");
    exit.stderr
}

#[tokio::test]
async fn an_unreadable_state_is_a_refusal_that_names_the_way_out() {
    type Damage = fn(&str) -> String;
    let damages: [(&str, Damage); 4] = [
        ("garbage", |_| "{not json".to_owned()),
        ("empty", |_| String::new()),
        ("truncated", |text| text[..text.len() / 2].to_owned()),
        ("changed", |text| text.replacen("green", "blue", 1)),
    ];
    for (name, damage) in damages {
        let (_blue, _green, mut proxy) = switched_twice().await;
        let path = proxy.routing();
        let text = std::fs::read_to_string(&path).expect("the state");
        assert_ne!(damage(&text), text);
        put(&path, &damage(&text));
        let said = refuses_to_start(&mut proxy).await;
        let copy = copies(path.parent().expect("its folder"));
        assert!(said.contains(&path.display().to_string()), "{name}: {said}");
        assert!(said.contains("--recover-routing"), "{name}: {said}");
        assert!(copy.iter().any(|c| said.contains(c)), "{name}: none of {copy:?} is named: {said}");
    }
}

/// The other files beside the state: the last good copy is one of them.
fn copies(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|n| n.starts_with("routing") && n != "routing.json").collect()
}

#[tokio::test]
async fn the_way_out_goes_on_from_the_last_good_copy() {
    let (_blue, _green, mut proxy) = switched_twice().await;
    let generation = proxy.generation().await;
    let live = proxy.admin().shop().await.active;
    put(&proxy.routing(), "{not json");
    refuses_to_start(&mut proxy).await;
    proxy.respawn(&["--recover-routing"]);
    proxy.wait_ready().await;
    let shop = proxy.admin().shop().await;
    assert_eq!(shop.active, live, "the copy holds the last acknowledged switch");
    let recovered = shop.generation;
    assert!(recovered > generation, "no generation is given twice");
    proxy.wait_healthy().await;
    let switched = proxy.admin().promote(live.other()).await.expect("promoted");
    assert!(switched.generation > recovered);
    proxy.kill();
    proxy.restart().await;
    assert_eq!(proxy.admin().shop().await.active, live.other(), "the state is readable again");
}

#[tokio::test]
async fn a_state_that_cannot_be_saved_makes_a_promote_fail_with_traffic_unchanged() {
    let (_blue, _green, proxy) = two().await;
    let before = proxy.generation().await;
    let (data, aside) = (proxy.path("data"), proxy.path("aside"));
    std::fs::rename(&data, &aside).expect("taken away");
    put(&data, "a file where the folder was");
    let refused = proxy.admin().promote(Slot::Green).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (507, RefusalReason::NotSaved));
    assert_eq!((get(proxy.http(), "/").await.text().as_str(), proxy.generation().await), ("blue", before));
    std::fs::remove_file(&data).expect("removed");
    std::fs::rename(&aside, &data).expect("given back");
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn a_full_disk_makes_a_promote_fail_saying_so_with_traffic_unchanged() {
    if !can("unshare -rm sh -c 'mount -t tmpfs -o size=64k tmpfs /mnt'") {
        return skip_or_fail("a file system of a test's own needs user namespaces");
    }
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a data folder");
    let script = format!("mount -t tmpfs -o size=64k tmpfs '{}' && exec \"$@\"", data.display());
    let wrapper = ["unshare", "-rm", "sh", "-c", &script, "sh"];
    let mut proxy = Proxy::spawn_in(folder, Setup::two(&blue, &green), &wrapper);
    proxy.wait_ready().await;
    proxy.wait_healthy().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted while there is room");
    // The mount is visible through the process that lives in its namespace.
    let inside = format!("/proc/{}/root{}/filler", proxy.pid(), data.display());
    assert!(can(&format!("head -c 1M /dev/zero > '{inside}'; test -s '{inside}'")), "the disk is filled");
    let refused = proxy.admin().promote(Slot::Blue).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (507, RefusalReason::NotSaved));
    assert!(
        refused.refusal.message.to_lowercase().contains("full") || refused.refusal.message.contains("space")
    );
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    std::fs::remove_file(inside).expect("room again");
    proxy.admin().promote(Slot::Blue).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn an_unwritable_data_directory_is_an_error_that_names_it() {
    let blue = App::start("blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a-file");
    put(&file, "no folder");
    let data = file.join("data").display().to_string();
    let mut proxy = Proxy::spawn_in(folder, Setup::one(blue.upstream()).proxy("data_dir", &data), &[]);
    let exit = proxy.exit().await;
    assert!(exit.code.is_some_and(|code| code != 0), "{exit:?}");
    assert!(exit.stderr.contains(&data), "{exit:?}");
}

#[tokio::test]
async fn a_fresh_start_is_saved_before_the_first_switch_is_acknowledged() {
    let (_blue, _green, proxy) = two().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let saved: serde_json::Value = until_some(PATIENCE, "the state file", || async {
        serde_json::from_str(&std::fs::read_to_string(proxy.routing()).ok()?).ok()
    })
    .await;
    assert!(saved.to_string().contains("green"), "{saved}");
}
