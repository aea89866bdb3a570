//! Every way of proof before a real authority that rejects half of all nonces: issued, stored, served, verified,
//! and served again from disk after a restart.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use switcher_config::wire::CertificateSource;
use switcher_tests::acme::{Strict, pebble};
use switcher_tests::certificate::put;
use switcher_tests::daemon::lacking;
use switcher_tests::dns::texts;
use switcher_tests::http1::get_with;
use switcher_tests::{App, Bind, PATIENCE, Pebble, Proxy, Setup, skip_or_fail, until, until_some};

use super::{asking_pebble, assert_private, kept_pair, served, shown, status_of};

/// What every issued certificate must come to: stored for nobody else to read, told, and served after a restart
/// without asking for another.
async fn stored_told_and_served_again(proxy: &mut Proxy, pebble: &Pebble, strict: &Strict, name: &str) {
    let leaf = served(proxy, strict, name).await;
    assert!(leaf.names.iter().any(|n| n == name || n.starts_with("*.")), "{leaf:?}");
    assert_private(proxy);
    let status = until_some(PATIENCE, "the certificate to be told", || async {
        let all = proxy.admin().certificates().await;
        all.into_iter().find(|c| c.names == leaf.names && c.ca.is_some())
    })
    .await;
    assert_eq!((status.ca.as_deref(), status.failures), (Some(pebble.directory().as_str()), 0), "{status:?}");
    assert_eq!(status.source, CertificateSource::Acme);
    assert_eq!(status.problem, None);
    let orders = pebble.orders();
    assert!(orders > 0, "{}", pebble.log());
    proxy.kill();
    proxy.restart().await;
    assert_eq!(served(proxy, strict, name).await.serial, leaf.serial);
    assert_eq!(pebble.orders(), orders, "a restart orders nothing");
    assert_eq!(pebble.accounts(), 1, "a restart registers nobody");
}

async fn half_of_all_nonces() -> Option<Pebble> {
    if let Some(why) = Pebble::lacks() {
        skip_or_fail(&why);
        return None;
    }
    Some(Pebble::settings().nonce_reject(50).start().await)
}

#[tokio::test]
async fn http_01_issues_while_plain_http_is_redirected() {
    let Some(pebble) = half_of_all_nonces().await else { return };
    let app = App::start("blue").await;
    let setup = asking_pebble(Setup::one(app.upstream()), &pebble).shop("redirect", "true");
    let mut proxy = setup.acme("challenge", "http-01").start().await;
    let strict = pebble.strict().await;
    stored_told_and_served_again(&mut proxy, &pebble, &strict, "shop.test").await;
    assert!(kept_pair(&proxy, "shop.test").is_file());
    assert_eq!(get_with(proxy.http(), "/", &[]).await.status, 308);
    let unknown = get_with(proxy.http(), "/.well-known/acme-challenge/unknown", &[]).await;
    assert_ne!(unknown.status, 200);
    assert_eq!(app.hits(), 0, "no question of an authority's reaches the application");
}

#[tokio::test]
async fn tls_alpn_01_issues() {
    let Some(pebble) = half_of_all_nonces().await else { return };
    let app = App::start("blue").await;
    let setup = asking_pebble(Setup::one(app.upstream()), &pebble);
    let mut proxy = setup.acme("challenge", "tls-alpn-01").start().await;
    let strict = pebble.strict().await;
    stored_told_and_served_again(&mut proxy, &pebble, &strict, "shop.test").await;
    let answer = strict.try_get("shop.test", proxy.https(), "/").await.expect("an answer");
    assert_eq!(answer.text(), "blue");
}

#[tokio::test]
async fn several_names_of_an_application_share_a_certificate_unless_told_otherwise() {
    let Some(pebble) = half_of_all_nonces().await else { return };
    let app = App::start("blue").await;
    let setup = asking_pebble(Setup::one(app.upstream()), &pebble);
    let mut proxy = setup.shop("hosts", "[shop.test, www.shop.test]").start().await;
    let strict = pebble.strict().await;
    let together = served(&proxy, &strict, "shop.test").await;
    assert_eq!(together.names, ["shop.test", "www.shop.test"]);
    assert_eq!(shown(&proxy, &strict, "www.shop.test").await, together);
    let apart = proxy.setup().acme("group", "host");
    proxy.configure(apart);
    proxy.admin().reload().await.expect("reloaded");
    until(PATIENCE, "a certificate for each name", || async {
        let mut names = Vec::new();
        for name in ["shop.test", "www.shop.test"] {
            names.push(
                strict.try_connect(name, proxy.https()).await.map(|v| v.leaf.names).unwrap_or_default(),
            );
        }
        names == [["shop.test"], ["www.shop.test"]]
    })
    .await;
}

#[tokio::test]
async fn an_ip_address_gets_a_certificate() {
    let Some(pebble) = half_of_all_nonces().await else { return };
    let app = App::start("blue").await;
    let setup = asking_pebble(Setup::one(app.upstream()), &pebble);
    let mut proxy = setup.shop("hosts", "[127.0.0.1]").start().await;
    let strict = pebble.strict().await;
    stored_told_and_served_again(&mut proxy, &pebble, &strict, "127.0.0.1").await;
}

#[tokio::test]
async fn an_external_account_is_bound_and_its_absence_is_told() {
    if let Some(why) = Pebble::lacks() {
        return skip_or_fail(&why);
    }
    let pebble = Pebble::settings().nonce_reject(50).eab().start().await;
    let app = App::start("blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    let hmac = folder.path().join("hmac");
    put(&hmac, &format!("{}\n", pebble::HMAC));
    let mut proxy = asking_pebble(Setup::one(app.upstream()), &pebble).start().await;
    let problem =
        until_some(PATIENCE, "the problem", || async { status_of(&proxy, "shop.test").await.problem });
    let problem = problem.await;
    assert!(problem.contains("external account") && problem.contains("acme.eab"), "{problem}");
    let bound =
        proxy.setup().acme("eab", &format!("{{kid: {}, hmac_file: {}}}", pebble::KID, hmac.display()));
    proxy.configure(bound);
    proxy.admin().reload().await.expect("reloaded");
    super::renew_well(&proxy, "shop.test").await;
    let strict = pebble.strict().await;
    stored_told_and_served_again(&mut proxy, &pebble, &strict, "shop.test").await;
}

/// Pebble that asks a real name server, for a name and its wildcard.
async fn zone() -> Option<(Bind, Pebble, App, Setup)> {
    if let Some(why) = Pebble::lacks().or_else(Bind::lacks) {
        skip_or_fail(&why);
        return None;
    }
    let bind = Bind::start("shop.test").await;
    let pebble = Pebble::settings().nonce_reject(50).resolver(bind.address()).start().await;
    let app = App::start("blue").await;
    let setup = asking_pebble(Setup::one(app.upstream()), &pebble)
        .shop("hosts", "[shop.test, \"*.shop.test\"]")
        .acme("resolvers", &format!("[\"{}\"]", bind.address()))
        .acme("challenge", "dns-01");
    Some((bind, pebble, app, setup))
}

async fn wildcard(bind: &Bind, pebble: &Pebble, setup: Setup) {
    let mut proxy = setup.start().await;
    let strict = pebble.strict().await;
    let leaf = served(&proxy, &strict, "any.shop.test").await;
    assert_eq!(leaf.names, ["*.shop.test", "shop.test"]);
    assert_eq!(shown(&proxy, &strict, "shop.test").await, leaf);
    stored_told_and_served_again(&mut proxy, pebble, &strict, "shop.test").await;
    until(PATIENCE, "the records to be removed", || async {
        texts(bind.address(), "_acme-challenge.shop.test").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn dns_01_issues_a_wildcard_by_signed_updates() {
    let Some((bind, pebble, _app, setup)) = zone().await else { return };
    let dns = format!(
        "{{provider: rfc2136, server: \"{}\", key_name: {}, key_file: {}, algorithm: hmac-sha256, \
         propagation_timeout: 20s, ttl: 5s}}",
        bind.address(),
        bind.key_name(),
        bind.key_file().display()
    );
    wildcard(&bind, &pebble, setup.acme("dns", &dns)).await;
    assert!(bind.updates() >= 2, "one record for the name, one for the wildcard: {}", bind.log());
}

/// A hook of the user's own, which writes down how it was called.
fn hook(folder: &Path, bind: &Bind) -> String {
    let (script, log) = (folder.join("hook"), folder.join("hook.log"));
    let secret = std::fs::read_to_string(bind.key_file()).expect("a secret");
    put(
        &script,
        &format!(
            "#!/bin/sh\nset -eu\necho \"$1 $2 $3\" >> '{}'\n\
             case $1 in set) do=\"update add $2. 5 TXT $3\" ;; remove) do=\"update delete $2. TXT $3\" ;; esac\n\
             printf 'server {} 53\\nkey hmac-sha256:{} {}\\n%s\\nsend\\n' \"$do\" | nsupdate -v\n",
            log.display(),
            bind.address().ip(),
            bind.key_name(),
            secret.trim(),
        ),
    );
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("an executable hook");
    script.display().to_string()
}

#[tokio::test]
async fn dns_01_issues_a_wildcard_by_a_hook() {
    if let Some(why) = lacking(&["nsupdate"]) {
        return skip_or_fail(&why);
    }
    let Some((bind, pebble, _app, setup)) = zone().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dns = format!("{{exec: [\"{}\"], propagation_timeout: 20s, ttl: 5s}}", hook(folder.path(), &bind));
    wildcard(&bind, &pebble, setup.acme("dns", &dns)).await;
    let called = std::fs::read_to_string(folder.path().join("hook.log")).expect("what the hook was told");
    let lines = |word: &str| called.lines().filter(|l| l.starts_with(word)).collect::<Vec<_>>();
    assert_eq!(lines("set _acme-challenge.shop.test ").len(), 2, "{called}");
    assert_eq!(lines("remove _acme-challenge.shop.test ").len(), 2, "{called}");
}
