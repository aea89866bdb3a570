//! What opens the standby slot and what does not, by tables.

use super::*;
use crate::testing::app_settings;
use proptest::prelude::*;

const TOKEN: &str = "a-token-of-20-bytes!";
const NOW: u64 = 1_800_000_000;

fn names() -> Preview {
    Preview {
        header: "X-Switcher-Preview".to_owned(),
        cookie: "switcher_preview".to_owned(),
        token_file: "unread".into(),
    }
}

fn guard_of(app: &str, path: &str) -> Guard {
    let settings = AppSettings {
        path: path.parse().expect("a path"),
        ..app_settings("127.0.0.1:8001", "127.0.0.1:8002")
    };
    let token = Token::parse(TOKEN).expect("a token");
    Guard::new(app.parse().expect("a name"), &settings, names(), token)
}

fn guard() -> Guard {
    guard_of("shop", "/")
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    fields.iter().map(field).collect()
}

#[test]
fn the_token_and_a_pass_let_in_and_nothing_else_does() {
    let guard = guard();
    let pass = guard.pass(NOW, 60).text;
    let other = guard_of("blog", "/").pass(NOW, 60).text;
    let tag = pass.split_once('.').expect("two parts").1;
    for (fields, lets_in) in [
        (vec![], false),
        (vec![("x-switcher-preview", TOKEN)], true),
        (vec![("x-switcher-preview", "a-token-of-20-bytes?")], false),
        (vec![("x-switcher-preview", "a-token-of-20-byte")], false),
        (vec![("x-switcher-preview", "")], false),
        (vec![("x-switcher-preview", pass.as_str())], false),
        (vec![("cookie", &format!("a=b; switcher_preview={pass}; c=d"))], true),
        (vec![("cookie", "a=b"), ("cookie", &format!("switcher_preview={pass}"))], true),
        (vec![("cookie", &format!("switcher_preview=x; switcher_preview={pass}"))], true),
        (vec![("cookie", &format!("switcher_previews={pass}"))], false),
        (vec![("cookie", &format!("switcher_preview={other}"))], false),
        (vec![("cookie", &format!("switcher_preview={}.{tag}", NOW + 61))], false),
        (vec![("cookie", &format!("switcher_preview=.{tag}"))], false),
        (vec![("cookie", &format!("switcher_preview={}.", NOW + 60))], false),
        (vec![("cookie", &format!("switcher_preview={TOKEN}"))], false),
    ] {
        assert_eq!(guard.admits(&headers(&fields), NOW), lets_in, "{fields:?}");
    }
}

#[test]
fn a_pass_ends_and_does_not_outlive_its_token() {
    let guard = guard();
    let pass = guard.pass(NOW, 60);
    let cookie = headers(&[("cookie", &format!("switcher_preview={}", pass.text))]);
    assert_eq!(pass.expiry, NOW + 60);
    assert!(guard.admits(&cookie, NOW + 59));
    assert!(!guard.admits(&cookie, NOW + 60));
    let renewed = Guard { token: Token::parse("another-token-here").expect("a token"), ..guard.clone() };
    assert!(!renewed.admits(&cookie, NOW));
    assert_eq!(guard.pass(NOW, u64::MAX).expiry, NOW + LONGEST);
}

#[test]
fn the_link_sets_the_cookie_for_as_long_as_the_pass_holds() {
    for (path, home) in [("/", "/"), ("/api", "/api")] {
        let guard = guard_of("shop", path);
        let pass = guard.pass(NOW, 60);
        let link = guard.link(&pass);
        let (target, query) = link.split_once('?').expect("a query");
        let cookie =
            format!("switcher_preview={}; Path={home}; Max-Age=50; HttpOnly; SameSite=Lax", pass.text);
        for (secure, ending) in [(false, ""), (true, "; Secure")] {
            let visit = guard.visit(target, query, NOW + 10, secure);
            let Some(Visit::Cookie(value, location)) = visit else { panic!("{visit:?}") };
            assert_eq!(value, format!("{cookie}{ending}"));
            assert_eq!(location, home);
        }
        assert_eq!(guard.visit(target, query, NOW + 60, true), Some(Visit::Refused));
        assert_eq!(guard.visit(target, "", NOW, true), Some(Visit::Refused));
        assert_eq!(guard.visit("/elsewhere", query, NOW, true), None);
        let Some(Visit::Cookie(value, _)) = guard.visit(target, "leave", NOW, true) else { panic!("leave") };
        assert_eq!(
            value,
            format!("switcher_preview=; Path={home}; Max-Age=0; HttpOnly; SameSite=Lax; Secure")
        );
    }
}

#[test]
fn our_cookie_is_taken_out_and_the_others_stay() {
    for (fields, rest) in [
        (vec!["a=b"], None),
        (vec!["switcher_preview=x"], Some(vec![])),
        (vec!["a=b; switcher_preview=x; c=d"], Some(vec!["a=b; c=d"])),
        (vec!["switcher_preview", "a=\"b\";c=d"], Some(vec!["a=\"b\"; c=d"])),
        (vec!["switcher_previews=x"], None),
        (vec!["switcher_preview=x;switcher_preview=y"], Some(vec![])),
    ] {
        let pairs: Vec<(&'static str, &str)> = fields.iter().map(|field| ("cookie", *field)).collect();
        let rest: Option<Vec<HeaderValue>> =
            rest.map(|fields| fields.into_iter().map(HeaderValue::from_static).collect());
        assert_eq!(without_cookie(&headers(&pairs), "switcher_preview"), rest, "{fields:?}");
    }
}

#[test]
fn a_link_leads_where_the_application_is() {
    let hosts = |hosts: &[&str]| hosts.iter().map(|host| host.parse().expect("a host")).collect();
    for (named, canonical, tls, http, link) in [
        (vec!["*.shop.test", "shop.test"], None, Tls::Auto, 80, "https://shop.test"),
        (vec!["shop.test"], Some("www.shop.test"), Tls::Auto, 80, "https://www.shop.test"),
        (vec!["*.shop.test"], None, Tls::Off, 80, "http://preview.shop.test"),
        (vec![], None, Tls::Off, 8080, "http://localhost:8080"),
    ] {
        let mut proxy = crate::testing::settings(Vec::new()).proxy;
        proxy.http =
            vec![switcher_config::settings::Listener::at(std::net::SocketAddr::from(([127, 0, 0, 1], http)))];
        let app = AppSettings {
            hosts: hosts(&named),
            canonical_host: canonical.map(str::to_owned),
            tls,
            ..app_settings("127.0.0.1:8001", "127.0.0.1:8002")
        };
        assert_eq!(origin(&proxy, &app), link);
    }
}

#[test]
fn a_pass_is_not_logged() {
    assert_eq!(loggable("/.well-known/switcher/preview?pass=1.x"), "/.well-known/switcher/preview");
    assert_eq!(loggable("/api/.well-known/switcher/preview?pass=1.x"), "/api/.well-known/switcher/preview");
    assert_eq!(loggable("/search?q=x"), "/search?q=x");
}

#[test]
fn a_file_that_others_can_read_or_that_holds_too_little_is_refused_without_telling_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |text: &str, mode: u32| {
        let file = folder.path().join("preview.token");
        switcher_config::durable::replace(
            &file,
            text.as_bytes(),
            mode,
            switcher_config::durable::Durability::Synced,
        )
        .expect("a written file");
        Token::read(&file)
    };
    assert_eq!(put("a-token-of-20-bytes!\n", 0o600), Token::parse(TOKEN));
    assert_eq!(put("a-token-of-20-bytes!\n", 0o400), Token::parse(TOKEN));
    for (text, mode, words) in [
        (TOKEN, 0o640, "others can use it, its mode is 0640; run `chmod 600 "),
        (TOKEN, 0o604, "others can use it, its mode is 0604; run `chmod 600 "),
        ("hunter2", 0o600, "its token is shorter than 16 characters"),
        ("hunter2 hunter2 hunter2", 0o600, "it holds something else than one word"),
        ("", 0o600, "it is empty"),
    ] {
        let why = put(text, mode).expect_err("refused");
        assert!(why.contains(words) && !why.contains("hunter2"), "{why}");
    }
    let why = Token::read(&folder.path().join("missing")).expect_err("refused");
    assert!(why.contains("missing"), "{why}");
    assert!(!format!("{:?}", guard()).contains(TOKEN));
}

proptest! {
    #[test]
    fn no_change_of_a_pass_lets_in(at in 0usize..64, byte in 0x21u8..0x7f) {
        let guard = guard();
        let pass = guard.pass(NOW, 60).text;
        let mut forged = pass.clone().into_bytes();
        let at = at % forged.len();
        prop_assume!(forged[at] != byte);
        forged[at] = byte;
        prop_assert_eq!(guard.expiry_of(&forged, NOW), None);
    }
}
