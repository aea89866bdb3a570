//! Which application takes a request: the highest priority; then exact host, wildcard, any host; then the longest path
//! prefix; then the one that asks for most.
//!
//! A pure lookup. Two hash lookups at most, whatever the number of hosts.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;

use switcher_config::settings::{ProxyProtocol, RawTcp, RawTls};
use switcher_config::{HostPattern, PathPrefix};

use crate::conditions::{Asked, Conditions};
use crate::middleware::readings;

/// Routes to values of `T`.
#[derive(Debug, Clone)]
pub struct Router<T> {
    exact: HashMap<Box<str>, Paths<T>>,
    wildcard: HashMap<Box<str>, Paths<T>>,
    any: Paths<T>,
    /// Whether a host that fits less well may come first.
    has_priorities: bool,
    /// Whether it depends on the path where a request goes.
    tells_paths: bool,
}

/// Where requests for some hosts below a path go.
#[derive(Debug, Clone)]
pub struct Route<T> {
    /// The path.
    pub path: PathPrefix,
    /// Of several routes that a request fits, the one with the highest is taken.
    pub priority: i32,
    /// What the request must show besides.
    pub conditions: Option<Conditions>,
    /// Where it goes.
    pub target: T,
}

impl<T> Route<T> {
    /// A route for a path and nothing else.
    pub const fn to(path: PathPrefix, target: T) -> Self {
        Self { path, priority: 0, conditions: None, target }
    }

    fn rank(&self) -> impl Ord + use<T> {
        let asks = self.conditions.as_ref().map_or(0, Conditions::count);
        Reverse((self.priority, self.path.as_str().len(), asks))
    }
}

/// The routes of one host, in the order in which they are tried.
#[derive(Debug, Clone)]
struct Paths<T>(Vec<Route<T>>);

/// Why no application takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// No application has this host.
    Host,
    /// An application has this host, but none this path.
    Path,
    /// Read another way, the path is another application's.
    Ambiguous,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: Paths::default(),
            has_priorities: false,
            tells_paths: false,
        }
    }
}

/// The routes of every listener: each is served what is meant for it.
#[derive(Debug, Clone)]
pub struct Table<T> {
    unnamed: Router<T>,
    named: HashMap<Box<str>, Router<T>>,
    raw: HashMap<SocketAddr, RawRoutes<T>>,
}

/// Where raw connections go that come in at one address.
#[derive(Debug, Clone)]
pub struct RawRoutes<T> {
    /// What is done with their TLS.
    pub tls: RawTls,
    /// Whether they begin with the address of the client.
    pub proxy_protocol: ProxyProtocol,
    router: Router<T>,
}

impl<T> RawRoutes<T> {
    /// The target for a connection whose TLS names this host, or none.
    #[must_use]
    pub fn of(&self, host: Option<&str>) -> Option<&T> {
        self.router.of_host(host.unwrap_or_default())
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { unnamed: Router::default(), named: HashMap::new(), raw: HashMap::new() }
    }
}

impl<T> Table<T> {
    /// The routes of a listener with this name, or of those without one; none when nothing is served there.
    #[must_use]
    pub fn at(&self, listener: Option<&str>) -> Option<&Router<T>> {
        listener.map_or(Some(&self.unnamed), |name| self.named.get(name))
    }

    /// The same, to add to.
    pub fn at_mut(&mut self, listener: Option<&str>) -> &mut Router<T> {
        match listener {
            None => &mut self.unnamed,
            Some(name) => self.named.entry(name.into()).or_default(),
        }
    }
}

impl<T: Clone> Table<T> {
    /// What comes in at an address of raw TCP; none when nothing is served there any more.
    #[must_use]
    pub fn at_address(&self, address: SocketAddr) -> Option<&RawRoutes<T>> {
        self.raw.get(&address)
    }

    /// Adds an application of raw TCP at its addresses.
    pub fn add_raw(&mut self, tcp: &RawTcp, hosts: &[HostPattern], target: &T) {
        let route = Route::to(PathPrefix::default(), target.clone());
        for address in &tcp.listen {
            let new =
                || RawRoutes { tls: tcp.tls, proxy_protocol: tcp.proxy_protocol, router: Router::default() };
            self.raw.entry(address.0).or_insert_with(new).router.add(hosts, &route);
        }
    }
}

impl<T: Clone> Router<T> {
    /// Adds a route for some hosts; none means every host.
    pub fn add(&mut self, hosts: &[HostPattern], route: &Route<T>) {
        let entry = || route.clone();
        self.has_priorities |= route.priority != 0;
        self.tells_paths |= route.path != PathPrefix::default()
            || route.conditions.as_ref().is_some_and(Conditions::ask_for_path);
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
    /// The target for a request.
    ///
    /// # Errors
    /// Which half of the route is unknown, or that the path, as an application may read it, belongs to another one: then
    /// none that guards its own could be relied on.
    pub fn route(&self, asked: &Asked<'_>) -> Result<&T, NoRoute> {
        let found = self.find(asked.host, asked.path, |conditions| conditions.fit(asked))?;
        if self.tells_paths
            && let Some(readings) = readings(asked.path)
        {
            for path in &readings {
                let read = Asked { path, ..*asked };
                if let Ok(other) = self.find(asked.host, path, |conditions| conditions.fit(&read))
                    && !std::ptr::eq(found, other)
                {
                    return Err(NoRoute::Ambiguous);
                }
            }
        }
        Ok(found)
    }

    /// The target for a host, as [`normalize_host`] gives it, whatever else is asked for.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<&T> {
        self.find(host, "/", |_| true).ok()
    }

    fn find(&self, host: &str, path: &str, fit: impl Fn(&Conditions) -> bool) -> Result<&T, NoRoute> {
        let exact = self.exact.get(host);
        let wildcard = || host.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        let any = (!self.any.0.is_empty()).then_some(&self.any);
        let mut missing = NoRoute::Host;
        let mut best: Option<&Route<T>> = None;
        for paths in [exact, wildcard(), any].into_iter().flatten() {
            missing = NoRoute::Path;
            if let Some(route) = paths.find(path, &fit)
                && best.is_none_or(|best| route.priority > best.priority)
            {
                best = Some(route);
            }
            if best.is_some() && !self.has_priorities {
                break;
            }
        }
        best.map(|route| &route.target).ok_or(missing)
    }
}

impl<T> Paths<T> {
    fn add(&mut self, route: Route<T>) {
        self.0.push(route);
        self.0.sort_by_key(Route::rank);
    }

    fn find(&self, path: &str, fit: impl Fn(&Conditions) -> bool) -> Option<&Route<T>> {
        let fits = |route: &&Route<T>| route.path.matches(path) && route.conditions.as_ref().is_none_or(&fit);
        self.0.iter().find(fits)
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
    use http::{HeaderMap, Method};
    use switcher_config::settings::Matching;

    use super::*;
    use crate::forwarded::Client;

    type Written = (&'static str, &'static str, i32, Matching, &'static str);

    fn router(routes: &[Written]) -> Router<&'static str> {
        let mut router = Router::default();
        for (hosts, path, priority, matching, target) in routes {
            let hosts: Vec<HostPattern> =
                hosts.split_whitespace().map(|h| h.parse().expect("a host")).collect();
            let path = path.parse().expect("a path");
            let conditions = Conditions::of(matching);
            router.add(&hosts, &Route { path, priority: *priority, conditions, target: *target });
        }
        router
    }

    fn plain(hosts: &'static str, path: &'static str, target: &'static str) -> Written {
        (hosts, path, 0, Matching::default(), target)
    }

    fn by_method(method: &str) -> Matching {
        Matching { methods: vec![method.to_owned()], ..Matching::default() }
    }

    fn route(router: &Router<&'static str>, host: &str, path: &str) -> Result<&'static str, NoRoute> {
        let client = Client { ip: [192, 0, 2, 1].into(), trusted: false };
        let headers = HeaderMap::new();
        let asked =
            Asked { host, path, query: None, method: &Method::GET, headers: &headers, client: Some(&client) };
        router.route(&asked).copied()
    }

    #[test]
    fn a_path_that_another_reading_leads_elsewhere_is_nobodys() {
        let php = Matching { path_pattern: Some("/\\.git".to_owned()), ..Matching::default() };
        let told = router(&[
            plain("a.test", "/", "shop"),
            plain("a.test", "/admin", "admin"),
            ("a.test", "/", 1, php, "closed"),
        ]);
        for (path, target) in [
            ("/admin/x", Ok("admin")),
            ("/a%20b", Ok("shop")),
            ("/a//b", Ok("shop")),
            ("/.git/config", Ok("closed")),
            ("/%2egit/config", Err(NoRoute::Ambiguous)),
            ("//admin", Err(NoRoute::Ambiguous)),
            ("/x/../admin", Err(NoRoute::Ambiguous)),
            ("/%61dmin", Err(NoRoute::Ambiguous)),
        ] {
            assert_eq!(route(&told, "a.test", path), target, "{path}");
        }
        let one = router(&[plain("a.test", "/", "shop")]);
        assert_eq!(route(&one, "a.test", "//admin/../x"), Ok("shop"), "there is no other");
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = router(&[
            plain("shop.example.com", "/", "shop"),
            plain("shop.example.com", "/api", "api"),
            plain("shop.example.com", "/api/v2", "api2"),
            plain("*.example.com", "/", "wild"),
            plain("", "/only", "any"),
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
            assert_eq!(route(&router, host, path), target, "{host}{path}");
        }
    }

    #[test]
    fn of_two_for_the_same_path_the_one_that_asks_for_more_comes_first() {
        let routes = [
            plain("shop.example.com", "/api", "rest"),
            ("shop.example.com", "/api", 0, by_method("GET"), "read"),
            ("shop.example.com", "/", 0, by_method("GET"), "short"),
            ("other.example.com", "/", 0, by_method("PUT"), "write"),
        ];
        let router = router(&routes);
        assert_eq!(route(&router, "shop.example.com", "/api"), Ok("read"));
        assert_eq!(route(&router, "shop.example.com", "/x"), Ok("short"));
        assert_eq!(route(&router, "other.example.com", "/"), Err(NoRoute::Path), "it does not write");
        assert_eq!(router.of_host("other.example.com"), Some(&"write"), "the name is its own");
    }

    #[test]
    fn a_priority_comes_before_everything_else() {
        let routes = [
            plain("shop.example.com", "/api", "api"),
            ("*.example.com", "/", 5, Matching::default(), "all"),
            ("", "/low", -1, Matching::default(), "last"),
            ("", "/high", 9, by_method("GET"), "first"),
        ];
        let router = router(&routes);
        assert_eq!(route(&router, "shop.example.com", "/api"), Ok("all"));
        assert_eq!(route(&router, "shop.example.com", "/high"), Ok("first"));
        assert_eq!(route(&router, "elsewhere", "/low"), Ok("last"));
        assert_eq!(route(&router, "shop.example.com", "/low"), Ok("all"));
    }

    #[test]
    fn an_unknown_host_is_told_from_an_unknown_path() {
        let router = router(&[plain("shop.example.com", "/api", "api")]);
        assert_eq!(route(&router, "other", "/"), Err(NoRoute::Host));
        assert_eq!(route(&router, "shop.example.com", "/"), Err(NoRoute::Path));
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
