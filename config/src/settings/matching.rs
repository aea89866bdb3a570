//! The settings of matching: which of the requests for its hosts and path an application takes.

use ipnet::IpNet;

/// What a request must show besides its host and path; all of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matching {
    /// Methods, one of which it has. Default: any.
    pub methods: Vec<String>,
    /// Headers that it has, by name. Default none.
    pub headers: Vec<(String, Wanted)>,
    /// Parameters that its query has, by name. Default none.
    pub query: Vec<(String, Wanted)>,
    /// Networks, in one of which its client is. Default: any.
    pub clients: Vec<IpNet>,
    /// A pattern, of the crate regex, that its host fits. Default: any.
    pub host_pattern: Option<String>,
    /// A pattern, of the crate regex, that its path fits. Default: any.
    pub path_pattern: Option<String>,
}

/// What a value must be.
#[derive(Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This text.
    Text(String),
    /// Something that fits a pattern of the crate regex.
    Pattern(String),
}

/// A text may be a secret.
impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
