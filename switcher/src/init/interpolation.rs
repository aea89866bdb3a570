//! Compose's `${NAME}` in our spelling, which has `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$`. Pure.

use switcher_config::Template;

/// The same text as our configuration writes it.
///
/// # Errors
/// When it uses a form that we do not have, such as `${NAME:+other}`; the message names the variable alone.
pub fn ours(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push_str("$$");
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or("a `${` in it is never closed")?;
            out.push_str(&braces(&after[..end])?);
            rest = &after[end + 1..];
        } else {
            let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            let bare = !rest.starts_with(|c: char| c.is_ascii_digit()) && end > 0;
            out.push_str(&if bare { format!("${{{}}}", &rest[..end]) } else { "$$".to_owned() });
            rest = if bare { &rest[end..] } else { rest };
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The inside of a pair of braces.
fn braces(inside: &str) -> Result<String, String> {
    let end = inside.find(|c: char| !is_name(c)).unwrap_or(inside.len());
    let (name, tail) = inside.split_at(end);
    let kept = |sign: &str, text: &str| Ok(format!("${{{name}:{sign}{}}}", ours(text)?));
    match (tail.strip_prefix(':').unwrap_or(tail), tail) {
        (_, "") => Ok(format!("${{{name}}}")),
        // `${NAME-x}` keeps an empty value where ours takes the default: nobody relies on it.
        (tail, _) if tail.starts_with('-') => kept("-", &tail[1..]),
        (tail, _) if tail.starts_with('?') => kept("?", &tail[1..]),
        _ => Err(format!("`${{{name}…}}` is written in a form that is not known here")),
    }
}

/// The place of the `}` that closes what was opened before the text.
fn closing(text: &str) -> Option<usize> {
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

/// The text split at a character that stands in no `${…}`.
#[must_use]
pub fn pieces(text: &str, at: char) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut place) = (0, 0);
    while let Some(c) = text[place..].chars().next() {
        if text[place..].starts_with("${") {
            place += 2 + closing(&text[place + 2..]).map_or(0, |end| end + 1);
            continue;
        }
        if c == at {
            found.push(&text[start..place]);
            start = place + c.len_utf8();
        }
        place += c.len_utf8();
    }
    found.push(&text[start..]);
    found
}

/// The text when no name is set: defaults stand for their names. None when a name has no default.
#[must_use]
pub fn by_defaults(text: &str) -> Option<String> {
    Template::new(text).resolve(|_| None, |_| None).ok().map(|resolved| resolved.text)
}

/// What stands in the open: the text without its names, but with their defaults.
#[must_use]
pub fn literal(text: &str) -> String {
    let mut unset = |_: &str| Some(String::new());
    let emptied = Template::new(text).resolve(|_| None, &mut unset).map(|resolved| resolved.text);
    emptied.unwrap_or_else(|_| text.to_owned())
}

/// The names that have no default, in the order met.
#[must_use]
pub fn needed(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let filled = Template::new(text).resolve(
        |_| None,
        |name| {
            names.push(name.to_owned());
            Some("x".to_owned())
        },
    );
    if filled.is_err() {
        return Vec::new();
    }
    names.retain(|name| !text.contains(&format!("${{{name}:-")));
    names
}

/// A text that holds no names, as our configuration writes it.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_is_spelt_as_we_spell_it() {
        for (compose, here) in [
            ("plain", "plain"),
            ("$HOST:${PORT}", "${HOST}:${PORT}"),
            ("${A:-x}${B-y}${C:?say it}${D?say}", "${A:-x}${B:-y}${C:?say it}${D:?say}"),
            ("${A:-${B-z}}", "${A:-${B:-z}}"),
            ("a$$b costs 5$ or $1", "a$$b costs 5$$ or $$1"),
        ] {
            assert_eq!(ours(compose).as_deref(), Ok(here), "{compose}");
        }
        for odd in ["${A:+b}", "${A+b}", "${A", "${A!}"] {
            assert!(ours(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_default_is_not_split_and_stands_for_its_name() {
        assert_eq!(pieces("${P:-80:90}:443", ':'), ["${P:-80:90}", "443"]);
        assert_eq!(by_defaults("${P:-80}1").as_deref(), Some("801"));
        assert_eq!(by_defaults("${P}"), None);
        assert_eq!(needed("${A}${B:-b}${C:?say}"), ["A", "C"]);
        assert_eq!(literal("postgres://shop:${PW}@${H:-db}"), "postgres://shop:@db");
    }
}
