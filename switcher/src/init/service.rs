//! A service as it runs today, in words that a Compose file and a container share. Values, no decisions.

/// A value with the line it stands at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value, with `${NAME}` as our configuration writes it.
    pub value: T,
    /// Its line in the Compose file; 0 where there is none.
    pub line: usize,
}

impl<T> Placed<T> {
    /// A value at a line.
    pub fn new(value: T, line: usize) -> Self {
        Self { value, line }
    }
}

/// Something that is not carried over, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Leftover {
    /// The line in the Compose file; 0 where there is none.
    pub line: usize,
    /// What it is, such as `web.cap_add`. Never a secret's value.
    pub what: String,
    /// What to do, in a sentence.
    pub advice: String,
}

/// An environment variable. Its value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; none when it is taken from the environment of whoever starts the service.
    pub value: Option<String>,
    /// Its line.
    pub line: usize,
}

/// Never shows the value.
impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable").field("name", &self.name).field("line", &self.line).finish_non_exhaustive()
    }
}

/// Docker's own check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The image's is turned off.
    Off,
    /// A command, as Docker writes it: `[CMD, …]` or `[CMD-SHELL, …]`; its times as they were written.
    Command {
        /// The words, `CMD` or `CMD-SHELL` first.
        test: Vec<String>,
        /// `interval`, `timeout`, `start_period` and `retries`, as far as they are given.
        bounds: Vec<(String, String)>,
    },
}

/// A command as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// One text, which is split as a shell splits it.
    Text(String),
    /// Its words.
    List(Vec<String>),
}

impl Words {
    /// All of it in one text, to look for words in.
    #[must_use]
    pub fn joined(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(words) => words.join(" "),
        }
    }

    /// Its words; a text is one, as a shell has it.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::List(words) => words.clone(),
        }
    }
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The line of its name.
    pub line: usize,
    /// Its image with everything behind it.
    pub image: Option<Placed<String>>,
    /// Whether it is built from sources here.
    pub builds: bool,
    /// TCP ports inside the container, in the order written.
    pub ports: Vec<u16>,
    /// Ports of the machine that lead to it.
    pub published: Vec<String>,
    /// Its environment.
    pub env: Vec<Variable>,
    /// Files of its environment.
    pub env_files: Vec<Placed<String>>,
    /// `source:/path[:ro]`, by the engine's names of volumes.
    pub volumes: Vec<Placed<String>>,
    /// The networks that it joins, by the engine's names.
    pub networks: Vec<String>,
    /// Docker's own check.
    pub check: Option<Placed<Check>>,
    /// Instead of the image's command.
    pub command: Option<Placed<Words>>,
    /// Instead of the image's entrypoint.
    pub entrypoint: Option<Placed<Words>>,
    /// Single values that keep their meaning, by the key of our `deploy` section: `user`, `platform`, `replicas`,
    /// `stop_timeout`, and `memory`, `cpus`, `pids` of `limits`.
    pub plain: Vec<(&'static str, Placed<String>)>,
    /// `name:address`.
    pub extra_hosts: Vec<Placed<String>>,
    /// Names of secrets.
    pub secrets: Vec<Placed<String>>,
    /// Labels.
    pub labels: Vec<(String, Placed<String>)>,
    /// What is not carried over.
    pub leftovers: Vec<Leftover>,
}

impl Service {
    /// Notes something that is not carried over.
    pub fn leave(&mut self, line: usize, key: &str, advice: impl Into<String>) {
        let what = if key.is_empty() { self.name.clone() } else { format!("{}.{key}", self.name) };
        self.leftovers.push(Leftover { line, what, advice: advice.into() });
    }

    /// The image without tag and digest, and the tag or digest.
    #[must_use]
    pub fn image_parts(&self) -> Option<(String, Option<String>)> {
        let image = &self.image.as_ref()?.value;
        let (name, digest) = image.split_once('@').map_or((image.as_str(), None), |(n, d)| (n, Some(d)));
        let pieces = super::interpolation::pieces(name, ':');
        let (name, tag) = match pieces.as_slice() {
            [head @ .., tag] if !head.is_empty() && !tag.contains('/') => (head.join(":"), Some(*tag)),
            _ => (name.to_owned(), None),
        };
        Some((name, digest.or(tag).map(str::to_owned)))
    }
}

/// Everything that runs together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    /// What it was read from, as people know it: `compose.yaml`, or `the running containers`.
    pub origin: String,
    /// The project's name.
    pub project: String,
    /// The services, in the order written.
    pub services: Vec<Service>,
    /// What belongs to none of them.
    pub leftovers: Vec<Leftover>,
}
