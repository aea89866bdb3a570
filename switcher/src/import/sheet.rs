//! The configuration that is being written: keys with their comments, each remembering where it came from. Pure.
//!
//! [`mod@super::settle`] takes out what the loader refuses; a section that has become empty is not written.

use super::tree::Place;
use crate::init::draft::wrapped;
use crate::init::yaml;

/// The widest comment.
const WIDTH: usize = 112;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key; empty for an item of a list.
    pub key: String,
    /// What stands behind it.
    pub value: Value,
    /// Where it came from, and what it is called there; none for what was added here.
    pub origin: Option<(Place, String)>,
    /// What is said in lines above it.
    pub above: Vec<String>,
    /// What is said behind it.
    pub behind: Option<String>,
}

/// What stands behind a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// YAML for one line.
    Line(String),
    /// Keys, or items of a list.
    Section(Vec<Entry>),
}

impl Entry {
    /// A key with YAML for one line.
    #[must_use]
    pub fn line(key: &str, value: impl Into<String>) -> Self {
        Self::of(key, Value::Line(value.into()))
    }

    /// A key with a text, quoted where YAML needs it. `$` stands for itself.
    #[must_use]
    pub fn text(key: &str, value: &str) -> Self {
        Self::line(key, scalar(value))
    }

    /// What lets nobody in, in the place of a guard that is not done here.
    #[must_use]
    pub fn closed() -> Self {
        Self::line("deny", "[0.0.0.0/0, \"::/0\"]")
            .behind("it was guarded by something that is not done here: nobody is let in until you say how")
    }

    /// A key with others below it.
    #[must_use]
    pub fn section(key: &str, entries: Vec<Self>) -> Self {
        Self::of(key, Value::Section(entries))
    }

    fn of(key: &str, value: Value) -> Self {
        Self { key: key.to_owned(), value, origin: None, above: Vec::new(), behind: None }
    }

    /// The same, from this place, where it is called so.
    #[must_use]
    pub fn from(mut self, place: &Place, what: impl Into<String>) -> Self {
        self.origin = Some((place.clone(), what.into()));
        self
    }

    /// The same with a comment in lines above it.
    #[must_use]
    pub fn above(mut self, comment: impl Into<String>) -> Self {
        self.above.push(comment.into());
        self
    }

    /// The same with a comment behind it.
    #[must_use]
    pub fn behind(mut self, comment: impl Into<String>) -> Self {
        self.behind = Some(comment.into());
        self
    }

    /// What is below it.
    #[must_use]
    pub fn below(&self) -> &[Self] {
        match &self.value {
            Value::Section(entries) => entries,
            Value::Line(_) => &[],
        }
    }

    /// Whether they say the same, wherever they came from.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.key == other.key
            && match (&self.value, &other.value) {
                (Value::Line(one), Value::Line(other)) => one == other,
                (Value::Section(one), Value::Section(other)) => {
                    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.same(other))
                }
                (Value::Line(_), Value::Section(_)) | (Value::Section(_), Value::Line(_)) => false,
            }
    }

    fn is_empty(&self) -> bool {
        match &self.value {
            Value::Section(entries) => entries.iter().all(Self::is_empty),
            Value::Line(_) => false,
        }
    }
}

/// A text as YAML, in which `$` stands for itself.
#[must_use]
pub fn scalar(text: &str) -> String {
    let text = text.replace("$$", "$$$$").replace("${", "$${");
    // A bare word that YAML reads as something else would only be refused, but a number is no text.
    yaml::scalar(&text)
}

/// A list in one line, in which `$` stands for itself.
#[must_use]
pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(|item| scalar(item.as_ref())).collect::<Vec<_>>().join(", "))
}

/// Pairs in one line, whose values are YAML.
#[must_use]
pub fn pairs(pairs: &[(&str, String)]) -> String {
    format!(
        "{{{}}}",
        pairs.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", ")
    )
}

/// A row of the file, and the way to the entry that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its text, indented.
    pub text: String,
    /// The way, by indices.
    pub way: Vec<usize>,
}

/// All rows, without empty sections.
#[must_use]
pub fn rows(entries: &[Entry]) -> Vec<Row> {
    let mut rows = Vec::new();
    write(entries, 0, &[], &mut rows);
    rows
}

fn write(entries: &[Entry], indent: usize, way: &[usize], rows: &mut Vec<Row>) {
    for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.is_empty()) {
        let way = [way, &[index]].concat();
        let mut row = |text: String| rows.push(Row { text, way: way.clone() });
        if indent == 0 && index > 0 {
            row(String::new());
        }
        for line in entry.above.iter().flat_map(|text| wrapped(text, WIDTH - indent)) {
            row(format!("{:indent$}# {line}", ""));
        }
        let behind = entry.behind.as_ref().map_or(String::new(), |text| format!("   # {text}"));
        let head =
            if entry.key.is_empty() { "-".to_owned() } else { format!("{}:", yaml::scalar(&entry.key)) };
        match &entry.value {
            Value::Line(value) => row(format!("{:indent$}{head} {value}{behind}", "")),
            Value::Section(below) => {
                row(format!("{:indent$}{head}{behind}", ""));
                write(below, indent + 2, &way, rows);
            }
        }
    }
}

/// Keys that say who may come in.
pub const GUARDS: [&str; 4] = ["allow", "deny", "basic_auth", "forward_auth"];

/// Takes out the innermost entry on the way that came from somewhere; answers where from.
pub fn take_out(entries: &mut Vec<Entry>, way: &[usize]) -> Option<(Place, String)> {
    let (first, rest) = way.split_first()?;
    let entry = entries.get_mut(*first)?;
    if let Value::Section(below) = &mut entry.value
        && let Some(found) = take_out(below, rest)
    {
        return Some(found);
    }
    let origin = entry.origin.clone()?;
    if GUARDS.contains(&entry.key.as_str()) {
        // A guard that is refused stays closed.
        *entry = Entry::closed();
        let mut index = 0;
        entries.retain(|other| {
            index += 1;
            other.key != "deny" || index == first + 1
        });
    } else {
        entries.remove(*first);
    }
    Some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_sections_are_not_written_and_a_way_leads_back() {
        let place = Place::new(&"a.conf".into(), 3);
        let inner = Entry::text("set", "a $b ${c}").from(&place, "header").behind("why");
        let mut sheet = vec![
            Entry::line("proxy", "{}"),
            Entry::section("apps", vec![Entry::section("x", vec![inner, Entry::line("y", "1")])])
                .above("Apps."),
        ];
        let told: Vec<String> = rows(&sheet).into_iter().map(|row| row.text).collect();
        let set = "    set: \"a $b $${c}\"   # why";
        assert_eq!(told, ["proxy: {}", "", "# Apps.", "apps:", "  x:", set, "    y: 1"]);
        let way = rows(&sheet)[5].way.clone();
        assert_eq!(take_out(&mut sheet, &way), Some((place, "header".to_owned())));
        assert_eq!(take_out(&mut sheet, &[1, 0, 0]), None, "what was added here stays");
    }
}
