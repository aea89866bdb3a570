//! The dashboard on the status listener: what it shows, what it never lets through, and who may act.
//!
//! `browser` looks at it with a real browser.

mod browser;

use switcher_config::Slot;
use switcher_config::durable::{Durability, replace};
use switcher_config::wire::Health;
use switcher_tests::http1::{Answer, get, get_with, post, request};
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until};
use tempfile::TempDir;

const TOKEN: &str = "a-token-for-these-tests";
const PROMOTE: &str = "/apps/shop/promote/green";

/// The file of a token, and the `dashboard` section that names it.
fn secret() -> (TempDir, String) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("dashboard.token");
    replace(&file, TOKEN.as_bytes(), 0o600, Durability::Synced).expect("a written file");
    let section = format!("{{token_file: {}}}", file.display());
    (folder, section)
}

async fn two() -> (App, App, TempDir, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let (folder, section) = secret();
    let proxy =
        Setup::two(&blue, &green).shop("tls", "off").proxy("dashboard", &section).start_healthy().await;
    (blue, green, folder, proxy)
}

/// A form, sent as a browser sends it.
async fn send(proxy: &Proxy, target: &str, form: &str, more: &[(&str, &str)]) -> Answer {
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let headers: Vec<(&str, &str)> = std::iter::once(kind).chain(more.iter().copied()).collect();
    let mut wire = Http1::connect(proxy.status()).await;
    wire.exchange(&request("POST", target, &headers, form.as_bytes())).await
}

async fn live(proxy: &Proxy) -> (Slot, u64) {
    let shop = proxy.admin().shop().await;
    (shop.active, shop.generation.get())
}

#[tokio::test]
async fn the_page_shows_both_slots_and_what_happened() {
    let (blue, _green, _folder, proxy) = two().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    until(PATIENCE, "the page to tell of the switch", || async {
        let text = get(proxy.status(), "/").await.text();
        ["green is live, blue was left; generation 2", "<g class=\"switch green\">"]
            .iter()
            .all(|part| text.contains(part))
    })
    .await;
    let page = get(proxy.status(), "/").await;
    let text = page.text();
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for part in [
        "All is well",
        &blue.upstream(),
        "class=\"slot blue standby\"",
        "class=\"slot green live\"",
        "generation 2",
        "Roll back to blue",
        "<g class=\"switch green\">",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(!text.contains("All is well</h1><ul"), "{text}");
    assert_eq!(get(proxy.status(), "/apps/shop").await.status, 200);
    assert_eq!(get(proxy.status(), "/apps/nobody").await.status, 404);
    assert_eq!(get(proxy.status(), "/apps/shop/promote/red").await.status, 404);
    assert_eq!(get(proxy.status(), "/nothing").await.status, 404);
}

#[tokio::test]
async fn requests_and_errors_are_drawn_by_slot() {
    let (_blue, _green, _folder, proxy) = two().await;
    for _ in 0..20 {
        get(proxy.http(), "/").await;
    }
    until(PATIENCE, "a line of the blue slot, and none of the green one", || async {
        let text = get(proxy.status(), "/").await.text();
        text.contains("class=\"line blue\"") && !text.contains("class=\"line green\"")
    })
    .await;
}

#[tokio::test]
async fn nothing_is_loaded_from_elsewhere_and_nothing_stands_in_the_page_that_could_run() {
    let (_blue, _green, _folder, proxy) = two().await;
    let page = get(proxy.status(), "/").await;
    let policy = page.header("content-security-policy").expect("a policy");
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let text = page.text();
    for never in [" style=", " onclick=", "<style", "http://", "https://", "javascript:"] {
        assert!(!text.contains(never), "{never}:\n{text}");
    }
    for asset in ["/dashboard/style.css", "/dashboard/live.js", "/dashboard/icon.svg"] {
        assert!(text.contains(asset), "{asset}");
        let first = get(proxy.status(), asset).await;
        let tag = first.header("etag").expect("a tag").to_owned();
        assert_eq!(first.status, 200, "{asset}");
        let again = get_with(proxy.status(), asset, &[("If-None-Match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{asset}");
    }
}

#[tokio::test]
async fn what_an_application_says_is_shown_and_never_obeyed() {
    let (_blue, green, _folder, proxy) = two().await;
    let evil = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>";
    green.health(500, evil);
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    let upstreams = [green.upstream()];
    proxy.admin().register(Slot::Green, &upstreams, Some("<b>v2</b>")).await.expect("registered");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    for page in ["/", "/apps/shop", PROMOTE] {
        let text = get(proxy.status(), page).await.text();
        assert!(text.contains("&lt;b&gt;v2&lt;/b&gt;"), "{page}: {text}");
        assert!(
            !text.contains("<script>") && !text.contains("<img") && !text.contains("<b>"),
            "{page}: {text}"
        );
    }
    assert!(get(proxy.status(), "/").await.text().contains("&lt;script&gt;alert(1)"));
    let path = get(proxy.status(), "/apps/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(path.status, 404);
    assert!(!path.text().contains("<script>"), "{}", path.text());
}

#[tokio::test]
async fn head_answers_the_head_alone() {
    let (_blue, _green, _folder, proxy) = two().await;
    let mut wire = Http1::connect(proxy.status()).await;
    wire.send(&request("HEAD", "/", &[], b"")).await;
    let head = wire.head().await;
    assert_eq!((head.status(), head.get("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(wire.exchange(&request("GET", "/health", &[], b"")).await.text(), "ok\n");
}

#[tokio::test]
async fn without_a_token_in_the_settings_it_only_shows() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    let text = get(proxy.status(), "/").await.text();
    assert!(text.contains("This dashboard only shows") && !text.contains("/promote/"), "{text}");
    assert_eq!(get(proxy.status(), PROMOTE).await.status, 403);
    for form in ["token=&generation=1", "token=a-token-for-these-tests&generation=1", ""] {
        assert_eq!(send(&proxy, PROMOTE, form, &[]).await.status, 403, "{form}");
    }
    assert_eq!(live(&proxy).await, (Slot::Blue, 1));
}

#[tokio::test]
async fn the_token_promotes_what_was_confirmed() {
    let (_blue, _green, _folder, proxy) = two().await;
    let page = get(proxy.status(), PROMOTE).await.text();
    for part in
        ["Promote green?", "name=\"generation\" value=\"1\"", "type=\"password\"", "shop, generation 1"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let form = format!("generation=1&username=switcher&token={TOKEN}");
    let answer = send(&proxy, PROMOTE, &form, &[("Origin", "http://shop.test")]).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/#shop")), "{}", answer.text());
    assert_eq!(live(&proxy).await, (Slot::Green, 2));
    assert!(!proxy.stderr().contains(TOKEN) && !proxy.stdout().text().contains(TOKEN));
    let again = send(&proxy, PROMOTE, &form, &[]).await;
    assert_eq!(again.status, 409, "sent twice, done once: {}", again.text());
    let live_already = send(&proxy, PROMOTE, &form.replace("=1&", "=2&"), &[]).await;
    assert_eq!(live_already.status, 412, "{}", live_already.text());
    assert_eq!(live(&proxy).await, (Slot::Green, 2));
}

#[tokio::test]
async fn what_changed_meanwhile_is_not_overruled() {
    let (_blue, _green, _folder, proxy) = two().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    proxy.admin().promote(Slot::Blue).await.expect("promoted");
    let answer = send(&proxy, PROMOTE, &format!("generation=1&token={TOKEN}"), &[]).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("generation 1 was expected, but it is 3"), "{}", answer.text());
    assert_eq!(live(&proxy).await, (Slot::Blue, 3));
}

#[tokio::test]
async fn a_slot_that_is_not_healthy_is_not_promoted_from_here() {
    let (_blue, green, _folder, proxy) = two().await;
    green.health(500, "broken");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    assert!(!get(proxy.status(), "/").await.text().contains(PROMOTE));
    let answer = send(&proxy, PROMOTE, &format!("generation=1&token={TOKEN}"), &[]).await;
    assert_eq!(answer.status, 412, "{}", answer.text());
    assert_eq!(live(&proxy).await, (Slot::Blue, 1));
}

#[tokio::test]
async fn other_sites_half_forms_and_wrong_tokens_change_nothing() {
    let (_blue, _green, _folder, proxy) = two().await;
    let good = format!("generation=1&token={TOKEN}");
    for header in [("Origin", "http://evil.test"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")] {
        assert_eq!(send(&proxy, PROMOTE, &good, &[header]).await.status, 403, "{header:?}");
    }
    for half in ["", "generation=1", "token=a-token-for-these-tests", "generation=x&token=a", "%ff=%ff"] {
        assert_eq!(send(&proxy, PROMOTE, half, &[]).await.status, 400, "{half}");
    }
    let long = format!("generation=1&token={}", "a".repeat(100_000));
    assert_eq!(send(&proxy, PROMOTE, &long, &[]).await.status, 400);
    assert_eq!(send(&proxy, "/apps/nobody/promote/green", &good, &[]).await.status, 404);
    assert_eq!(send(&proxy, "/apps/shop/promote/red", &good, &[]).await.status, 404);
    for _ in 0..5 {
        let wrong = send(&proxy, PROMOTE, "generation=1&token=wrong", &[]).await;
        assert_eq!(wrong.status, 403);
        assert!(wrong.text().contains("This is not the token"), "{}", wrong.text());
    }
    assert_eq!(send(&proxy, PROMOTE, &good, &[]).await.status, 429, "whoever guesses has to wait");
    assert_eq!(live(&proxy).await, (Slot::Blue, 1));
}

#[tokio::test]
async fn what_a_deployer_tells_is_cut_short_and_never_obeyed() {
    let (_blue, _green, _folder, proxy) = two().await;
    let step = |message: &str| {
        let step = serde_json::json!({"deployment": "dep_1", "slot": "green", "step": "<i>", "state": "failed", "message": message});
        step.to_string()
    };
    let tell = async |app: &str, body: &str| {
        proxy.admin().call("POST", &format!("/v1/apps/{app}/progress"), body).await.status
    };
    assert_eq!(tell("shop", &step(&format!("<script>{}", "x".repeat(5000)))).await, 200);
    assert_eq!((tell("nobody", &step("")).await, tell("shop", "{}").await), (404, 400));
    let failed = "<li class=\"failed\"><strong>&lt;i&gt;</strong>";
    until(PATIENCE, "the step to be shown", || async {
        get(proxy.status(), "/").await.text().contains(failed)
    })
    .await;
    let text = get(proxy.status(), "/").await.text();
    assert!(text.contains(&"x".repeat(292)) && !text.contains(&"x".repeat(293)), "{text}");
    let over_tcp = post(proxy.status(), "/v1/apps/shop/progress", step("").as_bytes()).await;
    assert_eq!(over_tcp.status, 403);
}

#[tokio::test]
async fn very_many_applications_are_a_table_with_a_page_each() {
    let app = App::start("blue").await;
    let mut setup = Setup::one(app.upstream());
    for n in 0..20 {
        setup = setup.another(&format!("app-{n}"), app.upstream(), &[("path", &format!("/{n}"))]);
    }
    let proxy = setup.start_healthy().await;
    let text = get(proxy.status(), "/").await.text();
    assert!(text.contains("<a href=\"/apps/app-7\">") && !text.contains("class=\"slots\""), "{text}");
    let one = get(proxy.status(), "/apps/app-7").await.text();
    assert!(one.contains("id=\"app-7-blue\"") && !one.contains("id=\"app-8-blue\""), "{one}");
}
