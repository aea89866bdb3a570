//! Everything that can fail around a renewal: the old certificate stays, the reason is told, nothing is blocked,
//! and nobody is asked more often than the waits between attempts allow.

use jiff::SignedDuration;
use switcher_config::wire::{CertificateSource, RenewalOutcome};
use switcher_tests::acme::{Kind, Leaf, Strict, Trouble};
use switcher_tests::certificate::put;
use switcher_tests::part::can;
use switcher_tests::{App, FakeCa, PATIENCE, Pebble, Proxy, Setup, skip_or_fail, until};

use super::{asking_fake, asking_pebble, kept_pair, metric, renew, renew_well, served, shown, status_of};

/// A proxy that serves a certificate of the fake authority.
async fn issued(ca: &FakeCa, app: &App) -> (Proxy, Strict, Leaf) {
    let proxy = asking_fake(Setup::one(app.upstream()), ca).start().await;
    let leaf = served(&proxy, &ca.strict(), "shop.test").await;
    (proxy, ca.strict(), leaf)
}

/// A renewal that fails: the outcome, the status and the metrics say why, and `leaf` is served on. Returns the reason.
async fn renew_badly(proxy: &Proxy, strict: &Strict, leaf: &Leaf) -> String {
    let counted = metric(proxy, "switcher_certificate_events_total{event=\"failed\"}").await;
    let renewal = renew(proxy, "shop.test").await;
    assert_eq!(renewal.outcome, RenewalOutcome::Failed, "{renewal:?}");
    let problem = renewal.problem.expect("a reason");
    let status = status_of(proxy, "shop.test").await;
    assert_eq!((status.problem.as_deref(), status.source), (Some(problem.as_str()), CertificateSource::Acme));
    assert!(status.failures > 0 && status.retry_at.is_some(), "{status:?}");
    until(PATIENCE, "the failure to be counted", || async {
        metric(proxy, "switcher_certificate_events_total{event=\"failed\"}").await > counted
    })
    .await;
    let series = "switcher_certificate_failures{name=\"shop.test\"";
    // It may be tried again by itself at any time.
    until(PATIENCE, "the failures to be told alike", || async {
        let told = status_of(proxy, "shop.test").await.failures;
        (metric(proxy, series).await - f64::from(told)).abs() < 0.1
    })
    .await;
    assert_eq!(shown(proxy, strict, "shop.test").await, *leaf);
    problem
}

#[tokio::test]
async fn an_authority_that_errs_or_talks_nonsense_leaves_the_old_certificate_and_a_reason() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let (mut proxy, strict, mut leaf) = issued(&ca, &app).await;
    let troubles = [Trouble::Status(500), Trouble::RateLimited(1), Trouble::Html, Trouble::Truncated];
    let kinds = [
        Kind::Directory,
        Kind::NewOrder,
        Kind::Authorization,
        Kind::Challenge,
        Kind::Finalize,
        Kind::Certificate,
    ];
    for trouble in troubles {
        for kind in kinds {
            ca.trouble(kind, trouble);
            // A directory is read once by each process.
            if kind == Kind::Directory {
                proxy.kill();
                proxy.restart().await;
            }
            let problem = renew_badly(&proxy, &strict, &leaf).await;
            assert!(problem.contains(&ca.directory()), "{kind:?} {trouble:?}: {problem}");
            ca.recover();
            // An order may have outlived it. It is finished, so that the next trouble meets a new one.
            renew_well(&proxy, "shop.test").await;
            leaf = shown(&proxy, &strict, "shop.test").await;
        }
    }
    let status = status_of(&proxy, "shop.test").await;
    assert_eq!((status.failures, status.problem), (0, None));
    until(PATIENCE, "no failure to be counted any more", || async {
        metric(&proxy, "switcher_certificate_failures{name=\"shop.test\"").await.abs() < 0.1
    })
    .await;
}

#[tokio::test]
async fn an_order_that_becomes_invalid_is_told_in_the_authoritys_words() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let (proxy, strict, leaf) = issued(&ca, &app).await;
    ca.behave(|b| b.refuse = Some("the moon is in the way".to_owned()));
    let problem = renew_badly(&proxy, &strict, &leaf).await;
    assert!(problem.contains("the moon is in the way") && problem.contains("shop.test"), "{problem}");
    ca.recover();
    renew_well(&proxy, "shop.test").await;
}

#[tokio::test]
async fn an_authority_that_is_gone_leaves_the_old_certificate_and_does_not_block_a_start() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let (mut proxy, strict, leaf) = issued(&ca, &app).await;
    let directory = ca.directory();
    drop(ca);
    let problem = renew_badly(&proxy, &strict, &leaf).await;
    assert!(problem.contains(&directory) && problem.contains("cannot be reached"), "{problem}");
    proxy.kill();
    proxy.restart().await;
    assert_eq!(shown(&proxy, &strict, "shop.test").await, leaf);
    assert_eq!(status_of(&proxy, "shop.test").await.problem, Some(problem), "a restart forgets no failure");
}

#[tokio::test]
async fn an_authority_that_hangs_blocks_neither_the_start_nor_requests() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    ca.trouble(Kind::Directory, Trouble::Hang);
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).start_healthy().await;
    until(PATIENCE, "the authority to be asked", || async { ca.held() > 0 }).await;
    let mut client = switcher_tests::tls::Hello::to("shop.test").http1(proxy.https()).await;
    let answer = client.exchange(&switcher_tests::http1::request("GET", "/", &[], b"")).await;
    assert_eq!(answer.text(), "blue");
    assert_eq!(status_of(&proxy, "shop.test").await.source, CertificateSource::Placeholder);
    assert_eq!(ca.held(), 1, "it hangs still");
    until(PATIENCE, "the log to say what is served", || async { proxy.stderr().contains("placeholder") })
        .await;
}

#[tokio::test]
async fn an_order_that_does_not_end_is_waited_for_and_asked_for_once() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let (proxy, strict, leaf) = issued(&ca, &app).await;
    let polls = ca.count(Kind::Order);
    ca.behave(|b| b.endless = true);
    let admin = proxy.admin();
    let renewing = tokio::spawn(async move { admin.renew(&["shop.test"]).await });
    until(PATIENCE, "several looks at the order", || async { ca.count(Kind::Order) > polls + 4 }).await;
    assert_eq!(shown(&proxy, &strict, "shop.test").await, leaf);
    ca.recover();
    let renewed = renewing.await.expect("an outcome").expect("an outcome");
    assert_eq!(renewed.certificates[0].outcome, RenewalOutcome::Renewed, "{renewed:?}");
    assert_eq!((ca.orders().len(), ca.count(Kind::Finalize)), (2, 2));
}

#[tokio::test]
async fn failures_are_repeated_after_longer_and_longer_waits() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    ca.trouble(Kind::NewOrder, Trouble::Status(500));
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    until(PATIENCE, "three attempts", || async { status_of(&proxy, "shop.test").await.failures >= 3 }).await;
    let asked: Vec<_> = ca.came().into_iter().filter(|c| c.kind == Kind::NewOrder).map(|c| c.at).collect();
    assert_eq!(asked.len(), 3, "one question each");
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    for (wait, least) in waits.iter().zip([900, 2700]) {
        assert!(*wait >= SignedDuration::from_millis(least), "{waits:?}");
    }
}

#[tokio::test]
async fn a_restart_loop_does_not_ask_a_failing_authority_again() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    ca.trouble(Kind::NewOrder, Trouble::Status(500));
    let setup = asking_fake(Setup::one(app.upstream()), &ca).acme("retry", "{first: 1h, max: 12h}");
    let mut proxy = setup.start().await;
    until(PATIENCE, "the failure", || async { status_of(&proxy, "shop.test").await.failures == 1 }).await;
    for _ in 0..5 {
        proxy.kill();
        proxy.restart().await;
        let status = status_of(&proxy, "shop.test").await;
        assert_eq!((status.failures, status.retry_at.is_some()), (1, true), "{status:?}");
    }
    assert_eq!(ca.count(Kind::NewOrder), 1);
}

#[tokio::test]
async fn an_authority_that_asks_for_patience_gets_it() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    ca.trouble(Kind::NewOrder, Trouble::RateLimited(7200));
    let mut proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    until(PATIENCE, "the failure", || async { status_of(&proxy, "shop.test").await.failures == 1 }).await;
    proxy.kill();
    proxy.restart().await;
    let retry_at = status_of(&proxy, "shop.test").await.retry_at.expect("a time");
    let wait = retry_at.duration_since(jiff::Timestamp::now());
    assert!(wait > SignedDuration::from_mins(115), "retry.first is one second, and {wait} is kept");
    assert_eq!(ca.count(Kind::NewOrder), 1);
}

#[tokio::test]
async fn wrong_dns_is_told_in_the_authoritys_words() {
    if let Some(why) = Pebble::lacks() {
        return skip_or_fail(&why);
    }
    let pebble = Pebble::settings().start().await;
    let app = App::start("blue").await;
    let proxy = asking_pebble(Setup::one(app.upstream()), &pebble).start().await;
    let strict = pebble.strict().await;
    let leaf = served(&proxy, &strict, "shop.test").await;
    let elsewhere = App::start("elsewhere").await;
    pebble.records().a("shop.test", &["127.0.0.9"]).await;
    let problem = renew_badly(&proxy, &strict, &leaf).await;
    assert!(problem.contains("shop.test") && problem.contains(&pebble.directory()), "{problem}");
    pebble.records().servfail("shop.test").await;
    renew_badly(&proxy, &strict, &leaf).await;
    pebble.records().forget("shop.test").await;
    renew_well(&proxy, "shop.test").await;
    assert_eq!(elsewhere.hits(), 0);
}

#[tokio::test]
async fn a_real_authority_that_goes_down_and_comes_back_is_asked_again_by_itself() {
    if let Some(why) = Pebble::lacks() {
        return skip_or_fail(&why);
    }
    let mut pebble = Pebble::settings().nonce_reject(50).start().await;
    pebble.down().await;
    let app = App::start("blue").await;
    let proxy = asking_pebble(Setup::one(app.upstream()), &pebble).start().await;
    until(PATIENCE, "the failure", || async { status_of(&proxy, "shop.test").await.failures > 0 }).await;
    pebble.up();
    served(&proxy, &pebble.strict().await, "shop.test").await;
}

#[tokio::test]
async fn a_full_disk_stops_orders_and_nothing_else() {
    if !can("unshare -rm sh -c 'mount -t tmpfs -o size=64k tmpfs /mnt'") {
        return skip_or_fail("a file system of a test's own needs user namespaces");
    }
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a data folder");
    let script = format!("mount -t tmpfs -o size=256k tmpfs '{}' && exec \"$@\"", data.display());
    let wrapper = ["unshare", "-rm", "sh", "-c", &script, "sh"];
    let setup = asking_fake(Setup::one(app.upstream()), &ca);
    let mut proxy = Proxy::spawn_in(folder, setup, &wrapper);
    proxy.wait_ready().await;
    let strict = ca.strict();
    let leaf = served(&proxy, &strict, "shop.test").await;
    // The mount is visible through the process that lives in its namespace.
    let inside = format!("/proc/{}/root{}/filler", proxy.pid(), data.display());
    assert!(can(&format!("head -c 1M /dev/zero > '{inside}'; test -s '{inside}'")), "the disk is filled");
    let orders = ca.count(Kind::NewOrder);
    let problem = renew_badly(&proxy, &strict, &leaf).await.to_lowercase();
    assert!(problem.contains("full") || problem.contains("space"), "{problem}");
    assert_eq!(ca.count(Kind::NewOrder), orders, "what cannot be kept is not ordered");
    std::fs::remove_file(inside).expect("room again");
    renew_well(&proxy, "shop.test").await;
}

#[tokio::test]
async fn a_damaged_pair_is_set_aside_named_and_replaced() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let (mut proxy, strict, leaf) = issued(&ca, &app).await;
    proxy.kill();
    let file = kept_pair(&proxy, "shop.test");
    let pem = std::fs::read_to_string(&file).expect("the pair");
    put(&file, &pem[..pem.len() / 2]);
    proxy.restart().await;
    assert_ne!(served(&proxy, &strict, "shop.test").await.serial, leaf.serial);
    let aside = std::fs::read_dir(proxy.path("data/certs/damaged")).expect("a folder").count();
    assert_eq!(aside, 1);
    until(PATIENCE, "the file to be named", || async { proxy.stderr().contains("shop.test.pem") }).await;
    proxy.wait_metric("switcher_certificate_events_total{event=\"damaged\"}", 1).await;
}

#[tokio::test]
async fn a_pair_that_cannot_be_read_does_not_block_the_start_and_is_named() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let (mut proxy, _, _) = issued(&ca, &app).await;
    proxy.kill();
    let file = kept_pair(&proxy, "shop.test");
    // A folder in its place cannot be read as a file, not even by root.
    std::fs::remove_file(&file).expect("gone");
    std::fs::create_dir(&file).expect("a folder in the way");
    proxy.restart().await;
    until(PATIENCE, "the file to be named", || async { proxy.stderr().contains("shop.test.pem") }).await;
    let status = status_of(&proxy, "shop.test").await;
    assert!(
        status.source == CertificateSource::Placeholder || status.source == CertificateSource::Acme,
        "{status:?}"
    );
}

#[tokio::test]
async fn a_lost_account_is_registered_again() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let (mut proxy, strict, leaf) = issued(&ca, &app).await;
    proxy.kill();
    ca.forget_accounts();
    proxy.restart().await;
    assert_eq!(shown(&proxy, &strict, "shop.test").await, leaf);
    renew_well(&proxy, "shop.test").await;
    assert_eq!(ca.accounts(), 1);
}
