//! Changes of the configuration: whoever had a good certificate before is never shown anything less.

use switcher_config::wire::CertificateSource;
use switcher_tests::acme::{Kind, Trouble};
use switcher_tests::{App, FakeCa, PATIENCE, Setup, until};

use super::{asking_fake, served, shown, status_of};

#[tokio::test]
async fn no_change_of_the_configuration_shows_a_placeholder_where_a_kept_certificate_holds() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let two = asking_fake(Setup::one(app.upstream()), &ca).shop("hosts", "[shop.test, www.shop.test]");
    let mut proxy = two.clone().start().await;
    let first = served(&proxy, &ca.strict(), "shop.test").await;
    ca.trouble(Kind::NewOrder, Trouble::Hang);
    let changes = [
        ("a host more", two.clone().shop("hosts", "[shop.test, www.shop.test, new.shop.test]")),
        ("a host less", two.clone().shop("hosts", "[www.shop.test]")),
        ("one for each host", two.clone().acme("group", "host")),
        ("another kind of key", two.clone().acme("key", "rsa")),
        ("both kinds of key", two.clone().acme("key", "both")),
    ];
    for (change, setup) in changes {
        proxy.configure(setup);
        proxy.admin().reload().await.expect("reloaded");
        let leaf = ca.strict().try_connect("www.shop.test", proxy.https()).await.map(|v| v.leaf);
        assert_eq!(leaf.unwrap_or_else(|e| panic!("{change}: {e}")), first, "{change}");
    }
    // The control: the new host has nothing that holds.
    proxy.configure(two.clone().shop("hosts", "[shop.test, www.shop.test, new.shop.test]"));
    proxy.admin().reload().await.expect("reloaded");
    assert!(ca.strict().try_connect("new.shop.test", proxy.https()).await.is_err());
    assert_eq!(status_of(&proxy, "new.shop.test").await.source, CertificateSource::Placeholder);
    proxy.kill();
    proxy.restart().await;
    assert_eq!(shown(&proxy, &ca.strict(), "shop.test").await, first, "nor does a restart amid it");
    ca.recover();
    until(PATIENCE, "the certificate for all three", || async {
        let leaf = ca.strict().try_connect("new.shop.test", proxy.https()).await.map(|v| v.leaf);
        leaf.is_ok_and(|leaf| leaf.names.len() == 3)
    })
    .await;
    assert_eq!(shown(&proxy, &ca.strict(), "shop.test").await.names.len(), 3, "it takes over for all");
}

#[tokio::test]
async fn without_an_acme_section_what_was_issued_is_served_on() {
    let (ca, app) = (FakeCa::start().await, App::start("blue").await);
    let mut proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    let first = served(&proxy, &ca.strict(), "shop.test").await;
    proxy.configure(Setup::one(app.upstream()).shop("hosts", "[shop.test]").shop("tls", "auto"));
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(shown(&proxy, &ca.strict(), "shop.test").await, first);
    let problem = status_of(&proxy, "shop.test").await.problem.expect("a problem");
    assert!(problem.contains("no `acme` section"), "{problem}");
}
