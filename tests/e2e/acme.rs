//! HTTPS that takes care of itself: certificates from real and from misbehaving authorities, through renewals,
//! restarts, kills and failures, judged by clients that verify everything.

mod ari;
mod changes;
mod check;
mod crash;
mod fallback;
mod import;
mod internal;
mod issuance;
mod keys;
mod many;
mod on_demand;
mod renewal;
mod trouble;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use switcher_config::wire::{CertificateStatus, Renewal, RenewalOutcome};
use switcher_tests::acme::{Leaf, Strict};
use switcher_tests::{FakeCa, PATIENCE, Pebble, Proxy, Setup, until_some};

/// Certificates from an authority, for `shop.test`.
fn asking(setup: Setup, directory: &str, ca_file: &Path) -> Setup {
    setup
        .acme("email", "ops@shop.test")
        .acme("directory", directory)
        .acme("ca_file", &ca_file.display().to_string())
        .acme("retry", "{first: 1s, max: 1h}")
        .shop("hosts", "[shop.test]")
        .shop("tls", "auto")
}

/// Certificates from Pebble, which looks for proofs at the proxy's listeners.
fn asking_pebble(setup: Setup, pebble: &Pebble) -> Setup {
    asking(setup, &pebble.directory(), &pebble.ca_file()).listeners(pebble.http(), pebble.https())
}

/// Certificates from the fake authority.
fn asking_fake(setup: Setup, ca: &FakeCa) -> Setup {
    asking(setup, &ca.directory(), &ca.ca_file())
}

/// The certificate that is shown for a name, as soon as one is that holds.
async fn served(proxy: &Proxy, strict: &Strict, name: &str) -> Leaf {
    until_some(PATIENCE, &format!("a certificate for {name} that holds"), || async {
        strict.try_connect(name, proxy.https()).await.ok().map(|verified| verified.leaf)
    })
    .await
}

/// The certificate that is shown for a name now.
async fn shown(proxy: &Proxy, strict: &Strict, name: &str) -> Leaf {
    strict.connect(name, proxy.https()).await.leaf
}

/// What the proxy says of the certificate of a name.
async fn status_of(proxy: &Proxy, name: &str) -> CertificateStatus {
    let all = proxy.admin().certificates().await;
    let found = all.iter().find(|c| c.names.iter().any(|n| n == name)).cloned();
    found.unwrap_or_else(|| panic!("nothing is said of {name}: {all:?}"))
}

/// Renews the certificate of a name now.
async fn renew(proxy: &Proxy, name: &str) -> Renewal {
    let mut renewed = proxy.admin().renew(&[name]).await.expect("an outcome").certificates;
    assert_eq!(renewed.len(), 1, "{renewed:?}");
    renewed.remove(0)
}

/// Renews the certificate of a name now, which must succeed.
async fn renew_well(proxy: &Proxy, name: &str) {
    let renewal = renew(proxy, name).await;
    assert_eq!(renewal.outcome, RenewalOutcome::Renewed, "{renewal:?}");
}

/// A figure of `/metrics`: the value of the first series that begins so.
async fn metric(proxy: &Proxy, series: &str) -> f64 {
    let text = proxy.admin().get("/metrics").await.text();
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no series {series}: {text}"));
    line.rsplit(' ')
        .next()
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no figure: {line}"))
}

/// Every file and folder below the folder of certificates, itself included.
fn kept(proxy: &Proxy) -> Vec<PathBuf> {
    let mut found = vec![proxy.path("data/certs")];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder");
            found.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    found
}

/// Nobody but the proxy's user can read what is kept: folders 0700, files 0600.
fn assert_private(proxy: &Proxy) {
    for path in kept(proxy) {
        let metadata = std::fs::metadata(&path).expect("its metadata");
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, wanted, "{}", path.display());
    }
}

/// The kept file of a name's certificate.
fn kept_pair(proxy: &Proxy, id: &str) -> PathBuf {
    proxy.path(&format!("data/certs/certificates/{id}.pem"))
}
