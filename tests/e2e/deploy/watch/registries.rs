//! Looking: by HEAD alone, with the logins of `docker login`, and the digest of the index where there is one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use switcher::watch::decide::Found;
use switcher::watch::registry::Registry as Looker;
use switcher_tests::certificate::put;
use switcher_tests::registry::PASSWORD;
use switcher_tests::{Image, Registry, skip_or_fail};
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
        let asked = registry.requests().split_off(before);
        assert!(asked.len() >= 4 && asked.iter().all(|line| line.starts_with("HEAD ")), "{asked:?}");
        registry.stop();
        let words = refused(
            looker(&known).look(&registry.image("acme/shop", "single").parse().expect("an image")).await,
        );
        assert!(words.contains(&registry.host()), "{words}");
    }
}
