//! `${NAME}`, `${NAME:-default}` and `${NAME:?message}` in a text; `$$` is a literal `$`.
//!
//! A pure function of the text and a way to look names up. As in a shell, `:-` and `:?` take an empty value
//! for a missing one. A `$` before anything else stands for itself. Called by [`crate::layers`] for the whole
//! file and by [`crate::template`] for what is filled in later.

use crate::problem::quoted;
use crate::template::word_at;

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
    /// The name that is not set, when that is the reason.
    pub(crate) unset: Option<String>,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// It stands for itself.
    Plain(&'a str),
    /// `$$`, with the brace behind it, if there is one: what it stands for.
    Escaped(&'static str),
    /// `${NAME}`, and what becomes of it when the name is not set.
    Name(&'a str, Unset<'a>),
}

/// What becomes of a name that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unset<'a> {
    /// It is an error.
    Refused,
    /// It is an error with this message; an empty value is one too.
    Told(&'a str),
    /// This stands there instead; also for an empty value. It may hold names itself.
    Default(&'a str),
}

/// The parts of a text, in order. After an error there are no more.
pub(crate) struct Parts<'a>(&'a str);

/// Takes a text apart.
pub(crate) fn parts(text: &str) -> Parts<'_> {
    Parts(text)
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, Refused>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = std::mem::take(&mut self.0);
        let part = match text.find('$') {
            _ if text.is_empty() => return None,
            Some(0) => match dollar(text) {
                Ok((part, length)) => {
                    self.0 = &text[length..];
                    part
                }
                Err(refused) => return Some(Err(refused)),
            },
            end => {
                let (plain, rest) = text.split_at(end.unwrap_or(text.len()));
                self.0 = rest;
                Part::Plain(plain)
            }
        };
        Some(Ok(part))
    }
}

/// The part that a `$` begins, and its length.
fn dollar(text: &str) -> Result<(Part<'_>, usize), Refused> {
    if text.starts_with("$${") {
        return Ok((Part::Escaped("${"), 3));
    }
    if text.starts_with("$$") {
        return Ok((Part::Escaped("$"), 2));
    }
    let Some(after) = text.strip_prefix("${") else { return Ok((Part::Plain("$"), 1)) };
    let end = closing_brace(after).ok_or_else(unclosed)?;
    Ok((name(&after[..end])?, end + 3))
}

/// The inside of one pair of braces.
fn name(inside: &str) -> Result<Part<'_>, Refused> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, tail) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(no_name());
    }
    let unset = match (tail.strip_prefix(":-"), tail.strip_prefix(":?")) {
        (Some(default), _) => Unset::Default(default),
        (None, Some(message)) => Unset::Told(message),
        (None, None) if tail.is_empty() => Unset::Refused,
        (None, None) => return Err(no_name()),
    };
    Ok(Part::Name(name, unset))
}

/// Replaces every name in `text`.
pub(crate) fn substitute(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Result<Option<Found>, Refused>,
) -> Result<Substituted, Refused> {
    substitute_with(text, lookup, &str::to_owned)
}

/// Replaces every name in `text`; `plain` has the say about what stands between them.
pub(crate) fn substitute_with(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Result<Option<Found>, Refused>,
    plain: &dyn Fn(&str) -> String,
) -> Result<Substituted, Refused> {
    let mut result = Substituted::default();
    Expansion { lookup, plain }.expand(text, &mut result, 0)?;
    Ok(result)
}

/// Tells what is wrong with `text`, whatever its names stand for.
pub(crate) fn check(text: &str) -> Result<(), Refused> {
    fn below(text: &str, depth: usize) -> Result<(), Refused> {
        for part in parts(text) {
            match part? {
                Part::Name(..) if depth == MAX_DEPTH => return Err(too_deep()),
                Part::Name(_, Unset::Default(default)) => below(default, depth + 1)?,
                Part::Name(_, Unset::Refused | Unset::Told(_)) | Part::Plain(_) | Part::Escaped(_) => {}
            }
        }
        Ok(())
    }
    below(text, 0)
}

struct Expansion<'a> {
    lookup: &'a mut dyn FnMut(&str) -> Result<Option<Found>, Refused>,
    plain: &'a dyn Fn(&str) -> String,
}

impl Expansion<'_> {
    fn expand(&mut self, text: &str, into: &mut Substituted, depth: usize) -> Result<(), Refused> {
        for part in parts(text) {
            match part? {
                Part::Plain(text) => into.text.push_str(&(self.plain)(text)),
                Part::Escaped(text) => into.text.push_str(text),
                Part::Name(..) if depth == MAX_DEPTH => return Err(too_deep()),
                Part::Name(name, unset) => self.replace(name, unset, into, depth)?,
            }
            if into.text.len() > MAX_BYTES {
                let message = "this text is longer than 1MiB once its names are replaced";
                return Err(refused(message, "make it shorter"));
            }
        }
        Ok(())
    }

    fn replace(
        &mut self,
        name: &str,
        unset: Unset<'_>,
        into: &mut Substituted,
        depth: usize,
    ) -> Result<(), Refused> {
        into.replaced = true;
        let found = (self.lookup)(name)?;
        let filled = found.clone().filter(|found| !found.value.is_empty());
        match (unset, filled) {
            (Unset::Refused, _) => take(found.ok_or_else(|| missing(name, ""))?, into),
            (Unset::Told(message), filled) => take(filled.ok_or_else(|| missing(name, message))?, into),
            (Unset::Default(_), Some(found)) => take(found, into),
            (Unset::Default(default), None) => self.expand(default, into, depth + 1)?,
        }
        Ok(())
    }
}

fn take(found: Found, into: &mut Substituted) {
    into.text.push_str(&found.value);
    into.secret |= found.secret;
    if !into.via.contains(&found.source) {
        into.via.push(found.source);
    }
}

/// The place of the `}` that closes what was opened before `text`. A `{word}` of a template closes itself.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    let mut word_ends = 0;
    for (place, c) in text.char_indices() {
        match c {
            _ if place < word_ends => {}
            '{' if before == '$' => open += 1,
            '{' => word_ends = word_at(&text[place..]).map_or(0, |word| place + word.len() + 2),
            '}' if open == 0 => return Some(place),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn refused(message: impl Into<String>, hint: impl Into<String>) -> Refused {
    Refused { message: message.into(), hint: hint.into(), unset: None }
}

fn too_deep() -> Refused {
    refused("defaults stand inside defaults more than 8 deep", "use fewer")
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
    let hint =
        format!("set the environment variable {name} or the secret {name}, or write `${{{name}:-default}}`");
    Refused { message: format!("`{name}` is not set{told}"), hint, unset: Some(name.to_owned()) }
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
            ("${NONE:-{slot}}${HOST:-{version}}", "{slot}shop.example.com"),
            ("${NONE:-{}x}", "{x}"),
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
    fn a_text_can_be_checked_before_its_names_are_known() {
        for good in ["", "${NONE}", "${NONE:?set it}", "$${x ${A:-${B:-{slot}}}"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["${A", "${}", "${A:-${B}", "${A:-${1}}", "${A!}"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let deep = "${A:-".repeat(9) + &"}".repeat(9);
        assert!(check(&deep).is_err());
    }

    #[test]
    fn a_text_with_a_secret_in_it_is_a_secret() {
        let done = substitute("x${PIN}${HOST}", &mut lookup).expect("a text");
        assert!(done.secret && done.replaced);
        assert_eq!(done.via, ["environment variable PIN", "environment variable HOST"]);
    }
}
