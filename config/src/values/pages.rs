//! Which file is served for which statuses: keys such as `404`, `502-504` and `5xx`.
//!
//! Where several fit a status, the one for the fewest statuses is served; two of the same width that overlap are a
//! problem. Used by the declarations in [`crate::keys`].

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::node::{Key, Node, Value as Written};
use crate::problem::quoted;
use crate::reader::Reader;
use crate::section::{Setting, Shown};
use crate::settings::ErrorPage;

/// Error pages, those for the fewest statuses first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StatusPages(pub(crate) Vec<ErrorPage>);

const EXAMPLE: &str = "write for example `error_pages: {502-504: pages/sorry.html, 404: pages/missing.html}`";

impl Setting for StatusPages {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) && !node.is_null() {
            let message = format!("this takes files by status, and it is {}", node.kind());
            reader.wrong(node, message, EXAMPLE);
            return None;
        }
        let mut read: Vec<ErrorPage> = Vec::new();
        let mut good = true;
        for (key, value) in node.entries() {
            reader.under(&key.text, |reader| match page(key, value, reader) {
                Some(page) => match read.iter().find(|other| collide(other, &page)) {
                    Some(other) => {
                        let message =
                            format!("{} and `{}` take the same status", quoted(&key.text), word(other));
                        reader.wrong_key(key, message, "give each status one page");
                        good = false;
                    }
                    None => read.push(page),
                },
                None => good = false,
            });
        }
        read.sort_by_key(|page| (width(page), page.low));
        good.then_some(Self(read))
    }

    fn show(&self) -> Shown {
        let entry = |page: &ErrorPage| (word(page), page.file.show());
        Shown::Section(self.0.iter().map(entry).collect())
    }

    fn schema() -> Value {
        json!({
            "type": ["object", "null"],
            "propertyNames": {"pattern": "^([45]xx|[45]\\d\\d( *- *[45]\\d\\d)?)$"},
            "additionalProperties": PathBuf::schema(),
        })
    }
}

fn page(key: &Key, value: &Node, reader: &mut Reader) -> Option<ErrorPage> {
    let statuses = statuses(&key.text);
    if statuses.is_none() {
        let message = format!("{} is no status of an error", quoted(&key.text));
        reader.wrong_key(
            key,
            message,
            "write one from 400 to 599, a range such as `502-504`, or `4xx` or `5xx`",
        );
    }
    let file = PathBuf::read(value, reader);
    let ((low, high), file) = (statuses?, file?);
    Some(ErrorPage { low, high, file })
}

fn statuses(text: &str) -> Option<(u16, u16)> {
    let one = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (400..600).contains(status));
    match text {
        "4xx" | "4XX" => return Some((400, 499)),
        "5xx" | "5XX" => return Some((500, 599)),
        _ => {}
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (one(low)?, one(high)?);
    (low <= high).then_some((low, high))
}

const fn width(page: &ErrorPage) -> u16 {
    page.high - page.low
}

/// Whether neither page would be the one to serve.
fn collide(one: &ErrorPage, other: &ErrorPage) -> bool {
    width(one) == width(other) && one.low <= other.high && other.low <= one.high
}

/// The key that stands for a page.
pub(crate) fn word(page: &ErrorPage) -> String {
    match (page.low, page.high) {
        (400, 499) => "4xx".to_owned(),
        (500, 599) => "5xx".to_owned(),
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low}-{high}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_a_range_and_a_class_are_read_and_shown_alike() {
        for (text, meant) in [
            ("404", Some((404, 404))),
            ("502-504", Some((502, 504))),
            ("502 - 504", Some((502, 504))),
            ("5xx", Some((500, 599))),
            ("4XX", Some((400, 499))),
            ("504-502", None),
            ("200", None),
            ("3xx", None),
            ("4x4", None),
            ("-404", None),
            ("", None),
        ] {
            assert_eq!(statuses(text), meant, "{text}");
        }
        for text in ["404", "502-504", "5xx", "4xx"] {
            let (low, high) = statuses(text).expect("statuses");
            assert_eq!(word(&ErrorPage { low, high, file: PathBuf::new() }), text);
        }
    }
}
