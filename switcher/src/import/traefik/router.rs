//! Traefik's routers as routes of sites. Pure.

use switcher_config::settings::CLIENT_IP;

use super::middleware::Done;
use super::rule::{Way, ways};
use super::service::pool;
use super::statics::{Door, certificate};
use super::{Source, words};
use crate::import::action::{Action, HeaderChange, Later};
use crate::import::doors::usual;
use crate::import::note::Note;
use crate::import::site::{Imported, Match, Route, Site, Tls};
use crate::import::tree::{At, Node};

/// Makes a site of each set of hosts.
pub(super) fn sites(source: &Source, doors: &[Door], imported: &mut Imported) {
    let files = certificate(source, imported);
    let mut used: Vec<(Door, bool)> = Vec::new();
    let sent = doors.iter().any(|door| door.sent);
    let ordered = super::order::has_to_be_said(source);
    for router in source.entries(&["http", "routers"]) {
        router.take();
        let (reached, named) = reached(router, doors, imported);
        let own = router.get("tls").filter(|tls| tls.seen().first() != Some(&"false"));
        let _ = own.map(Node::words);
        let authority = own.and_then(|tls| tls.text("certResolver")).is_some();
        for key in ["domains", "options"] {
            if let Some(node) = own.and_then(|tls| tls.get(key)) {
                told_of_tls(node, key, imported);
            }
        }
        let tls = own.is_some() || reached.iter().any(|door| door.tls);
        for door in &reached {
            let secure =
                door.tls || is_secure(door) || named && own.is_some() && !door.address.ends_with(":80");
            match used.iter_mut().find(|(known, _)| known.name == door.name) {
                Some((_, known)) => *known |= secure,
                None => used.push((door.clone(), secure)),
            }
        }
        let open = own.is_none() && reached.iter().any(|door| !door.tls && !door.sent);
        let by = match (tls, authority || own.is_none() && files == Tls::Internal) {
            (false, _) => Tls::Off,
            (true, true) => Tls::Auto,
            (true, false) => files.clone(),
        };
        let apart = unusual(&reached, doors);
        Given { router, tls: by, open, sent, ordered, apart, unusual: unusual(doors, doors) }
            .routes(source, &reached, imported);
    }
    listeners(used, imported);
}

/// Whether an entry point is one for https, as most people name theirs.
fn is_secure(door: &Door) -> bool {
    [":443", ":8443", ":4443"].iter().any(|port| door.address.ends_with(port)) || door.name.contains("secure")
}

fn listeners(used: Vec<(Door, bool)>, imported: &mut Imported) {
    for kind in [false, true] {
        let of: Vec<&Door> =
            used.iter().filter(|(_, secure)| *secure == kind).map(|(door, _)| door).collect();
        for door in of {
            imported.called.push((door.address.clone(), door.name.clone()));
            let at = At::new(door.address.clone(), &door.place);
            if kind { imported.https.push(at) } else { imported.http.push(at) }
        }
    }
}

fn told_of_tls(node: &Node, key: &str, imported: &mut Imported) {
    let suggestion = match key {
        "domains" => {
            "a certificate is ordered for the hosts of each application; `acme: {group: none}` gives each name its own"
        }
        _ => {
            "versions and suites belong to listeners: `https: {listen: …, min_version: 1.3}`; client certificates are `client_ca`"
        }
    };
    node.take_whole();
    imported.notes.push(Note::left(&node.whole(), format!("tls.{key}"), suggestion));
}

/// The entry points of a router, and whether it names them.
fn reached(router: &Node, doors: &[Door], imported: &mut Imported) -> (Vec<Door>, bool) {
    let Some(named) = router.get("entryPoints") else {
        return (doors.iter().filter(|door| !door.raw).cloned().collect(), false);
    };
    let names = words(named);
    let mut found = Vec::new();
    for name in &names {
        match doors.iter().find(|door| door.name.eq_ignore_ascii_case(name)) {
            Some(door) => found.push(door.clone()),
            // Names that most people give to 80 and 443.
            None => {
                let tls = name.contains("secure") || name.contains("https") || name.contains("443");
                found.push(Door {
                    name: (*name).to_owned(),
                    address: if tls { "0.0.0.0:443" } else { "0.0.0.0:80" }.to_owned(),
                    place: named.place.clone(),
                    tls: false,
                    sent: false,
                    raw: false,
                    middlewares: Vec::new(),
                });
                let suggestion = format!(
                    "this entry point stands in none of the files; {} was taken",
                    found[found.len() - 1].address
                );
                imported.notes.push(Note::differs(&named.place, format!("entryPoints {name}"), suggestion));
            }
        }
    }
    (found, true)
}

/// A router with what is known of it.
struct Given<'a> {
    router: &'a Node,
    tls: Tls,
    /// Whether it is reached by plain HTTP.
    open: bool,
    /// Whether plain HTTP is sent on by an entry point.
    sent: bool,
    /// Whether routers have to say which comes first.
    ordered: bool,
    /// The entry points that it is reached by and that are not the usual ones.
    apart: Vec<String>,
    /// All of those.
    unusual: Vec<String>,
}

/// What all ways of a router's rule have in common.
struct Told<'a> {
    rule: &'a Node,
    done: &'a Done,
    /// Where requests go.
    to: Option<super::service::Pool>,
    reached: &'a [Door],
    priority: Option<i64>,
}

impl Given<'_> {
    fn routes(&self, source: &Source, reached: &[Door], imported: &mut Imported) {
        let router = self.router;
        let Some(rule) = router.get("rule") else { return };
        let text = rule.words().join(" ");
        let ways = match ways(&text) {
            Ok(ways) => ways,
            Err(why) => {
                let suggestion = format!("its rule cannot be read: {why}; write `hosts` and `path` by hand");
                imported.notes.push(Note::left(
                    &rule.place,
                    format!("routers.{}.rule", router.name),
                    suggestion,
                ));
                return;
            }
        };
        let priority = self.priority(&text);
        let _ = router.get("ruleSyntax").map(Node::take_whole);
        let mut done = Done::default();
        let shared = reached.iter().flat_map(|door| door.middlewares.iter().map(String::as_str));
        let own = router.get("middlewares").map(words).unwrap_or_default();
        for name in shared.chain(own) {
            super::middleware::named(source, name, router, &mut done, 0, imported);
        }
        let service = router.get("service");
        let to = if done.https {
            None
        } else {
            match service {
                Some(service) => pool(source, service.word(0).unwrap_or_default(), service, 0, imported),
                None => None,
            }
        };
        let _ = service.map(Node::take_whole);
        if to.is_some() {
            // Every application is told this of every client.
            let client = HeaderChange::Set("X-Real-Ip".to_owned(), CLIENT_IP.to_owned());
            done.actions.push(At::new(Action::Request(client), &router.place));
        }
        let told = Told { rule, done: &done, to, reached, priority };
        for way in ways {
            self.route(&way, &told, imported);
        }
    }

    /// Without a word the length of its rule; where ours come in the same order by themselves, none.
    fn priority(&self, rule: &str) -> Option<i64> {
        let said =
            self.router.text("priority").and_then(|text| text.parse().ok()).filter(|number| *number != 0);
        let length = i64::try_from(rule.len()).ok();
        if self.ordered { said.or(length) } else { None }
    }

    /// What a router guarded whose rule cannot be said must not fall to one that is open.
    fn close(&self, way: &Way, told: &Told<'_>, imported: &mut Imported) {
        let hosts: Vec<At<String>> =
            way.hosts.iter().map(|host| At::new(host.to_ascii_lowercase(), &told.rule.place)).collect();
        let path = way.path.as_ref().map_or_else(|| "/".to_owned(), |(path, _)| path.clone());
        let guard = Later::Guard(format!("the rule of routers.{}", self.router.name));
        let route = Route {
            actions: vec![At::new(Action::Later(guard), &told.rule.place)],
            ..Route::new(&self.router.place, format!("routers.{}", self.router.name), Match::Below(path))
        };
        self.site(&mut imported.sites, &hosts, told.reached).routes.push(route);
    }

    fn route(&self, way: &Way, told: &Told<'_>, imported: &mut Imported) {
        let (router, &Told { rule, done, reached, priority, .. }) = (self.router, told);
        let what = format!("routers.{}", router.name);
        if !way.others.is_empty() {
            let later = Later::Match(way.others.join(" && "));
            imported.notes.push(Note::left(&rule.place, format!("{what}.rule"), later.suggestion()));
            if done.actions.iter().any(|at| at.value.guards()) {
                self.close(way, told, imported);
            }
            return;
        }
        let hosts: Vec<At<String>> =
            way.hosts.iter().map(|host| At::new(host.to_ascii_lowercase(), &rule.place)).collect();
        if way.path.is_some() || way.wants.path_pattern.is_some() {
            not_cleaned(imported, rule);
        }
        let site = self.site(&mut imported.sites, &hosts, reached);
        if self.tls != Tls::Off && (site.tls == Tls::Off || self.tls == Tls::Auto) {
            site.tls = self.tls.clone();
        }
        let Some(pool) = told.to.clone() else {
            site.redirect |= done.https;
            if done.https {
                let suggestion = "plain HTTP is sent on to https by `redirect`, with 308: a POST stays one";
                imported.notes.push(Note::differs(&router.place, what, suggestion));
            }
            return;
        };
        if self.sent || self.tls != Tls::Off && !self.open {
            site.redirect = true;
        }
        if let Some((path, true)) = &way.path
            && path.len() > 1
            && path.ends_with('/')
        {
            let suggestion =
                format!("a path means whole segments here: {path} without its last slash is taken too");
            imported.notes.push(Note::differs(&rule.place, format!("{what}.rule"), suggestion));
        }
        let path = match &way.path {
            None => Match::Below("/".to_owned()),
            Some((path, true)) => Match::Below(path.clone()),
            Some((path, false)) => Match::Only(path.clone()),
        };
        let route = Route {
            wants: way.wants.clone(),
            priority,
            name: Some(router.name.clone()),
            upstreams: pool.upstreams,
            copied: pool.copied,
            keys: pool.keys.iter().chain(&done.keys).cloned().collect(),
            actions: done.actions_for(way),
            ..Route::new(&router.place, what, path)
        };
        // One router for each entry point says the same twice.
        if !site.routes.iter().any(|other| alike(other, &route)) {
            site.routes.push(route);
        }
    }
}

/// Whether these send the same requests to the same place, done the same to.
fn alike(one: &Route, other: &Route) -> bool {
    let upstreams = |route: &Route| route.upstreams.iter().map(|at| at.value.clone()).collect::<Vec<_>>();
    let actions = |route: &Route| route.actions.iter().map(|at| at.value.clone()).collect::<Vec<Action>>();
    (&one.path, &one.wants, one.priority) == (&other.path, &other.wants, other.priority)
        && upstreams(one) == upstreams(other)
        && actions(one) == actions(other)
}

/// Traefik cleans paths before it looks at them. Told once, whatever the number of routers.
fn not_cleaned(imported: &mut Imported, rule: &Node) {
    const WHAT: &str = "paths with `..` or `//`";
    if imported.notes.iter().all(|note| note.what != WHAT) {
        let suggestion = "they are not cleaned here, but passed on as they come, or answered 400 where they could lead to \
                          another application";
        imported.notes.push(Note::differs(&rule.place, WHAT, suggestion));
    }
}

/// The entry points among these that are not the usual ones of their kind.
fn unusual(reached: &[Door], doors: &[Door]) -> Vec<String> {
    let secure = |door: &Door| door.tls || is_secure(door);
    let kind = |wanted: bool| -> Vec<&str> {
        doors.iter().filter(|door| secure(door) == wanted).map(|door| door.address.as_str()).collect()
    };
    let usual = [usual(&kind(false), "80"), usual(&kind(true), "443")].concat();
    let known = |door: &&Door| doors.iter().any(|other| other.address == door.address);
    let apart = reached.iter().filter(known).filter(|door| !usual.contains(&door.address.as_str()));
    apart.map(|door| door.address.clone()).collect()
}

impl Given<'_> {
    /// The site of these hosts at these entry points.
    fn site<'a>(&self, sites: &'a mut Vec<Site>, hosts: &[At<String>], reached: &[Door]) -> &'a mut Site {
        let set = |hosts: &[At<String>]| {
            let mut set: Vec<String> = hosts.iter().map(|host| host.value.clone()).collect();
            set.sort();
            set
        };
        let doors: Vec<String> = reached.iter().map(|door| door.address.clone()).collect();
        let here = |site: &Site| {
            site.doors.iter().all(|door| !self.unusual.contains(door)) == self.apart.is_empty()
                && self.apart.iter().all(|door| site.doors.contains(door))
        };
        let wanted = set(hosts);
        let index = sites.iter().position(|site| set(&site.hosts) == wanted && here(site));
        let index = index.unwrap_or_else(|| {
            sites.push(Site {
                place: self.router.place.clone(),
                name: self.router.name.clone(),
                hosts: hosts.to_vec(),
                tls: Tls::Off,
                redirect: false,
                keys: Vec::new(),
                doors: Vec::new(),
                routes: Vec::new(),
            });
            sites.len() - 1
        });
        sites[index].doors.extend(doors);
        &mut sites[index]
    }
}
