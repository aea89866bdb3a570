//! Parts of the machine that a test needs and may lack: a right, a tool, a kernel feature.
//!
//! On a user's machine a test that lacks its part is skipped and says so. In CI, where `CI=true`, it fails.

/// Says that this test is skipped, and why. The caller returns right after.
///
/// # Panics
/// When `CI=true`: there every part must be there.
pub fn skip_or_fail(why: &str) {
    decide(why, std::env::var("CI").is_ok_and(|ci| ci == "true"));
}

fn decide(why: &str, ci: bool) {
    assert!(!ci, "a part is missing in CI: {why}");
    println!("skipped: {why}");
}

/// Whether a shell command succeeds: a way to ask for a right or a tool.
#[must_use]
pub fn can(script: &str) -> bool {
    std::process::Command::new("sh")
        .args(["-c", script])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_part_only_skips_on_a_users_machine() {
        decide("no such right", false);
    }

    #[test]
    #[should_panic(expected = "a part is missing in CI: no such right")]
    fn a_missing_part_fails_in_ci() {
        decide("no such right", true);
    }

    #[test]
    fn a_command_tells_whether_a_tool_is_there() {
        assert!(can("true") && !can("a-tool-that-nobody-has"));
    }
}
