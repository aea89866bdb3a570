//! The path that a health check asks for, found in its `curl` or `wget`. Pure.

use super::interpolation::{by_defaults, pieces};

/// What is asked for by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path with its query.
    pub path: String,
    /// The port, where one is named.
    pub port: Option<u16>,
}

/// The request that a check makes to its own container. `test` is as Docker writes it.
#[must_use]
pub fn asked(test: &[String]) -> Option<Asked> {
    let text = test.join(" ");
    let tools = ["curl", "wget", "http", "fetch(", "healthcheck"];
    if !tools.iter().any(|tool| text.contains(tool)) {
        return None;
    }
    let mut words = text.split(|c: char| c.is_whitespace() || "\"'`(),;|".contains(c));
    words.find_map(url)
}

/// `http://localhost:3000/health`, or the same without `http://`.
fn url(word: &str) -> Option<Asked> {
    let rest = word.strip_prefix("http://").or_else(|| word.strip_prefix("https://")).unwrap_or(word);
    let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, format!("/{p}")));
    let parts = pieces(authority, ':');
    let (host, port) = match parts.as_slice() {
        [head @ .., port] if !head.is_empty() && !port.ends_with(']') => (head.join(":"), Some(*port)),
        _ => (authority.to_owned(), None),
    };
    let local = ["localhost", "127.0.0.1", "0.0.0.0", "[::1]"].contains(&host.as_str());
    if !local || (path.is_empty() && port.is_none() && rest == word) {
        return None;
    }
    let port = port.and_then(|port| by_defaults(port)?.parse().ok());
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    by_defaults(path).map(|path| Asked { path, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_found_in_what_people_write() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (test, path, port) in [
            ("CMD curl -f http://localhost:3000/health", "/health", Some(3000)),
            ("CMD-SHELL curl -fsS 127.0.0.1:8080/ready?full=1 || exit 1", "/ready?full=1", Some(8080)),
            ("CMD-SHELL wget -qO- http://localhost/ | grep ok", "/", None),
            ("CMD wget --spider http://[::1]:80", "/", Some(80)),
            ("CMD-SHELL curl localhost:${PORT:-4000}/up", "/up", Some(4000)),
            ("CMD node -e fetch('http://localhost:3000/api/health')", "/api/health", Some(3000)),
        ] {
            assert_eq!(asked(&words(test)), Some(Asked { path: path.to_owned(), port }), "{test}");
        }
        for test in ["CMD pg_isready -U shop", "CMD curl https://example.com/", "CMD app healthcheck"] {
            assert_eq!(asked(&words(test)), None, "{test}");
        }
    }
}
