//! What Traefik's labels say of a service: hosts, path, port, TLS. Pure.
//!
//! Every label is either understood, told to be needless, or left over.

use switcher_config::HostPattern;

use super::interpolation::by_defaults;
use super::service::Service;

/// What the labels come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Whether there are labels at all.
    pub present: bool,
    /// The hosts, in the order written.
    pub hosts: Vec<String>,
    /// The path prefix.
    pub path: Option<String>,
    /// The port inside the container.
    pub port: Option<u16>,
    /// Whether a router speaks TLS.
    pub tls: bool,
    /// The path that the load balancer asks for.
    pub health: Option<String>,
    /// Whether `traefik.enable=false`.
    pub off: bool,
}

/// Takes Traefik's labels out of a service.
pub fn route(service: &mut Service) -> Route {
    let mut route = Route::default();
    let (ours, others): (Vec<_>, Vec<_>) =
        std::mem::take(&mut service.labels).into_iter().partition(|(name, _)| name.starts_with("traefik."));
    service.labels = others;
    for (name, value) in ours {
        route.present = true;
        if let Err(advice) = take(&mut route, &name, &value.value) {
            service.leave(value.line, &format!("labels.{name}"), advice);
        }
    }
    route
}

/// Takes one label, or says why not.
fn take(route: &mut Route, name: &str, value: &str) -> Result<(), String> {
    let last = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let lower = name.to_ascii_lowercase();
    let router = lower.starts_with("traefik.http.routers.");
    if lower == "traefik.enable" {
        route.off = value == "false";
    } else if router && last == "rule" {
        return rule(route, value);
    } else if router && (lower.contains(".tls") || last == "certresolver") {
        route.tls |= value != "false";
    } else if router && last == "entrypoints" {
        // `websecure` is how most people call the listener on 443.
        route.tls |= value.contains("secure") || value.contains("https");
    } else if lower.ends_with("loadbalancer.server.port") {
        route.port = Some(value.parse().map_err(|_| "name the port as `deploy.port`".to_owned())?);
    } else if lower.ends_with("loadbalancer.healthcheck.path") {
        route.health = Some(value.to_owned());
    } else if !(router && last == "service"
        || lower.starts_with("traefik.docker.")
        || lower == "traefik.swarm.network")
    {
        return Err(advice(&lower).to_owned());
    }
    Ok(())
}

/// What to do instead of a label that we have no key for.
fn advice(label: &str) -> &'static str {
    if label.contains("stripprefix") {
        "the prefix is passed on as it is; let the application answer below it"
    } else if label.contains("redirectscheme") || label.contains("redirectregex") {
        "plain http is redirected to https by itself, and other hosts with `canonical_host`"
    } else if label.contains(".middlewares") {
        "middlewares are Traefik's; what it does has to be done by the application, or by a key of ours"
    } else if label.contains("sticky") {
        "requests go to any replica of the live slot; keep sessions outside of the process"
    } else if label.contains(".tcp.") || label.contains(".udp.") {
        "only HTTP is proxied; publish this port another way"
    } else {
        "this label means nothing here"
    }
}

/// ``Host(`a`) || Host(`b`)``, ``Host(`a`) && PathPrefix(`/x`)``.
fn rule(route: &mut Route, text: &str) -> Result<(), String> {
    let odd = || "this rule is more than hosts and a path; write `hosts` and `path` by hand".to_owned();
    if text.contains('!') {
        return Err(odd());
    }
    let mut rest = text;
    let (mut hosts, mut paths) = (Vec::new(), Vec::new());
    while let Some((before, after)) = rest.split_once('(') {
        let matcher = before.trim_matches(|c: char| c.is_whitespace() || "&|()".contains(c));
        if matcher.is_empty() {
            rest = after;
            continue;
        }
        let (arguments, tail) = after.split_once(')').ok_or_else(odd)?;
        let words = arguments.split(',').map(|word| word.trim().trim_matches(['`', '"', '\'']).to_owned());
        match matcher {
            "Host" => hosts.extend(words),
            "PathPrefix" => paths.extend(words),
            _ => return Err(odd()),
        }
        rest = tail;
    }
    let path = match paths.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        [_, ..] => return Err("an application has one path; make one application for each".to_owned()),
    };
    let known = |host: &String| by_defaults(host).filter(|host| host.parse::<HostPattern>().is_ok());
    let hosts: Option<Vec<String>> = hosts.iter().map(known).collect();
    for host in hosts.ok_or("its hosts are not known until a variable is set; write `hosts` by hand")? {
        if !route.hosts.contains(&host) {
            route.hosts.push(host);
        }
    }
    route.path = path.or(route.path.take());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Placed;

    fn read(labels: &[(&str, &str)]) -> (Route, Vec<String>) {
        let labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), Placed::new((*value).to_owned(), 1)));
        let mut service = Service { name: "web".to_owned(), labels: labels.collect(), ..Service::default() };
        let route = route(&mut service);
        (route, service.leftovers.into_iter().map(|left| left.what).collect())
    }

    #[test]
    fn hosts_path_port_and_tls_are_understood() {
        let (route, left) = read(&[
            ("traefik.enable", "true"),
            (
                "traefik.http.routers.shop.rule",
                "(Host(`a.example`) || Host(`b.example`)) && PathPrefix(`/api`)",
            ),
            ("traefik.http.routers.shop.tls.certresolver", "le"),
            ("traefik.http.services.shop.loadbalancer.server.port", "3000"),
            ("traefik.http.services.shop.loadbalancer.healthcheck.path", "/up"),
        ]);
        assert_eq!(route.hosts, ["a.example", "b.example"]);
        assert_eq!((route.path.as_deref(), route.port, route.tls), (Some("/api"), Some(3000), true));
        assert_eq!((route.health.as_deref(), left.len()), (Some("/up"), 0));
    }

    #[test]
    fn what_is_not_understood_is_left_over() {
        let (route, left) = read(&[
            ("traefik.http.routers.shop.rule", "HostRegexp(`.+`) && !Host(`a`)"),
            ("traefik.http.middlewares.auth.basicauth.users", "admin:hash"),
            ("traefik.tcp.routers.db.rule", "HostSNI(`*`)"),
        ]);
        assert_eq!(route, Route { present: true, ..Route::default() });
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(!left.join(" ").contains("hash"));
    }
}
