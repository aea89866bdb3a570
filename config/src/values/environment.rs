//! What is kept by name, such as environment variables, and templates: texts that are filled in later.
//!
//! No value of a template is ever told in a problem, and only those that cannot be secrets are shown. Used by the
//! declarations in [`crate::keys`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{VariableName, is_a_key};
use crate::keys::looks_secret;
use crate::node::{Key, Node, Origin, Value as Written};
use crate::problem::quoted;
use crate::reader::Reader;
use crate::request::RequestHeaders;
use crate::section::{Setting, Shown};
use crate::template::Template;

/// Environment variables with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(pub(crate) BTreeMap<VariableName, Template>);

impl Setting for Environment {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let read = named(node, reader, "`LOG_LEVEL: info`", |key, node, reader| {
            let name = VariableName::parse(&key.text);
            if name.is_none() {
                let message = format!("{} is no name of a variable", quoted(&key.text));
                reader.wrong_key(key, message, VariableName::HINT);
            }
            let value = template(node, reader);
            Some((name?, value?))
        });
        read.map(Self)
    }

    fn show(&self) -> Shown {
        let entries = self.0.iter().map(|(name, value)| (name.to_string(), show_template(&name.0, value)));
        Shown::Section(entries.collect())
    }

    fn schema() -> Value {
        named_schema(template_schema("${DATABASE_URL}"))
    }
}

/// Labels of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels(pub(crate) BTreeMap<String, String>);

impl Setting for Labels {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let read = named(node, reader, "`com.example.team: shop`", |key, node, reader| {
            let name = key.text.as_str();
            let sentence = if name.starts_with("switcher.") {
                "begins with `switcher.`, as the labels do by which containers are found again"
            } else if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                "is no name of a label"
            } else {
                return Some((name.to_owned(), reader.text(node, "`shop`")?.to_owned()));
            };
            let message = format!("{} {sentence}", quoted(name));
            reader.wrong_key(key, message, "use a name of your own, for example `com.example.team`");
            None
        });
        read.map(Self)
    }

    fn show(&self) -> Shown {
        Shown::Section(self.0.iter().map(|(name, text)| (name.clone(), Shown::Text(text.clone()))).collect())
    }

    fn schema() -> Value {
        named_schema(json!({"type": ["string", "number", "boolean"]}))
    }
}

/// Headers of a request. Their values are never shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) RequestHeaders);

impl Setting for Headers {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let example = "`Authorization: \"Bearer ${TOKEN}\"`";
        let read = named(node, reader, example, |key, node, reader| {
            let text = reader.text(node, "`\"Bearer ${TOKEN}\"`")?.to_owned();
            if let Some(why) = RequestHeaders::objection(&key.text, &text) {
                let hint = format!("write for example {example}");
                reader.wrong_key(key, format!("{} {why}", quoted(&key.text)), hint);
                return None;
            }
            Some((key.text.clone(), text))
        });
        read.and_then(|headers| headers.try_into().ok()).map(Self)
    }

    fn show(&self) -> Shown {
        Shown::Section(self.0.iter().map(|(name, _)| (name.to_owned(), Shown::Secret)).collect())
    }

    fn schema() -> Value {
        named_schema(json!({"type": ["string", "number", "boolean"]}))
    }
}

/// Reads each entry of a section whose keys are the user's.
fn named<K: Ord, V>(
    node: &Node,
    reader: &mut Reader,
    example: &str,
    mut read: impl FnMut(&Key, &Node, &mut Reader) -> Option<(K, V)>,
) -> Option<BTreeMap<K, V>> {
    if !matches!(node.value, Written::Mapping(_)) && !node.is_null() {
        let message = format!("this takes names with their values, and it is {}", node.kind());
        reader.wrong(node, message, format!("write one a line, for example {example}"));
        return None;
    }
    let entries = node.entries().iter();
    let read: Vec<Option<(K, V)>> =
        entries.map(|(key, node)| reader.under(&key.text, |reader| read(key, node, reader))).collect();
    read.into_iter().collect()
}

fn named_schema(value: Value) -> Value {
    json!({"type": ["object", "null"], "additionalProperties": value})
}

/// The URL of a database that is asked and dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl(pub(crate) Template);

impl Setting for DatabaseUrl {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        const HINT: &str =
            "write `\"${DATABASE_URL}\"`, or for example `postgres://app:${DB_PASSWORD}@db/shop`";
        let url = template(node, reader)?;
        let message = match scheme(url.as_written()) {
            Scheme::Later | Scheme::Known("postgres" | "postgresql") => return Some(Self(url)),
            Scheme::Known(_) => {
                "this is another database's URL, and snapshots and versions of schemas are for PostgreSQL"
            }
            Scheme::None => "this is no URL of a database",
        };
        reader.wrong(node, message, HINT);
        None
    }

    fn show(&self) -> Shown {
        show_template("database_url", &self.0)
    }

    fn schema() -> Value {
        template_schema("${DATABASE_URL}")
    }
}

/// What a URL begins with.
#[derive(Debug, PartialEq, Eq)]
enum Scheme<'a> {
    /// It is written out.
    Known(&'a str),
    /// It is known once a name or a word is filled in.
    Later,
    /// There is none.
    None,
}

fn scheme(url: &str) -> Scheme<'_> {
    let open = url.find(['$', '{']).unwrap_or(url.len());
    match url[..open].split_once("://") {
        Some((scheme, _)) => Scheme::Known(scheme),
        None if open < url.len() => Scheme::Later,
        None => Scheme::None,
    }
}

/// Keeps a text for later. What did not come from a file holds no names: its `$` stand for themselves.
fn template(node: &Node, reader: &mut Reader) -> Option<Template> {
    if node.is_null() {
        let hint = "write `\"\"` for an empty value, or `\"${NAME}\"` for the variable of that name";
        reader.wrong(node, "the value is missing", hint);
        return None;
    }
    let text = reader.text(node, "`\"${DATABASE_URL}\"`")?;
    if text.contains('\0') {
        reader.wrong(node, "the value holds a zero byte", "remove it");
        return None;
    }
    if !matches!(node.origin, Origin::File { .. }) {
        return Some(Template::without_names(text));
    }
    Template::parse(text).map_err(|refused| reader.wrong(node, refused.message, refused.hint)).ok()
}

fn template_schema(example: &str) -> Value {
    json!({"type": ["string", "number", "boolean"], "examples": [example]})
}

/// Words beside those of [`looks_secret`] that make the name of a variable look like one of a secret.
const SECRET_NAMES: [&str; 6] = ["key", "credential", "pwd", "auth", "dsn", "salt"];

/// A template as it was written, unless what stands in the open may be a secret.
fn show_template(name: &str, template: &Template) -> Shown {
    let literal = template.literal();
    let name = name.to_ascii_lowercase();
    let named = looks_secret(&name) || SECRET_NAMES.iter().any(|word| name.contains(word));
    let secret = named || has_password(&literal) || is_a_key(&literal);
    if secret && !literal.is_empty() {
        return Shown::Secret;
    }
    Shown::Raw(template.as_written().to_owned())
}

/// Whether a text holds a URL or a list of options with a password in it.
fn has_password(text: &str) -> bool {
    let user = text.split_once("://").and_then(|(_, rest)| Some(rest.rsplit_once('@')?.0));
    let in_url = user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty());
    in_url || text.to_ascii_lowercase().contains("passw")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for (name, text) in [
            ("DATABASE_URL", "postgres://app:hunter2@db/shop"),
            ("DATABASE_URL", "postgres://app:hunt/er2@db/shop"),
            ("DATABASE_URL", "${URL:-postgres://app:hunter2@db/shop}"),
            ("CACHE", "redis://:hunter2@cache"),
            ("DB", "host=db password=hunter2"),
            ("JWT_SECRET", "hunter2"),
            ("jwt_secret", "${JWT:-hunter2}"),
            ("STRIPE_KEY", "hunter2{slot}"),
            ("X", "-----BEGIN hunter2"),
            ("X", "hunter2hunter2hunter2hunter2"),
        ] {
            assert_eq!(show_template(name, &Template::new(text)), Shown::Secret, "{name}: {text}");
        }
    }

    #[test]
    fn names_and_words_and_harmless_texts_are_shown_as_written() {
        for (name, text) in [
            ("JWT_SECRET", "${JWT_SECRET}"),
            ("API_KEY", "${API_KEY:?ask the operator}"),
            ("SLOT", "{slot}"),
            ("LOG_LEVEL", "info"),
            ("PRICE", "$$5"),
            ("DATABASE_URL", "postgres://app:${DB_PASSWORD}@db/shop"),
            ("PUBLIC_URL", "https://shop.example.com:8443/"),
        ] {
            assert_eq!(show_template(name, &Template::new(text)), Shown::Raw(text.into()), "{name}: {text}");
        }
    }

    #[test]
    fn the_scheme_of_a_database_may_be_known_later() {
        assert_eq!(scheme("postgres://db/shop"), Scheme::Known("postgres"));
        assert_eq!(scheme("mysql://${HOST}/shop"), Scheme::Known("mysql"));
        assert_eq!(scheme("${DATABASE_URL}"), Scheme::Later);
        assert_eq!(scheme("${SCHEME}://db/shop"), Scheme::Later);
        assert_eq!(scheme("host=db"), Scheme::None);
        assert_eq!(scheme(""), Scheme::None);
    }
}
