//! Values that are filled in when they are needed: `${NAME}` from the environment, `{slot}` from the deployment.
//!
//! The file keeps them as written, because the proxy reads the same file and has neither the secrets nor the
//! deployment. Made by the parser, resolved by the deployer. What a name stands for is never searched for words
//! or names again.

use std::fmt;

use crate::substitute::{Found, Part, Refused, Unset, check, parts, substitute_with};

/// A text in which `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `$$` and the [`WORDS`] stand for something.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template(String);

/// The words that a deployment fills in, without their braces. Other braces stand for themselves.
pub const WORDS: [&str; 8] =
    ["app", "environment", "slot", "version", "git_commit", "deployment", "image", "replica"];

/// A template filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The text. It may hold secrets.
    pub text: String,
    /// The names that were replaced by their values, each once, in the order met. One whose default was taken is
    /// not among them.
    pub used: Vec<String>,
}

/// Never shows the text: it may hold a secret.
impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved").field("text", &"***").field("used", &self.used).finish()
    }
}

/// Why a template cannot be filled in. No value is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// The name that is not set, or that is empty where it must be filled. `None` when the text is at fault.
    pub name: Option<String>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl From<Refused> for TemplateError {
    fn from(Refused { message, hint, unset }: Refused) -> Self {
        Self { name: unset, message, hint }
    }
}

impl Template {
    /// Keeps a text as it was written.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Keeps a text as it was written, unless a `${` in it is malformed.
    pub(crate) fn parse(text: &str) -> Result<Self, Refused> {
        check(text)?;
        Ok(Self::new(text))
    }

    /// The template that stands for exactly this text, but for the [`WORDS`] in it.
    pub(crate) fn without_names(text: &str) -> Self {
        Self(text.replace('$', "$$"))
    }

    /// The text as it was written. It may hold a secret that somebody wrote in the open.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.0
    }

    /// Fills in the [`WORDS`] and the names. A word that `words` does not know stands for itself.
    ///
    /// # Errors
    /// When a name without a default is not set, or a name with `:?` is empty.
    pub fn resolve(
        &self,
        words: impl Fn(&str) -> Option<String>,
        mut names: impl FnMut(&str) -> Option<String>,
    ) -> Result<Resolved, TemplateError> {
        let known = |word: &str| if WORDS.contains(&word) { words(word) } else { None };
        let mut lookup =
            |name: &str| Ok(names(name).map(|value| Found { value, source: name.to_owned(), secret: true }));
        let done = substitute_with(&self.0, &mut lookup, &|plain| fill(plain, known))?;
        Ok(Resolved { text: done.text, used: done.via })
    }

    /// What was written in the open: the text without its names and words, but with their defaults.
    pub(crate) fn literal(&self) -> String {
        let mut text = String::new();
        collect_literals(&self.0, &mut text);
        text
    }
}

fn collect_literals(text: &str, into: &mut String) {
    for part in parts(text) {
        match part {
            Ok(Part::Plain(plain)) => {
                into.push_str(&fill(plain, |word| WORDS.contains(&word).then(String::new)));
            }
            Ok(Part::Escaped(escaped)) => into.push_str(escaped),
            Ok(Part::Name(_, Unset::Default(default))) => collect_literals(default, into),
            Ok(Part::Name(_, Unset::Refused | Unset::Told(_))) => {}
            // Nothing is known of it, so all of it counts as written in the open.
            Err(_) => into.push_str(text),
        }
    }
}

/// Replaces every `{word}` that `words` knows. Other braces stand for themselves, and what was filled in is not
/// searched again.
#[must_use]
pub fn fill(text: &str, words: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let word = rest[1..].split_once('}').map(|(word, _)| word);
        if let Some((word, value)) = word.and_then(|word| Some((word, words(word)?))) {
            filled.push_str(&value);
            rest = &rest[word.len() + 2..];
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    filled
}

/// The word that `text` begins with, in its braces.
pub(crate) fn word_at(text: &str) -> Option<&str> {
    let (word, _) = text.strip_prefix('{')?.split_once('}')?;
    WORDS.contains(&word).then_some(word)
}

/// Never shows the text: it may hold a secret.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(word: &str) -> Option<String> {
        match word {
            "slot" => Some("green".into()),
            "version" => Some("v1.5.0".into()),
            "to" => Some("12".into()),
            _ => None,
        }
    }

    fn names(name: &str) -> Option<String> {
        match name {
            "PASSWORD" => Some("p{slot}$${PASSWORD}".into()),
            "HOST" => Some("db".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn resolve(text: &str) -> Result<Resolved, TemplateError> {
        Template::parse(text).map_err(TemplateError::from)?.resolve(words, names)
    }

    #[test]
    fn names_and_words_are_filled_in_and_what_they_stand_for_is_left_alone() {
        for (text, filled, used) in [
            ("plain", "plain", vec![]),
            ("{slot}-{version}", "green-v1.5.0", vec![]),
            (
                "postgres://a:${PASSWORD}@${HOST}/{slot}",
                "postgres://a:p{slot}$${PASSWORD}@db/green",
                vec!["PASSWORD", "HOST"],
            ),
            ("${HOST}${HOST}", "dbdb", vec!["HOST"]),
            ("${NONE:-{slot}}", "green", vec![]),
            ("${HOST:-{slot}}", "db", vec!["HOST"]),
            ("${NONE:-${HOST}}", "db", vec!["HOST"]),
            ("${EMPTY}|", "|", vec!["EMPTY"]),
            ("${EMPTY:-x}", "x", vec![]),
            ("$${slot} $$ {slot", "${slot} $ {slot", vec![]),
            ("{\"a\": \"{slot}\", \"b\": {}}", "{\"a\": \"green\", \"b\": {}}", vec![]),
            ("{{slot}} {to} {git_commit} {Slot}", "{green} {to} {git_commit} {Slot}", vec![]),
        ] {
            let resolved = resolve(text).expect(text);
            assert_eq!(
                (resolved.text.as_str(), resolved.used),
                (filled, used.into_iter().map(str::to_owned).collect())
            );
        }
    }

    #[test]
    fn a_name_that_is_not_set_is_told_without_any_value() {
        let error = resolve("a:${PASSWORD}${NONE}").expect_err("not set");
        assert_eq!((error.name.as_deref(), error.to_string().as_str()), (Some("NONE"), "`NONE` is not set"));
        let error = resolve("${EMPTY:?ask the operator}").expect_err("empty");
        assert_eq!(error.name.as_deref(), Some("EMPTY"));
        assert_eq!(error.to_string(), "`EMPTY` is not set: ask the operator");
        let error = resolve("hunter2${HOST").expect_err("malformed");
        assert_eq!(error.name, None);
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_filled_argument_knows_only_the_words_it_is_given() {
        assert_eq!(fill("--to={to} ${HOST} {x}{slot}{", words), "--to=12 ${HOST} {x}green{");
        assert_eq!(fill("{é}{slot}é", words), "{é}greené");
        assert_eq!(fill("{slot}", |_| Some("{slot}".into())), "{slot}");
    }

    #[test]
    fn what_was_written_in_the_open_is_known() {
        for (text, literal) in [
            ("${A}{slot}", ""),
            ("${A:?told}", ""),
            ("${A:-hunter2}", "hunter2"),
            ("postgres://a:${PASSWORD}@db", "postgres://a:@db"),
            ("$${slot}", "${slot}"),
        ] {
            assert_eq!(Template::new(text).literal(), literal);
        }
        assert!(Template::new("hunter2${A").literal().contains("hunter2"));
    }

    #[test]
    fn debugging_tells_no_value() {
        let resolved = resolve("x{slot}hunter2").expect("filled");
        assert!(!format!("{resolved:?}{:?}", Template::new("hunter2")).contains("hunter2"));
    }
}
