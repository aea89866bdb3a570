//! `switcher doctor` on real parts: a healthy site has no fault, and each of these faults is named with its remedy.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use switcher_config::durable::{Durability, replace};
use switcher_tests::certificate::{Certificate, put};
use switcher_tests::registry::Registry;
use switcher_tests::site::JWT_SECRET;
use switcher_tests::{Image, Setup, Site, skip_or_fail};

/// What the doctor found on a site.
struct Examined {
    code: i32,
    findings: Vec<Value>,
    whole: Value,
}

impl Examined {
    async fn of(site: &Site) -> Self {
        let ran = site.run(&["doctor", "--json"]).await;
        assert!(!ran.stdout.contains(JWT_SECRET) && !ran.stderr.contains(JWT_SECRET), "{ran:?}");
        let whole = ran.json();
        let findings = whole["findings"].as_array().expect("findings").clone();
        for finding in &findings {
            let well = finding["verdict"] == "ok";
            assert_eq!(finding["remedy"].is_null(), well, "whatever is not well has a remedy: {finding:#}");
        }
        Self { code: ran.code, findings, whole }
    }

    /// Every check that failed, once.
    fn failed(&self) -> Vec<&str> {
        let failed = self.findings.iter().filter(|finding| finding["verdict"] == "failed");
        let mut names: Vec<&str> = failed.filter_map(|finding| finding["check"].as_str()).collect();
        names.dedup();
        names
    }

    /// That this check failed, and only this one; with these words and this remedy.
    fn fault(&self, check: &str, says: &[&str], remedy: &str) {
        assert_eq!((self.code, self.failed()), (1, vec![check]), "{:#}", self.whole);
        self.names("failed", check, says, remedy);
    }

    /// That there is such a finding.
    fn names(&self, verdict: &str, check: &str, says: &[&str], remedy: &str) {
        let fits = |finding: &&Value| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            finding["verdict"] == verdict
                && finding["check"] == check
                && says.iter().all(|part| text("says").contains(part))
                && text("remedy").contains(remedy)
        };
        assert!(
            self.findings.iter().any(|finding| fits(&finding)),
            "{check} {says:?} {remedy}: {:#}",
            self.whole
        );
    }
}

fn env_file(site: &Site, more: &str, mode: u32) {
    let url = site.postgres().url_from_containers();
    let text = format!("DATABASE_URL={url}\nJWT_SECRET={JWT_SECRET}\n{more}");
    replace(&site.path(".env.production"), text.as_bytes(), mode, Durability::Unsynced)
        .expect("a written file");
}

/// A disk of its own for a folder, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"])
            .arg(folder)
            .status();
        assert!(mount.expect("mount").success());
        Self(folder.to_owned())
    }

    fn read_only(&self) {
        let mount = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(mount.expect("mount").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_healthy_site_has_no_fault_and_each_fault_of_its_own_is_named() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    let healthy = Examined::of(&site).await;
    assert_eq!((healthy.code, healthy.failed()), (0, vec![]), "{:#}", healthy.whole);
    for check in [
        "configuration",
        "proxy",
        "ports",
        "docker",
        "registry",
        "disk",
        "clock",
        "environment",
        "database",
        "pg_dump",
        "containers",
        "agreement",
        "lock",
        "journal",
    ] {
        healthy.names("ok", check, &[], "");
    }
    let shown = site.succeed(&["doctor"]).await.stdout;
    assert!(shown.contains(" 0 failed"), "{shown}");

    env_file(&site, "", 0o644);
    Examined::of(&site).await.fault("environment", &[".env.production", "0644"], "chmod");
    env_file(&site, "MAIL_PASSWORD=CHANGE_ME\n", 0o600);
    Examined::of(&site).await.fault("environment", &["MAIL_PASSWORD"], "");
    env_file(&site, "", 0o600);
    site.reconfigure(|setup| setup.deploy("required_env", "[DATABASE_URL, PAYMENT_KEY]"));
    Examined::of(&site).await.fault("environment", &["PAYMENT_KEY"], "");
    site.reconfigure(|setup| setup.deploy("required_env", "[DATABASE_URL]"));

    let _ = site.postgres().query("UPDATE schema_migrations SET dirty = true");
    Examined::of(&site).await.fault("database", &["did not end", "schema_migrations"], "force");
    let _ = site.postgres().query("UPDATE schema_migrations SET dirty = false");

    let other = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let taken = other.local_addr().expect("its address").to_string();
    site.reconfigure(|setup| setup.proxy("http", &taken));
    let process = format!("(process {})", std::process::id());
    Examined::of(&site).await.fault("ports", &[&taken, &process], "stop");
    drop(other);

    let healthy = Examined::of(&site).await;
    assert_eq!((healthy.code, healthy.failed()), (0, vec![]), "all of it was mended: {:#}", healthy.whole);
}

#[tokio::test]
async fn a_deployment_that_was_cut_short_and_parts_that_are_away_are_named() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = Site::prepare().await.open().await;
    site.release("v1").await;
    site.push(&Image::new("v2")).await;
    let cut = site.switcher().with("SWITCHER_CRASH_AT", "8").run(&["deploy", "v2"]).await;
    assert_eq!(cut.code, -1, "{cut:?}");
    let examined = Examined::of(&site).await;
    examined.fault("journal", &["deploy of v2 was cut short"], "switcher repair");
    examined.names("warning", "lock", &["stale"], "switcher lock release");
    site.succeed(&["repair"]).await;
    assert_eq!(Examined::of(&site).await.failed(), [""; 0]);

    site.proxy_mut().kill();
    let examined = Examined::of(&site).await;
    examined.fault("proxy", &["E-PROXY-02"], "start the proxy");
    examined.names("ok", "docker", &[], "");
    site.engine.kill();
    let examined = Examined::of(&site).await;
    assert_eq!(examined.failed(), ["proxy", "docker"], "{:#}", examined.whole);
    examined.names("failed", "docker", &[&site.engine.url()], "systemctl start docker");
    examined.names("ok", "lock", &[], "");

    put(site.proxy().config(), "apps: {shop: {hots: [a.example.com]}}\n");
    let ran = site.run(&["doctor", "--json"]).await;
    assert_eq!(ran.code, 10, "{ran:?}");
    ran.says(&["E-CONFIG-01"]);
    let whole = ran.json();
    let bad = whole["findings"].as_array().expect("findings").iter();
    let bad = bad.filter(|finding| finding["verdict"] == "failed");
    let bad: Vec<&str> = bad.filter_map(|finding| finding["check"].as_str()).collect();
    assert!(
        bad.contains(&"configuration") && bad.contains(&"proxy"),
        "what needs no file is looked at: {whole:#}"
    );
}

#[tokio::test]
async fn a_wrong_password_of_the_registry_is_named() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let guarded = Registry::with_basic_auth().await;
    let site = Site::prepare().await.deploy("image", &guarded.name("shop")).open().await;
    let login = |login: &str| site.write("docker/config.json", login);
    std::fs::create_dir_all(site.path("docker")).expect("a folder");
    login(&guarded.login().to_string().replace(r#""auth":""#, r#""auth":"ZGV2OmJhZA==","x":""#));
    let remedy = format!("docker login {}", guarded.host());
    Examined::of(&site).await.fault("registry", &[&guarded.host()], &remedy);
    login(&guarded.login().to_string());
    let mended = Examined::of(&site).await;
    assert_eq!(mended.failed(), [""; 0], "{:#}", mended.whole);
}

#[tokio::test]
async fn a_disk_that_is_full_or_read_only_is_named() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    let disk = SmallDisk::mount(&site.path("state"));
    let examined = Examined::of(&site).await;
    examined.fault("disk", &["switcher.state_dir", "1 GiB"], "make room");
    examined.names("warning", "disk", &["in memory"], "state_dir");
    disk.read_only();
    Examined::of(&site).await.fault("disk", &["read-only"], "findmnt");
    drop(disk);
    assert_eq!(Examined::of(&site).await.failed(), [""; 0]);
}

#[tokio::test]
async fn an_expired_certificate_is_named() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let (certificate, key) = Certificate::expired(&["shop.test"]).write(folder.path(), "shop");
    let files = format!("{{certificate: \"{}\", key: \"{}\"}}", certificate.display(), key.display());
    let site = Site::prepare().await.shop("tls", &files).open().await;
    Examined::of(&site).await.fault("certificates", &["shop.test", "expired"], "newer certificate");
}

#[tokio::test]
async fn files_of_secrets_that_others_can_use_or_that_are_missing_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = switcher_tests::App::start("blue").await;
    let at = |name: &str| folder.path().join(name);
    let put = |mode: u32| {
        replace(&at("hook.key"), b"hunter2-hunter2-hunter2", mode, Durability::Unsynced)
            .expect("a written file");
    };
    put(0o644);
    let webhook = format!("{{listen: \"127.0.0.1:0\", secret_file: \"{}\"}}", at("hook.key").display());
    let proxy = Setup::one(app.upstream())
        .shop("tls", "internal")
        .switcher("state_dir", &folder.path().display().to_string())
        .switcher("webhook", &webhook)
        .switcher("notify", &format!("{{url_file: \"{}\"}}", at("hook.url").display()))
        .start_healthy()
        .await;
    let examine = || async {
        let ran = switcher_tests::Switcher::of(&proxy).run(&["doctor", "--json"]).await;
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
        let whole = ran.json();
        Examined { code: ran.code, findings: whole["findings"].as_array().expect("findings").clone(), whole }
    };
    let examined = examine().await;
    examined.fault("secrets", &["switcher.webhook.secret_file", "0644"], "chmod 600");
    examined.names("warning", "secrets", &["switcher.notify[0].url_file", "No such file"], "hook.url");
    put(0o600);
    let mended = examine().await;
    assert_eq!((mended.code, mended.failed()), (0, vec![]), "{:#}", mended.whole);
    mended.names("ok", "secrets", &["switcher.webhook.secret_file"], "");
}

/// Without any engine: what a bare host has.
#[tokio::test]
async fn a_host_without_containers_needs_no_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = switcher_tests::App::start("blue").await;
    let proxy = Setup::one(app.upstream())
        .shop("tls", "internal")
        .switcher("state_dir", &folder.path().display().to_string())
        .start_healthy()
        .await;
    let ran =
        switcher_tests::Switcher::of(&proxy).with("DOCKER_HOST", "unix:///nowhere").run(&["doctor"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("our proxy") && !ran.stdout.contains("Docker"), "{ran:?}");
}
