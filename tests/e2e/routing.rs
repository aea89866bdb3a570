//! Which application a request goes to: hosts, path prefixes, and the answers when there is none.

use switcher_tests::http1::{get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::port::Port;
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, Proxy, Setup};

async fn app_at(proxy: &Proxy, host: &str, path: &str) -> String {
    get_with(proxy.http(), path, &[("Host", host)]).await.text()
}

#[tokio::test]
async fn an_exact_host_goes_before_a_wildcard_and_a_wildcard_before_any_host() {
    let (exact, wild, any) = (App::start("exact").await, App::start("wild").await, App::start("any").await);
    let proxy = Setup::one(exact.upstream())
        .shop("hosts", "[shop.test, www.example.test]")
        .another("wild", wild.upstream(), &[("hosts", "[\"*.example.test\"]")])
        .another("any", any.upstream(), &[])
        .start_healthy()
        .await;
    for (host, name) in [
        ("shop.test", "exact"),
        ("SHOP.test:8080", "exact"),
        ("www.example.test", "exact"),
        ("a.example.test", "wild"),
        ("a.b.example.test", "any"),
        ("example.test", "any"),
        ("127.0.0.1", "any"),
    ] {
        assert_eq!(app_at(&proxy, host, "/").await, name, "{host}");
    }
}

#[tokio::test]
async fn the_longest_prefix_of_whole_segments_wins() {
    let (root, api, second) = (App::start("root").await, App::start("api").await, App::start("second").await);
    let proxy = Setup::one(root.upstream())
        .another("api", api.upstream(), &[("path", "/api")])
        .another("second", second.upstream(), &[("path", "/api/v2")])
        .start_healthy()
        .await;
    for (path, name) in [
        ("/", "root"),
        ("/apix", "root"),
        ("/api", "api"),
        ("/api?x=/api/v2", "api"),
        ("/api/v1", "api"),
        ("/api/v2", "second"),
        ("/api/v2/items", "second"),
    ] {
        assert_eq!(app_at(&proxy, "shop.test", path).await, name, "{path}");
    }
}

#[tokio::test]
async fn an_unknown_host_is_answered_404_and_says_so() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("hosts", "[shop.test]").start_healthy().await;
    let answer = get_with(proxy.http(), "/", &[("Host", "other.test")]).await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("other.test"), "{}", answer.text());
    assert_eq!((app.hits(), app_at(&proxy, "shop.test", "/").await.as_str()), (0, "blue"));
}

#[tokio::test]
async fn a_path_that_no_application_of_the_host_has_is_answered_404() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("path", "/api").start_healthy().await;
    assert_eq!(get_with(proxy.http(), "/other", &[]).await.status, 404);
    assert_eq!(get_with(proxy.http(), "/api/x", &[]).await.status, 200);
    assert_eq!(app.hits(), 1);
}

#[tokio::test]
async fn what_a_client_puts_into_the_host_is_never_repeated_as_markup() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("hosts", "[shop.test]").start_healthy().await;
    let headers = [("Host", "<script>x</script>"), ("Accept", "text/html")];
    let answer = get_with(proxy.http(), "/<script>", &headers).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    assert!(!answer.text().contains("<script>"), "{}", answer.text());
}

#[tokio::test]
async fn a_request_without_a_host_is_a_bad_request() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let answer = Http1::connect(proxy.http()).await.exchange(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!((answer.status, app.hits()), (400, 0));
}

#[tokio::test]
async fn one_of_ten_thousand_hosts_is_found() {
    let (many, shop) = (App::start("many").await, App::start("shop").await);
    let hosts: Vec<String> = (0..10_000).map(|n| format!("h{n}.many.test")).collect();
    let proxy = Setup::one(shop.upstream())
        .shop("hosts", "[shop.test]")
        .another("many", many.upstream(), &[("hosts", &format!("[{}]", hosts.join(", ")))])
        .start_healthy()
        .await;
    for n in [0, 1, 4_999, 9_999] {
        assert_eq!(app_at(&proxy, &format!("h{n}.many.test"), "/").await, "many");
    }
    assert_eq!(get_with(proxy.http(), "/", &[("Host", "h10000.many.test")]).await.status, 404);
    assert_eq!(app_at(&proxy, "shop.test", "/").await, "shop");
}

#[tokio::test]
async fn http2_is_routed_by_its_authority() {
    let (shop, other) = (App::start("shop").await, App::start("other").await);
    let proxy = Setup::one(shop.upstream())
        .shop("hosts", "[shop.test]")
        .another("other", other.upstream(), &[])
        .start_healthy()
        .await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    assert_eq!(client.exchange(http2::get("/"), b"").await.text(), "shop");
}

#[tokio::test]
async fn a_name_the_connection_was_not_opened_for_is_answered_421_and_says_so() {
    let (shop, api) = (App::start("shop").await, App::start("api").await);
    let proxy = Setup::one(shop.upstream())
        .shop("hosts", "[shop.test]")
        .another("api", api.upstream(), &[("hosts", "[api.test]")])
        .start_healthy()
        .await;
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    let answer = client.exchange(&request("GET", "/", &[("Host", "api.test")], b"")).await;
    assert_eq!(answer.status, 421);
    assert!(answer.text().contains("api.test"), "{}", answer.text());
    assert_eq!(api.hits(), 0);
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "shop");
}

async fn asked(proxy: &Proxy, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut client = Http1::connect(proxy.http()).await;
    client.exchange(&request(method, target, headers, b"")).await.text()
}

#[tokio::test]
async fn what_a_request_shows_decides_between_applications_of_the_same_host_and_path() {
    let names = ["site", "writes", "beta", "dark", "inside", "numbered"];
    let mut apps = Vec::new();
    for name in names {
        apps.push(App::start(name).await);
    }
    let wanted = [
        "{methods: [POST, PUT]}",
        "{headers: {X-Beta: \"1\"}, methods: [GET]}",
        "{query: {theme: {pattern: \"^da\"}}}",
        "{clients: [203.0.113.0/24]}",
        "{path_pattern: '^/v\\d+/', host_pattern: '^sh'}",
    ];
    let mut setup = Setup::one(apps[0].upstream()).proxy("trusted_proxies", "[127.0.0.1]");
    for (at, wanted) in wanted.iter().enumerate() {
        let priority = if names[at + 1] == "inside" { "5" } else { "0" };
        setup = setup.another(
            names[at + 1],
            apps[at + 1].upstream(),
            &[("match", wanted), ("priority", priority)],
        );
    }
    let proxy = setup.start_healthy().await;
    let inside = ("X-Forwarded-For", "203.0.113.9");
    for (method, target, headers, name) in [
        ("GET", "/", &[][..], "site"),
        ("PUT", "/", &[], "writes"),
        ("GET", "/", &[("X-Beta", "1")], "beta"),
        ("GET", "/", &[("X-Beta", "12")], "site"),
        ("DELETE", "/", &[("X-Beta", "1")], "site"),
        ("GET", "/?theme=dark", &[], "dark"),
        ("GET", "/?x=1&theme=%64ark", &[], "dark"),
        ("GET", "/?theme=light", &[], "site"),
        ("GET", "/?theme=dark", &[("X-Beta", "1")], "beta"),
        ("GET", "/", &[inside], "inside"),
        ("PUT", "/?theme=dark", &[inside, ("X-Beta", "1")], "inside"),
        ("GET", "/v12/x", &[], "numbered"),
        ("GET", "/v12/x", &[("Host", "other.test")], "site"),
    ] {
        assert_eq!(asked(&proxy, method, target, headers).await, name, "{method} {target} {headers:?}");
    }
    let beta = [("x-beta", "1")];
    let answer = Http2::connect(proxy.http()).await.exchange(http2::request("GET", "/", &beta), b"").await;
    assert_eq!(answer.text(), "beta", "by HTTP/2");
}

#[tokio::test]
async fn an_application_without_a_taker_for_a_request_answers_404() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("match", "{methods: [GET]}").start_healthy().await;
    assert_eq!(asked(&proxy, "GET", "/", &[]).await, "blue");
    let mut client = Http1::connect(proxy.http()).await;
    assert_eq!(client.exchange(&request("DELETE", "/", &[], b"")).await.status, 404);
    assert_eq!(app.hits(), 1);
}

#[tokio::test]
async fn a_listener_with_a_name_serves_those_who_name_it_and_nobody_else() {
    let (shop, inner, both) = (App::start("shop").await, App::start("inner").await, App::start("both").await);
    let (open, internal) = (Port::reserve(), Port::reserve());
    let listeners = format!("[{}, {{listen: {}, name: internal}}]", open.address(), internal.address());
    let inside = [("listeners", "[internal]"), ("hosts", "[shop.test]")];
    let everywhere = [("listeners", "[default, internal]"), ("hosts", "[both.test]")];
    let setup = Setup::one(shop.upstream()).proxy("http", &listeners);
    let setup =
        setup.another("inner", inner.upstream(), &inside).another("both", both.upstream(), &everywhere);
    let proxy = setup.start_healthy().await;
    let ask = async |port: &Port, host: &str| {
        let answer = get_with(port.address(), "/", &[("Host", host)]).await;
        (answer.status, answer.text())
    };
    assert_eq!(ask(&open, "shop.test").await, (200, "shop".to_owned()));
    assert_eq!(ask(&internal, "shop.test").await, (200, "inner".to_owned()));
    assert_eq!(ask(&open, "both.test").await.1, "both");
    assert_eq!(ask(&internal, "both.test").await.1, "both");
    assert_eq!(ask(&internal, "other.test").await.0, 404, "what is served everywhere is not served there");
    assert_eq!(ask(&open, "other.test").await.1, "shop");

    // What is served where is followed by a reload.
    let mut proxy = proxy;
    let moved = proxy.setup().shop("listeners", "[default, internal]");
    proxy.configure(moved);
    assert_eq!(proxy.admin().call("POST", "/v1/reload", "").await.status, 200);
    assert_eq!(ask(&internal, "other.test").await.1, "shop");
}
