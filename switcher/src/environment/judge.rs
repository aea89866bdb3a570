//! Judges values: whether one was forgotten to be filled in, and whether one is worth hiding. Pure.

use crate::redact::{SHORTEST, names_a_secret};

/// What people write where a secret is to be filled in.
const PLACEHOLDERS: [&str; 2] = ["change", "replace"];

/// Whether a value still has a placeholder in it: `CHANGE_ME`, `changeme`, `<change-me>`, `REPLACE_ME`, also within a
/// longer value such as a URL. `exchange_me` and `change_method` are none.
#[must_use]
pub fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|verb| {
        lower.match_indices(verb).any(|(at, _)| {
            let after = &lower[at + verb.len()..];
            let me = after.strip_prefix(['_', '-', ' ']).unwrap_or(after).strip_prefix("me");
            let begins = !lower[..at].ends_with(|c: char| c.is_alphanumeric());
            // A number behind it tells several apart, and fills none of them in.
            let me = me.map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            begins && me.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        })
    })
}

/// Words that say nothing, however they came into a variable.
const TRIVIAL: [&str; 40] = [
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "none",
    "null",
    "enabled",
    "disabled",
    "default",
    "auto",
    "production",
    "prod",
    "staging",
    "stage",
    "development",
    "develop",
    "dev",
    "testing",
    "test",
    "local",
    "localhost",
    "debug",
    "info",
    "notice",
    "warn",
    "warning",
    "error",
    "trace",
    "verbose",
    "json",
    "text",
    "plain",
    "postgres",
    "postgresql",
    "sqlite",
    "mysql",
    "redis",
    "utf-8",
];

/// From how many bytes on a value is hidden when its name says nothing.
const WORTH_HIDING: usize = 6;

/// Whether a value that came from outside the configuration is to be hidden. Everything is, except words, short
/// numbers, addresses and versions: hiding those would make every log unreadable.
#[must_use]
pub(super) fn is_worth_hiding(name: &str, value: &str) -> bool {
    let value = value.trim();
    let secret_name = names_a_secret(name);
    let shortest = if secret_name { SHORTEST } else { WORTH_HIDING };
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let numeric = value.bytes().all(|byte| byte.is_ascii_digit() || b".:-+,".contains(&byte));
    let version = value.strip_prefix('v').unwrap_or(value);
    let version = version.contains('.') && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let dull = TRIVIAL.contains(&value.to_ascii_lowercase().as_str())
        || numeric && digits < WORTH_HIDING
        || version && !secret_name;
    value.len() >= shortest && !dull
}

/// The password of a URL as it is written in it, and without percent-encoding.
#[must_use]
pub(super) fn url_password(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("://")?;
    let head = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (_, password) = head[..head.rfind('@')?].split_once(':')?;
    Some(password).filter(|password| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_whole_and_within() {
        for value in [
            "CHANGE_ME",
            "changeme",
            "Change-Me!",
            "<change-me>",
            "CHANGE_ME_TO_32_RANDOM_BYTES",
            "postgres://shop:CHANGE_ME@db/shop",
            "replace_me",
            "please change me",
        ] {
            assert!(is_placeholder(value), "{value}");
        }
        for value in ["", "exchange_me", "change_method", "changeme1x", "me change", "change", "unchangeme"] {
            assert!(!is_placeholder(value), "{value}");
        }
    }

    #[test]
    fn what_is_worth_hiding_is_hidden() {
        for (name, value) in [
            ("DATABASE_URL", "postgres://shop@db/shop"),
            ("X", "abcdef"),
            ("DB_PASSWORD", "pa55"),
            ("PIN", "123456"),
            ("NUMBER", "31415926"),
            ("JWT_SECRET", "1.2.3.4.5.6"),
        ] {
            assert!(is_worth_hiding(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("A", "1"),
            ("DEBUG", "true"),
            ("APP_ENV", "Production"),
            ("PORT", "8080"),
            ("X", "12345"),
            ("NAME", "shop"),
            ("RELEASE", "v1.15.0"),
            ("BIND", "127.0.0.1"),
            ("DB_PASSWORD", ""),
            ("DB_PASSWORD", "abc"),
        ] {
            assert!(!is_worth_hiding(name, value), "{name}={value}");
        }
    }

    #[test]
    fn the_password_of_a_url_is_found() {
        for (url, password) in [
            ("postgres://shop:s3cr3t@db:5432/shop", Some("s3cr3t")),
            ("redis://:a@b@cache", Some("a@b")),
            ("postgres://shop@db", None),
            ("postgres://shop:@db", None),
            ("http://h:80/a:b@c", None),
            ("plain", None),
        ] {
            assert_eq!(url_password(url), password, "{url}");
        }
    }
}
