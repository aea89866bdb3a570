//! What a URL means, part by part, and that its password stays inside.

use proptest::prelude::*;

use super::*;

fn url(text: &str) -> DatabaseUrl {
    text.parse().expect(text)
}

#[test]
fn every_part_is_taken() {
    let url = url(
        "postgres://shop:p%40ss%2Fw%3Ard%25@db.example.com:6543/shop%20db?sslmode=verify-full&sslrootcert=/ca.pem",
    );
    assert_eq!(url.user.as_deref(), Some("shop"));
    assert_eq!(url.password.as_ref().map(Password::reveal), Some("p@ss/w:rd%"));
    assert_eq!((&url.host, url.port), (&Host::Tcp("db.example.com".to_owned()), 6543));
    assert_eq!((url.database.as_str(), url.ssl), ("shop db", SslMode::VerifyFull));
    assert_eq!(url.files.roots.as_deref(), Some(Path::new("/ca.pem")));
}

#[test]
fn missing_parts_have_libpqs_defaults() {
    for (text, shown, ssl) in [
        ("postgres://shop@db", "postgres://shop@db:5432/shop", SslMode::Prefer),
        ("postgresql://db/shop", "postgres://db:5432/shop", SslMode::Prefer),
        ("postgres://u:p@/shop?host=/run/pg&port=5433", "postgres://u@/shop?host=/run/pg", SslMode::Prefer),
        ("postgres://u@%2Frun%2Fpg/shop", "postgres://u@/shop?host=/run/pg", SslMode::Prefer),
        ("postgres:///shop", "postgres:///shop?host=/var/run/postgresql", SslMode::Prefer),
        ("postgres://u@[::1]:5433/shop?sslmode=disable", "postgres://u@[::1]:5433/shop", SslMode::Disable),
        ("postgres://u@[fe80::1]/shop", "postgres://u@[fe80::1]:5432/shop", SslMode::Prefer),
        ("postgresql+psycopg://u@db/shop?sslmode=no-verify", "postgres://u@db:5432/shop", SslMode::Require),
        (
            "jdbc:postgresql://db/shop?user=u&password=p&ssl=true",
            "postgres://u@db:5432/shop",
            SslMode::Require,
        ),
        (
            "postgres://host.docker.internal?dbname=shop",
            "postgres://host.docker.internal:5432/shop",
            SslMode::Prefer,
        ),
    ] {
        let url = url(text);
        assert_eq!((url.to_string().as_str(), url.ssl), (shown, ssl), "{text}");
    }
    assert_eq!(url("postgres://u:p@/shop?host=/run/pg&port=5433").port, 5433);
}

#[test]
fn what_only_other_tools_know_is_left_alone() {
    let url =
        url("postgres://u:p@db/shop?schema=shop&connection_limit=5&pgbouncer=true&x-migrations-table=m");
    assert_eq!(url.search_path, ["shop"]);
    assert_eq!(self::url(r#"postgres://u@db/s?search_path="a",%20public"#).search_path, ["a", "public"]);
}

#[test]
fn a_bad_url_is_told_by_its_part_and_shows_no_secret() {
    for (text, why) in [
        ("mysql://u:hunter2@db/shop", "mysql://"),
        ("hunter2", "does not begin with postgres://"),
        ("hunter2 ://x", "does not begin with postgres://"),
        ("postgres://u:hunter2%@db/shop", "the password has a %"),
        ("postgres://u:hunter2%ff@db/shop", "the password is not UTF-8"),
        ("postgres://u:hunter2%00@db/shop", "the password holds a zero byte"),
        ("postgres://u:hunter2@db:x/shop", "the port is no number"),
        ("postgres://u:hunter2@db:0/shop", "the port is no number"),
        ("postgres://u:hunter2@a:1,b:2/shop", "several hosts"),
        ("postgres://:hunter2@db", "names no database"),
        ("postgres://u:hunter2@db/shop?sslmode=hunter2", "sslmode is none of"),
    ] {
        let error = text.parse::<DatabaseUrl>().expect_err(text).to_string();
        assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_password_arrives_whole_and_is_never_shown(password in "[A-Z%@:/?#&= ~\\\\ß]{8,24}") {
        let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let url = url(&format!("postgres://u:{encoded}@db/shop"));
        prop_assert_eq!(url.password.as_ref().map(Password::reveal), Some(password.as_str()));
        for shown in [url.to_string(), format!("{url:?}"), url.label(), url.redact(&format!("x {password} y"))] {
            prop_assert!(!shown.contains(&password), "{}", shown);
        }
    }
}
