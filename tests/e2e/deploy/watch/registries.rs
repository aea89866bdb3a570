//! Looking: by HEAD alone, with the logins of `docker login`, and the digest of the index where there is one.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use switcher::watch::decide::Found;
use switcher::watch::registry::Registry as Looker;
use switcher_tests::certificate::put;
use switcher_tests::raw::Raw;
use switcher_tests::registry::PASSWORD;
use switcher_tests::{Image, PATIENCE, Registry, skip_or_fail, until};
use tempfile::TempDir;

fn logins(value: &serde_json::Value) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    put(&folder.path().join("config.json"), &value.to_string());
    folder
}

fn looker(folder: &TempDir) -> Looker {
    Looker::new(Some(folder.path().to_owned())).expect("a client")
}

fn refused(found: Found) -> String {
    match found {
        Found::Nothing(message) => message,
        Found::Digest(_) | Found::Limited { .. } => {
            panic!("it told a digest, or wants fewer requests: {found:?}")
        }
    }
}

#[tokio::test]
async fn registries_of_every_kind_are_looked_at_by_head_alone() {
    if let Some(why) = Registry::lacks() {
        return skip_or_fail(&why);
    }
    let nobody = TempDir::new().expect("a folder");
    for (mut registry, open) in [
        (Registry::start().await, true),
        (Registry::with_tokens().await, true),
        (Registry::with_basic_auth().await, false),
        (Registry::with_private_tokens().await, false),
    ] {
        let single = registry.push("acme/shop", "single", &Image::new("v1")).await;
        let platforms = ["linux/amd64", "linux/arm64"].map(|platform| Image::new("v2").platform(platform));
        let index = registry.push_index("acme/shop", "several", &platforms).await;
        let image = |tag: &str| registry.image("acme/shop", tag).parse().expect("an image");
        let known = logins(&registry.login());
        // The registry logs a request a moment after it is answered.
        let pushed = |line: &String| line.starts_with("PUT /v2/acme/shop/manifests/several");
        until(PATIENCE, "the push to be logged", || async { registry.requests().iter().any(pushed) }).await;
        let before = registry.requests().len();
        assert_eq!(looker(&known).look(&image("single")).await, Found::Digest(single.clone()));
        assert_eq!(looker(&known).look(&image("several")).await, Found::Digest(index));
        let without = looker(&nobody).look(&image("single")).await;
        if open {
            assert_eq!(without, Found::Digest(single));
        } else {
            let words = refused(without);
            assert!(words.contains(&format!("`docker login {}`", registry.host())), "{words}");
            let wrong = BASE64_STANDARD.encode("tester:wrong");
            let wrong = logins(&json!({"auths": {registry.host(): {"auth": wrong}}}));
            let words = refused(looker(&wrong).look(&image("single")).await);
            assert!(words.contains("does not suffice") && !words.contains("wrong"), "{words}");
        }
        let words = refused(looker(&known).look(&image("absent")).await);
        assert!(words.contains("there is no such image") && !words.contains(PASSWORD), "{words}");
        until(PATIENCE, "every look to be logged", || async {
            registry.requests()[before..].iter().any(|line| line.contains("/manifests/absent"))
        })
        .await;
        let asked = registry.requests().split_off(before);
        assert!(asked.len() >= 4 && asked.iter().all(|line| line.starts_with("HEAD ")), "{asked:?}");
        registry.stop();
        let words = refused(
            looker(&known).look(&registry.image("acme/shop", "single").parse().expect("an image")).await,
        );
        assert!(words.contains(&registry.host()), "{words}");
    }
}

/// What a registry answers to every request.
async fn scripted(status: &str, headers: &[(&str, &str)]) -> Raw {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n");
    Raw::start(move |mut conversation| {
        let answer = answer.clone();
        async move {
            while conversation.request().await.is_some() {
                if conversation.wire.try_send(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

async fn look(at: SocketAddr, logins: &TempDir) -> Found {
    looker(logins).look(&format!("{at}/acme/shop:v1").parse().expect("an image")).await
}

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

#[tokio::test]
async fn a_registry_that_wants_fewer_requests_is_told_apart_and_its_wait_is_kept() {
    let nobody = TempDir::new().expect("a folder");
    for (headers, expected) in [
        (vec![("Retry-After", "90")], Some(Duration::from_secs(90))),
        (vec![("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT")], None),
        (vec![], None),
    ] {
        let registry = scripted("429 Too Many Requests", &headers).await;
        match look(registry.address(), &nobody).await {
            Found::Limited { message, wait } => {
                assert_eq!(wait, expected);
                assert!(message.contains("wants fewer requests"), "{message}");
            }
            other @ (Found::Digest(_) | Found::Nothing(_)) => panic!("{headers:?}: {other:?}"),
        }
        assert_eq!(registry.requests().len(), 1, "nobody insists");
    }
}

#[tokio::test]
async fn a_registry_may_send_us_on_and_no_login_goes_along() {
    let wanted = digest('a');
    let nearer = scripted("200 OK", &[("Docker-Content-Digest", &wanted)]).await;
    let place = format!("http://{}/v2/acme/shop/manifests/v1", nearer.address());
    let registry = Raw::start({
        let place = place.clone();
        move |mut conversation| {
            let place = place.clone();
            async move {
                while let Some(received) = conversation.request().await {
                    let answer = if received.head.get("authorization").is_some() {
                        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n")
                    } else {
                        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 0\r\n\r\n"
                            .to_owned()
                    };
                    if conversation.wire.try_send(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await;
    let auth = BASE64_STANDARD.encode("tester:secret");
    let known = logins(&json!({"auths": {registry.address().to_string(): {"auth": auth}}}));
    assert_eq!(look(registry.address(), &known).await, Found::Digest(wanted));
    let asked = |of: &Raw| -> Vec<Option<String>> {
        of.requests().iter().map(|seen| seen.head.get("authorization").map(str::to_owned)).collect()
    };
    assert_eq!(asked(&registry), [None, Some(format!("Basic {auth}"))]);
    assert_eq!(asked(&nearer), [None], "the login is the registry's alone");
}

#[tokio::test]
async fn a_registry_that_sends_us_astray_tells_no_digest() {
    let nobody = TempDir::new().expect("a folder");
    for (place, words) in [
        ("/v2/acme/shop/manifests/v1", "from one address to the next"),
        ("http://registry.example.com/v2/", "no address that can be asked"),
        ("file:///etc/passwd", "no address that can be asked"),
    ] {
        let registry = scripted("302 Found", &[("Location", place)]).await;
        let said = refused(look(registry.address(), &nobody).await);
        assert!(said.contains(words), "{place}: {said}");
        assert!(registry.requests().len() <= 4, "{place}: {}", registry.requests().len());
    }
    let bad = scripted("200 OK", &[("Docker-Content-Digest", "sha256:12")]).await;
    let said = refused(look(bad.address(), &nobody).await);
    assert!(said.contains("its answer holds none"), "{said}");
}
