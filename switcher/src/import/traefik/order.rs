//! Which of several routers comes first: Traefik's longest rule, or ours by host, path and conditions. Pure.
//!
//! Where both agree nothing has to be said; where they may not, every router is given the length of its rule as `priority`.
//! In doubt they do not agree. Called by `router`.

use super::Source;
use super::rule::{Way, ways};
use super::words_seen;
use crate::import::tree::Node;

/// A router as both see it.
struct Ranked {
    /// The length of its rule.
    length: usize,
    /// Its entry points; none for all.
    doors: Vec<String>,
    ways: Vec<Way>,
}

/// Whether routers have to say which of them comes first: one does already, or their rules lie otherwise in each other than
/// our hosts and paths do.
pub(super) fn has_to_be_said(source: &Source) -> bool {
    let routers = source.entries(&["http", "routers"]);
    if routers.iter().any(|router| said(router)) {
        return true;
    }
    let ranked: Vec<Ranked> = routers.iter().filter_map(|router| ranked(router)).collect();
    ranked.iter().any(|one| ranked.iter().any(|other| one.length > other.length && one.loses_to(other)))
}

fn said(router: &Node) -> bool {
    let said = router.peek("priority").and_then(|node| node.seen().first().copied());
    said.is_some_and(|text| text != "0")
}

fn ranked(router: &Node) -> Option<Ranked> {
    let rule = router.peek("rule")?.seen().join(" ");
    let ways = ways(&rule).ok()?;
    let doors = router.peek("entryPoints").map(words_seen).unwrap_or_default();
    Some(Ranked { length: rule.len(), doors, ways })
}

impl Ranked {
    /// Whether there may be a request that Traefik gives to this one and we to the other.
    fn loses_to(&self, other: &Self) -> bool {
        let same_door = self.doors.is_empty()
            || other.doors.is_empty()
            || self.doors.iter().any(|door| other.doors.contains(door));
        same_door
            && self
                .ways
                .iter()
                .any(|one| other.ways.iter().any(|two| meet(one, two) && rank(one) <= rank(two)))
    }
}

/// How we order: the kind of host, the length of the path, the number of conditions.
fn rank(way: &Way) -> (usize, usize, usize) {
    let host = match way.hosts.as_slice() {
        [] => 0,
        hosts if hosts.iter().any(|host| host.starts_with("*.")) => 1,
        _ => 2,
    };
    let path = way.path.as_ref().map_or(0, |(path, _)| path.trim_end_matches('/').len());
    (host, path, way.wants.count())
}

/// Whether one request may fit both.
fn meet(one: &Way, other: &Way) -> bool {
    let any = |way: &Way| way.hosts.is_empty() || way.hosts.iter().any(|host| host.starts_with("*."));
    let hosts = any(one)
        || any(other)
        || one.hosts.iter().any(|host| other.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)));
    let paths = match (&one.path, &other.path) {
        (Some((one, _)), Some((other, _))) => {
            one.starts_with(other.as_str()) || other.starts_with(one.as_str())
        }
        (None, _) | (_, None) => true,
    };
    hosts && paths && one.wants.may_meet(&other.wants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(rule: &str) -> Ranked {
        Ranked { length: rule.len(), doors: Vec::new(), ways: ways(rule).expect("a rule") }
    }

    #[test]
    fn what_our_order_would_turn_round_is_found() {
        for (longer, shorter, lost) in [
            ("Host(`a.example`) && PathPrefix(`/x`)", "Host(`a.example`)", false),
            ("Host(`a.example`) && Method(`PUT`)", "Host(`a.example`)", false),
            ("Host(`a.example`) && Path(`/x`)", "Host(`a.example`) && PathPrefix(`/`)", false),
            // Ours goes by the path before it looks at conditions.
            ("Host(`a.example`) && Header(`X-Beta`, `1`)", "Host(`a.example`) && PathPrefix(`/x`)", true),
            // Ours goes by the host before it looks at paths.
            ("PathPrefix(`/a/very/long/path`)", "Host(`a.example`)", true),
            ("HostRegexp(`^[a-z]+\\.example$`)", "Host(`a.example`)", true),
            ("Host(`a.example`) && Header(`X-Beta`, `1`)", "Host(`b.example`) && PathPrefix(`/x`)", false),
            ("Host(`a.example`) && PathPrefix(`/long`)", "Host(`a.example`) && PathPrefix(`/x`)", false),
            ("Host(`a`) && Method(`DELETE`)", "Host(`a`) && Path(`/x`) && Method(`PUT`)", false),
        ] {
            assert_eq!(ranked(longer).loses_to(&ranked(shorter)), lost, "{longer} and {shorter}");
        }
        let at = |rule, door: &str| Ranked { doors: vec![door.to_owned()], ..ranked(rule) };
        let (any, one) = ("HostRegexp(`^[a-z]+\\.example$`)", "Host(`a.example`)");
        assert!(!at(any, "web").loses_to(&at(one, "websecure")), "they never see the same request");
        assert!(at(any, "web").loses_to(&ranked(one)));
    }
}
