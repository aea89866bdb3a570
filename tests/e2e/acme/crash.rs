//! SIGKILL at every step of an order: one account, a good pair at every moment, and no order more than needed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use switcher_tests::acme::{Kind, Trouble};
use switcher_tests::{App, FakeCa, PATIENCE, Proxy, Setup, until};

use super::{asking_fake, kept, renew_well, served, shown};

/// The requests of a renewal, in their order.
const STEPS: [Kind; 8] = [
    Kind::Directory,
    Kind::NewNonce,
    Kind::NewOrder,
    Kind::Authorization,
    Kind::Challenge,
    Kind::Order,
    Kind::Finalize,
    Kind::Certificate,
];

/// Kills the proxy while a request of this kind waits for its answer, and starts it again before a good authority.
async fn kill_within(proxy: &mut Proxy, ca: &FakeCa, kind: Kind) {
    until(PATIENCE, &format!("{kind:?} to be asked"), || async { ca.held() > 0 }).await;
    proxy.kill();
    assert_nothing_is_half(proxy);
    ca.recover();
    until(PATIENCE, "the authority to notice", || async { ca.held() == 0 }).await;
    proxy.restart().await;
}

/// Every certificate on disk is a whole one with its key.
fn assert_nothing_is_half(proxy: &Proxy) {
    let pairs = kept(proxy).into_iter().filter(|path| {
        path.parent().is_some_and(|folder| folder.ends_with("certificates"))
            && path.extension().is_some_and(|extension| extension == "pem")
    });
    for path in pairs {
        assert_whole(&path);
    }
}

fn assert_whole(path: &Path) {
    let pem = std::fs::read(path).expect("a file");
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_slice(&pem).expect("a key");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let pair = rustls::sign::CertifiedKey::from_der(chain, key, &provider);
    pair.expect("a key that belongs to its chain");
}

#[tokio::test]
async fn a_kill_at_any_step_of_a_renewal_leaves_the_old_pair_and_the_order_is_resumed() {
    let ca = FakeCa::start().await;
    let app = App::start("blue").await;
    let mut proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    served(&proxy, &ca.strict(), "shop.test").await;
    for kill in 0..48 {
        let step = STEPS[kill % STEPS.len()];
        let trouble = if (kill / STEPS.len()).is_multiple_of(2) { Trouble::Hang } else { Trouble::HangAfter };
        let before = shown(&proxy, &ca.strict(), "shop.test").await;
        let orders = ca.orders().len();
        if step == Kind::Directory {
            // A process reads the directory once, for the first question it has.
            proxy.kill();
            ca.trouble(step, trouble);
            proxy.restart().await;
        }
        ca.trouble(step, trouble);
        let admin = proxy.admin();
        let asked = tokio::spawn(async move {
            // The proxy is killed before it answers.
            let _ = admin.try_call("POST", "/v1/certificates/renew", r#"{"force":true}"#).await;
        });
        kill_within(&mut proxy, &ca, step).await;
        asked.abort();
        assert_eq!(
            served(&proxy, &ca.strict(), "shop.test").await.serial,
            before.serial,
            "{step:?} {trouble:?}"
        );
        renew_well(&proxy, "shop.test").await;
        let lost = step == Kind::NewOrder && trouble == Trouble::HangAfter;
        let made = ca.orders().len() - orders;
        assert_eq!(made, if lost { 2 } else { 1 }, "{step:?} {trouble:?}: orders made");
        assert_ne!(shown(&proxy, &ca.strict(), "shop.test").await.serial, before.serial);
    }
    assert_eq!(ca.accounts(), 1);
    assert_nothing_is_half(&proxy);
    proxy.kill();
    let half: Vec<_> = kept(&proxy).into_iter().filter(|path| is_temporary(path)).collect();
    for path in half {
        // What a kill left is swept up once it is too old to be another process's.
        let file = std::fs::File::options().write(true).open(path).expect("a file");
        file.set_modified(SystemTime::now() - Duration::from_secs(48 * 3600)).expect("a time");
    }
    proxy.restart().await;
    until(PATIENCE, "the start to sweep up", || async {
        !kept(&proxy).iter().any(|path| is_temporary(path))
    })
    .await;
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".switcher-"))
}

#[tokio::test]
async fn a_kill_within_the_registration_makes_no_second_account() {
    for trouble in [Trouble::Hang, Trouble::HangAfter] {
        let ca = FakeCa::start().await;
        ca.trouble(Kind::NewAccount, trouble);
        let app = App::start("blue").await;
        let mut proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
        kill_within(&mut proxy, &ca, Kind::NewAccount).await;
        served(&proxy, &ca.strict(), "shop.test").await;
        assert_eq!((ca.accounts(), ca.orders().len()), (1, 1), "{trouble:?}");
    }
}

#[tokio::test]
async fn a_restart_loop_within_an_order_burns_no_limits() {
    let ca = FakeCa::start().await;
    let app = App::start("blue").await;
    ca.trouble(Kind::NewOrder, Trouble::Hang);
    let setup = asking_fake(Setup::one(app.upstream()), &ca).acme("retry", "{first: 1h, max: 12h}");
    let mut proxy = setup.start().await;
    until(PATIENCE, "the first order", || async { ca.count(Kind::NewOrder) == 1 }).await;
    for _ in 0..10 {
        proxy.kill();
        proxy.restart().await;
        // Whatever is due at once is begun before the third look at its status.
        for _ in 0..3 {
            proxy.admin().certificates().await;
        }
    }
    let orders = ca.count(Kind::NewOrder);
    assert!((1..=3).contains(&orders), "{orders} orders by 11 starts");
}
