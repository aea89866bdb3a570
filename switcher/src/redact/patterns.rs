//! What looks like a secret, whoever it belongs to: passwords in URLs, `Authorization`, bearer tokens, `password=…`.
//!
//! Pure. Finds places; too much is better than too little, so a harmless word may be hidden with them.

use std::ops::Range;

use super::MASK;

/// What the name of a secret has in it, in lower case and without separators.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "token",
    "secret",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "credential",
];

/// Names that are one only as a whole word: `DB_PASS`, not `COMPASS`.
const WHOLE_NAMES: [&str; 6] = ["pass", "key", "auth", "dsn", "pin", "salt"];

/// Whether a variable of this name holds a secret, as far as a name can tell.
#[must_use]
pub fn names_a_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let squeezed: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
    NAMES.iter().any(|part| squeezed.contains(part))
        || lower.split(|c: char| !c.is_alphanumeric()).any(|word| WHOLE_NAMES.contains(&word))
}

/// Every place that looks like a secret and is not hidden already.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    // `to_ascii_lowercase` keeps every byte where it was.
    let lower = text.to_ascii_lowercase();
    let mut found = url_passwords(text);
    found.extend(authorizations(text, &lower));
    found.extend(bearers(text, &lower));
    found.extend(named_values(text, &lower));
    found.retain(|range| !range.is_empty() && &text[range.clone()] != MASK);
    found
}

/// `scheme://user:PASSWORD@host`, also when the password has a raw `/` or `@` in it.
fn url_passwords(text: &str) -> Vec<Range<usize>> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>`".contains(c);
    let place = |(mark, _): (usize, &str)| {
        let start = mark + 3;
        let rest = &text[start..];
        let url = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let head = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
        let colon = head.find(':')?;
        let at = match head.rfind('@') {
            Some(at) => at,
            // No user is seen, but what follows the colon is no port either.
            None if !head.starts_with('[') && !head[colon + 1..].bytes().all(|b| b.is_ascii_digit()) => {
                url.rfind('@')?
            }
            None => return None,
        };
        (colon < at).then_some(start + colon + 1..start + at)
    };
    text.match_indices("://").filter_map(place).collect()
}

/// The value of an `Authorization` header, in a dump, in JSON or in a command line.
fn authorizations(text: &str, lower: &str) -> Vec<Range<usize>> {
    let place = |(begin, word): (usize, &str)| {
        let value = after_separator(text, begin + word.len())?;
        let quote = |at: usize| text.as_bytes().get(at).copied().filter(|byte| matches!(byte, b'"' | b'\''));
        let (start, end) = match quote(value) {
            Some(quote) => (value + 1, Some(quote)),
            // `-H "Authorization: …"`: the quote was opened before the name.
            None => (value, begin.checked_sub(1).and_then(quote)),
        };
        let rest = &text.as_bytes()[start..];
        let length = rest.iter().position(|byte| *byte == b'\n' || Some(*byte) == end).unwrap_or(rest.len());
        Some(start..start + length)
    };
    lower.match_indices("authorization").filter_map(place).collect()
}

/// The token after `Bearer`. A word of lower case letters alone is prose.
fn bearers(text: &str, lower: &str) -> Vec<Range<usize>> {
    let place = |(begin, word): (usize, &str)| {
        let rest = &text[begin + word.len()..];
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let token = |c: char| !(c.is_ascii_alphanumeric() || "-._~+/=".contains(c));
        let value = &rest[spaces..];
        let value = &value[..value.find(token).unwrap_or(value.len())];
        let prose = value.len() < 20 && value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.');
        let start = begin + word.len() + spaces;
        (spaces > 0 && !prose).then_some(start..start + value.len())
    };
    lower.match_indices("bearer").filter_map(place).collect()
}

/// `password=…`, `"api_key": "…"`, `--token …`.
fn named_values(text: &str, lower: &str) -> Vec<Range<usize>> {
    let bytes = lower.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            at += 1;
        }
        if at == start {
            at += 1;
            continue;
        }
        let name = &lower[start..at];
        if !NAMES.iter().any(|part| squeezed_contains(name, part)) {
            continue;
        }
        let flag = name.starts_with("--").then(|| after_spaces(text, at)).flatten();
        if let Some(begin) = after_separator(text, at).or(flag) {
            let place = value(&text[begin..]);
            found.push(begin + place.start..begin + place.end);
        }
    }
    found
}

/// Whether a name has the part in it, its own separators left out.
fn squeezed_contains(name: &str, part: &str) -> bool {
    if name.contains(part) {
        return true;
    }
    name.contains(['_', '-']) && name.replace(['_', '-'], "").contains(part)
}

/// Where the value begins after a name: a closing quote may follow, then `=`, `:` or `=>`, then spaces.
fn after_separator(text: &str, from: usize) -> Option<usize> {
    let rest = &text[from..];
    let after = rest.trim_start_matches('\\').trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
    let value = after.strip_prefix("=>").or_else(|| after.strip_prefix([':', '=']))?;
    let value = value.trim_start_matches([' ', '\t']);
    (!value.is_empty() && !value.starts_with("//")).then(|| text.len() - value.len())
}

/// Where the value of `--name value` begins.
fn after_spaces(text: &str, from: usize) -> Option<usize> {
    let rest = &text[from..];
    let value = rest.trim_start_matches([' ', '\t']);
    (value.len() < rest.len() && !value.is_empty() && !value.starts_with('-'))
        .then(|| text.len() - value.len())
}

/// The place of a value in the text that begins with it: inside its quotes, else to a space or `&`.
fn value(rest: &str) -> Range<usize> {
    // JSON within JSON writes its quotes as `\"`.
    let slashes = rest.len() - rest.trim_start_matches('\\').len();
    match rest[slashes..].chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let start = slashes + 1;
            start..start + quoted(&rest[start..], quote, slashes)
        }
        Some(_) | None => 0..bare(rest),
    }
}

/// How long a value in quotes is. A quote with more backslashes before it than the first one had stands for itself.
fn quoted(rest: &str, quote: char, slashes: usize) -> usize {
    for (at, _) in rest.match_indices([quote, '\n']) {
        let before = rest[..at].len() - rest[..at].trim_end_matches('\\').len();
        if rest[at..].starts_with('\n') || before == slashes || slashes == 0 && before.is_multiple_of(2) {
            return at - before.min(slashes);
        }
    }
    rest.len()
}

/// How long a value without quotes is. Quotes within it hold spaces together, as in `Some("a b")`.
fn bare(rest: &str) -> usize {
    let mut open = None;
    for (at, c) in rest.char_indices() {
        match open {
            _ if c == '\n' => return at,
            None if c.is_whitespace() || c == '&' => return at,
            None if matches!(c, '"' | '\'') => open = Some(c),
            Some(quote) if c == quote => open = None,
            Some(_) | None => {}
        }
    }
    rest.len()
}
