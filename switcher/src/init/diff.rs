//! Where two texts differ, in the unified form, without what looks like a secret. Pure.

use similar::TextDiff;

use super::secret::is_secret;

/// The differences from `there` to `ours`, with three lines around each.
#[must_use]
pub fn unified(name: &str, there: &str, ours: &str) -> String {
    let diff = TextDiff::from_lines(there, ours);
    let (before, after) = (format!("{name} (as it is)"), format!("{name} (as `init` writes it)"));
    let text = diff.unified_diff().context_radius(3).header(&before, &after).to_string();
    text.lines().map(|line| masked(line) + "\n").collect()
}

/// A line of YAML whose value may be shown.
fn masked(line: &str) -> String {
    let Some((key, value)) = line.split_once(": ") else { return line.to_owned() };
    let name = key.trim_start_matches(['+', '-', ' ', '"', '\'']);
    let bare = value.trim_matches(['"', '\'', ' ']);
    if !line.starts_with("---") && !line.starts_with("+++") && is_secret(name, bare) {
        return format!("{key}: ***");
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        insta::assert_snapshot!(unified("a.yaml", "one\ntwo\nthree\n", "one\n2\nthree\n"), @r"
        --- a.yaml (as it is)
        +++ a.yaml (as `init` writes it)
        @@ -1,3 +1,3 @@
         one
        -two
        +2
         three
        ");
        assert_eq!(unified("a", "same\n", "same\n"), "");
    }

    #[test]
    fn what_looks_like_a_secret_is_masked() {
        let shown = unified("a", "  API_TOKEN: \"hunter2\"\n  PORT: 80\n", "  API_TOKEN: \"${API_TOKEN}\"\n");
        assert!(!shown.contains("hunter2") && shown.contains("${API_TOKEN}"), "{shown}");
        assert!(shown.contains("-  PORT: 80"), "{shown}");
    }
}
