//! Times, sizes and patterns of other programs as ours are written. Pure.

/// A time such as `90`, `60s`, `1m30s` or `500ms`, as our configuration writes it; bare numbers are seconds.
#[must_use]
pub fn time(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase().replace(' ', "");
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(format!("{seconds}s"));
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = &after[..after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len())];
        out.push_str(&match unit {
            "ms" | "s" | "m" | "h" => format!("{number}{unit}"),
            "d" => format!("{}h", number.checked_mul(24)?),
            "w" => format!("{}h", number.checked_mul(24 * 7)?),
            _ => return None,
        });
        rest = &after[unit.len()..];
    }
    (!out.is_empty()).then_some(out)
}

/// A size such as `10m`, `8k` or `10MB`, as our configuration writes it.
#[must_use]
pub fn size(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "b" => "B",
        "k" | "kib" => "KiB",
        "kb" => "KB",
        "m" | "mib" => "MiB",
        "mb" => "MB",
        "g" | "gib" => "GiB",
        "gb" => "GB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// A text as a pattern that fits nothing else.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A replacement as our patterns expand it: `$1` where nothing can be mistaken, else `${1}`; other `$` stand for themselves.
#[must_use]
pub fn replacement(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, behind) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, behind)) => (name, behind),
            None => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
        };
        let known = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !known {
            out.push_str("$$");
            rest = after;
            continue;
        }
        let open = behind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        out.push_str(&if open { format!("${{{name}}}") } else { format!("${name}") });
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// A pattern that fits like this one, whatever the case.
#[must_use]
pub fn caseless(pattern: &str) -> String {
    format!("(?i){pattern}")
}

/// Whether only the proxy itself may say a header of this name, in lower case: no client's own reaches an application.
#[must_use]
pub fn stripped(lower: &str) -> bool {
    lower.starts_with("x-forwarded-") || ["x-real-ip", "forwarded", "host"].contains(&lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sizes_and_replacements_are_spelt_as_ours() {
        for (text, ours) in
            [("60", "60s"), ("1m30s", "1m30s"), ("500ms", "500ms"), ("1h 30m", "1h30m"), ("2d", "48h")]
        {
            assert_eq!(time(text).as_deref(), Some(ours), "{text}");
        }
        for (text, ours) in
            [("10m", "10MiB"), ("8k", "8KiB"), ("1G", "1GiB"), ("512", "512B"), ("5MB", "5MB")]
        {
            assert_eq!(size(text).as_deref(), Some(ours), "{text}");
        }
        assert_eq!((time("soon"), time(""), size("much")), (None, None, None));
        assert_eq!(replacement("/a/$1/$2x${3}/$host$"), "/a/$1/${2}x$3/$$host$$");
        assert_eq!(escaped("/a.b/(c)"), "/a\\.b/\\(c\\)");
    }
}
