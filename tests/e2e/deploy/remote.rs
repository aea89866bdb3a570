//! A server behind a real SSH service: its engine and its proxy through one tunnel.

use switcher_tests::certificate::{ClientRoot, put};
use switcher_tests::port::Port;
use switcher_tests::{App, Engine, Image, Setup, Site, SshServer, Switcher, skip_or_fail};
use tempfile::TempDir;

#[tokio::test]
async fn the_proxy_of_a_server_is_operated_through_ssh_and_nothing_is_left_behind() {
    if let Some(why) = SshServer::lacks() {
        return skip_or_fail(&why);
    }
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    let server = SshServer::start().await;
    let switcher = server.reached_by(Switcher::of(&proxy));
    let moved = switcher.run(&["--host", "ssh://server", "promote", "green"]).await;
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    let status = switcher.run(&["status", "--host", "ssh://server", "--json"]).await.json();
    assert_eq!(status["apps"]["shop"]["active"], "green", "{status}");
    let left: Vec<_> = std::fs::read_dir(server.sockets()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_ssh_and_the_server_say_is_told_with_a_way_on() {
    if let Some(why) = SshServer::lacks() {
        return skip_or_fail(&why);
    }
    let server = SshServer::start().await;
    let folder = TempDir::new().expect("a folder");
    let switcher = server.reached_by(Switcher::bare(folder.path()));
    let admin = folder.path().join("absent.sock").display().to_string();
    for (host, code, words) in [
        ("ssh://server", "E-HOST-03", "no proxy answers"),
        ("ssh://stranger", "E-HOST-02", "Permission denied"),
        ("ssh://server:1", "E-HOST-02", "Connection refused"),
        ("ftp://server", "E-HOST-01", "none of unix, tcp and ssh"),
    ] {
        let ran = switcher.run(&["--host", host, "--admin", &admin, "status"]).await;
        assert_eq!(ran.code, if code == "E-HOST-01" { 2 } else { 6 }, "{}", ran.stderr);
        assert!(ran.stderr.contains(code) && ran.stderr.contains(words), "{host}: {}", ran.stderr);
    }
}

/// A deployment, a status and a rollback on a server: its engine and its proxy are reached through `ssh` alone.
#[tokio::test]
async fn a_server_is_deployed_to_through_ssh() {
    if let Some(why) = SshServer::lacks().or_else(Site::lacks) {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    let server = SshServer::start().await;
    let url = format!("ssh://server{}", site.engine.socket().display());
    let remote = async |arguments: &[&str]| {
        let arguments: Vec<&str> = ["--host", &url].into_iter().chain(arguments.iter().copied()).collect();
        server.reached_by(site.switcher()).succeed(&arguments).await
    };
    site.push(&Image::new("v1")).await;
    remote(&["deploy", "v1"]).await;
    site.agree("v1").await;
    site.push(&Image::new("v2").env("MIGRATIONS", "2")).await;
    remote(&["deploy", "v2"]).await;
    site.agree("v2").await;
    remote(&["rollback"]).await;
    site.agree("v1").await;
    let left: Vec<_> = std::fs::read_dir(server.sockets()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// An engine on TCP that asks for a certificate, as `$DOCKER_TLS_VERIFY` and `$DOCKER_CERT_PATH` say.
#[tokio::test]
async fn an_engine_behind_tls_is_deployed_to() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let folder = TempDir::new().expect("a folder");
    let root = ClientRoot::new("engine");
    let (certificate, key) = root.issue_pem(&["127.0.0.1", "localhost"]);
    for (name, text) in [("ca.pem", &root.pem), ("cert.pem", &certificate), ("key.pem", &key)] {
        put(&folder.path().join(name), text);
    }
    let port = Port::reserve();
    let url = format!("tcp://{}", port.address());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mut options = Engine::options().argument("--host").argument(&url).argument("--tlsverify");
    for (option, name) in [("--tlscacert", "ca.pem"), ("--tlscert", "cert.pem"), ("--tlskey", "key.pem")] {
        options = options.argument(option).argument(&at(name));
    }
    let certificates = folder.path().display().to_string();
    let site = Site::with_engine(options)
        .await
        .switcher_section("docker_host", &url)
        .variable("DOCKER_TLS_VERIFY", "1")
        .variable("DOCKER_CERT_PATH", &certificates)
        .open()
        .await;
    site.release("v1").await;
    site.agree("v1").await;
    // A stranger's certificate is not let in, and without TLS nobody answers; both are said, with the remedy.
    let stranger = ClientRoot::new("stranger");
    let (certificate, key) = stranger.issue_pem(&["127.0.0.1"]);
    put(&folder.path().join("cert.pem"), &certificate);
    put(&folder.path().join("key.pem"), &key);
    let ran = site.run(&["deploy", "v1"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.says(&["E-DOCKER-", &url]);
    let ran = site.switcher().with("DOCKER_TLS_VERIFY", "").run(&["deploy", "v1"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.says(&["E-DOCKER-", "DOCKER_CERT_PATH"]);
    site.agree("v1").await;
}

#[tokio::test]
async fn the_doctor_looks_through_ssh_and_says_what_is_about_this_machine() {
    if let Some(why) = SshServer::lacks() {
        return skip_or_fail(&why);
    }
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    let server = SshServer::start().await;
    let switcher = server.reached_by(Switcher::of(&proxy));
    let seen = switcher.run(&["doctor", "--host", "ssh://server"]).await;
    assert_eq!(seen.code, 0, "{seen:?}");
    for part in ["switcher-proxy", "configuration (this machine)", "run `switcher doctor` on it"] {
        assert!(seen.stdout.contains(part), "{part}: {seen:?}");
    }
    assert!(!seen.stdout.contains("proxy.http"), "whose ports they are is not seen from here: {seen:?}");
    let lost = switcher.run(&["doctor", "--host", "ssh://stranger", "--json"]).await;
    assert_eq!(lost.code, 1, "{lost:?}");
    let findings = lost.json()["findings"].as_array().expect("findings").clone();
    let verdict = |check: &str| {
        findings.iter().find(|finding| finding["check"] == check).map(|finding| finding["verdict"].clone())
    };
    assert_eq!(verdict("ssh"), Some("failed".into()), "{findings:#?}");
    assert_eq!(verdict("configuration"), Some("ok".into()), "one fault stops no other check: {findings:#?}");
    assert_eq!(verdict("proxy"), None, "this machine's proxy is not meant: {findings:#?}");
}
