//! What a setting is, and the macros that declare a section's keys once.
//!
//! From one declaration (name, type, default, sentence) come the strict reader with its list of known keys,
//! the defaults, what `show` prints and the JSON Schema. The declarations stand in [`crate::keys`].

use serde_json::{Value, json};

use crate::node::Node;
use crate::reader::Reader;

/// A value that a configuration can hold.
pub(crate) trait Setting: Sized {
    /// Reads it. `None` means that a problem has been told.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;
    /// What `show` prints for it; reading that gives the same value.
    fn show(&self) -> Shown;
    /// What the JSON Schema says of it.
    fn schema() -> Value;
}

/// A value on its way to `show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing at all: the key is left out.
    Absent,
    /// The key is there without a value.
    Null,
    /// A number, a truth or another word that needs no quotes.
    Bare(Value),
    /// A text.
    Text(String),
    /// A text whose `$` is not doubled, because it is kept as it was written.
    Raw(String),
    /// A text that is never shown.
    Secret,
    /// A list.
    List(Vec<Shown>),
    /// Keys with their values.
    Section(Vec<(String, Shown)>),
}

impl Shown {
    /// The same as JSON.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Absent | Self::Null => Value::Null,
            Self::Bare(value) => value.clone(),
            Self::Text(text) | Self::Raw(text) => text.as_str().into(),
            Self::Secret => "***".into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Section(entries) => Value::Object(
                entries
                    .iter()
                    .filter(|(_, value)| *value != Self::Absent)
                    .map(|(key, value)| (key.clone(), value.to_json()))
                    .collect(),
            ),
        }
    }
}

/// Takes a key's value out of its section, or the key's default.
pub(crate) fn take<T: Setting>(
    section: &Node,
    key: &str,
    reader: &mut Reader,
    default: impl FnOnce() -> T,
) -> Option<T> {
    match section.get(key) {
        Some(node) => reader.under(key, |reader| T::read(node, reader)),
        None => Some(default()),
    }
}

/// Takes the value of a key that has no default out of its section; `hint` says what a whole section looks like.
pub(crate) fn demand<T: Setting>(section: &Node, key: &str, reader: &mut Reader, hint: &str) -> Option<T> {
    match section.get(key) {
        Some(node) if node.is_null() => reader.under(key, |reader| {
            reader.wrong(node, "the value is missing", hint);
            None
        }),
        Some(node) => reader.under(key, |reader| T::read(node, reader)),
        None => {
            reader.wrong(section, format!("the key `{key}` is missing"), hint);
            None
        }
    }
}

/// One key in the JSON Schema.
pub(crate) fn key_schema<T: Setting>(about: &str, default: Option<&T>) -> Value {
    let mut schema = T::schema();
    schema["description"] = about.trim().into();
    if let Some(default) = default.map(Setting::show).filter(|d| !matches!(d, Shown::Absent | Shown::Secret))
    {
        schema["default"] = default.to_json();
    }
    schema
}

/// A section in the JSON Schema. One without required keys may be empty, so null is one too.
pub(crate) fn section_schema(about: &str, keys: Vec<(&str, Value)>, required: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> =
        keys.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect();
    let mut schema = json!({
        "description": about.trim(),
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["type"] = "object".into();
        schema["required"] = required.into();
    }
    schema
}

/// The key that a field stands for: one whose name Rust has taken is written `r#for`.
pub(crate) const fn word(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', rest @ ..] => match std::str::from_utf8(rest) {
            Ok(word) => word,
            Err(_) => field,
        },
        _ => field,
    }
}

/// Declares a section of which some keys have no default: a struct whose fields are the keys, and the hint
/// for whoever left one out.
macro_rules! record {
    (@take $node:ident, $reader:ident, $hint:literal, $key:ident, $type:ty) => {
        $crate::section::demand::<$type>($node, $crate::section::word(stringify!($key)), $reader, $hint)
    };
    (@take $node:ident, $reader:ident, $hint:literal, $key:ident, $type:ty, $default:expr) => {
        $crate::section::take($node, $crate::section::word(stringify!($key)), $reader, || -> $type { $default })
    };
    (@default $type:ty) => { None::<&$type> };
    (@default $type:ty, $default:expr) => { Some::<&$type>(&$default) };
    (@required $key:ident) => { Some($crate::section::word(stringify!($key))) };
    (@required $key:ident, $default:expr) => { None };
    (
        $(#[doc = $about:literal])+
        $name:ident, $hint:literal {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty $(= $default:expr)?; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name {
            $( $(#[doc = $doc])+ pub(crate) $key: $type, )+
        }

        impl $name {
            /// The names of the keys, in the order declared.
            pub(crate) const KEYS: &'static [&'static str] = &[$($crate::section::word(stringify!($key))),+];

            /// Reads the keys, whatever else the section holds.
            pub(crate) fn fields(
                node: &$crate::node::Node,
                reader: &mut $crate::reader::Reader,
            ) -> Option<Self> {
                $( let $key = $crate::section::record!(@take node, reader, $hint, $key, $type $(, $default)?); )+
                Some(Self { $($key: $key?),+ })
            }
        }

        impl $crate::section::Setting for $name {
            fn read(node: &$crate::node::Node, reader: &mut $crate::reader::Reader) -> Option<Self> {
                reader.section(node, Self::KEYS)?;
                Self::fields(node, reader)
            }

            fn show(&self) -> $crate::section::Shown {
                $crate::section::Shown::Section(vec![
                    $(($crate::section::word(stringify!($key)).to_owned(), $crate::section::Setting::show(&self.$key))),+
                ])
            }

            fn schema() -> serde_json::Value {
                let required: &[Option<&str>] = &[$($crate::section::record!(@required $key $(, $default)?)),+];
                let required: Vec<&str> = required.iter().flatten().copied().collect();
                $crate::section::section_schema(concat!($($about),+), vec![
                    $((
                        $crate::section::word(stringify!($key)),
                        $crate::section::key_schema::<$type>(
                            concat!($($doc),+),
                            $crate::section::record!(@default $type $(, $default)?),
                        ),
                    )),+
                ], &required)
            }
        }
    };
}
pub(crate) use record;

/// Declares a section whose keys all have a default.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr; )+
        }
    ) => {
        $crate::section::record! {
            $(#[doc = $about])+
            $name, "" {
                $( $(#[doc = $doc])+ $key: $type = $default; )+
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default),+ }
            }
        }
    };
}
pub(crate) use section;
