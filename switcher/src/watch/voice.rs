//! What `switcher watch` says, a line on standard error for each thing that happens: text, or JSON with `--json`.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::json;
use switcher_config::AppName;

/// Says it. A standard error that is gone stops nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice {
    /// Whether lines are JSON.
    pub(crate) json: bool,
}

impl Voice {
    /// Something happened, to an application or to all.
    pub(crate) fn say(self, app: Option<&AppName>, happened: &str) {
        let _ = writeln!(std::io::stderr(), "{}", self.line(Timestamp::now(), app, happened));
    }

    /// Pure.
    fn line(self, at: Timestamp, app: Option<&AppName>, happened: &str) -> String {
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        if self.json {
            return json!({"at": at, "app": app, "message": happened}).to_string();
        }
        let app = app.map_or_else(|| "watch".to_owned(), |app| format!("watch {app}"));
        // A line is a line, whatever a registry said.
        format!("{at} {app}: {}", happened.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_in_both_shapes() {
        let at = "2026-11-21T14:03:07.25Z".parse().expect("a moment");
        let app: AppName = "shop".parse().expect("a name");
        let text = Voice { json: false }.line(at, Some(&app), "two\nlines");
        assert_eq!(text, "2026-11-21T14:03:07Z watch shop: two lines");
        let object = Voice { json: true }.line(at, None, "two\nlines");
        assert_eq!(object, r#"{"at":"2026-11-21T14:03:07Z","app":null,"message":"two\nlines"}"#);
    }
}
