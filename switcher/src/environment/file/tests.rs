//! Env files as people write them, and as they get them wrong.

use proptest::prelude::*;

use super::*;

/// Name, value and line.
type Read = (String, Option<String>, usize);

fn parsed(text: &str) -> (Vec<Read>, Vec<String>) {
    let (entries, problems) = parse(Path::new(".env"), text);
    let problems = problems.iter().map(|p| format!("{}:{}: {}", p.line.unwrap_or(0), p.key, p.message));
    (entries.into_iter().map(|e| (e.name, e.value, e.line)).collect(), problems.collect())
}

fn value(line: &str) -> String {
    match parsed(line) {
        (entries, problems) if problems.is_empty() && entries.len() == 1 => {
            entries[0].1.clone().unwrap_or_else(|| "(of the process)".to_owned())
        }
        (_, problems) => problems.join("; "),
    }
}

#[test]
fn values_are_read_as_docker_and_dotenv_users_expect() {
    for (line, read) in [
        ("A=b", "b"),
        ("A=", ""),
        ("A", "(of the process)"),
        ("export A=b", "b"),
        ("export A", "(of the process)"),
        ("  A=b  ", "b"),
        ("A= b", "b"),
        ("A=b c", "b c"),
        ("A=b=c==", "b=c=="),
        ("A=b#c", "b#c"),
        ("A=b # c", "b"),
        ("A=# c", ""),
        ("A=https://h/#x", "https://h/#x"),
        (r"A=C:\n$HOME ${X}", r"C:\n$HOME ${X}"),
        (r#"A="b # c""#, "b # c"),
        (r#"A="b" # c"#, "b"),
        (r#"A="a\n\t\"\\\$\x""#, "a\n\t\"\\$\\x"),
        (r"A='a\n$X #\\'", r"a\n$X #\\"),
        (r"A='it\'s'", "it's"),
        (r"A='C:\'", r"C:\"),
        (r#"A="""#, ""),
        ("A=b'c'", "b'c'"),
        ("A=\"one\ntwo\"", "one\ntwo"),
        ("A='one\r\n two'\r\n", "one\n two"),
        ("A=b\r\n", "b"),
        ("\u{feff}A=b", "b"),
        ("spring.datasource-url=x", "x"),
    ] {
        assert_eq!(value(line), read, "{line:?}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_without_its_value() {
    let text = "# comment\n\nA=1\nB C=hunter2\n=hunter2\nD =hunter2\nE=\"hunter2\" more\n1F=hunter2\nG=a\0b\nH='hunter2\n";
    let (entries, problems) = parsed(text);
    assert_eq!(entries, [("A".to_owned(), Some("1".to_owned()), 3)]);
    assert_eq!(
        problems,
        [
            "4:: what stands before the `=` is no name of a variable",
            "5:: there is no name before the `=`",
            "6:: there is a space before the `=`",
            "7:E: there is more after the closing quote",
            "8:: what stands before the `=` is no name of a variable",
            "9:G: the value has a zero byte in it",
            "10:H: the quote is never closed",
        ]
    );
    let (_, told) = parse(Path::new(".env"), text);
    assert!(!format!("{told:?}").contains("hunter2"));
}

#[test]
fn lines_are_counted_over_values_of_several_lines() {
    let (entries, problems) = parsed("A='1\n2\n3'\nB=4\n");
    assert_eq!((entries[1].2, problems.len()), (4, 0));
}

proptest! {
    #[test]
    fn whatever_is_quoted_comes_back(text in "[^\\r\\x00]{0,60}") {
        let double = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
        prop_assert_eq!(value(&format!("A=\"{double}\"")), text.clone());
        if !text.contains('\'') {
            prop_assert_eq!(value(&format!("A='{text}'")), text);
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "(?s).{0,200}") {
        let (entries, problems) = parse(Path::new(".env"), &text);
        prop_assert!(entries.len() + problems.len() <= text.lines().count());
    }
}
