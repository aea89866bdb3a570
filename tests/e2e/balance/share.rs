//! Who gets how many: weights, cookies, hashes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use switcher_config::Slot;
use switcher_config::wire::Health;
use switcher_tests::http1::{Answer, get, get_with};
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, PATIENCE, Setup, until};

/// The cookie that an answer sets, as a client sends it back.
fn cookie(answer: &Answer) -> Option<String> {
    answer.header("set-cookie")?.split(';').next().map(str::to_owned)
}

async fn weights(proxy: SocketAddr, apps: &[&App], requests: usize) -> Vec<usize> {
    let before: Vec<usize> = apps.iter().map(|app| app.hits()).collect();
    for _ in 0..requests {
        assert_eq!(get(proxy, "/").await.status, 200);
    }
    apps.iter().zip(before).map(|(app, before)| app.hits() - before).collect()
}

#[tokio::test]
async fn requests_are_shared_exactly_by_weight_and_a_reload_changes_that_without_a_drain() {
    let (a, b, c) = (App::start("a").await, App::start("b").await, App::start("c").await);
    let slots = |b_weight: u16| {
        let (a, b, c) = (a.upstream(), b.upstream(), c.upstream());
        format!(
            "{{blue: [\"{a}\", {{address: \"{b}\", weight: {b_weight}}}, {{address: \"{c}\", weight: 0}}]}}"
        )
    };
    let setup = |b_weight: u16| Setup::slots(&[], &[]).shop("slots", &slots(b_weight));
    let mut proxy = setup(3).start_healthy().await;
    assert_eq!(weights(proxy.http(), &[&a, &b, &c], 40).await, [10, 30, 0]);
    assert!(c.probes() > 0, "an upstream of weight 0 stays probed");
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    let name = socket.text().await;
    assert!(["a", "b"].contains(&name.as_str()), "{name}");
    proxy.configure(setup(1));
    proxy.admin().reload().await.expect("a reload");
    until(PATIENCE, "the new weights", || async {
        let status = proxy.admin().shop().await;
        status.slots.blue.upstreams[1].weight.get() == 1
    })
    .await;
    assert_eq!(weights(proxy.http(), &[&a, &b, &c], 40).await, [20, 20, 0]);
    assert!(proxy.admin().shop().await.draining.is_empty(), "nobody had to leave");
    assert_eq!(socket.ask("still here").await, "still here");
}

#[tokio::test]
async fn an_address_may_be_registered_with_a_weight_and_as_before_without() {
    let (old, a, b) = (App::start("old").await, App::start("a").await, App::start("b").await);
    let proxy = Setup::slots(&[old.upstream()], &[]).start_healthy().await;
    let register = async |body: String| proxy.admin().call("PUT", "/v1/apps/shop/slots/green", &body).await;
    let refused =
        register(format!(r#"{{"upstreams": [{{"address": "{}", "weight": 0}}]}}"#, a.upstream())).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let body =
        format!(r#"{{"upstreams": ["{}", {{"address": "{}", "weight": 4}}]}}"#, a.upstream(), b.upstream());
    assert_eq!(register(body).await.status, 200);
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    proxy.admin().promote(Slot::Green).await.expect("a switch");
    assert_eq!(weights(proxy.http(), &[&a, &b], 50).await, [10, 40]);
}

#[tokio::test]
async fn a_visitor_stays_with_an_upstream_over_its_restart_and_that_of_the_proxy() {
    let apps = [App::start("a").await, App::start("b").await, App::start("c").await];
    let mut proxy = Setup::slots(&apps.each_ref().map(App::upstream), &[])
        .shop("balance", "{sticky: shop_at}")
        .start_healthy()
        .await;
    let first = get(proxy.http(), "/").await;
    let (home, cookie) = (first.text(), cookie(&first).expect("a cookie"));
    let set = first.header("set-cookie").expect("a cookie");
    assert!(set.contains("; HttpOnly") && set.contains("; SameSite=Lax") && !set.contains("Secure"), "{set}");
    for app in &apps {
        assert!(!set.contains(&app.address().port().to_string()), "{set} names an address");
    }
    for _ in 0..1000 {
        let answer = get_with(proxy.http(), "/", &[("Cookie", &cookie)]).await;
        assert_eq!((answer.text(), answer.header("set-cookie")), (home.clone(), None));
    }
    // The negative control: without the cookie, visitors go everywhere.
    let mut met = BTreeMap::<String, usize>::new();
    for _ in 0..9 {
        *met.entry(get(proxy.http(), "/").await.text()).or_default() += 1;
    }
    assert_eq!(met.values().copied().collect::<Vec<_>>(), [3, 3, 3]);
    proxy.kill();
    proxy.restart().await;
    proxy.wait_healthy().await;
    assert_eq!(get_with(proxy.http(), "/", &[("Cookie", &cookie)]).await.text(), home);

    let [gone, other, third] = sorted(apps, &home);
    let address = gone.address();
    gone.stop().await;
    let answer = get_with(proxy.http(), "/", &[("Cookie", &cookie)]).await;
    assert_eq!(answer.status, 200, "it falls back");
    let anew = self::cookie(&answer).expect("another cookie");
    assert_ne!(anew, cookie);
    let again = App::start_at(&home, address).await;
    proxy.wait_healthy().await;
    assert_eq!(get_with(proxy.http(), "/", &[("Cookie", &cookie)]).await.text(), home);
    drop((again, other, third));
}

/// The one of that name first.
fn sorted(apps: [App; 3], first: &str) -> [App; 3] {
    let mut apps = apps;
    let at = apps.iter().position(|app| app.name() == first).expect("it is there");
    apps.swap(0, at);
    apps
}

#[tokio::test]
async fn a_switch_moves_every_visitor_and_gives_them_a_new_cookie() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::slots(&[blue.upstream()], &[green.upstream()])
        .shop("balance", "{sticky: shop_at}")
        .start_healthy()
        .await;
    let before = cookie(&get(proxy.http(), "/").await).expect("a cookie");
    proxy.admin().promote(Slot::Green).await.expect("a switch");
    let answer = get_with(proxy.http(), "/", &[("Cookie", &before)]).await;
    assert_eq!(answer.text(), "green");
    assert_ne!(cookie(&answer).expect("a new cookie"), before);
}

#[tokio::test]
async fn a_value_keeps_its_upstream_when_another_dies_and_returns() {
    let apps = [App::start("a").await, App::start("b").await, App::start("c").await];
    let proxy = Setup::slots(&apps.each_ref().map(App::upstream), &[])
        .shop("balance", "{hash: header X-Tenant}")
        .start_healthy()
        .await;
    let homes = async || {
        let mut homes = BTreeMap::new();
        for tenant in 0..60 {
            let answer = get_with(proxy.http(), "/", &[("X-Tenant", &tenant.to_string())]).await;
            homes.insert(tenant, answer.text());
        }
        homes
    };
    let before = homes().await;
    assert_eq!(homes().await, before);
    let [gone, _one, _two] = sorted(apps, "b");
    let address = gone.address();
    gone.stop().await;
    let meanwhile = homes().await;
    for (tenant, home) in &before {
        assert_eq!(&meanwhile[tenant] == home, home != "b", "{tenant} was at {home}");
    }
    let _again = App::start_at("b", address).await;
    proxy.wait_healthy().await;
    assert_eq!(homes().await, before);
}

#[tokio::test]
async fn a_recovered_upstream_takes_traffic_while_it_grows() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy =
        Setup::slots(&[a.upstream(), b.upstream()], &[]).shop("slow_start", "1h").start_healthy().await;
    // Both are fresh, so nobody starves.
    assert_eq!(weights(proxy.http(), &[&a, &b], 100).await.iter().filter(|hits| **hits > 40).count(), 2);
    a.health(500, "out");
    proxy.wait_health(Slot::Blue, Health::Unhealthy).await;
    a.health(200, "back");
    proxy.wait_healthy().await;
    let shares = weights(proxy.http(), &[&a, &b], 100).await;
    assert!(shares[0] > 0, "{shares:?}");
}
