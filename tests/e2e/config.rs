//! The configuration as both programs read it: checked before it is used, with every problem in one run.

use switcher_tests::certificate::put;
use switcher_tests::{App, PATIENCE, Proxy, Setup, Switcher, within};
use tempfile::TempDir;

const GOOD: &str = "\
apps:
  shop:
    hosts: [shop.example.com]
    slots: {blue: [127.0.0.1:8001], green: [127.0.0.1:8002]}
";

const BAD: &str = "\
proxy:
  htpp: 0.0.0.0:80
apps:
  shop:
    helth: {path: /}
    slots: {blue: [127.0.0.1], green: [127.0.0.1:8002]}
    drain: {requests: 30 parsecs}
";

struct Ran {
    code: Option<i32>,
    said: String,
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in files {
        put(&folder.path().join(name), text);
    }
    folder
}

async fn check(folder: &TempDir, more: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = tokio::process::Command::new(switcher_tests::program::find("switcher-proxy"));
    command.arg("--check").arg("--config").arg(folder.path().join("switcher.yaml")).args(more);
    command.current_dir(folder.path()).env_remove("SWITCHER_ENVIRONMENT").env_remove("SWITCHER_CONFIG");
    command.envs(environment.iter().copied()).kill_on_drop(true);
    let output = within(PATIENCE, "the check to end", command.output()).await.expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    Ran { code: output.status.code(), said: String::from_utf8_lossy(&said).into_owned() }
}

#[tokio::test]
async fn a_good_file_passes_the_check_of_both_programs() {
    let folder = folder(&[("switcher.yaml", GOOD)]);
    let ran = check(&folder, &[], &[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    Switcher::bare(folder.path()).succeed(&["config", "check"]).await;
}

#[tokio::test]
async fn every_problem_is_reported_in_one_run_with_line_key_and_hint() {
    let folder = folder(&[("switcher.yaml", BAD)]);
    let proxy = check(&folder, &[], &[]).await;
    let cli = Switcher::bare(folder.path()).run(&["config", "check"]).await;
    assert_eq!((proxy.code, cli.code), (Some(10), 10), "{} {cli:?}", proxy.said);
    for said in [proxy.said, format!("{}{}", cli.stdout, cli.stderr)] {
        for part in
            ["switcher.yaml", "htpp", "helth", "health", "127.0.0.1", "parsecs", "apps.shop.drain.requests"]
        {
            assert!(said.contains(part), "{part} is missing:\n{said}");
        }
        for line in [2, 5, 6, 7] {
            assert!(said.contains(&format!(":{line}")), "line {line} is missing:\n{said}");
        }
    }
}

#[tokio::test]
async fn a_proxy_does_not_start_on_a_bad_file() {
    let blue = App::start("blue").await;
    let mut proxy = Proxy::spawn(Setup::one(blue.upstream()).shop("helth", "{}"));
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(10), "{exit:?}");
    assert!(exit.stderr.contains("helth") && exit.stderr.contains("health"), "{exit:?}");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let folder = folder(&[]);
    let ran = check(&folder, &[], &[]).await;
    assert_eq!(ran.code, Some(10), "{}", ran.said);
    assert!(ran.said.contains("switcher.yaml"), "{}", ran.said);
}

#[tokio::test]
async fn variables_are_substituted_and_a_missing_one_says_its_message() {
    let text = GOOD.replace("shop.example.com", "\"${SHOP_HOST:?name the host of the shop}\"");
    let folder = folder(&[("switcher.yaml", &text)]);
    let ran = check(&folder, &[], &[]).await;
    assert_eq!(ran.code, Some(10));
    assert!(ran.said.contains("name the host of the shop"), "{}", ran.said);
    let ran = check(&folder, &[], &[("SHOP_HOST", "shop.example.com")]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
}

#[tokio::test]
async fn an_environment_lays_its_file_over_and_show_says_where_each_value_came_from() {
    let production = "apps:\n  shop:\n    hosts: [shop.production.example]\n";
    let folder = folder(&[("switcher.yaml", GOOD), ("switcher.production.yaml", production)]);
    let switcher = Switcher::bare(folder.path());
    let plain = switcher.succeed(&["config", "show"]).await.stdout;
    assert!(plain.contains("shop.example.com") && !plain.contains("production"), "{plain}");
    let shown = switcher.succeed(&["config", "show", "--origin", "--environment", "production"]).await.stdout;
    for part in ["shop.production.example", "switcher.production.yaml", "switcher.yaml", "default"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let ran = check(&folder, &["--environment", "production"], &[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
}

#[tokio::test]
async fn a_secret_is_never_shown() {
    let secret = "open-sesame-0123456789";
    let text = format!("{GOOD}    maintenance: {{bypass_token: {secret}}}\n");
    let good = folder(&[("switcher.yaml", &text)]);
    let bad = folder(&[("switcher.yaml", &format!("{text}    helth: {{}}\n"))]);
    let shown = Switcher::bare(good.path()).succeed(&["config", "show", "--origin"]).await;
    let json = Switcher::bare(good.path()).succeed(&["config", "show", "--json"]).await;
    let report = check(&bad, &[], &[]).await;
    assert_eq!(report.code, Some(10), "{}", report.said);
    for text in [shown.stdout, json.stdout, report.said] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn the_schema_is_json_and_knows_the_sections() {
    let folder = folder(&[]);
    let schema = Switcher::bare(folder.path()).succeed(&["config", "schema"]).await.json();
    let text = schema.to_string();
    for key in ["trusted_proxies", "shutdown_timeout", "maintenance", "drain"] {
        assert!(text.contains(key), "{key} is missing");
    }
}
