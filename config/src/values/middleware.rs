//! The values of middleware: keys that may be left to the level above, patterns, headers with their values.

use std::str::FromStr;

use regex::Regex;
use serde_json::{Value, json};

use super::{BufferSize, leaf, number_schema, or_name, text_schema, whole};
use crate::PathPrefix;
use crate::keys::{BufferKeys, MiddlewareKeys, PathTimeoutKeys};
use crate::node::{Node, Value as Written};
use crate::problem::quoted;
use crate::reader::Reader;
use crate::request::RequestHeaders;
use crate::section::{Setting, Shown, take};
use crate::settings::{Buffer, CLIENT_IP, Missing, Own};

impl<T: Setting> Setting for Own<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        // A YAML 1.1 tool that rewrites the file turns a bare `off` into `false`.
        if let Written::Scalar { text, .. } = &node.value
            && matches!(text.as_str(), "off" | "false")
        {
            return Some(Self::Off);
        }
        T::read(node, reader).map(Self::Is)
    }

    fn show(&self) -> Shown {
        match self {
            Self::Inherited => Shown::Absent,
            Self::Off => Shown::Text("off".to_owned()),
            Self::Is(value) => value.show(),
        }
    }

    fn schema() -> Value {
        json!({"anyOf": [T::schema(), {"enum": ["off", false]}]})
    }
}

/// One line of text that can travel in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) String);

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.trim() == text && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is empty, begins or ends with a blank, or holds something else than printable ASCII"
            ))
        }
    }
}
leaf!(Line, "restricted", |v| Shown::Text(v.0.clone()), text_schema("restricted"));

/// A regular expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Regex::new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => {
                // The last line says what is wrong, those before it draw where.
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err(format!("{text:?} is no regular expression: {why}"))
            }
        }
    }
}
leaf!(Pattern, "^/old/(.*)$", |v| Shown::Text(v.0.clone()), text_schema("^/old/(.*)$"));

/// The status of a redirect (RFC 9110 section 15.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RedirectStatus(pub(crate) u16);

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

impl FromStr for RedirectStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let status = text.parse().ok().filter(|status| REDIRECTS.contains(status));
        status.map(Self).ok_or_else(|| format!("{text:?} is no redirect; take 301, 302, 303, 307 or 308"))
    }
}
leaf!(RedirectStatus, "308", |v| Shown::Bare(v.0.into()), or_name(json!({"enum": REDIRECTS})));

/// The status of a final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerStatus(pub(crate) u16);

impl FromStr for AnswerStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole(text, 200, 599).map(Self)
    }
}
leaf!(AnswerStatus, "404", |v| Shown::Bare(v.0.into()), number_schema(200, 599));

/// What becomes of a path without a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoFile(pub(crate) Missing);

impl FromStr for NoFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "404" => Ok(Self(Missing::NotFound)),
            "application" => Ok(Self(Missing::Application)),
            path if is_path(path) => Ok(Self(Missing::File(path.to_owned()))),
            _ => Err(format!("{text:?} is none of `404`, `application` and a path such as `/index.html`")),
        }
    }
}
leaf!(
    NoFile,
    "/index.html",
    |v| match &v.0 {
        Missing::NotFound => Shown::Bare(404.into()),
        Missing::Application => Shown::Text("application".to_owned()),
        Missing::File(path) => Shown::Text(path.clone()),
    },
    json!({"anyOf": [{"enum": [404, "404", "application"]}, {"type": "string", "pattern": "^/[^?#]*[^/?#]$"}]})
);

/// Whether this is the path of a file, as a request writes it.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.ends_with('/')
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'))
}

/// Headers with their values, in the order written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClearHeaders(pub(crate) Vec<(String, String)>);

/// The same, and their values are never shown, but for the names of what is filled in.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct HiddenHeaders(pub(crate) Vec<(String, String)>);

impl std::fmt::Debug for HiddenHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, _)| (name, "***"))).finish()
    }
}

/// What is wrong with a value in braces: those of requests know one name, those of answers none.
fn misplaced(value: &str, of_requests: bool) -> Option<&'static str> {
    let inner = value.strip_prefix('{')?.strip_suffix('}')?;
    let name = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match (value == CLIENT_IP, of_requests) {
        (true, true) => None,
        (true, false) => Some("has a value that only headers of requests may have"),
        (false, true) if name => {
            Some("has a value in braces, and the only one that is filled in is `{client_ip}`")
        }
        (false, _) => None,
    }
}

fn headers(
    node: &Node,
    reader: &mut Reader,
    example: &str,
    of_requests: bool,
) -> Option<Vec<(String, String)>> {
    if !matches!(node.value, Written::Mapping(_)) && !node.is_null() {
        let message = format!("this takes headers with their values, and it is {}", node.kind());
        reader.wrong(node, message, format!("write for example `{{{example}}}`"));
        return None;
    }
    let read: Vec<Option<(String, String)>> = node
        .entries()
        .iter()
        .map(|(key, value)| {
            reader.under(&key.text, |reader| {
                let text = reader.text(value, &format!("`{example}`"))?.to_owned();
                let objection =
                    RequestHeaders::objection(&key.text, &text).or_else(|| misplaced(&text, of_requests));
                if let Some(why) = objection {
                    let hint = format!("write for example `{example}`");
                    reader.wrong_key(key, format!("{} {why}", quoted(&key.text)), hint);
                    return None;
                }
                Some((key.text.clone(), text))
            })
        })
        .collect();
    read.into_iter().collect()
}

fn headers_schema() -> Value {
    json!({"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean"]}})
}

impl Setting for ClearHeaders {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        headers(node, reader, "X-Frame-Options: DENY", false).map(Self)
    }

    fn show(&self) -> Shown {
        Shown::Section(
            self.0.iter().map(|(name, value)| (name.clone(), Shown::Text(value.clone()))).collect(),
        )
    }

    fn schema() -> Value {
        headers_schema()
    }
}

impl Setting for HiddenHeaders {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        headers(node, reader, "X-Api-Key: ${API_KEY}", true).map(Self)
    }

    fn show(&self) -> Shown {
        let shown = |value: &str| match value {
            CLIENT_IP => Shown::Text(value.to_owned()),
            _ => Shown::Secret,
        };
        Shown::Section(self.0.iter().map(|(name, value)| (name.clone(), shown(value))).collect())
    }

    fn schema() -> Value {
        headers_schema()
    }
}

impl Setting for Buffer {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let BufferKeys { request, response } = BufferKeys::read(node, reader)?;
        if request.is_none() && response.is_none() {
            reader.wrong(
                node,
                "this says of no body that it is taken in",
                "write for example `buffer: {request: 1MiB}`",
            );
            return None;
        }
        Some(Self { request: request.map(|size| size.0), response: response.map(|size| size.0) })
    }

    fn show(&self) -> Shown {
        BufferKeys { request: self.request.map(BufferSize), response: self.response.map(BufferSize) }.show()
    }

    fn schema() -> Value {
        let mut schema = BufferKeys::schema();
        schema["minProperties"] = 1.into();
        schema
    }
}

/// What is said of a path: middleware, and how long upstreams are waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathKeys {
    pub(crate) middleware: MiddlewareKeys,
    pub(crate) timeouts: PathTimeoutKeys,
}

const TIMEOUTS: &str = "timeouts";

impl Setting for PathKeys {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let keys = [MiddlewareKeys::KEYS, &[TIMEOUTS]].concat();
        reader.section(node, &keys)?;
        let middleware = MiddlewareKeys::fields(node, reader);
        let timeouts = take(node, TIMEOUTS, reader, PathTimeoutKeys::default);
        Some(Self { middleware: middleware?, timeouts: timeouts? })
    }

    fn show(&self) -> Shown {
        let Shown::Section(mut keys) = self.middleware.show() else { return Shown::Absent };
        keys.push((TIMEOUTS.to_owned(), self.timeouts.show()));
        Shown::Section(keys)
    }

    fn schema() -> Value {
        let mut schema = MiddlewareKeys::schema();
        schema["properties"][TIMEOUTS] = PathTimeoutKeys::schema();
        schema
    }
}

/// What is said of each path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paths(pub(crate) Vec<(PathPrefix, PathKeys)>);

impl Setting for Paths {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        const EXAMPLE: &str = "write for example `paths: {/admin: {allow: [10.0.0.0/8]}}`";
        if !matches!(node.value, Written::Mapping(_)) && !node.is_null() {
            let message = format!("this takes middleware by path, and it is {}", node.kind());
            reader.wrong(node, message, EXAMPLE);
            return None;
        }
        let read: Vec<Option<(PathPrefix, PathKeys)>> = node
            .entries()
            .iter()
            .map(|(key, value)| {
                reader.under(&key.text, |reader| {
                    let path = key.text.parse::<PathPrefix>();
                    if let Err(error) = &path {
                        reader.wrong_key(key, error.to_string(), EXAMPLE);
                    }
                    let keys = PathKeys::read(value, reader);
                    Some((path.ok()?, keys?))
                })
            })
            .collect();
        let mut read: Vec<_> = read.into_iter().collect::<Option<_>>()?;
        // Two that say the same path in two ways.
        read.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        if let Some(pair) = read.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            reader.wrong(node, format!("`{}` is written twice", pair[0].0), "write each path once");
            return None;
        }
        Some(Self(read))
    }

    fn show(&self) -> Shown {
        Shown::Section(self.0.iter().map(|(path, keys)| (path.to_string(), keys.show())).collect())
    }

    fn schema() -> Value {
        json!({"type": ["object", "null"], "propertyNames": {"pattern": "^/"}, "additionalProperties": PathKeys::schema()})
    }
}
