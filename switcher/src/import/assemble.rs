//! Sites become applications: one for each set of upstreams of a site, with what differs below a path in its `paths`. Pure.
//!
//! Applications are switched one by one, so routes that lead to the same upstreams belong to one. A route that leads
//! elsewhere, or has other bounds, is an application of its own with that path.

use std::collections::{BTreeMap, BTreeSet};

use switcher_config::{AppName, HostPattern, PathPrefix};

use super::action::{Action, HeaderChange, Later, middleware};
use super::doors::Doors;
use super::note::Note;
use super::raw::Mode;
use super::sheet::{Entry, list, pairs, scalar};
use super::site::{Imported, Match, Route, Site, Tls, Upstream};
use super::tree::{At, Place};
use super::values::escaped;
use crate::init::draft::label;
use crate::init::secret::is_secret;

/// How long upstreams may take: of an application, or of a path.
const TIMEOUTS: &str = "timeouts";

/// An application in the making.
struct App {
    name: String,
    /// The route of its whole path.
    route: Route,
    /// Redirects of paths below, which say by their patterns whom they mean.
    redirects: Vec<At<Action>>,
    /// What differs below a path.
    paths: Vec<Route>,
}

/// The whole configuration, not checked yet. What cannot be said is added to the notes.
#[must_use]
pub fn assemble(imported: &mut Imported, title: &str) -> Vec<Entry> {
    let sites: Vec<Site> = std::mem::take(&mut imported.sites).into_iter().flat_map(Site::split).collect();
    let doors = Doors::of(imported, &sites);
    let mut names = BTreeSet::new();
    let mut claimed = BTreeMap::new();
    let mut apps = Vec::new();
    let (mut tls, mut authority) = (false, false);
    for mut site in sites {
        site.routes.iter_mut().for_each(both_lists);
        if !hosts(&mut site, imported) {
            continue;
        }
        wildcard(&mut site, imported);
        tls |= site.tls != Tls::Off;
        authority |= site.tls == Tls::Auto;
        for app in applications(&site, &mut names, &mut imported.notes) {
            let listeners = doors.listeners(&site);
            if let Some(hosts) = unclaimed(&site, &app, &listeners, &mut claimed, &mut imported.notes) {
                apps.push(entry(&site, &hosts, &listeners, app, &mut imported.notes));
            }
        }
    }
    let served = !apps.is_empty() || imported.raw.is_empty();
    for raw in std::mem::take(&mut imported.raw) {
        authority |= raw.mode == Mode::Terminate(Tls::Auto);
        apps.push(raw.entry(&mut names));
    }
    let mut sheet = vec![proxy(imported, served, tls, &doors).above(format!(
        "Written by `switcher import` from {title}. It is yours now: nothing overwrites it. `switcher config check` tests it."
    ))];
    if authority {
        let keys = std::mem::take(&mut imported.acme);
        let comment =
            "Certificates, by Let's Encrypt: the names must lead to this machine, at ports 80 and 443.";
        let entry = if keys.is_empty() {
            Entry::line("acme", "{}").behind("{email: you@example.com}, where the authority writes to")
        } else {
            Entry::section("acme", keys)
        };
        sheet.push(entry.above(comment));
    }
    let state =
        Entry::line("state_dir", "/var/lib/switcher-deployments").behind("history, journals, snapshots");
    sheet.push(Entry::section("switcher", vec![state]));
    sheet.push(Entry::section("apps", apps).above(
        "What served until now is the slot `blue`. Start the next version beside it, give `green` its addresses (here, or \
         with `switcher register green ADDRESS`), and `switcher promote green` moves the traffic.",
    ));
    sheet
}

fn proxy(imported: &mut Imported, served: bool, tls: bool, doors: &Doors) -> Entry {
    let mut keys = Vec::new();
    let (http, https) = (std::mem::take(&mut imported.http), std::mem::take(&mut imported.https));
    if served {
        keys.push(listeners("http", http, "0.0.0.0:80", doors));
    } else {
        let why = "nothing is served there, and the proxy wants one address for HTTP";
        keys.push(Entry::line("http", "127.0.0.1:9181").behind(why));
    }
    if tls {
        keys.push(listeners("https", https, "0.0.0.0:443", doors));
    }
    keys.push(
        Entry::line("admin", "/run/switcher/admin.sock")
            .behind("who may open this file may switch: mode 0600"),
    );
    keys.push(Entry::line("status", "127.0.0.1:9180").behind("read-only: /status /metrics /health /ready"));
    keys.push(
        Entry::line("data_dir", "/var/lib/switcher")
            .behind("which slot is live, and the certificates: keep it"),
    );
    keys.append(&mut imported.proxy);
    Entry::section("proxy", keys)
}

fn listeners(key: &str, given: Vec<At<String>>, default: &str, doors: &Doors) -> Entry {
    let mut seen = BTreeSet::new();
    let given: Vec<At<String>> = given.into_iter().filter(|at| seen.insert(at.value.clone())).collect();
    let written = |key: &str, at: &At<String>| match doors.name(&at.value) {
        Some(name) => Entry::line(key, pairs(&[("listen", scalar(&at.value)), ("name", scalar(name))])),
        None => Entry::text(key, &at.value),
    };
    match given.as_slice() {
        [] => Entry::line(key, default),
        [one] => written(key, one),
        [_, _, ..] => {
            let item = |at: &At<String>| written("", at).from(&at.place, "listener");
            Entry::section(key, given.iter().map(item).collect())
        }
    }
}

/// Keeps the hosts that can be written; answers whether the site is left.
fn hosts(site: &mut Site, imported: &mut Imported) -> bool {
    let before = site.hosts.len();
    let mut seen = BTreeSet::new();
    site.hosts.retain(|host| {
        let good = host.value.parse::<HostPattern>().is_ok();
        if !good {
            let suggestion = "hosts are names, or `*.` and a name; write `hosts` by hand";
            imported.notes.push(Note::left(&host.place, format!("host {}", host.value), suggestion));
        }
        good && seen.insert(host.value.to_ascii_lowercase())
    });
    if before > 0 && site.hosts.is_empty() {
        let suggestion = "none of its hosts can be written here, and it must not take every host";
        imported.notes.push(Note::left(&site.place, format!("site {}", site.name), suggestion));
        return false;
    }
    true
}

/// An authority gives certificates for `*.` only to those who can set records.
fn wildcard(site: &mut Site, imported: &mut Imported) {
    let dns = imported.acme.iter().any(|entry| entry.key == "dns");
    let Some(host) = site.hosts.iter().find(|host| host.value.starts_with("*.")) else { return };
    if site.tls == Tls::Auto && !dns {
        let suggestion = "a certificate for it needs `acme: {dns: …}`; until then `tls: internal` stands there, by our own \
                          authority";
        imported.notes.push(Note::differs(&host.place, format!("host {}", host.value), suggestion));
        site.tls = Tls::Internal;
    }
}

/// Two lists of addresses that must both hold cannot be said: it stays closed, unless one holds the other.
fn both_lists(route: &mut Route) {
    let lists: Vec<At<Action>> =
        route.actions.iter().filter(|at| matches!(at.value, Action::Allow(_))).cloned().collect();
    let networks = |at: &At<Action>| {
        let Action::Allow(networks) = &at.value else { return BTreeSet::new() };
        networks.iter().cloned().collect::<BTreeSet<String>>()
    };
    let Some(narrowest) = lists.iter().min_by_key(|at| networks(at).len()).cloned() else { return };
    route.actions.retain(|at| !matches!(at.value, Action::Allow(_)));
    if lists.iter().all(|at| networks(at).is_superset(&networks(&narrowest))) {
        route.actions.push(narrowest);
    } else {
        let what = "two lists of addresses that must both hold".to_owned();
        route.actions.push(At::new(Action::Later(Later::Guard(what)), &narrowest.place));
    }
}

fn path_of(text: &str) -> String {
    let trimmed = text.trim_end_matches('/');
    if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }
}

fn applications(site: &Site, names: &mut BTreeSet<String>, notes: &mut Vec<Note>) -> Vec<App> {
    // What this version does not do is told, and makes no application.
    let (mut routes, nothing): (Vec<&Route>, Vec<&Route>) = site.routes.iter().partition(|route| does(route));
    nothing.iter().for_each(|route| later(route, notes));
    routes.sort_by_key(|route| (path_of(route.path.path()).len(), matches!(route.path, Match::Only(_))));
    let mut apps: Vec<App> = Vec::new();
    for route in routes {
        let path = path_of(route.path.path());
        let Ok(prefix) = path.parse::<PathPrefix>() else {
            let suggestion = format!("{path} is no path that can be written here; write `path` by hand");
            notes.push(Note::left(&route.place, route.what.clone(), suggestion));
            continue;
        };
        notes.extend(narrower(route, &path));
        let apart = route.is_apart();
        let fits = |app: &&mut App| !apart && !app.route.is_apart() && below(&app.route, prefix.as_str());
        let above = apps.iter_mut().rev().find(fits);
        match above {
            Some(app) if joins(app, route) => join(app, route, &path, notes),
            Some(_) | None => {
                if route.is_wider() && !only_redirects(route) {
                    notes.push(whole_path(route));
                }
                let name = name(site, route, &path, names);
                apps.push(App { name, route: route.clone(), redirects: Vec::new(), paths: Vec::new() });
            }
        }
    }
    apps
}

/// What is said of a path that also means, there, what begins with it in the middle of a segment, which ours does not.
fn narrower(route: &Route, path: &str) -> Option<Note> {
    let within = matches!(&route.path, Match::Below(path) if !path.is_empty() && !path.ends_with('/'));
    if !within || route.wants.path_pattern.is_some() {
        return None;
    }
    let suggestion = if route.actions.iter().any(|at| at.value.guards()) {
        format!(
            "paths are prefixes of whole segments here: what begins with {path} in the middle of a segment is not guarded; \
             write an application with `match: {{path_pattern: …}}` for it where there is such a thing"
        )
    } else {
        "a path means whole segments here: itself and what lies below it, and not what only begins with the same letters"
            .to_owned()
    };
    Some(Note::differs(&route.place, route.what.clone(), suggestion))
}

fn does(route: &Route) -> bool {
    let acts =
        |at: &At<Action>| !matches!(at.value, Action::Later(_) | Action::Request(_) | Action::Response(_));
    !route.upstreams.is_empty()
        || route.keys.iter().any(|entry| entry.key == "deploy")
        || route.actions.iter().any(acts)
            && route.actions.iter().all(|at| !matches!(at.value, Action::Later(Later::Files(_))))
}

fn below(route: &Route, path: &str) -> bool {
    route
        .path
        .path()
        .parse::<PathPrefix>()
        .is_ok_and(|prefix| prefix.matches(if path.is_empty() { "/" } else { path }))
}

fn whole_path(route: &Route) -> Note {
    let suggestion = "paths are prefixes of whole segments here: what lies below it is meant too";
    Note::differs(&route.place, route.what.clone(), suggestion)
}

/// Whether it does nothing but send on, by patterns that say whom they mean.
fn only_redirects(route: &Route) -> bool {
    let sends = |at: &At<Action>| matches!(at.value, Action::Redirect { .. });
    let beside = |at: &At<Action>| matches!(at.value, Action::Later(_) | Action::Response(_));
    route.upstreams.is_empty()
        && route.actions.iter().any(sends)
        && route.actions.iter().all(|at| sends(at) || beside(at))
}

/// Whether both change the headers of answers in the same way.
fn same_answers(one: &[At<Action>], other: &[At<Action>]) -> bool {
    let headers =
        |actions: &[At<Action>]| middleware(actions).into_iter().find(|e| e.key == "response_headers");
    match (headers(one), headers(other)) {
        (None, None) => true,
        (Some(one), Some(other)) => one.same(&other),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// How long the upstreams of a route may take, which a path may say for itself.
fn timeouts(route: &Route) -> Option<&Entry> {
    route.keys.iter().find(|entry| entry.key == TIMEOUTS)
}

/// Whether both wait for as long.
fn same_timeouts(one: &Route, other: &Route) -> bool {
    match (timeouts(one), timeouts(other)) {
        (None, None) => true,
        (Some(one), Some(other)) => one.same(other),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Whether a route belongs to an application that has its path already.
fn joins(app: &App, route: &Route) -> bool {
    let values = |upstreams: &[At<Upstream>]| upstreams.iter().map(|at| at.value.clone()).collect::<Vec<_>>();
    let keys = |route: &Route| -> Vec<Entry> {
        route.keys.iter().filter(|entry| entry.key != TIMEOUTS).cloned().collect()
    };
    let (one, other) = (keys(&app.route), keys(route));
    let alike = || one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| one.same(other));
    let same = values(&app.route.upstreams) == values(&route.upstreams)
        && values(&app.route.copied) == values(&route.copied)
        && alike();
    same || route.upstreams.is_empty() && route.keys.iter().all(|entry| entry.key != "deploy")
}

/// What comes before redirects, and would guard those of a path below too.
const BEFORE_REDIRECTS: [&str; 6] =
    ["allow", "deny", "rate_limit", "in_flight", "basic_auth", "forward_auth"];

/// Those of them that keep nobody out.
const LIMITS: [&str; 2] = ["rate_limit", "in_flight"];

/// What ends a request's way.
const ENDS: [&str; 3] = ["redirects", "files", "answer"];

fn join(app: &mut App, route: &Route, path: &str, notes: &mut Vec<Note>) {
    let taken = path_of(app.route.path.path()) == path
        || app.paths.iter().any(|other| path_of(other.path.path()) == path);
    let keys = app.route.actions.iter().filter_map(|action| action.value.key());
    let guards: Vec<&str> = keys.filter(|key| BEFORE_REDIRECTS.contains(key)).collect();
    let limited = taken && guards.iter().all(|key| LIMITS.contains(key));
    if only_redirects(route)
        && (guards.is_empty() || limited)
        && same_answers(&app.route.actions, &route.actions)
    {
        let sends = route.actions.iter().filter(|at| matches!(at.value, Action::Redirect { .. }));
        app.redirects.extend(sends.cloned());
        if limited && !guards.is_empty() {
            let suggestion = format!("who is sent on counts for the limits of {path} here");
            notes.push(Note::differs(&route.place, route.what.clone(), suggestion));
        }
        return;
    }
    let same = |other: &Route| {
        let (one, other) = (middleware(&other.actions), middleware(&route.actions));
        one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| one.same(other))
    };
    let same = |other: &Route| same(other) && same_timeouts(other, route);
    if !route.upstreams.is_empty() && same(&app.route) && !taken {
        // Exactly what the application does anyway.
        let deeper = app.paths.iter().any(|other| below(other, path));
        if !deeper {
            return;
        }
    }
    if taken {
        if !(same(&app.route) && path_of(app.route.path.path()) == path) {
            let suggestion = if route.is_wider() {
                format!(
                    "{path} alone is not told here from what lies below it, and the latter is written; an application with \
                     `match: {{path_pattern: '^{}$'}}` and the same slots would tell it",
                    escaped(path)
                )
            } else {
                format!("{path} is said twice, and cannot be told apart here; the first is written")
            };
            notes.push(Note::left(&route.place, route.what.clone(), suggestion));
        }
        return;
    }
    if route.is_wider() && !only_redirects(route) {
        notes.push(whole_path(route));
    }
    app.paths.push(route.clone());
}

fn name(site: &Site, route: &Route, path: &str, names: &mut BTreeSet<String>) -> String {
    let wished = match &route.name {
        Some(name) => name.clone(),
        None if path == "/" => site.name.clone(),
        None => format!("{}{}", site.name, path.replace('/', "-")),
    };
    named(&wished, names)
}

/// A name that is still free.
pub(super) fn named(wished: &str, names: &mut BTreeSet<String>) -> String {
    let base = label(wished);
    let mut name = base.clone();
    for number in 2.. {
        if names.insert(name.clone()) && name.parse::<AppName>().is_ok() {
            break;
        }
        name = format!("{}-{number}", base.chars().take(58).collect::<String>().trim_end_matches('-'));
    }
    name
}

/// The hosts that no other application has with this path; none when nothing is left.
fn unclaimed(
    site: &Site,
    app: &App,
    listeners: &[String],
    claimed: &mut BTreeMap<(String, String, String), Place>,
    notes: &mut Vec<Note>,
) -> Option<Vec<String>> {
    let path = path_of(app.route.path.path());
    let mut every: Vec<String> = site.hosts.iter().map(|host| host.value.to_ascii_lowercase()).collect();
    if every.is_empty() {
        every.push(String::new());
    }
    let apart = format!("{listeners:?} {:?} {:?}", app.route.wants, app.route.priority);
    let mut left = Vec::new();
    for host in every {
        match claimed.get(&(host.clone(), path.clone(), apart.clone())) {
            Some(place) => {
                let shown = if host.is_empty() { "every host" } else { &host };
                let suggestion = format!(
                    "{shown} with the path {path} is taken already, by {place}; only that is written"
                );
                notes.push(Note::left(&app.route.place, app.route.what.clone(), suggestion));
            }
            None => {
                claimed.insert((host.clone(), path.clone(), apart.clone()), app.route.place.clone());
                left.push(host);
            }
        }
    }
    let all = left.iter().all(String::is_empty);
    match left.is_empty() {
        true => None,
        false => Some(if all { Vec::new() } else { left }),
    }
}

fn entry(site: &Site, hosts: &[String], listeners: &[String], app: App, notes: &mut Vec<Note>) -> Entry {
    let App { name, mut route, redirects, mut paths } = app;
    let mut keys = Vec::new();
    if !hosts.is_empty() {
        keys.push(Entry::line("hosts", list(hosts)));
    }
    let path = path_of(route.path.path());
    if path != "/" {
        keys.push(Entry::text("path", &path));
    }
    keys.extend(route.wants.entry());
    keys.extend(route.priority.map(|priority| Entry::line("priority", priority.to_string())));
    keys.extend((!listeners.is_empty()).then(|| Entry::line("listeners", list(listeners))));
    keys.extend(tls(site));
    keys.extend(site.keys.iter().cloned());
    keys.extend(slots(&route.upstreams, &route.copied));
    let health = Entry::line("health", "{protocol: tcp}")
        .behind("better a path that says whether it works: {path: /health}");
    let probed = route.keys.iter().any(|entry| entry.key == "health" || entry.key == "deploy");
    keys.extend((!route.upstreams.is_empty() && !probed).then_some(health));
    let apart = own_timeouts(&mut route, &mut paths);
    let times = timeouts(&route).cloned();
    keys.append(&mut route.keys);
    later(&route, notes);
    paths.iter().for_each(|path| later(path, notes));
    let own = std::mem::take(&mut route.actions);
    let whole: Vec<At<Action>> = own.iter().cloned().chain(redirects.clone()).collect();
    let base = middleware(&whole);
    keys.push(Entry::section("middleware", base.clone()));
    let open = !redirects.is_empty() && middleware(&own).iter().all(|e| e.key != "redirects");
    let places = paths.iter().map(|path| place(&base, times.as_ref(), open, path));
    keys.push(Entry::section("paths", apart.into_iter().chain(places).collect()));
    Entry::section(&name, keys)
        .from(&route.place, route.what.clone())
        .above(format!("{}: {}", route.place, route.what))
}

/// The timeouts of an application as those of its own path, where a path below it has none that would come before them;
/// that one then says that it has the usual ones.
fn own_timeouts(route: &mut Route, paths: &mut [Route]) -> Option<Entry> {
    let silent = |path: &&mut Route| !path.upstreams.is_empty() && timeouts(path).is_none();
    let mut silent = paths.iter_mut().filter(silent).peekable();
    silent.peek()?;
    let at = route.keys.iter().position(|entry| entry.key == TIMEOUTS)?;
    for path in silent {
        path.keys.push(Entry::line(TIMEOUTS, "{}").behind("the usual ones"));
    }
    let times = route.keys.remove(at);
    Some(Entry::section(&path_of(route.path.path()), vec![times]).from(&route.place, route.what.clone()))
}

/// What differs below a path. `open`: the redirects above say by their patterns whom they mean. What only guards a path
/// leaves the rest to the application above it.
fn place(base: &[Entry], times: Option<&Entry>, open: bool, route: &Route) -> Entry {
    let own = middleware(&route.actions);
    let only_guards =
        route.upstreams.is_empty() && own.iter().all(|entry| !ENDS.contains(&entry.key.as_str()));
    let is_above = |entry: &Entry| base.iter().any(|above| above.key == entry.key);
    let is_left =
        |entry: &Entry| only_guards && !BEFORE_REDIRECTS.contains(&entry.key.as_str()) && is_above(entry);
    let mut keys: Vec<Entry> = own
        .iter()
        .filter(|entry| !base.iter().any(|above| above.same(entry)) && !is_left(entry))
        .cloned()
        .collect();
    for above in base.iter().filter(|above| own.iter().all(|entry| entry.key != above.key)) {
        if !(only_guards || open && above.key == "redirects") {
            keys.push(Entry::line(&above.key, "off"));
        }
    }
    keys.extend(timeouts(route).filter(|own| times.is_none_or(|above| !above.same(own))).cloned());
    Entry::section(&path_of(route.path.path()), keys)
        .from(&route.place, route.what.clone())
        .above(format!("{}: {}", route.place, route.what))
}

fn later(route: &Route, notes: &mut Vec<Note>) {
    for action in &route.actions {
        if let Action::Later(later) = &action.value {
            notes.push(Note::left(&action.place, later.what(), later.suggestion()));
        }
        if let Action::Request(change) | Action::Response(change) = &action.value
            && let HeaderChange::Set(name, value) | HeaderChange::Add(name, value) = change
            && is_secret(name, value)
        {
            let suggestion =
                "its value looks like a secret and was not copied; set the variable that stands there";
            notes.push(Note::left(&action.place, format!("header {name}"), suggestion));
        }
    }
}

impl Tls {
    /// As `tls` says it.
    pub(super) fn entry(&self) -> Entry {
        match self {
            Self::Off => Entry::line("tls", "off"),
            Self::Auto => Entry::line("tls", "auto"),
            Self::Internal => Entry::line("tls", "internal"),
            Self::Files { certificate, key } => {
                Entry::line("tls", pairs(&[("certificate", scalar(certificate)), ("key", scalar(key))]))
                    .behind("or `auto`: certificates are ordered and renewed")
            }
        }
    }
}

fn tls(site: &Site) -> Vec<Entry> {
    let mut keys = vec![site.tls.entry()];
    if site.tls != Tls::Off && !site.redirect {
        keys.push(Entry::line("redirect", "false"));
    }
    keys
}

/// The upstreams of the live slot, and of the one that gets copies.
pub(super) fn slots(live: &[At<Upstream>], copied: &[At<Upstream>]) -> Option<Entry> {
    if live.is_empty() {
        return None;
    }
    let text = |upstream: &Upstream| match upstream.weight {
        Some(weight) => pairs(&[("address", scalar(&upstream.address)), ("weight", weight.to_string())]),
        None => scalar(&upstream.address),
    };
    let slot = |key: &str, upstreams: &[At<Upstream>]| {
        let mut seen = BTreeSet::new();
        let items = upstreams.iter().filter(|at| seen.insert(at.value.address.clone()));
        let items = items.map(|at| {
            Entry::line("", text(&at.value)).from(&at.place, format!("upstream {}", at.value.address))
        });
        Entry::section(key, items.collect())
    };
    Some(Entry::section("slots", vec![slot("blue", live), slot("green", copied)]))
}
