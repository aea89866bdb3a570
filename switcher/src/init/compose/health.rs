//! `healthcheck` of a service.

use switcher_config::document::Item;

use crate::init::interpolation::ours;
use crate::init::service::{Check, Service};

/// Reads a check; none when it has no command, so that the image's holds.
pub(super) fn check(service: &mut Service, item: Item<'_>) -> Option<Check> {
    if item.get("disable").and_then(Item::text) == Some("true") {
        return Some(Check::Off);
    }
    let mut bounds = Vec::new();
    for (key, line, value) in item.entries() {
        match (key, value.text()) {
            ("interval" | "timeout" | "retries" | "start_period", Some(text)) => {
                bounds.push((key.to_owned(), text.to_owned()));
            }
            ("test" | "disable", _) => {}
            _ => service.leave(line, &format!("healthcheck.{key}"), "checks have no such bound here"),
        }
    }
    let Some(test) = item.get("test") else {
        service.leave(
            item.line(),
            "healthcheck",
            "it changes the image's own check, which is taken as it is",
        );
        return None;
    };
    // A `$` in a check is the shell's inside the container, once Compose has made one of `$$`.
    let words: Vec<String> =
        test.items().filter_map(Item::text).map(|word| word.replace("$$", "$")).collect();
    if !test.is_list() {
        return Some(Check::Command { test: vec!["CMD-SHELL".to_owned(), words.concat()], bounds });
    }
    match words.first().map(String::as_str) {
        Some("NONE") => Some(Check::Off),
        Some("CMD" | "CMD-SHELL") => Some(Check::Command { test: words, bounds }),
        Some(_) | None => {
            service.leave(test.line(), "healthcheck.test", "it begins with neither CMD nor CMD-SHELL");
            None
        }
    }
    .filter(|_| ours(&test.items().filter_map(Item::text).collect::<String>()).is_ok())
}
