//! `switcher canary`: what it prints, what it refuses and with which code, and what must not happen meanwhile.

use switcher_config::Slot;
use switcher_config::wire::{CanaryAbortRequest, RefusalReason};
use switcher_tests::http1::{get, post};
use switcher_tests::{App, Setup, Switcher};

use super::{pair, share, sides, wish};

#[tokio::test]
async fn it_begins_moves_shows_and_ends() {
    let (_blue, _green, proxy) = pair().await;
    let switcher = Switcher::of(&proxy);
    assert!(switcher.succeed(&["canary"]).await.stdout.contains("there was no canary yet"));
    let begun = switcher.succeed(&["canary", "green", "5%", "--header", "X-Beta=1"]).await;
    assert!(
        begun.stdout.contains("green has 5% of the clients by client, and all with header X-Beta=1"),
        "{begun:?}"
    );
    begun.says(&["promote green", "canary abort"]);
    let moved = switcher.succeed(&["canary", "green", "60%", "--json"]).await.json();
    assert_eq!((moved["app"].as_str(), moved["canary"]["share"].as_str()), (Some("shop"), Some("60%")));
    assert_eq!(moved["canary"]["headers"][0], "X-Beta=1", "what is not named stays");
    assert!(sides(&proxy, 40).await.contains(&Slot::Green));
    let status = switcher.succeed(&["status"]).await;
    assert!(status.stdout.contains("green has 60% of the clients"), "{status:?}");
    let ended = switcher.succeed(&["canary", "abort", "--json"]).await.json();
    assert_eq!(
        (ended["drain"]["drained"].as_bool(), ended["drain"]["slot"].as_str()),
        (Some(true), Some("green"))
    );
    assert_eq!(ended["canary"]["outcome"]["result"], "aborted");
    assert!(sides(&proxy, 40).await.iter().all(|side| *side == Slot::Blue));
    let stepping = ["canary", "green", "--steps", "5%,25%", "--every", "10m", "--then", "promote"];
    let stepping = switcher.succeed(&stepping).await;
    assert!(stepping.stdout.contains("then 25%, promote, after 10m each"), "{stepping:?}");
}

#[tokio::test]
async fn every_refusal_has_its_code_and_changes_nothing() {
    let (_blue, green, proxy) = pair().await;
    let switcher = Switcher::of(&proxy);
    for (arguments, exit, code) in [
        (&["canary", "blue", "5%"][..], 1, "E-CANARY-03"),
        (&["canary", "abort"][..], 1, "E-CANARY-02"),
        (&["canary", "green"][..], 2, "E-USAGE-01"),
        (&["canary", "green", "0%"][..], 2, "E-USAGE-01"),
        (&["canary", "green", "101%"][..], 2, "E-USAGE-01"),
        (&["canary", "red", "5%"][..], 2, "E-USAGE-01"),
        (&["canary", "abort", "5%"][..], 2, "E-USAGE-01"),
        (&["canary", "green", "5%", "--by", "path"][..], 2, "E-USAGE-01"),
        (&["canary", "green", "--steps", "25%,5%", "--every", "10m"][..], 2, "E-USAGE-01"),
        (&["canary", "green", "--steps", "5%"][..], 2, "E-USAGE-01"),
        (&["canary", "green", "5%", "--detach"][..], 2, "E-USAGE-01"),
    ] {
        let ran = switcher.run(arguments).await;
        assert_eq!(ran.code, exit, "{arguments:?}: {ran:?}");
        ran.says(&[code]);
    }
    green.health(503, "starting");
    proxy.wait_health(Slot::Green, switcher_config::wire::Health::Unhealthy).await;
    let ill = switcher.run(&["canary", "green", "5%"]).await;
    assert_eq!(ill.code, 4, "{ill:?}");
    ill.says(&["E-HEALTH-01", "starting"]);
    assert_eq!(proxy.admin().shop().await.canary, None);
}

#[tokio::test]
async fn while_one_goes_on_its_slot_keeps_its_addresses() {
    let (_blue, green, proxy) = pair().await;
    share(&proxy, "50%").await;
    let refused = proxy.admin().register(Slot::Green, &[green.upstream()], None).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (409, RefusalReason::CanaryGoesOn));
    assert!(refused.refusal.message.starts_with("a canary goes on in green, with 50% of the clients"));
    let ran = Switcher::of(&proxy).run(&["register", "green", &green.upstream()]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.says(&["E-CANARY-01", "canary abort"]);
    let moved = proxy.admin().shop().await;
    let late = CanaryAbortRequest { expected_generation: "1".parse().ok(), ..Default::default() };
    let late = proxy.admin().abort_canary(&late).await.expect_err("refused");
    assert_eq!((late.status, late.refusal.reason), (409, RefusalReason::GenerationMoved));
    assert_eq!(proxy.generation().await, moved.generation);
    proxy.admin().abort_canary(&CanaryAbortRequest::default()).await.expect("ended");
    proxy.admin().register(Slot::Green, &[green.upstream()], None).await.expect("registered");
}

#[tokio::test]
async fn the_status_listener_shows_it_and_moves_nothing() {
    let (_blue, _green, proxy) = pair().await;
    let body = serde_json::to_vec(&wish("50%")).expect("JSON");
    assert_eq!(post(proxy.status(), "/v1/apps/shop/canary", &body).await.status, 403);
    share(&proxy, "50%").await;
    assert_eq!(post(proxy.status(), "/v1/apps/shop/canary/abort", b"{}").await.status, 403);
    let status = get(proxy.status(), "/status").await.json();
    assert_eq!(status["apps"]["shop"]["canary"]["share"], "50%");
    assert!(status["apps"]["shop"]["canary"]["salt"].is_null());
    let paths = proxy.admin().get("/openapi.json").await.json();
    assert!(paths["paths"]["/v1/apps/{app}/canary/abort"].is_object());
}

#[tokio::test]
async fn a_deployment_is_refused_before_it_touches_the_clients() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let deploy = "{runtime: static, hooks: {start: \"true\", stop: \"true\"}}";
    let setup = Setup::two(&blue, &green).shop("deploy", deploy).proxy("trusted_proxies", "[127.0.0.1]");
    let proxy = setup.start_healthy().await;
    let switcher = Switcher::of(&proxy);
    let by_itself = ["canary", "green", "--steps", "5%,25%", "--every", "10m", "--then", "promote"];
    let refused = switcher.run(&by_itself).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    refused.says(&["recorded"]);
    switcher.succeed(&["canary", "green", "50%"]).await;
    let fence = proxy.admin().shop().await.fence;
    assert!(fence.is_some(), "it is done under the lease");
    let deployed = switcher.run(&["deploy", "v2"]).await;
    assert_ne!(deployed.code, 0, "{deployed:?}");
    deployed.says(&["E-CANARY-01"]);
    assert!(sides(&proxy, 40).await.contains(&Slot::Green), "its clients are where they were");
    switcher.succeed(&["canary", "abort"]).await;
}
