//! Parts of the machine that a test needs and may lack: a right, a tool.
//!
//! On a user's machine a test that lacks its part is skipped and says so. In CI, where `CI=true`, it fails. The
//! same rule as in the end-to-end tests, which this crate cannot use.

/// Says that this test is skipped, and why. The caller returns right after.
pub(crate) fn skip_or_fail(why: &str) {
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "a part is missing in CI: {why}");
    println!("skipped: {why}");
}
