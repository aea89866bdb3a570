//! Renewal information (RFC 9773), profiles, and an authority that is slow or forgets nonces but means well.

use jiff::SignedDuration;
use switcher_tests::acme::fake::{Window, ari_id};
use switcher_tests::acme::{Kind, Trouble};
use switcher_tests::{App, FakeCa, PATIENCE, Setup, until, until_some};

use super::{asking_fake, renew_well, served, shown, status_of};

/// A window of one second, so many seconds after the certificate's begin.
fn window(seconds: i64) -> Window {
    Window {
        start: SignedDuration::from_secs(seconds),
        end: SignedDuration::from_secs(seconds + 1),
        retry_after: 3600,
        explanation: Some("https://fake.test/why".to_owned()),
    }
}

#[tokio::test]
async fn the_authoritys_window_goes_before_the_age() {
    let ca = FakeCa::start().await;
    ca.behave(|b| b.ari = Some(window(2)));
    let app = App::start("blue").await;
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    let first = served(&proxy, &ca.strict(), "shop.test").await;
    until(PATIENCE, "the authority to be asked for its window", || async { ca.count(Kind::RenewalInfo) > 0 })
        .await;
    // Of the next certificate it wants something else.
    ca.behave(|b| b.ari = Some(window(80 * 24 * 3600)));
    let second = until_some(PATIENCE, "a renewal long before two thirds of 90 days", || async {
        let leaf = shown(&proxy, &ca.strict(), "shop.test").await;
        (leaf.serial != first.serial).then_some(leaf)
    })
    .await;
    assert!(second.not_before >= first.not_before + SignedDuration::from_secs(2), "not before the window");
    let orders = ca.orders();
    assert_eq!(orders[0].replaces, None);
    assert_eq!(orders[1].replaces, Some(ari_id(&first)), "the old certificate is named");
    until(PATIENCE, "a renewal in 80 days", || async {
        let status = status_of(&proxy, "shop.test").await;
        let wait = status.renew_at.map(|at| at.duration_since(jiff::Timestamp::now()));
        wait.is_some_and(|wait| wait > SignedDuration::from_hours(79 * 24))
    })
    .await;
}

#[tokio::test]
async fn a_window_that_is_always_over_does_not_make_a_storm() {
    let ca = FakeCa::start().await;
    ca.behave(|b| b.ari = Some(window(-7200)));
    let app = App::start("blue").await;
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    served(&proxy, &ca.strict(), "shop.test").await;
    until(PATIENCE, "the authority to be asked for its window", || async { ca.count(Kind::RenewalInfo) > 0 })
        .await;
    // Work that takes far longer than an order would.
    for _ in 0..600 {
        shown(&proxy, &ca.strict(), "shop.test").await;
    }
    assert!(ca.orders().len() <= 3, "{} orders within moments", ca.orders().len());
}

#[tokio::test]
async fn an_authority_that_does_not_answer_about_windows_is_renewed_by_age() {
    let ca = FakeCa::start().await;
    ca.behave(|b| {
        b.ari = Some(window(1));
        b.lifetime = SignedDuration::from_secs(12);
    });
    ca.trouble(Kind::RenewalInfo, Trouble::Status(500));
    let app = App::start("blue").await;
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    let first = served(&proxy, &ca.strict(), "shop.test").await;
    let second = until_some(PATIENCE, "a renewal by age", || async {
        let leaf = shown(&proxy, &ca.strict(), "shop.test").await;
        (leaf.serial != first.serial).then_some(leaf)
    })
    .await;
    assert!(second.not_before >= first.not_before + SignedDuration::from_secs(4), "not in the window");
}

#[tokio::test]
async fn a_profile_is_asked_for_and_one_that_is_not_offered_is_told() {
    let ca = FakeCa::start().await;
    ca.behave(|b| b.profiles = vec!["classic".to_owned(), "shortlived".to_owned()]);
    let app = App::start("blue").await;
    let setup = asking_fake(Setup::one(app.upstream()), &ca);
    let mut proxy = setup.acme("profile", "shortlived").start().await;
    let leaf = served(&proxy, &ca.strict(), "shop.test").await;
    assert_eq!(ca.orders()[0].profile.as_deref(), Some("shortlived"));
    let other = proxy.setup().acme("profile", "eternal");
    proxy.configure(other);
    proxy.admin().reload().await.expect("reloaded");
    let problem = super::renew(&proxy, "shop.test").await.problem.expect("a problem");
    assert!(
        ["eternal", "classic", "shortlived", "acme.profile"].iter().all(|w| problem.contains(w)),
        "{problem}"
    );
    assert_eq!(ca.orders().len(), 1, "nothing is ordered");
    assert_eq!(shown(&proxy, &ca.strict(), "shop.test").await, leaf);
}

#[tokio::test]
async fn a_slow_authority_that_forgets_nonces_is_waited_for() {
    let ca = FakeCa::start().await;
    ca.behave(|b| {
        b.bad_nonce_every = 2;
        b.processing_polls = 3;
        b.retry_after = Some(1);
    });
    let app = App::start("blue").await;
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    served(&proxy, &ca.strict(), "shop.test").await;
    renew_well(&proxy, "shop.test").await;
    assert_eq!((ca.accounts(), ca.orders().len(), ca.issued().len()), (1, 2, 2));
}
