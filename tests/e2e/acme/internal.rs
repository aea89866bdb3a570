//! The proxy's own authority: certificates without asking anybody, trusted by whoever trusts its root.

use switcher_config::wire::CertificateSource;
use switcher_tests::acme::Strict;
use switcher_tests::{App, PATIENCE, Setup, Switcher, until};

use super::{assert_private, served, shown, status_of};

#[tokio::test]
async fn who_trusts_the_root_trusts_what_is_served() {
    let app = App::start("blue").await;
    let setup = Setup::one(app.upstream()).shop("hosts", "[shop.test, 127.0.0.1]").shop("tls", "internal");
    let mut proxy = setup.start().await;
    // The root is made with the first certificate.
    until(PATIENCE, "a certificate", || async {
        status_of(&proxy, "shop.test").await.source == CertificateSource::Internal
    })
    .await;
    let root = Switcher::of(&proxy).succeed(&["certs", "trust"]).await;
    let strict = Strict::trusting_pem(&root.stdout);
    let leaf = served(&proxy, &strict, "shop.test").await;
    assert_eq!(leaf.names, ["127.0.0.1", "shop.test"]);
    assert_eq!(shown(&proxy, &strict, "127.0.0.1").await, leaf);
    assert_eq!(status_of(&proxy, "shop.test").await.source, CertificateSource::Internal);
    assert_private(&proxy);
    let stranger = switcher_tests::acme::Authority::new("stranger");
    assert!(Strict::trusting(&[stranger.root()]).try_connect("shop.test", proxy.https()).await.is_err());
    proxy.kill();
    let again = Switcher::of(&proxy).succeed(&["certs", "trust"]).await;
    assert_eq!(again.stdout, root.stdout, "the root can be had while the proxy does not run");
    proxy.restart().await;
    assert_eq!(served(&proxy, &strict, "shop.test").await, leaf, "a restart issues nothing");
}
