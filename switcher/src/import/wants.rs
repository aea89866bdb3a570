//! What a request must show besides its host and path, as `match` writes it. Pure.

use super::sheet::{Entry, list, pairs, scalar};

/// What a header or a parameter must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// This text.
    Text(String),
    /// Something that fits a pattern; the empty one fits any value.
    Pattern(String),
}

impl Want {
    fn yaml(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Pattern(pattern) => pairs(&[("pattern", text_of(pattern))]),
        }
    }
}

/// An empty text has to be quoted.
fn text_of(text: &str) -> String {
    if text.is_empty() { "\"\"".to_owned() } else { scalar(text) }
}

/// All of it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants {
    /// One of these methods.
    pub methods: Vec<String>,
    /// Headers.
    pub headers: Vec<(String, Want)>,
    /// Parameters of the query.
    pub query: Vec<(String, Want)>,
    /// One of these networks.
    pub clients: Vec<String>,
    /// A pattern for the host.
    pub host_pattern: Option<String>,
    /// A pattern for the path.
    pub path_pattern: Option<String>,
}

impl Wants {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Both at once; none where that cannot be said.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        fn one<T: Clone + PartialEq>(one: &Option<T>, other: &Option<T>) -> Option<Option<T>> {
            match (one, other) {
                (Some(one), Some(other)) => (one == other).then(|| Some(one.clone())),
                (known, None) | (None, known) => Some(known.clone()),
            }
        }
        fn named(one: &[(String, Want)], other: &[(String, Want)]) -> Option<Vec<(String, Want)>> {
            let twice =
                |(name, _): &&(String, Want)| one.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
            (!other.iter().any(|want| twice(&want))).then(|| [one, other].concat())
        }
        fn either(one: &[String], other: &[String]) -> Option<Vec<String>> {
            match (one, other) {
                ([], known) | (known, []) => Some(known.to_vec()),
                (one, other) => (one == other).then(|| one.to_vec()),
            }
        }
        Some(Self {
            methods: either(&self.methods, &other.methods)?,
            headers: named(&self.headers, &other.headers)?,
            query: named(&self.query, &other.query)?,
            clients: either(&self.clients, &other.clients)?,
            host_pattern: one(&self.host_pattern, &other.host_pattern)?,
            path_pattern: one(&self.path_pattern, &other.path_pattern)?,
        })
    }

    /// Takes the alternatives of another one in, where they differ in methods or in networks alone; answers whether it did.
    pub fn or(&mut self, other: &Self) -> bool {
        let bare = |wants: &Self| Self { methods: Vec::new(), clients: Vec::new(), ..wants.clone() };
        if bare(self) != bare(other) {
            return false;
        }
        let methods = !self.methods.is_empty() && !other.methods.is_empty() && self.clients == other.clients;
        let clients = !self.clients.is_empty() && !other.clients.is_empty() && self.methods == other.methods;
        if methods {
            self.methods.extend(other.methods.iter().cloned());
        } else if clients {
            self.clients.extend(other.clients.iter().cloned());
        }
        methods || clients
    }

    /// How many conditions it has, as our order counts them.
    #[must_use]
    pub fn count(&self) -> usize {
        let lists = [&self.methods, &self.clients].into_iter().filter(|list| !list.is_empty()).count();
        let patterns = [&self.host_pattern, &self.path_pattern].into_iter().flatten().count();
        self.headers.len() + self.query.len() + lists + patterns
    }

    /// Whether one request may have what both ask for. In doubt it may.
    #[must_use]
    pub fn may_meet(&self, other: &Self) -> bool {
        self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method))
    }

    /// As `match` writes it. It comes from nowhere of its own: without a condition that is refused its application would
    /// take everything, so it goes with it.
    #[must_use]
    pub fn entry(&self) -> Option<Entry> {
        let named = |key: &str, wants: &[(String, Want)]| {
            let entries = wants.iter().map(|(name, want)| Entry::line(name, want.yaml())).collect();
            Entry::section(key, entries)
        };
        let line = |key: &str, words: &[String]| (!words.is_empty()).then(|| Entry::line(key, list(words)));
        let text =
            |key: &str, text: &Option<String>| text.as_ref().map(|text| Entry::line(key, text_of(text)));
        let mut entries: Vec<Entry> = line("methods", &self.methods).into_iter().collect();
        entries.push(named("headers", &self.headers));
        entries.push(named("query", &self.query));
        entries.extend(line("clients", &self.clients));
        entries.extend(text("host_pattern", &self.host_pattern));
        entries.extend(text("path_pattern", &self.path_pattern));
        (!self.is_empty()).then(|| Entry::section("match", entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_or_either_where_that_can_be_said() {
        let methods = |names: &[&str]| Wants {
            methods: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Wants::default()
        };
        let header = |name: &str| Wants {
            headers: vec![(name.to_owned(), Want::Text("1".to_owned()))],
            ..Wants::default()
        };
        let both = methods(&["GET"]).and(&header("X-A")).expect("different things");
        assert_eq!((both.methods.len(), both.headers.len()), (1, 1));
        assert_eq!(methods(&["GET"]).and(&methods(&["PUT"])), None);
        assert_eq!(header("X-A").and(&header("x-a")), None, "one header has one value");
        let mut either = methods(&["GET"]);
        assert!(either.or(&methods(&["PUT"])) && either.methods == ["GET", "PUT"]);
        assert!(!either.or(&header("X-A")) && !either.or(&both));
        assert!(Wants::default().is_empty() && !both.is_empty());
    }
}
