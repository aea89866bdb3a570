//! The grammars of the values, good and bad.

use super::super::container::{Cpus, ExtraHost, MemoryLimit, Volume};
use super::*;

fn sorts<T: FromStr>(good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(text.parse::<T>().is_ok(), "{text} is good");
    }
    for text in bad {
        assert!(text.parse::<T>().is_err(), "{text:?} is bad");
    }
}

#[test]
fn a_mount_has_a_source_and_an_absolute_target() {
    sorts::<Volume>(
        &["/srv/a:/a", "data:/a", "data:/a/:ro", "/a:/b:ro,Z", "my.data-1:/x:rw"],
        &[
            "",
            "data",
            "/a",
            ":/a",
            "a:",
            "data:a",
            "./a:/a",
            "../a:/a",
            "~/a:/a",
            "a:/a",
            "/a:/",
            "/a:/b:",
            "/a:/b:rx",
            "/a:/b:ro:ro",
            "a b:/c",
            "/a:/b\n",
        ],
    );
    assert_eq!(Volume("/a:/b/:ro".into()).target(), "/b");
}

#[test]
fn a_line_for_the_hosts_file_has_a_name_and_an_address() {
    sorts::<ExtraHost>(
        &["db:10.0.0.7", "db.internal:::1", "db:[::1]", "host.docker.internal:host-gateway"],
        &["", "db", "db:", ":10.0.0.7", "db:10.0.0", "db=10.0.0.7", "10.0.0.7 db", "db:gateway"],
    );
}

#[test]
fn a_platform_is_a_system_with_an_architecture() {
    sorts::<Platform>(
        &["linux/amd64", "linux/arm64/v8", "linux/386"],
        &["", "amd64", "linux/", "linux//v8", "linux/arm/v7/x", "Linux/amd64", "linux/amd 64"],
    );
}

#[test]
fn an_engine_is_reached_by_a_socket_tcp_or_ssh() {
    for good in [
        "unix:///var/run/docker.sock",
        "tcp://build.example.com:2376",
        "tcp://[::1]:2376",
        "ssh://deploy@shop.example.com",
        "ssh://shop.example.com:2222",
        "ssh://deploy@shop.example.com/run/user/1000/docker.sock",
        "ssh://deploy@corp@shop.example.com",
    ] {
        assert!(is_docker_host(good), "{good}");
    }
    for bad in [
        "",
        "/var/run/docker.sock",
        "unix://run/docker.sock",
        "unix://",
        "http://build:2376",
        "tcp://",
        "tcp://a/b",
        "ssh://a:hunter2@b",
        "ssh://-oProxyCommand=x",
        "ssh://-o@b",
        "ssh://a@b/a run",
    ] {
        assert!(!is_docker_host(bad), "{bad}");
    }
}

#[test]
fn processors_are_counted_in_thousandths() {
    for (text, millis) in [("1.5", 1500), ("2", 2000), ("0.25", 250), ("0.01", 10), ("1.005", 1005)] {
        let cpus = text.parse::<Cpus>();
        assert_eq!(cpus, Ok(Cpus(millis)));
        assert_eq!(cpus.map(|cpus| cpus.show().to_json().to_string()), Ok(text.to_owned()));
    }
    sorts::<Cpus>(&[], &["", "0", "0.001", "-1", "1.", ".5", "1,5", "1.2345", "1e3", "99999999"]);
}

#[test]
fn names_are_plain() {
    sorts::<Network>(&["shop", "shop_1.x-y"], &["", "host", "none", "_x", ".x", "a/b", "container:x"]);
    sorts::<User>(&["app", "1000", "1000:1000", "app:www-data"], &["", ":", "a:", "a:b:c", "a b", "-u"]);
    for (name, good) in [
        ("DATABASE_URL", true),
        ("_x", true),
        ("spring.url", true),
        ("1A", false),
        ("A=b", false),
        ("", false),
    ] {
        assert_eq!(VariableName::parse(name).is_some(), good, "{name}");
    }
}

#[test]
fn bounds_are_kept() {
    sorts::<LeaseSpan>(&["5s", "30m", "2m"], &["4s999ms", "30m1s", "0", "soon"]);
    sorts::<MemoryLimit>(&["6MiB", "1GiB", "512000000"], &["512", "5MiB", "1g", ""]);
    sorts::<Port>(&["1", "65535"], &["0", "65536", "http"]);
}

#[test]
fn the_repository_stands_without_tag_and_digest() {
    sorts::<Repository>(&["shop", "ghcr.io/acme/shop", "127.0.0.1:5000/shop"], &["", "Shop", "shop:v1"]);
    let digest = format!("shop@sha256:{}", "a".repeat(64));
    let told = digest.parse::<Repository>().expect_err("a digest");
    assert!(told.contains("has a digest") && told.ends_with("`docker.io/library/shop`"), "{told}");
}
