//! Fifty pushes: good, bad and unchanged ones, for one platform and for several, with the registry down in between and
//! webhooks that are sent again or forged.

use std::collections::BTreeMap;

use switcher_tests::image::architecture;
use switcher_tests::{Image, PATIENCE, Site, skip_or_fail, until};

use super::*;

const PUSHES: usize = 50;

/// What is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Good,
    Bad,
}

/// Both platforms under one tag: the engine's own, and one that it cannot run.
async fn push_index(site: &Site, image: &Image) -> String {
    let own = format!("linux/{}", architecture());
    let both = [own.as_str(), "linux/riscv64"].map(|platform| image.clone().platform(platform));
    site.registry.push_index("shop", "production", &both).await
}

/// One push: its kind, its version and its digest. Of five, two are what was pushed before, once more.
async fn push_one(site: &Site, n: usize) -> (Kind, String, String) {
    let (round, first) = (n / 5, n - usize::from(matches!(n % 5, 1 | 4)));
    let version = format!("v{first}");
    let (kind, several) = match n % 5 {
        0 | 1 => (Kind::Good, round % 2 == 0),
        2 => (Kind::Good, round % 2 == 1),
        _ => (Kind::Bad, round % 2 == 0),
    };
    let good = Image::new(&version);
    // The first bad one does not even run, which takes the engine a while to find out; the others fail at the front door.
    let image = match kind {
        Kind::Good => good,
        Kind::Bad if round == 0 => good.env("CRASH_AT_START", "1"),
        Kind::Bad => good.env("FAIL_REQUESTS", "1"),
    };
    let digest = if several { push_index(site, &image).await } else { push(site, &image).await };
    (kind, version, digest)
}

/// None of these is believed, and none tells whether there is such an application.
async fn forge(site: &Site, at: SocketAddr) {
    let body = br#"{"action":"published"}"#;
    let before = looked(site);
    let good = sign(SECRET.as_bytes(), body);
    let bad = sign(b"another-secret-of-the-tests-01234", body);
    let mut refused = Vec::new();
    for (path, signature) in [
        ("/hooks/shop", Some(bad.as_str())),
        ("/hooks/shop", None),
        ("/hooks/shop", Some("sha256=")),
        ("/hooks/nobody", Some(good.as_str())),
        ("/hooks/nobody", None),
        ("/hooks/../shop", Some(good.as_str())),
    ] {
        let answer = send(at, path, body, signature).await;
        refused.push((answer.status, answer.text()));
    }
    assert!(refused.iter().all(|answer| answer.0 == 401 && *answer == refused[0]), "{refused:?}");
    let other = send(at, "/hooks/shop", b"another body", Some(&good)).await;
    assert_eq!(other.status, 401, "{}", other.text());
    assert_eq!(looked(site), before, "a forged webhook makes nobody look");
}

/// The registry is gone, a webhook comes, and the registry comes back.
async fn outage(site: &mut Site, at: SocketAddr) {
    site.registry.stop();
    let version = site.version().await;
    ring(at).await;
    until(PATIENCE, "the trouble to be noticed", || async {
        remembered(site).is_some_and(|memory| memory["trouble"]["count"].as_u64() >= Some(1))
    })
    .await;
    let status = site.succeed(&["status"]).await.stdout;
    assert!(status.contains("in vain for"), "{status}");
    assert_eq!(site.version().await, version);
    site.registry.restart().await;
}

#[tokio::test]
async fn of_fifty_pushes_each_good_digest_is_deployed_once_and_each_bad_one_is_tried_once() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (mut site, port) = watched().await;
    let at = port.address();
    site.reconfigure(|setup| setup.deploy("smoke", "[{path: /version}]"));
    let mut watch = start(&site);
    until(PATIENCE, "the first look", || async { !looked(&site).is_empty() }).await;
    let (mut pushed, mut live) = (BTreeMap::new(), None);
    for n in 0..PUSHES {
        if n == 23 {
            outage(&mut site, at).await;
        }
        let before = looked(&site);
        let (kind, version, digest) = push_one(&site, n).await;
        ring(at).await;
        let what = dealt_with(&site, &digest, &before).await;
        let expected = if kind == Kind::Good { "deployed" } else { "left" };
        assert_eq!(what, expected, "push {n}: {:#?}", remembered(&site));
        if kind == Kind::Good {
            live = Some(version);
        }
        assert_eq!(site.version().await, live, "push {n}");
        pushed.insert(digest, kind);
        if n % 16 == 7 {
            forge(&site, at).await;
        }
    }
    watch.insist();
    assert_eq!(pushed.len(), PUSHES * 3 / 5, "every push but the unchanged ones is another digest");
    for (digest, kind) in &pushed {
        assert_eq!(deployments(&site, digest).len(), 1, "{kind:?} {digest}");
    }
    let history = site.history();
    let mut all: Vec<&Value> = history.iter().map(|line| &line["id"]).collect();
    all.sort_by_key(|id| id.to_string());
    all.dedup();
    assert_eq!(all.len(), pushed.len(), "nothing else was deployed");
    let state = site.state();
    assert_eq!(
        (&state["current_deployment"]["status"], &state["lock"]["locked"]),
        (&"active".into(), &false.into())
    );
    // Once more the same words as at the very beginning: whoever repeats a webhook deploys nothing.
    let before = looked(&site);
    ring(at).await;
    ring(at).await;
    until(PATIENCE, "another look", || async { looked(&site) > before }).await;
    until(PATIENCE, "the service to end", || {
        watch.signal(Signal::TERM);
        let ended = watch.has_ended();
        async move { ended }
    })
    .await;
    assert_eq!(site.history().len(), history.len());
}
