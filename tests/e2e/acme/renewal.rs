//! Renewals under load: kept and new connections, with promotes in between, and nobody notices.

use switcher_config::Slot;
use switcher_tests::acme::{Judged, Load};
use switcher_tests::{App, Pebble, Setup, skip_or_fail, until_some};

use super::{asking_pebble, served};

const NAMES: [&str; 4] = ["a.test", "b.test", "c.test", "d.test"];

/// How many renewals the load must live through.
const RENEWALS: usize = 20;

/// Certificates live for so many seconds, and are renewed at half of that.
const VALIDITY: u64 = 16;

/// Five rounds of renewals, and room for a busy machine.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(150);

#[tokio::test]
async fn twenty_renewals_under_load_with_promotes_in_between_are_noticed_by_nobody() {
    if let Some(why) = Pebble::lacks() {
        return skip_or_fail(&why);
    }
    let pebble = Pebble::settings().nonce_reject(5).validity(VALIDITY).start().await;
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let setup = asking_pebble(Setup::two(&blue, &green), &pebble)
        .shop("hosts", &format!("[{}]", NAMES.join(", ")))
        .acme("group", "host");
    let proxy = setup.start_healthy().await;
    let strict = pebble.strict().await;
    for name in NAMES {
        served(&proxy, &strict, name).await;
    }
    let load = Load::start(&strict, proxy.https(), &NAMES, 2);
    let mut slot = Slot::Blue;
    for goal in (2..=RENEWALS).step_by(3) {
        let _: Judged = until_some(DEADLINE, &format!("{goal} renewals"), || async {
            let judged = load.judged();
            assert!(judged.is_clean(), "{judged:?}");
            (judged.renewals() >= goal).then_some(judged)
        })
        .await;
        slot = slot.other();
        proxy.admin().promote(slot).await.expect("promoted");
    }
    let judged = load.stop().await;
    assert!(judged.is_clean(), "{judged:?}");
    assert!(judged.renewals() >= RENEWALS, "{judged:?}");
    assert!(judged.requests > 1000 && judged.handshakes > 300, "{judged:?}");
    assert!(blue.hits() > 100 && green.hits() > 100, "both slots served");
    assert!(pebble.issued() >= NAMES.len() + RENEWALS, "{}", pebble.log());
}
