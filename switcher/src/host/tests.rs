//! Addresses as people write them, and what is wrong with the rest.

use super::*;

#[test]
fn an_address_is_read_and_shown_again() {
    for (text, shown) in [
        ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("tcp://10.0.0.7:2376", "tcp://10.0.0.7:2376"),
        ("tcp://docker.internal", "tcp://docker.internal:2375"),
        ("tcp://[::1]:2375/", "tcp://[::1]:2375"),
        ("ssh://deploy@shop.example.com", "ssh://deploy@shop.example.com"),
        ("ssh://shop.example.com:2222", "ssh://shop.example.com:2222"),
        ("ssh://root@[fd00::7]:22", "ssh://root@[fd00::7]:22"),
        ("ssh://[fd00::7]", "ssh://[fd00::7]"),
        ("ssh://alias/", "ssh://alias"),
        ("ssh://alias/var/run/docker.sock", "ssh://alias"),
        ("ssh://alias/run/user/1000/docker.sock", "ssh://alias/run/user/1000/docker.sock"),
    ] {
        let address: HostAddress = text.parse().expect(text);
        assert_eq!(address.to_string(), shown);
        assert_eq!(shown.parse::<HostAddress>().expect(shown).to_string(), shown);
    }
}

#[test]
fn what_names_no_engine_is_refused_with_a_reason() {
    for (text, reason) in [
        ("/var/run/docker.sock", "the scheme is missing"),
        ("unix://docker.sock", "does not begin with `/`"),
        ("npipe:////./pipe/docker", "none of unix, tcp and ssh"),
        ("tcp://", "the host is missing"),
        ("tcp://host:port", "no number"),
        ("tcp://host:0", "the host is missing"),
        ("https://host:2376", "DOCKER_CERT_PATH"),
        ("tcp://host/run/docker.sock", "a path after the host"),
        ("ssh://-oProxyCommand=sh", "may not begin with `-`"),
        ("ssh://-l@host", "may not begin with `-`"),
        ("ssh://a b", "the host is missing"),
    ] {
        let error = text.parse::<HostAddress>().expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_shown() {
    let error = "ssh://deploy:hunter2@shop.example.com".parse::<HostAddress>().expect_err("a password");
    assert!(error.to_string().contains("`ssh` uses its keys"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[test]
fn only_loopback_may_be_spoken_to_in_the_clear() {
    for (text, loopback) in [
        ("tcp://127.0.0.1:2375", true),
        ("tcp://localhost:2375", true),
        ("tcp://[::1]", true),
        ("tcp://10.0.0.7:2375", false),
        ("tcp://localhost.example.com", false),
    ] {
        let HostAddress::Tcp(tcp) = text.parse().expect(text) else { panic!("{text} is no TCP") };
        assert_eq!(tcp.is_loopback(), loopback, "{text}");
    }
}

#[test]
fn the_port_follows_whether_tls_is_spoken() {
    let address: HostAddress = "tcp://10.0.0.7".parse().expect("an address");
    assert_eq!(address.clone().with_certificates(PathBuf::from("/certs")).to_string(), "tcp://10.0.0.7:2376");
    let address: HostAddress = "tcp://10.0.0.7:2375".parse().expect("an address");
    assert_eq!(address.with_certificates(PathBuf::from("/certs")).to_string(), "tcp://10.0.0.7:2375");
}
