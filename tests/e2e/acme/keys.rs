//! Kinds of keys, and their end: RSA for old clients beside ECDSA, and revocation.

use switcher_config::wire::{RenewalOutcome, RevocationReason, RevokeRequest};
use switcher_tests::{App, FakeCa, Setup};

use super::{asking_fake, served, shown};

#[tokio::test]
async fn each_client_is_shown_the_key_it_understands() {
    let ca = FakeCa::start().await;
    let app = App::start("blue").await;
    let setup = asking_fake(Setup::one(app.upstream()), &ca).acme("key", "both");
    let mut proxy = setup.start().await;
    let (new, old) = (ca.strict(), ca.strict().only_rsa());
    let ancient = old.clone().versions(&[&rustls::version::TLS12]);
    for (client, rsa) in [(&old, true), (&ancient, true), (&new, false)] {
        assert_eq!(served(&proxy, client, "shop.test").await.rsa, rsa);
    }
    assert_eq!(ca.orders().len(), 2);
    proxy.kill();
    proxy.restart().await;
    for (client, rsa) in [(&old, true), (&ancient, true), (&new, false)] {
        assert_eq!(shown(&proxy, client, "shop.test").await.rsa, rsa);
    }
    assert_eq!(ca.orders().len(), 2, "both are served from disk");
}

#[tokio::test]
async fn an_rsa_key_is_used_on_request() {
    let ca = FakeCa::start().await;
    let app = App::start("blue").await;
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).acme("key", "rsa").start().await;
    assert!(served(&proxy, &ca.strict(), "shop.test").await.rsa);
}

#[tokio::test]
async fn a_revoked_certificate_is_replaced_with_another_key() {
    let ca = FakeCa::start().await;
    let app = App::start("blue").await;
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    let first = served(&proxy, &ca.strict(), "shop.test").await;
    let unknown = RevokeRequest { name: "other.test".to_owned(), reason: RevocationReason::Unspecified };
    assert_eq!(proxy.admin().revoke(&unknown).await.expect_err("refused").status, 404);
    let wish = RevokeRequest { name: "shop.test".to_owned(), reason: RevocationReason::KeyCompromise };
    let revoked = proxy.admin().revoke(&wish).await.expect("revoked");
    assert_eq!(
        (revoked.ca.as_str(), revoked.replacement.outcome),
        (ca.directory().as_str(), RenewalOutcome::Renewed)
    );
    assert_eq!(ca.revoked(), [(first.serial.clone(), Some(1))]);
    let second = shown(&proxy, &ca.strict(), "shop.test").await;
    assert_ne!(second.serial, first.serial);
    let key = |leaf: &switcher_tests::acme::Leaf| leaf.public_key();
    assert_ne!(key(&second), key(&first), "a key that somebody else has is not used again");
}
