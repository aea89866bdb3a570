//! Customers' names: a certificate at the first handshake, for names that the ask page allows, within limits.

use switcher_tests::acme::{Ask, Kind};
use switcher_tests::{App, FakeCa, Proxy, Setup};

use super::{asking_fake, shown};

async fn proxy(app: &App, ca: &FakeCa, ask: &Ask, limit: u32) -> Proxy {
    asking_fake(Setup::one(app.upstream()), ca)
        .shop("hosts", "[\"*.customers.test\"]")
        .shop("tls", "on_demand")
        .acme("on_demand", &format!("{{ask: \"{}\", limit: {limit}, window: 1h, refusal: 1h}}", ask.url()))
        .start()
        .await
}

#[tokio::test]
async fn an_allowed_name_gets_its_certificate_within_its_first_handshake() {
    let (app, ca) = (App::start("blue").await, FakeCa::start().await);
    let ask = Ask::allowing(&["a.customers.test"]).await;
    let mut proxy = proxy(&app, &ca, &ask, 20).await;
    assert_eq!(ca.count(Kind::NewOrder), 0);
    let answer = ca.strict().try_get("a.customers.test", proxy.https(), "/").await.expect("an answer");
    assert_eq!(answer.text(), "blue");
    let leaf = shown(&proxy, &ca.strict(), "a.customers.test").await;
    assert_eq!(leaf.names, ["a.customers.test"]);
    assert_eq!((ca.orders().len(), ask.times("a.customers.test")), (1, 1));
    proxy.kill();
    proxy.restart().await;
    assert_eq!(shown(&proxy, &ca.strict(), "a.customers.test").await, leaf);
    assert_eq!(ca.orders().len(), 1, "a restart obtains nothing again");
}

#[tokio::test]
async fn a_refused_name_gets_an_alert_and_is_asked_about_once() {
    let (app, ca) = (App::start("blue").await, FakeCa::start().await);
    let ask = Ask::allowing(&[]).await;
    let proxy = proxy(&app, &ca, &ask, 20).await;
    for _ in 0..5 {
        let refused =
            ca.strict().try_connect("b.customers.test", proxy.https()).await.err().expect("refused");
        assert!(refused.to_string().to_lowercase().contains("unrecognisedname"), "{refused}");
    }
    assert!(ca.strict().try_connect("b.elsewhere.test", proxy.https()).await.is_err());
    assert_eq!(ask.asked(), ["b.customers.test"], "once, and never about a name of no application");
    assert_eq!(ca.orders().len(), 0);
}

#[tokio::test]
async fn no_more_names_than_the_limit_are_obtained() {
    let (app, ca) = (App::start("blue").await, FakeCa::start().await);
    let names: Vec<String> = (0..5).map(|n| format!("n{n}.customers.test")).collect();
    let ask = Ask::allowing(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let proxy = proxy(&app, &ca, &ask, 2).await;
    let mut good = 0;
    for name in &names {
        good += usize::from(ca.strict().try_connect(name, proxy.https()).await.is_ok());
    }
    assert_eq!((good, ca.orders().len()), (2, 2));
    assert!(ca.strict().try_connect(&names[0], proxy.https()).await.is_ok(), "what is there is served on");
}

#[tokio::test]
async fn many_first_handshakes_of_one_name_make_one_order() {
    let (app, ca) = (App::start("blue").await, FakeCa::start().await);
    let ask = Ask::allowing(&["a.customers.test"]).await;
    let proxy = proxy(&app, &ca, &ask, 20).await;
    let strict = ca.strict();
    let first = (0..20).map(|_| strict.try_connect("a.customers.test", proxy.https()));
    for connected in futures::future::join_all(first).await {
        connected.expect("a certificate that holds");
    }
    assert_eq!((ca.orders().len(), ask.times("a.customers.test")), (1, 1));
}
