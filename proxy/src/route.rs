//! Which application takes a request: exact host, then wildcard, then any host; then the longest path prefix.
//!
//! A pure lookup. Two hash lookups at most, whatever the number of hosts.

use std::borrow::Cow;
use std::collections::HashMap;

use switcher_config::{HostPattern, PathPrefix};

/// Routes to values of `T`.
#[derive(Debug, Clone)]
pub struct Router<T> {
    exact: HashMap<Box<str>, Paths<T>>,
    wildcard: HashMap<Box<str>, Paths<T>>,
    any: Paths<T>,
}

/// The prefixes of one host, longest first.
#[derive(Debug, Clone)]
struct Paths<T>(Vec<(PathPrefix, T)>);

/// Why no application takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// No application has this host.
    Host,
    /// An application has this host, but none this path.
    Path,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: Paths::default() }
    }
}

impl<T: Clone> Router<T> {
    /// Adds a target for some hosts (none means every host) below a path.
    pub fn add(&mut self, hosts: &[HostPattern], path: &PathPrefix, target: &T) {
        let entry = || (path.clone(), target.clone());
        if hosts.is_empty() {
            self.any.add(entry());
        }
        for host in hosts {
            match host {
                HostPattern::Exact(name) => {
                    self.exact.entry(name.as_str().into()).or_default().add(entry());
                }
                HostPattern::Wildcard(parent) => {
                    self.wildcard.entry(parent.as_str().into()).or_default().add(entry());
                }
            }
        }
    }
}

impl<T> Router<T> {
    /// The target for a host, as [`normalize_host`] gives it, and a path.
    ///
    /// # Errors
    /// Which half of the route is unknown.
    pub fn route(&self, host: &str, path: &str) -> Result<&T, NoRoute> {
        let exact = self.exact.get(host);
        let wildcard = || host.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        let any = (!self.any.0.is_empty()).then_some(&self.any);
        let mut missing = NoRoute::Host;
        for paths in [exact, wildcard(), any].into_iter().flatten() {
            missing = NoRoute::Path;
            if let Some(target) = paths.find(path) {
                return Ok(target);
            }
        }
        Err(missing)
    }
}

impl<T> Paths<T> {
    fn add(&mut self, entry: (PathPrefix, T)) {
        self.0.push(entry);
        self.0.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.as_str().len()));
    }

    fn find(&self, path: &str) -> Option<&T> {
        self.0.iter().find(|(prefix, _)| prefix.matches(path)).map(|(_, target)| target)
    }
}

/// A host as routes are written: lower case, without port, brackets and the root's dot. Allocates only
/// when there are upper-case letters to lower.
#[must_use]
pub fn normalize_host(authority: &str) -> Cow<'_, str> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(v6, _)| v6),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(&str, &str, &'static str)]) -> Router<&'static str> {
        let mut router = Router::default();
        for (hosts, path, target) in routes {
            let hosts: Vec<HostPattern> =
                hosts.split_whitespace().map(|h| h.parse().expect("a host")).collect();
            router.add(&hosts, &path.parse().expect("a path"), target);
        }
        router
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = router(&[
            ("shop.example.com", "/", "shop"),
            ("shop.example.com", "/api", "api"),
            ("shop.example.com", "/api/v2", "api2"),
            ("*.example.com", "/", "wild"),
            ("", "/only", "any"),
        ]);
        for (host, path, target) in [
            ("shop.example.com", "/", Ok("shop")),
            ("shop.example.com", "/apix", Ok("shop")),
            ("shop.example.com", "/api/v1", Ok("api")),
            ("shop.example.com", "/api/v2/x", Ok("api2")),
            ("blog.example.com", "/api", Ok("wild")),
            ("a.b.example.com", "/", Err(NoRoute::Path)),
            ("a.b.example.com", "/only/this", Ok("any")),
            ("example.com", "/only", Ok("any")),
        ] {
            assert_eq!(router.route(host, path).copied(), target, "{host}{path}");
        }
    }

    #[test]
    fn an_unknown_host_is_told_from_an_unknown_path() {
        let router = router(&[("shop.example.com", "/api", "api")]);
        assert_eq!(router.route("other", "/"), Err(NoRoute::Host));
        assert_eq!(router.route("shop.example.com", "/"), Err(NoRoute::Path));
    }

    #[test]
    fn hosts_are_compared_without_case_port_and_root_dot() {
        for (authority, host) in [
            ("Shop.Example.com:443", "shop.example.com"),
            ("shop.example.com.", "shop.example.com"),
            ("[::1]:8080", "::1"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(normalize_host(authority), host);
        }
    }
}
