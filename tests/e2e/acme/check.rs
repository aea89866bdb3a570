//! `switcher certs check`: what stands between a name and its certificate, told without ordering any.

use std::net::{Ipv4Addr, SocketAddr};

use switcher_tests::acme::Kind;
use switcher_tests::dns::Records;
use switcher_tests::part::skip_or_fail;
use switcher_tests::{App, FakeCa, Setup, Switcher};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::asking_fake;

/// An address of this test's own, as if it were a machine of its own.
fn machine() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 80, high, low.clamp(1, 254))
}

/// Brings what comes to a port of the machine to the proxy.
fn forward(listener: TcpListener, to: SocketAddr) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await.expect("the proxy");
                // Whichever side leaves first ends it.
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    })
}

#[tokio::test]
async fn a_name_that_leads_here_is_fine_and_one_that_leads_elsewhere_is_told_with_a_remedy() {
    let here = machine();
    let (Ok(http), Ok(https)) = (TcpListener::bind((here, 80)).await, TcpListener::bind((here, 443)).await)
    else {
        return skip_or_fail("ports 80 and 443 take root's rights");
    };
    if let Some(why) = switcher_tests::Pebble::lacks() {
        return skip_or_fail(&why);
    }
    let (ca, app, records) = (FakeCa::start().await, App::start("blue").await, Records::start().await);
    records.a("shop.test", &[&here.to_string()]).await;
    records.a("lost.test", &["127.80.255.254"]).await;
    let resolvers = format!("[\"{}\"]", records.address());
    let setup = asking_fake(Setup::one(app.upstream()), &ca).acme("resolvers", &resolvers);
    let proxy = setup.shop("hosts", "[shop.test, lost.test]").start_healthy().await;
    let _forwarding = [forward(http, proxy.http()), forward(https, proxy.https())];
    let orders = ca.count(Kind::NewOrder);
    let fine = Switcher::of(&proxy).run(&["--json", "certs", "check", "shop.test"]).await;
    let findings = fine.json();
    let findings = findings["findings"].as_array().expect("findings").clone();
    for check in ["dns", "http", "tls"] {
        let found = findings.iter().find(|finding| finding["check"] == check).expect("looked at");
        assert_eq!(found["verdict"], "ok", "{found}");
    }
    let lost = Switcher::of(&proxy).run(&["--json", "certs", "check", "lost.test"]).await.json();
    let lost = lost["findings"].as_array().expect("findings").clone();
    let unreached = lost.iter().find(|finding| finding["check"] == "http").expect("looked at");
    assert_ne!(unreached["verdict"], "ok", "{unreached}");
    assert!(unreached["fix"].is_string(), "{unreached}");
    assert!(ca.count(Kind::NewOrder) <= orders + 1, "the check itself orders nothing");
    assert_eq!(app.hits(), 0, "no probe reaches the application");
}
