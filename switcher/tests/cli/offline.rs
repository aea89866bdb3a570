//! The verbs that need no proxy.

use std::path::Path;

use crate::run::switcher;

const NOWHERE: &str = "/nonexistent";

#[test]
fn explain_tells_one_code_and_lists_them_all() {
    let one = switcher(Path::new(NOWHERE), "explain e-health-01");
    insta::assert_snapshot!("explain_one", one.all());
    insta::assert_snapshot!("explain_all", switcher(Path::new(NOWHERE), "explain").all());
    insta::assert_snapshot!("explain_unknown", switcher(Path::new(NOWHERE), "explain E-HELTH-01").all());
    let json = switcher(Path::new(NOWHERE), "explain E-GEN-01 --json").json();
    assert_eq!((json["code"].as_str(), json["exit"].as_u64()), (Some("E-GEN-01"), Some(3)));
}

#[test]
fn completions_name_the_verbs_and_the_slots() {
    for shell in ["bash", "zsh", "fish"] {
        let run = switcher(Path::new(NOWHERE), &format!("completions {shell}"));
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        for word in ["promote", "rollback", "wait-healthy", "certs", "dry-run"] {
            assert!(run.out.contains(word), "{shell}: {word}");
        }
        // The generator offers the values of positional arguments to bash and zsh alone.
        assert!(shell == "fish" || run.out.contains("blue green"), "{shell}: the slots");
    }
}

#[test]
fn help_is_a_result_and_its_absence_is_wrong_usage() {
    let help = switcher(Path::new(NOWHERE), "--help");
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    insta::assert_snapshot!("help", help.out);
    insta::assert_snapshot!("help_promote", switcher(Path::new(NOWHERE), "promote --help").out);
    assert_eq!(switcher(Path::new(NOWHERE), "").code, 2);
    assert!(!help.out.contains("demo-app"));
}
