//! The choice: its share, that it holds, and that it only ever grows.

use std::net::Ipv4Addr;

use http::{HeaderName, HeaderValue, header};
use proptest::prelude::*;
use switcher_config::Share;

use super::*;

fn choice(salt: u64, share: &str, by: &str) -> Choice {
    let share = share.parse().expect("a share");
    Choice { salt, rules: CanaryRules { share, by: by.parse().expect("a key"), ..CanaryRules::default() } }
}

fn asked(client: IpAddr, headers: &HeaderMap) -> Asked<'_> {
    Asked { client, headers }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn with(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::try_from(value).expect("a value"))])
}

#[test]
fn a_tenth_of_the_neighbours_in_a_network_is_a_tenth() {
    let headers = HeaderMap::new();
    for salt in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
        let choice = choice(salt, "10%", "client");
        let there = (0..100_000_u32).filter(|n| {
            let client = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
            choice.side(asked(client, &headers)) == Side::Canary
        });
        // Six standard deviations of a fair draw are 570.
        let there = there.count();
        assert!((9_430..=10_570).contains(&there), "{there} of 100000 with salt {salt}");
    }
}

#[test]
fn another_canary_picks_others() {
    let headers = HeaderMap::new();
    let (one, other) = (choice(1, "50%", "client"), choice(2, "50%", "client"));
    let differs = |n: &u32| {
        let client = IpAddr::V4(Ipv4Addr::from(*n));
        one.side(asked(client, &headers)) != other.side(asked(client, &headers))
    };
    let changed = (0..10_000_u32).filter(differs).count();
    assert!((4_500..5_500).contains(&changed), "{changed}");
}

#[test]
fn one_customer_of_ipv6_is_one_client() {
    let (choice, headers) = (choice(7, "50%", "client"), HeaderMap::new());
    for n in 0..64 {
        let side = |host: &str| choice.side(asked(ip(&format!("2001:db8:0:{n:x}::{host}")), &headers));
        assert_eq!(side("1"), side("ffff:2"));
    }
}

#[test]
fn by_a_header_or_a_cookie_the_address_does_not_matter_and_nothing_is_picked_without_it() {
    for (by, one, other) in [
        ("header X-User", with("x-user", "ann"), with("x-user", "bob")),
        ("cookie session", with("cookie", "a=1; session=ann"), with("cookie", "session=bob")),
    ] {
        let everybody = choice(3, "100%", by);
        assert_eq!(everybody.side(asked(ip("10.0.0.1"), &HeaderMap::new())), Side::Live, "{by}");
        assert_eq!(everybody.side(asked(ip("10.0.0.1"), &one)), Side::Canary, "{by}");
        // Some salt tells two users apart, and none a user from herself.
        let sides = |salt| {
            let half = choice(salt, "50%", by);
            let side = |client, headers| half.side(asked(ip(client), headers));
            assert_eq!(side("10.0.0.1", &one), side("192.0.2.9", &one), "{by}");
            side("10.0.0.1", &one) != side("10.0.0.1", &other)
        };
        assert!((0..64).any(sides), "{by}");
    }
}

#[test]
fn whoever_a_rule_names_is_there_without_any_share() {
    let rules = CanaryRules {
        headers: vec!["X-Beta=1".parse().expect("a header")],
        cookies: vec!["beta=yes".parse().expect("a cookie")],
        clients: vec!["192.0.2.0/24".parse().expect("a network"), "2001:db8::/32".parse().expect("one")],
        ..CanaryRules::default()
    };
    let choice = Choice { salt: 5, rules };
    let mut twice = with("x-beta", "0");
    twice.append("x-beta", HeaderValue::from_static("1"));
    for (client, headers, side) in [
        ("10.0.0.1", HeaderMap::new(), Side::Live),
        ("10.0.0.1", with("x-beta", "1"), Side::Canary),
        ("10.0.0.1", with("x-beta", "10"), Side::Live),
        ("10.0.0.1", twice, Side::Canary),
        (
            "10.0.0.1",
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("beta=yes"))]),
            Side::Canary,
        ),
        (
            "10.0.0.1",
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("beta=no"))]),
            Side::Live,
        ),
        ("192.0.2.77", HeaderMap::new(), Side::Canary),
        ("192.0.3.77", HeaderMap::new(), Side::Live),
        ("2001:db8:7::1", HeaderMap::new(), Side::Canary),
    ] {
        assert_eq!(choice.side(asked(ip(client), &headers)), side, "{client} {headers:?}");
    }
}

proptest! {
    #[test]
    fn a_share_that_grows_only_adds_clients(client: u32, salt: u64, a in 0_u16..=10_000, b in 0_u16..=10_000) {
        let share = |hundredths: u16| -> Share {
            format!("{}.{:02}%", hundredths / 100, hundredths % 100).parse().expect("a share")
        };
        let headers = HeaderMap::new();
        let client = IpAddr::V4(Ipv4Addr::from(client));
        let side = |hundredths| {
            let rules = CanaryRules { share: share(hundredths), ..CanaryRules::default() };
            Choice { salt, rules }.side(asked(client, &headers))
        };
        if side(a.min(b)) == Side::Canary {
            prop_assert_eq!(side(a.max(b)), Side::Canary);
        }
        prop_assert_eq!(side(a), side(a));
        prop_assert_eq!(side(10_000), Side::Canary);
        prop_assert_eq!(side(0), Side::Live);
    }
}
