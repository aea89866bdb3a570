//! `${NAME}`, `${NAME:-default}` and `${NAME:?message}` in a text; `$$` is a literal `$`.
//!
//! A pure function of the text and a way to look names up. As in a shell, `:-` and `:?` take an empty value
//! for a missing one. A `$` before anything else stands for itself. Called by [`crate::layers`].

use crate::problem::quoted;

/// The deepest nesting of defaults in defaults.
const MAX_DEPTH: usize = 8;

/// The longest text that substitution may make.
const MAX_BYTES: usize = 1 << 20;

/// A name's value and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The value.
    pub(crate) value: String,
    /// The source as `show` names it.
    pub(crate) source: String,
    /// Whether the value came from a secret.
    pub(crate) secret: bool,
}

/// A text with every name replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Substituted {
    /// The new text.
    pub(crate) text: String,
    /// The sources of the names that were replaced.
    pub(crate) via: Vec<String>,
    /// Whether a `${…}` was replaced at all, also by its default.
    pub(crate) replaced: bool,
    /// Whether one of the values is a secret.
    pub(crate) secret: bool,
}

/// Why a text cannot be substituted: a message and a hint. Neither holds a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Replaces every name in `text`.
pub(crate) fn substitute(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Result<Option<Found>, Refused>,
) -> Result<Substituted, Refused> {
    let mut result = Substituted::default();
    expand(text, lookup, &mut result, 0)?;
    Ok(result)
}

fn expand(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Result<Option<Found>, Refused>,
    into: &mut Substituted,
    depth: usize,
) -> Result<(), Refused> {
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        into.text.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            into.text.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing_brace(after).ok_or_else(unclosed)?;
            replace(&after[..end], lookup, into, depth)?;
            rest = &after[end + 1..];
        } else {
            into.text.push('$');
        }
    }
    into.text.push_str(rest);
    if into.text.len() > MAX_BYTES {
        return Err(refused("this text is longer than 1MiB once its names are replaced", "make it shorter"));
    }
    Ok(())
}

/// Replaces the inside of one pair of braces.
fn replace(
    inside: &str,
    lookup: &mut dyn FnMut(&str) -> Result<Option<Found>, Refused>,
    into: &mut Substituted,
    depth: usize,
) -> Result<(), Refused> {
    if depth == MAX_DEPTH {
        return Err(refused("defaults stand inside defaults more than 8 deep", "use fewer"));
    }
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, tail) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(no_name());
    }
    into.replaced = true;
    let found = lookup(name)?;
    let filled = found.clone().filter(|found| !found.value.is_empty());
    if let Some(default) = tail.strip_prefix(":-") {
        match filled {
            Some(found) => take(found, into),
            None => expand(default, lookup, into, depth + 1)?,
        }
    } else if let Some(message) = tail.strip_prefix(":?") {
        take(filled.ok_or_else(|| missing(name, message))?, into);
    } else if tail.is_empty() {
        take(found.ok_or_else(|| missing(name, ""))?, into);
    } else {
        return Err(no_name());
    }
    Ok(())
}

fn take(found: Found, into: &mut Substituted) {
    into.text.push_str(&found.value);
    into.secret |= found.secret;
    if !into.via.contains(&found.source) {
        into.via.push(found.source);
    }
}

/// The place of the `}` that closes what was opened before `text`.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (place, c) in text.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(place),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn refused(message: impl Into<String>, hint: impl Into<String>) -> Refused {
    Refused { message: message.into(), hint: hint.into() }
}

fn unclosed() -> Refused {
    refused("a `${` is never closed", "close it with `}`, or write `$${` for the text itself")
}

fn no_name() -> Refused {
    // The text itself is not told: it may stand in a secret.
    refused(
        "what stands between `${` and `}` is no name",
        "write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; for a literal `$` write `$$`",
    )
}

fn missing(name: &str, message: &str) -> Refused {
    let told =
        if message.is_empty() { String::new() } else { format!(": {}", quoted(message).trim_matches('"')) };
    refused(
        format!("`{name}` is not set{told}"),
        format!("set the environment variable {name} or the secret {name}, or write `${{{name}:-default}}`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Result<Option<Found>, Refused> {
        let value = match name {
            "HOST" => "shop.example.com",
            "EMPTY" => "",
            "PIN" => "1234",
            _ => return Ok(None),
        };
        let source = format!("environment variable {name}");
        Ok(Some(Found { value: value.into(), source, secret: name == "PIN" }))
    }

    fn text(of: &str) -> String {
        substitute(of, &mut lookup).map_or_else(|refused| refused.message, |done| done.text)
    }

    #[test]
    fn names_are_replaced_as_in_a_shell() {
        for (before, after) in [
            ("plain", "plain"),
            ("a ${HOST} b", "a shop.example.com b"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${NONE:-${HOST}}", "shop.example.com"),
            ("${HOST:-${NONE}}", "shop.example.com"),
            ("${HOST:?no host}", "shop.example.com"),
            ("$$ $${HOST} $x $", "$ ${HOST} $x $"),
        ] {
            assert_eq!(text(before), after, "{before}");
        }
    }

    #[test]
    fn what_is_missing_or_malformed_is_said() {
        for (before, message) in [
            ("${NONE}", "`NONE` is not set"),
            ("${EMPTY:?tell the host}", "`EMPTY` is not set: tell the host"),
            ("${HOST", "a `${` is never closed"),
            ("${}", "what stands between `${` and `}` is no name"),
            ("${1X}", "what stands between `${` and `}` is no name"),
            ("${A-b}", "what stands between `${` and `}` is no name"),
        ] {
            assert_eq!(text(before), message, "{before}");
        }
        let deep = "${A:-".repeat(9) + &"}".repeat(9);
        assert_eq!(text(&deep), "defaults stand inside defaults more than 8 deep");
    }

    #[test]
    fn a_text_with_a_secret_in_it_is_a_secret() {
        let done = substitute("x${PIN}${HOST}", &mut lookup).expect("a text");
        assert!(done.secret && done.replaced);
        assert_eq!(done.via, ["environment variable PIN", "environment variable HOST"]);
    }
}
