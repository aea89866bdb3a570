//! No secret survives, whatever surrounds it and however it is written.

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;

fn hidden(secrets: &[&str], text: &str) -> String {
    Redactor::new(secrets).line(text)
}

#[test]
fn a_known_secret_is_hidden_wherever_it_stands() {
    for (text, shown) in [
        ("connecting with hunter22", "connecting with ***"),
        ("xhunter22x", "x***x"),
        ("hunter22hunter22", "***"),
        ("nothing here", "nothing here"),
        ("pw=%68unter22", "pw=***"),
        (r#"{"a":"hunter2\u0032"}"#, r#"{"a":"***"}"#),
        ("basic YXBwOmh1bnRlcjIy", "basic ***"),
    ] {
        assert_eq!(hidden(&["hunter22"], text), shown, "{text}");
    }
}

#[test]
fn secrets_that_overlap_leave_nothing_of_either() {
    assert_eq!(hidden(&["abcdef", "defghi"], "-abcdefghi-"), "-***-");
    assert_eq!(hidden(&["abcd", "abcdefgh"], "-abcdefgh-"), "-***-");
}

#[test]
fn what_the_mask_and_its_neighbours_make_is_looked_at_again() {
    assert_eq!(hidden(&["long-secret", "a***b"], "a.long-secret a long-secretb"), "a.*** a ***b");
    assert_eq!(hidden(&["long-secret", "a***b"], "along-secretb"), "***");
}

#[test]
fn each_line_of_a_key_is_hidden_and_its_frame_is_not() {
    let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASC\n-----END PRIVATE KEY-----\n";
    let redactor = Redactor::new([key]);
    assert_eq!(redactor.line("read 9w0BAQEFAASC well"), "read *** well");
    assert_eq!(redactor.line("-----BEGIN PRIVATE KEY-----"), "-----BEGIN PRIVATE KEY-----");
}

#[test]
fn what_looks_like_a_secret_is_hidden_though_nobody_named_it() {
    for (text, shown) in [
        ("postgres://shop:s3cr3t@db:5432/shop?x=1", "postgres://shop:***@db:5432/shop?x=1"),
        ("postgres://shop:a@b@db/shop", "postgres://shop:***@db/shop"),
        ("postgres://shop:a/b@db/shop", "postgres://shop:***@db/shop"),
        ("at redis://:s3cr3t@cache now", "at redis://:***@cache now"),
        ("a://u:one@h,b://u:two@h", "a://u:***@h,b://u:***@h"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: ***"),
        (r#"curl -H "Authorization: Bearer x y" https://h"#, r#"curl -H "Authorization: ***" https://h"#),
        (r#"{"authorization":"Bearer abc","a":1}"#, r#"{"authorization":"***","a":1}"#),
        ("got Bearer eyJhbGciOi.J9-x_y=, retrying", "got Bearer ***, retrying"),
        ("password=hunter2 host=db", "password=*** host=db"),
        ("?access_token=abc&x=1", "?access_token=***&x=1"),
        (r#"{"api-key": "a \" b", "n": 1}"#, r#"{"api-key": "***", "n": 1}"#),
        (r#""{\"client_secret\": \"abc\", \"n\": 1}""#, r#""{\"client_secret\": \"***\", \"n\": 1}""#),
        ("PGPASSWORD='a b' psql", "PGPASSWORD='***' psql"),
        ("DbPassword: abc", "DbPassword: ***"),
        (r#"Config { password: Some("a b"), n: 1 }"#, "Config { password: *** n: 1 }"),
        ("app --password hunter2 --port 1", "app --password *** --port 1"),
        ("SECRET_KEY_BASE => abc", "SECRET_KEY_BASE => ***"),
    ] {
        assert_eq!(Redactor::without_secrets().line(text), shown, "{text}");
    }
}

#[test]
fn what_only_resembles_a_secret_is_left_alone() {
    for text in [
        "http://localhost:8080/@user/page",
        "http://[::1]:8080/a@b",
        "https://example.com:443",
        "ssh://deploy@server",
        "the bearer of bad news",
        "authorization failed",
        "password=",
        "the secret is out, and the token too",
        "secret://vault",
        "--token",
        "monkey=1 compass: north",
    ] {
        assert_eq!(Redactor::without_secrets().line(text), text);
    }
}

#[test]
fn names_tell_secrets() {
    for name in ["DB_PASSWORD", "jwtSecret", "API_KEY", "SENTRY_DSN", "GITHUB_TOKEN", "SMTP_PASS", "apiKey"] {
        assert!(names_a_secret(name), "{name}");
    }
    for name in ["PORT", "COMPASS", "KEYBOARD", "LOG_LEVEL", "AUTHOR"] {
        assert!(!names_a_secret(name), "{name}");
    }
}

fn collected(redactor: &Redactor, reads: &[&[u8]]) -> Vec<String> {
    let (mut found, mut lines) = (Vec::new(), redactor.lines());
    for read in reads {
        lines.push(read, &mut |line| found.push(line.to_owned()));
    }
    lines.finish(&mut |line| found.push(line.to_owned()));
    found
}

#[test]
fn lines_are_passed_on_whole_however_they_came() {
    let redactor = Redactor::new(["hunter22"]);
    let reads: [&[u8]; 6] = [b"one\ntw", b"o hun", b"ter22\r", b"\n10%\r20%\r\n\nla", b"st \xff", b"\xc3"];
    assert_eq!(collected(&redactor, &reads), ["one", "two ***", "10%", "20%", "", "last \u{fffd}\u{fffd}"]);
    assert!(collected(&redactor, &[b"", b""]).is_empty());
}

#[test]
fn a_line_without_end_is_cut_and_no_secret_is_cut_with_it() {
    let redactor = Redactor::new(["hunter22"]);
    for lead in LONGEST_LINE - 12..LONGEST_LINE + 4 {
        let text = format!("{}hunter22{}\nnext\n", "x".repeat(lead), "y".repeat(100_000));
        let lines = collected(&redactor, &text.as_bytes().chunks(777).collect::<Vec<_>>());
        assert_eq!(lines.len(), 2, "{lead}");
        assert!(lines[0].len() < LONGEST_LINE + 100 && !lines[0].contains("hu"), "{lead}");
        assert_eq!(lines[1], "next");
    }
}

#[test]
fn what_is_kept_of_a_line_without_end_stays_small() {
    let mut lines = Redactor::new(["hunter22"]).lines();
    let mut told = 0;
    for _ in 0..1000 {
        lines.push(&[b'x'; 10_000], &mut |_| told += 1);
        assert!(lines.held() < 4 * LONGEST_LINE);
    }
    assert_eq!(told, 1);
}

fn unquoted(text: &str) -> String {
    text[1..text.len() - 1].to_owned()
}

/// Every way in which a secret may be written that the redactor answers for.
fn written(secret: &str, around: &str) -> Vec<String> {
    let percent = |keep: fn(u8) -> bool, upper: bool| {
        secret.bytes().fold(String::new(), |text, byte| match (keep(byte), upper) {
            (true, _) => text + &char::from(byte).to_string(),
            (false, true) => text + &format!("%{byte:02X}"),
            (false, false) => text + &format!("%{byte:02x}"),
        })
    };
    let mixed = format!("{around}{secret}{around}");
    vec![
        secret.to_owned(),
        percent(|byte| byte.is_ascii_alphanumeric(), true),
        percent(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*,;=:@/".contains(&byte), false),
        percent(|_| false, true),
        unquoted(&serde_json::to_string(secret).expect("JSON")),
        unquoted(&format!("{secret:?}")),
        STANDARD.encode(secret),
        URL_SAFE.encode(secret),
        STANDARD_NO_PAD.encode(&mixed),
        URL_SAFE_NO_PAD.encode(&mixed),
    ]
}

proptest! {
    #[test]
    fn no_secret_survives_whatever_surrounds_it(
        secret in "[!-~é€😀]{6,40}",
        other in "[!-~ ]{6,20}",
        before in "(?s).{0,40}",
        around in "[a-z:]{0,4}",
        after in "(?s).{0,40}",
    ) {
        let redactor = Redactor::new([&secret, &other]);
        for form in written(&secret, &around) {
            // Half an escape before an encoded secret would be another text.
            let space = if form == secret { "" } else { " " };
            let shown = redactor.line(&format!("{before}{space}{form}{other}{after}"));
            prop_assert!(!shown.contains(&form), "{form:?} in {shown:?}");
            prop_assert!(!shown.contains(&other), "{other:?} in {shown:?}");
            prop_assert!(redactor.line(&shown) == shown, "{shown:?} changes again");
        }
    }

    #[test]
    fn no_secret_survives_in_reads_of_any_size(
        secret in "[!-~]{6,40}",
        before in "[ -~]{0,40}",
        after in "[ -~\\n\\r]{0,60}",
        size in 1_usize..20,
    ) {
        let redactor = Redactor::new([&secret]);
        let text = format!("{before}{secret}{after}\nend");
        let lines = collected(&redactor, &text.as_bytes().chunks(size).collect::<Vec<_>>());
        prop_assert!(lines.iter().all(|line| !line.contains(&secret)), "{lines:?}");
        prop_assert_eq!(lines.last().map(String::as_str), Some("end"));
    }

    #[test]
    fn a_text_without_secrets_is_left_as_it_is(text in "[a-z ,.()\\n]{0,200}") {
        prop_assert_eq!(Redactor::new(["0123456789"]).line(&text), text);
    }
}
