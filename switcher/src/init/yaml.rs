//! Values as YAML text: plain where that is safe, else in double quotes. Pure.

/// A single value.
#[must_use]
pub fn scalar(text: &str) -> String {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '/' || c == '.';
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let null = ["null", "Null", "NULL"].contains(&text);
    if text.starts_with(first) && text.chars().all(inner) && !null {
        return text.to_owned();
    }
    // YAML's double quotes know every escape of JSON.
    serde_json::Value::from(text).to_string()
}

/// A list in one line.
#[must_use]
pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| scalar(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_change_is_quoted() {
        for (text, written) in [
            ("info", "info"),
            ("8080", "8080"),
            ("/var/lib", "/var/lib"),
            ("", "\"\""),
            ("null", "\"null\""),
            ("a: b", "\"a: b\""),
            ("*.example.com", "\"*.example.com\""),
            ("line\n\"two\"", "\"line\\n\\\"two\\\"\""),
        ] {
            assert_eq!(scalar(text), written);
        }
        assert_eq!(list(&["a", "${B}"]), "[a, \"${B}\"]");
    }
}
