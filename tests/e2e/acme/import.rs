//! Moving over from another program: what it had is served, and nothing is issued.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::json;
use switcher_config::wire::CertificateSource;
use switcher_tests::acme::{Authority, Kind, Strict};
use switcher_tests::certificate::put;
use switcher_tests::{App, FakeCa, Setup, Switcher};

use super::{asking_fake, assert_private, served, shown, status_of};

/// The store of Traefik, with one certificate in it.
fn traefik(folder: &Path, authority: &Authority, names: &[&str]) -> String {
    let (chain, key) = authority.pem(names);
    let store = json!({"letsencrypt": {"Account": null, "Certificates": [{
        "domain": {"main": names[0], "sans": &names[1..]},
        "certificate": BASE64.encode(chain),
        "key": BASE64.encode(key),
        "Store": "default",
    }]}});
    let file = folder.join("acme.json");
    put(&file, &store.to_string());
    file.display().to_string()
}

#[tokio::test]
async fn what_was_imported_before_the_first_start_is_served_and_nothing_is_issued() {
    let (ca, before) = (FakeCa::start().await, Authority::new("before"));
    let app = App::start("blue").await;
    let mut proxy = asking_fake(Setup::one(app.upstream()), &ca).shop("tls", "\"off\"").start().await;
    proxy.kill();
    let folder = tempfile::tempdir().expect("a folder");
    let file = traefik(folder.path(), &before, &["shop.test"]);
    let auto = proxy.setup().shop("tls", "auto");
    proxy.configure(auto);
    Switcher::of(&proxy).succeed(&["certs", "import", "traefik", &file]).await;
    proxy.restart().await;
    let strict = Strict::trusting(&[before.root()]);
    served(&proxy, &strict, "shop.test").await;
    let status = status_of(&proxy, "shop.test").await;
    assert_eq!((status.source, status.problem), (CertificateSource::Acme, None));
    assert_eq!(ca.count(Kind::NewOrder), 0);
    assert_private(&proxy);
}

#[tokio::test]
async fn an_import_into_a_running_proxy_is_served_at_once() {
    let (ca, before) = (FakeCa::start().await, Authority::new("before"));
    // The authority is down, which is why somebody moves a certificate by hand.
    ca.trouble(Kind::Directory, switcher_tests::acme::Trouble::Status(503));
    let app = App::start("blue").await;
    let proxy = asking_fake(Setup::one(app.upstream()), &ca).start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let stranger = traefik(folder.path(), &before, &["stranger.test"]);
    let ran = Switcher::of(&proxy).run(&["certs", "import", "traefik", &stranger]).await;
    assert!((ran.stdout.clone() + &ran.stderr).contains("stranger.test"), "{ran:?}");
    let file = traefik(folder.path(), &before, &["shop.test"]);
    Switcher::of(&proxy).succeed(&["certs", "import", "traefik", &file]).await;
    let strict = Strict::trusting(&[before.root()]);
    assert_eq!(shown(&proxy, &strict, "shop.test").await.names, ["shop.test"]);
}
