//! Many names: all of them are obtained, and a start serves them at once.

use jiff::{SignedDuration, Timestamp};
use switcher_tests::acme::{Authority, Kind, Strict};
use switcher_tests::certificate::put;
use switcher_tests::{App, FakeCa, PATIENCE, Proxy, Setup, until};

use super::{asking_fake, served, shown};

/// How many are loaded.
const LOADED: usize = 500;

/// Within this they are loaded: far above what it takes, as the machine may be busy and the proxy is not optimized.
const LOADED_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// How many are obtained in one go.
const OBTAINED: usize = 40;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("n{n}.test")).collect()
}

fn each_its_own(app: &App, ca: &FakeCa, names: &[String]) -> Setup {
    let setup = asking_fake(Setup::one(app.upstream()), ca).acme("group", "host");
    setup.shop("hosts", &format!("[{}]", names.join(", ")))
}

/// When a line of the log was written.
fn written(line: &str) -> Timestamp {
    let stamp = line.split_whitespace().next().unwrap_or_default();
    stamp.parse().unwrap_or_else(|e| panic!("no time ({e}): {line}"))
}

#[tokio::test]
async fn many_names_are_obtained_at_once_and_a_restart_obtains_none_again() {
    let (ca, app, names) = (FakeCa::start().await, App::start("blue").await, names(OBTAINED));
    let mut proxy = each_its_own(&app, &ca, &names).start().await;
    until(PATIENCE, "every name's certificate", || async {
        let served = proxy.admin().certificates().await;
        served.iter().filter(|certificate| certificate.ca.is_some()).count() == OBTAINED
    })
    .await;
    proxy.kill();
    proxy.restart().await;
    for name in &names {
        assert_eq!(shown(&proxy, &ca.strict(), name).await.names, [name.as_str()]);
    }
    assert_eq!((ca.accounts(), ca.orders().len()), (1, OBTAINED));
}

#[tokio::test]
async fn five_hundred_names_are_loaded_in_a_moment() {
    let (ca, app, names) = (FakeCa::start().await, App::start("blue").await, names(LOADED));
    let kept = Authority::new("kept");
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = folder.path().join("data/certs/certificates");
    std::fs::create_dir_all(&certificates).expect("a folder");
    for name in &names {
        let (chain, key) = kept.pem(&[name]);
        put(&certificates.join(format!("{name}.pem")), &(key + &chain));
    }
    let mut proxy = Proxy::spawn_in(folder, each_its_own(&app, &ca, &names), &[]);
    proxy.wait_ready().await;
    let strict = Strict::trusting(&[kept.root()]);
    for name in &names {
        assert_eq!(served(&proxy, &strict, name).await.names, [name.as_str()]);
    }
    assert_eq!(ca.count(Kind::NewOrder), 0, "what is kept is not ordered");
    until(PATIENCE, "the log to come so far", || async { proxy.stderr().contains("INFO ready") }).await;
    let log = proxy.stderr();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("WARN")).collect();
    let loaded = lines.iter().find(|line| line.contains("certificates loaded")).expect("a line that says so");
    let ready = lines.iter().find(|line| line.contains("INFO ready")).expect("a line that says so");
    assert!(loaded.contains(&LOADED.to_string()), "{loaded}");
    let took = written(ready).duration_since(written(log.lines().next().expect("a line")));
    assert!(took < LOADED_WITHIN, "the start took {took}: {log}");
    // The control: what was measured is the start of this process, which did load them.
    assert!(written(loaded) <= written(ready), "{log}");
}
