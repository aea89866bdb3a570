//! A JSON value as YAML that every reader takes for the same value.
//!
//! A text stands bare only where no version of YAML could see a number, a date, a word or a sign in it; else it is
//! quoted as in JSON, whose escapes YAML shares.

use serde_json::{Map, Value};

/// The whole document, ending in a newline.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0),
        Value::Array(items) if !items.is_empty() => sequence(items, 0),
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => format!("{}\n", scalar(value)),
    }
}

fn mapping(map: &Map<String, Value>, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    map.iter().map(|(key, value)| format!("{indent}{}:{}", word(key), below(value, depth))).collect()
}

fn sequence(items: &[Value], depth: usize) -> String {
    let indent = "  ".repeat(depth);
    items
        .iter()
        .map(|item| match item {
            // The dash takes the place of the first line's indent.
            Value::Object(map) if !map.is_empty() => {
                format!("{indent}- {}", mapping(map, depth + 1).trim_start())
            }
            Value::Array(items) if !items.is_empty() => {
                format!("{indent}- {}", sequence(items, depth + 1).trim_start())
            }
            Value::Object(_)
            | Value::Array(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => format!("{indent}- {}\n", scalar(item)),
        })
        .collect()
}

/// What stands behind a key's colon.
fn below(value: &Value, depth: usize) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => format!("\n{}", mapping(map, depth + 1)),
        Value::Array(items) if !items.is_empty() => format!("\n{}", sequence(items, depth + 1)),
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => format!(" {}\n", scalar(value)),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        // An empty list and an empty mapping are written as in JSON.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// Words that some reader takes for something else than text.
const TAKEN: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan"];

fn word(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./@".contains(c);
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(safe)
        && !TAKEN.contains(&text.to_ascii_lowercase().as_str());
    if bare {
        return text.to_owned();
    }
    let quoted = Value::from(text).to_string();
    quoted.chars().fold(String::new(), |mut all, c| {
        // JSON leaves these as they are; YAML does not allow them, or takes them for the end of a line.
        if matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}') {
            all.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            all.push(c);
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_stand_below_their_keys_and_empty_ones_beside_them() {
        let value = json!({
            "app": "shop",
            "none": [],
            "nothing": null,
            "deployments": [{"id": "dep_1", "warnings": ["one", "two: three"], "failure": {"code": "E-1"}}, 7, [1, [2]]],
        });
        insta::assert_snapshot!(text(&value));
        assert_eq!(text(&json!({})), "{}\n");
    }

    #[test]
    fn a_text_is_quoted_where_a_reader_could_take_it_for_something_else() {
        for bare in ["shop", "v1.5.0", "ada@build", "linux/amd64", "rolled_back"] {
            assert_eq!(word(bare), bare);
        }
        for (text, written) in [
            ("", "\"\""),
            ("1.5", "\"1.5\""),
            ("2026-11-21T14:03:07Z", "\"2026-11-21T14:03:07Z\""),
            ("No", "\"No\""),
            ("a: b", "\"a: b\""),
            ("# no comment", "\"# no comment\""),
            ("two\nlines \"quoted\"", "\"two\\nlines \\\"quoted\\\"\""),
            ("- no list", "\"- no list\""),
            ("\u{85}\u{feff}", "\"\\u0085\\ufeff\""),
            ("~", "\"~\""),
        ] {
            assert_eq!(word(text), written);
        }
    }
}
