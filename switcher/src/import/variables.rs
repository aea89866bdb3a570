//! Names of variables in another program's files, filled in as that program would do it: from the environment of the import,
//! then from `.env` beside the file, then by their defaults. Pure, but for the [`Shelf`].
//!
//! Invariant: each name is told with what was written for it. What looks like a secret is never filled in.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::note::Note;
use super::shelf::Shelf;
use super::tree::Place;
use crate::environment;
use crate::init::secret::is_secret;

/// A name in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// Where it stands, with its signs.
    at: Range<usize>,
    /// The variable.
    name: &'a str,
    /// What stands there when it is not set; it may hold names itself.
    default: Option<&'a str>,
}

/// How a program writes names: finds the first in a text.
pub type Spelling = fn(&str) -> Option<Named<'_>>;

/// What is known of variables.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    environment: BTreeMap<String, String>,
    /// Of `.env`.
    written: BTreeMap<String, String>,
}

impl Variables {
    /// Those that a program would find which reads this file.
    #[must_use]
    pub fn beside(file: &Path, shelf: &Shelf) -> Self {
        let path = file.with_file_name(".env");
        let text = shelf.text(&path).unwrap_or_default();
        let written = environment::pairs(&path, &text).into_iter().collect();
        Self { environment: shelf.environment().clone(), written }
    }

    /// The text of a file with its names filled in.
    #[must_use]
    pub fn fill(&self, text: &str, file: &str, spelling: Spelling, notes: &mut Vec<Note>) -> String {
        let file: Arc<str> = Arc::from(file);
        let lines = text.split('\n').enumerate();
        let lines =
            lines.map(|(index, line)| self.line(line, &Place::new(&file, index + 1), spelling, notes));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// One line with its names filled in.
    #[must_use]
    pub fn line(&self, text: &str, place: &Place, spelling: Spelling, notes: &mut Vec<Note>) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(Named { at, name, default }) = spelling(rest) {
            out.push_str(&rest[..at.start]);
            let (sign, known) = (&rest[at.clone()], self.known(name));
            let secret = || {
                let why = "its value looks like a secret and was not copied; write it where it is needed";
                Note::left(place, name, why)
            };
            let (value, note) = match (known, default) {
                (Some((value, _)), _) if is_secret(name, value) => (sign.to_owned(), secret()),
                (Some((value, origin)), _) => {
                    let why = format!("`{value}` is written for it, its value {origin}");
                    (value.to_owned(), Note::differs(place, sign, why))
                }
                (None, Some(default)) if is_secret(name, default) => (sign.to_owned(), secret()),
                (None, Some(default)) => {
                    let value = self.line(default, place, spelling, notes);
                    let why = format!("`{value}` is written for it, its default: {name} is not set");
                    (value, Note::differs(place, sign, why))
                }
                (None, None) if is_secret(name, "let-me-in") => (sign.to_owned(), secret()),
                (None, None) => {
                    let why = format!(
                        "{name} is set neither here nor in a file .env beside; import again with it: `{name}=VALUE switcher import …`"
                    );
                    (sign.to_owned(), Note::left(place, sign, why))
                }
            };
            // What stands in a comment is nobody's loss.
            if !is_comment(&out) {
                notes.push(note);
            }
            out.push_str(&value);
            rest = &rest[at.end..];
        }
        out + rest
    }

    /// A value, and where it is from. An empty one is none, and so is one of several lines.
    fn known(&self, name: &str) -> Option<(&str, &'static str)> {
        let of = |all: &'_ BTreeMap<String, String>| all.contains_key(name);
        let (value, origin) = if of(&self.environment) {
            (&self.environment[name], "in the environment of this import")
        } else {
            (self.written.get(name)?, "in .env")
        };
        (!value.is_empty() && !value.contains(['\n', '\r'])).then_some((value.as_str(), origin))
    }
}

/// Whether a comment has begun: in all of these files by a `#` at the beginning of a word that stands in no quotes.
fn is_comment(before: &str) -> bool {
    let begins = |at: usize| before[..at].chars().next_back().is_none_or(char::is_whitespace);
    let open = |at: usize| before[..at].matches(['"', '\'', '`']).count() % 2 == 1;
    before.match_indices('#').any(|(at, _)| begins(at) && !open(at))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The first of what stands between two signs that `read` takes for a name.
fn between<'a>(
    text: &'a str,
    open: &str,
    close: &str,
    read: impl Fn(&'a str) -> Option<(&'a str, Option<&'a str>)>,
) -> Option<Named<'a>> {
    text.match_indices(open).find_map(|(start, _)| {
        let inside = start + open.len();
        let end = inside + text[inside..].find(close)?;
        let (name, default) = read(&text[inside..end])?;
        is_name(name).then_some(Named { at: start..end + close.len(), name, default })
    })
}

/// The first of two.
fn earlier<'a>(one: Option<Named<'a>>, other: Option<Named<'a>>) -> Option<Named<'a>> {
    one.into_iter().chain(other).min_by_key(|named| named.at.start)
}

/// A Caddyfile's `{$NAME}`, `{$NAME:default}` and `{env.NAME}`.
#[must_use]
pub fn caddy(text: &str) -> Option<Named<'_>> {
    let sign = between(text, "{$", "}", |inside| {
        Some(inside.split_once(':').map_or((inside, None), |(name, default)| (name, Some(default))))
    });
    earlier(sign, between(text, "{env.", "}", |inside| Some((inside, None))))
}

/// Kamal's `<%= ENV["NAME"] %>` and `<%= ENV.fetch("NAME", "default") %>`, also with `|| "default"` behind.
#[must_use]
pub fn erb(text: &str) -> Option<Named<'_>> {
    fn quoted(text: &str) -> Option<(&str, &str)> {
        let text = text.trim_start();
        let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
        let (inside, behind) = text[1..].split_once(quote)?;
        Some((inside, behind.trim_start()))
    }
    between(text, "<%=", "%>", |inside| {
        let asked = inside.trim().strip_prefix("ENV")?;
        let (name, behind, end) = match (asked.strip_prefix('['), asked.strip_prefix(".fetch(")) {
            (Some(asked), _) => quoted(asked).map(|(name, behind)| (name, behind, ']'))?,
            (None, Some(asked)) => quoted(asked).map(|(name, behind)| (name, behind, ')'))?,
            (None, None) => return None,
        };
        let (own, behind) = match behind.strip_prefix(',') {
            Some(behind) => quoted(behind).map(|(default, behind)| (Some(default), behind))?,
            None => (None, behind),
        };
        let behind = behind.strip_prefix(end)?.trim();
        let other = match behind.strip_prefix("||") {
            Some(behind) => Some(quoted(behind).filter(|(_, rest)| rest.is_empty())?.0),
            None if behind.is_empty() => None,
            None => return None,
        };
        Some((name, own.or(other)))
    })
}

/// `{{ env "NAME" }}` in a file of Traefik's.
#[must_use]
pub fn template(text: &str) -> Option<Named<'_>> {
    between(text, "{{", "}}", |inside| {
        let asked = inside.trim_matches(['-', ' ']).strip_prefix("env")?.trim();
        let name = asked.strip_prefix(['"', '`'])?.strip_suffix(['"', '`'])?;
        Some((name, None))
    })
}

/// Compose's `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}`; `$$` is no name.
#[must_use]
pub fn compose(text: &str) -> Option<Named<'_>> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find('$')?;
        let after = &text[start + 1..];
        from = start + 1;
        if after.starts_with('$') {
            from += 1;
        } else if let Some(inside) = after.strip_prefix('{') {
            let Some(end) = closing(inside) else { continue };
            let inside = &inside[..end];
            let (name, tail) =
                inside.split_at(inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(end));
            if is_name(name) {
                let tail = tail.strip_prefix(':').unwrap_or(tail);
                return Some(Named { at: start..start + end + 3, name, default: tail.strip_prefix('-') });
            }
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            if is_name(&after[..end]) {
                return Some(Named { at: start..start + 1 + end, name: &after[..end], default: None });
            }
        }
    }
}

/// The place of the `}` that closes a `{` before the text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        None
    })
}

/// `${NAME}` and `$NAME` in capitals, as `envsubst` fills in templates of nginx; its own variables are in small letters.
#[must_use]
pub fn envsubst(text: &str) -> Option<Named<'_>> {
    let capitals = |name: &str| {
        name.contains(|c: char| c.is_ascii_uppercase()) && !name.contains(|c: char| c.is_ascii_lowercase())
    };
    let mut from = 0;
    loop {
        let mut named = compose(&text[from..])?;
        named.at = from + named.at.start..from + named.at.end;
        if capitals(named.name) && named.default.is_none() {
            return Some(named);
        }
        from = named.at.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Variables {
        let all = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Variables {
            environment: all(&[("A", "a.example"), ("EMPTY", ""), ("MANY", "x\ny")]),
            written: all(&[("A", "other"), ("B", "b.example"), ("API_TOKEN", "let-me-in")]),
        }
    }

    fn filled(text: &str, spelling: Spelling) -> (String, Vec<String>) {
        let mut notes = Vec::new();
        let text = known().fill(text, "f", spelling, &mut notes);
        (text, notes.iter().map(Note::sentence).collect())
    }

    #[test]
    fn names_are_filled_in_as_each_program_writes_them() {
        for (text, spelling, expected) in [
            ("{$A} {$B:x} {$C:y}:{env.B}", caddy as Spelling, "a.example b.example y:b.example"),
            ("{$C} {path} {$EMPTY:z} {$MANY:l}", caddy, "{$C} {path} z l"),
            ("<%= ENV[\"A\"] %>/<%=ENV.fetch('B')%>", erb, "a.example/b.example"),
            ("<%= ENV.fetch('C', \"c\") %> <%= ENV['C'] || 'd' %>", erb, "c d"),
            (
                "<% if x %> <%= `id` %> <%= ENV['A'].upcase %>",
                erb,
                "<% if x %> <%= `id` %> <%= ENV['A'].upcase %>",
            ),
            ("Host(`{{ env \"A\" }}`) {{ range $i }}", template, "Host(`a.example`) {{ range $i }}"),
            ("$A ${B} $$A ${C:-${B}} ${C-d} $1 ${", compose, "a.example b.example $$A b.example d $1 ${"),
            (
                "${A} $host ${B}x $A; $document_root",
                envsubst,
                "a.example $host b.examplex a.example; $document_root",
            ),
        ] {
            assert_eq!(filled(text, spelling).0, expected, "{text}");
        }
    }

    #[test]
    fn each_is_told_with_its_line_and_no_secret_is_copied() {
        let (text, told) = filled("{$A}\n\n# {$C}\n\"#1 #{$C}\" {$API_TOKEN}\n{$C:8080}", caddy);
        assert_eq!(text, "a.example\n\n# {$C}\n\"#1 #{$C}\" {$API_TOKEN}\n8080");
        assert_eq!(told.len(), 4, "{told:?}");
        for (told, begins, says) in [
            (&told[0], "f:1: {$A}: ", "`a.example` is written for it, its value in the environment"),
            (&told[1], "f:4: {$C}: ", "`C=VALUE switcher import"),
            (&told[2], "f:4: API_TOKEN: ", "looks like a secret"),
            (&told[3], "f:5: {$C:8080}: ", "its default: C is not set"),
        ] {
            assert!(told.starts_with(begins) && told.contains(says) && !told.contains("let-me-in"), "{told}");
        }
    }
}
