//! Applying settings: at start, and at every reload, by the same path.
//!
//! Applications that stay keep their epoch and so every connection; one whose live addresses changed
//! gets a new epoch and drains the old; one that is gone is drained too, and what was remembered of
//! it is kept in case it comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use switcher_config::settings::{AppSettings, Listener, ProxySettings, Settings};
use switcher_config::wire::{CanaryResult, Event, RefusalReason, Reloaded};
use switcher_config::{AppName, Slot};

use crate::adopt::adopt;
use crate::affinity;
use crate::app::{App, Gate, Live};
use crate::canary::epochs::Canaries;
use crate::canary::{self, carry};
use crate::conditions::Conditions;
use crate::control::{Control, begin_standby, epoch_of, is_counted, live_gate, run, watch_slots};
use crate::decide::Denied;
use crate::drain::{Drain, Policy};
use crate::epoch::Trust;
use crate::health::Dialer;
use crate::middleware::Chains;
use crate::preview::{Guard, Token};
use crate::route::{Route, Table};
use crate::routing::{AppRouting, Routing};
use crate::standby::Previews;
use crate::view::{AppView, View};

/// What was made of the settings and of the files that they name, before anything is changed.
struct Files {
    trusts: BTreeMap<AppName, Trust>,
    guards: BTreeMap<AppName, Arc<Guard>>,
    chains: BTreeMap<AppName, Arc<Chains>>,
}

/// The part of one application.
struct Prepared {
    trust: Trust,
    guard: Option<Arc<Guard>>,
    chains: Option<Arc<Chains>>,
}

impl Files {
    fn take(&mut self, name: &AppName) -> Option<Prepared> {
        let trust = self.trusts.remove(name)?;
        Some(Prepared { trust, guard: self.guards.remove(name), chains: self.chains.remove(name) })
    }
}

/// What is done with the requests of each application for which something is. What counts goes on from `before`.
///
/// # Errors
/// A line for each file that cannot be read.
pub(crate) fn all_chains(
    settings: &Settings,
    before: Option<&View>,
) -> Result<BTreeMap<AppName, Arc<Chains>>, String> {
    let (mut all, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, app) in &settings.apps {
        let known = before.and_then(|view| view.apps.get(name)).and_then(|view| view.app.rules().1);
        match Chains::of(&settings.proxy.middleware, app, known.as_deref()) {
            Ok(Some(chains)) => drop(all.insert(name.clone(), chains)),
            Ok(None) => {}
            Err(why) => problems.push(format!("apps.{name}: {why}")),
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems.join("\n")) }
}

impl Control {
    /// Makes `settings` the ones in force, atomically: after saving, every request sees all of them.
    ///
    /// # Errors
    /// When the routing that follows from them cannot be saved; nothing was changed then.
    pub async fn apply(self: &Arc<Self>, settings: Arc<Settings>) -> Result<Reloaded, Denied> {
        let control = Arc::clone(self);
        run(async move {
            let _writer = control.writer.lock().await;
            control.refuse_frozen()?;
            let before = control.view();
            let trusts = trusts(&settings)?;
            let guards = guards(&settings).map_err(|why| Denied {
                reason: RefusalReason::BadConfiguration,
                message: format!("{why}; nothing was changed"),
            })?;
            let chains = all_chains(&settings, Some(&before)).map_err(|why| Denied {
                reason: RefusalReason::BadConfiguration,
                message: format!("{why}; nothing was changed"),
            })?;
            let routing = adopt_all(&before, &settings, &trusts);
            if routing != before.routing() || !control.file.path().exists() {
                control.save_all(routing.clone()).await?;
            }
            let reloaded = differences(&before, &settings);
            let files = Files { trusts, guards, chains };
            control.install(&before, settings, routing, files);
            if !before.apps.is_empty() {
                control.announce(Event::Reloaded { at: Timestamp::now(), reloaded: reloaded.clone() });
            }
            Ok(reloaded)
        })
        .await
    }

    fn install(
        self: &Arc<Self>,
        before: &View,
        settings: Arc<Settings>,
        mut routing: Routing,
        mut files: Files,
    ) {
        let mut apps = BTreeMap::new();
        let mut table = Table::default();
        for (name, app_settings) in &settings.apps {
            let Some(app_routing) = routing.apps.remove(name) else { continue };
            let app_settings = Arc::new(app_settings.clone());
            let Some(prepared) = files.take(name) else { continue };
            let view = match before.apps.get(name) {
                Some(now) => self.renew(now, app_routing, app_settings, prepared),
                None => self.first(name, app_routing, app_settings, prepared),
            };
            let installed = view.app.settings();
            let route = Route {
                path: installed.path.clone(),
                priority: installed.priority,
                conditions: Conditions::of(&installed.matching),
                target: Arc::clone(&view.app),
            };
            match &installed.tcp {
                Some(tcp) => table.add_raw(tcp, &installed.hosts, &view.app),
                None => {
                    for listener in installed.served_at() {
                        table.at_mut(listener).add(&installed.hosts, &route);
                    }
                }
            }
            apps.insert(name.clone(), Arc::new(view));
        }
        self.router.store(Arc::new(table));
        let mut orphans: Vec<Arc<Drain>> = before.drains_without(&settings);
        for (_, gone) in before.apps.iter().filter(|(name, _)| !settings.apps.contains_key(*name)) {
            orphans.extend(self.retire(gone));
            self.metrics.forget(&gone.app.name);
        }
        self.view.store(Arc::new(View { apps, asleep: routing.apps, settings, orphans }));
    }

    /// An application that is new in this process.
    fn first(
        &self,
        name: &AppName,
        routing: AppRouting,
        settings: Arc<AppSettings>,
        Prepared { trust, guard, chains }: Prepared,
    ) -> AppView {
        let slots = watch_slots(&self.watcher, name, &routing, &settings, None);
        let name = Arc::new(name.clone());
        let metrics = self.metrics.app(&name);
        // A canary that goes on has its own epoch of the generation that it began with, which may be the newest one.
        let generation = canary::going(&routing).map_or(routing.generation, |_| affinity::known_by(&routing));
        let named = AppRouting { generation, ..routing.clone() };
        let begin = |slot| epoch_of(slot, &metrics, &named, slots.get(slot), trust.clone());
        let (epoch, live) = begin(routing.active);
        let (standby, previewed) = begin(routing.active.other());
        let mut previews = Previews::default();
        previews.open(previewed);
        if is_counted(&settings, &routing) {
            live.count();
        }
        let gate = live_gate(&routing.gate);
        let now = Live { gate, settings, epoch, standby, canary: None, affinity: None, guard, chains };
        let app = Arc::new(App::new(name, now, metrics));
        let age = carry::age(&routing, Timestamp::now());
        let (drains, canaries) = (Vec::new(), Canaries::default());
        let mut view = AppView { app, routing, slots, live, trust, drains, previews, canaries };
        let canary = carry::open(&mut view, None, age);
        if canary.is_some() {
            let now = view.app.live();
            drop(view.app.replace(Live { canary, ..(*now).clone() }));
        }
        self.affine(&mut view);
        view
    }

    /// An application that was served before: its connections go on.
    fn renew(
        self: &Arc<Self>,
        now: &AppView,
        routing: AppRouting,
        settings: Arc<AppSettings>,
        Prepared { trust, guard, chains }: Prepared,
    ) -> AppView {
        let slots = watch_slots(&self.watcher, &now.app.name, &routing, &settings, Some(&now.slots));
        let slot = routing.active;
        let same_trust = now.trust.is_same(&trust);
        let same = |slot| routing.slots.get(slot).serves_as(now.routing.slots.get(slot)) && same_trust;
        let (same_epoch, same_standby) = (same(slot), same(slot.other()) && slot == now.routing.active);
        let gate = live_gate(&routing.gate);
        let mut view = AppView { routing, slots, trust, ..now.clone() };
        let before = now.app.live();
        let standby = if same_standby {
            Arc::clone(&before.standby)
        } else {
            let previewed = view.previews.leave(slot.other());
            self.drain_previews(previewed, &settings);
            begin_standby(&mut view)
        };
        let (epoch, canary) = (Arc::clone(&before.epoch), before.canary.clone());
        let affinity = before.affinity.clone();
        drop(before);
        for waited_for in [&epoch, &standby].into_iter().chain(canary.as_ref().map(|side| &side.epoch)) {
            waited_for.room.allow(settings.max_in_flight);
        }
        drop(now.app.replace(Live {
            gate: gate.clone(),
            settings: Arc::clone(&settings),
            epoch,
            standby,
            canary,
            affinity,
            guard,
            chains,
        }));
        if canary::going(&view.routing).is_none() {
            self.leave_canary(&mut view, Policy::new(&settings.drain, None));
            self.tell_canary_end(now, &view.routing);
        }
        self.affine(&mut view);
        if !same_epoch {
            return self.next_epoch(view, gate, settings);
        }
        if is_counted(&settings, &view.routing) {
            view.live.count();
        }
        view
    }

    /// Leaves an application that the configuration no longer names.
    fn retire(self: &Arc<Self>, gone: &AppView) -> Vec<Arc<Drain>> {
        let mut view = gone.clone();
        let policy = Policy::new(&gone.app.settings().drain, None);
        gone.live.ledger.retire();
        // Whoever waits in its queue wakes up, and nobody keeps its epoch alive by waiting.
        let slot = gone.routing.active;
        let (nothing, _) = epoch_of(slot, &gone.app.metrics, &gone.routing, &[], gone.trust.clone());
        let settings = gone.app.settings();
        let previewed: Vec<_> = Slot::ALL.into_iter().flat_map(|slot| view.previews.leave(slot)).collect();
        self.drain_previews(previewed.clone(), &settings);
        let standby = Arc::clone(&nothing);
        drop(gone.app.replace(Live {
            gate: Gate::Gone,
            settings,
            epoch: nothing,
            standby,
            canary: None,
            affinity: None,
            guard: None,
            chains: None,
        }));
        let mut left = previewed;
        for epoch in std::iter::once(gone.live.clone()).chain(view.canaries.all()) {
            epoch.ledger.retire();
            self.drain(&mut view, epoch, policy);
            left.extend(view.drains.pop());
        }
        left
    }
}

impl View {
    fn drains_without(&self, settings: &Settings) -> Vec<Arc<Drain>> {
        let gone = self.apps.iter().filter(|(name, _)| !settings.apps.contains_key(*name));
        let of_gone = gone.flat_map(|(_, app)| app.drains.iter());
        self.orphans.iter().chain(of_gone).filter(|d| !d.is_over()).cloned().collect()
    }
}

/// How the upstreams of every application are verified.
fn trusts(settings: &Settings) -> Result<BTreeMap<AppName, Trust>, Denied> {
    let trust = |(name, app): (&AppName, &AppSettings)| {
        let tls = &app.upstream_tls;
        let read = tls.ca_file.as_deref().map(roots).transpose().map_err(|why| {
            let message =
                format!("apps.{name}.upstream_tls.ca_file cannot be used: {why}; nothing was changed");
            Denied { reason: RefusalReason::BadConfiguration, message }
        })?;
        let (pem, roots) = read.unzip();
        let introduces = app.upstream_proxy_protocol;
        let dialer = Arc::new(Dialer::new(tls.clone()).introducing(introduces));
        Ok((name.clone(), Trust { settings: tls.clone(), introduces, pem, roots, dialer }))
    };
    settings.apps.iter().map(trust).collect()
}

/// Who previews the standby slot of each application that has a `preview` section.
///
/// # Errors
/// A sentence that names the key and the file.
pub(crate) fn guards(settings: &Settings) -> Result<BTreeMap<AppName, Arc<Guard>>, String> {
    let named = settings.apps.iter().filter_map(|(name, app)| Some((name, app, app.preview.as_ref()?)));
    named
        .map(|(name, app, preview)| {
            let token = Token::read(&preview.token_file)
                .map_err(|why| format!("apps.{name}.preview.token_file cannot be used: {why}"))?;
            let guard = Guard::new(name.clone(), app, preview.clone(), token);
            Ok((name.clone(), Arc::new(guard)))
        })
        .collect()
}

/// The trusted roots in a PEM file: its bytes, and as Pingora takes them.
fn roots(file: &Path) -> Result<(Arc<[u8]>, Arc<CaType>), String> {
    let unusable = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let pem = std::fs::read(file).map_err(|error| unusable(&error))?;
    let roots = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(&error))?;
    if roots.is_empty() {
        return Err(unusable(&"it holds no certificate"));
    }
    for root in &roots {
        // Pingora panics on one that it cannot parse.
        x509_parser::parse_x509_certificate(root).map_err(|error| unusable(&error))?;
    }
    let parsed: Vec<_> = roots.into_iter().map(|root| WrappedX509::new(root.to_vec(), parse_x509)).collect();
    Ok((pem.into(), parsed.into()))
}

/// The whole routing that follows from new settings.
fn adopt_all(before: &View, settings: &Settings, trusts: &BTreeMap<AppName, Trust>) -> Routing {
    let mut routing = before.routing();
    for (name, app) in &settings.apps {
        let mut adopted = adopt(routing.apps.get(name), app);
        let trusted_otherwise = match (before.apps.get(name), trusts.get(name)) {
            (Some(now), Some(trust)) => !now.trust.is_same(trust),
            (None, _) | (_, None) => false,
        };
        // It will begin a new epoch, and no two epochs may share a generation.
        if trusted_otherwise && routing.apps.get(name).is_some_and(|r| r.generation == adopted.generation) {
            adopted.generation = adopted.generation.next();
            adopted.left = None;
        }
        let before = routing.apps.get(name);
        if let Some(why) = before.and_then(|before| unlike_the_canary(before, &adopted, trusted_otherwise)) {
            adopted = canary::ended(adopted, CanaryResult::Superseded, vec![why], Timestamp::now());
        }
        routing.apps.insert(name.clone(), adopted);
    }
    routing
}

/// Why what a canary was about is no longer what is in its slot, if it is not.
fn unlike_the_canary(before: &AppRouting, after: &AppRouting, trusted_otherwise: bool) -> Option<String> {
    let slot = canary::going(after)?.shown.slot;
    let serves = after.slots.get(slot).serves_as(before.slots.get(slot));
    let what = match (serves, trusted_otherwise) {
        (false, _) => "addresses",
        (true, true) => "upstream_tls",
        (true, false) => return None,
    };
    Some(format!("the configuration has other {what} for {slot}"))
}

/// What a reload changes, and what it cannot change, in sentences.
fn differences(before: &View, settings: &Settings) -> Reloaded {
    let mut changes = Vec::new();
    for (name, app) in &settings.apps {
        match before.settings.apps.get(name) {
            None => changes.push(format!("app {name} was added")),
            Some(old) if old != app => changes.push(format!("app {name} was changed")),
            Some(_) => {}
        }
    }
    let removed = before.settings.apps.keys().filter(|name| !settings.apps.contains_key(*name));
    changes.extend(removed.map(|name| format!("app {name} was removed; what was remembered of it is kept")));
    if before.settings.acme != settings.acme {
        changes.push("the acme section was changed; certificates are kept until they are due".to_owned());
    }
    let (old, new) = (&before.settings.proxy, &settings.proxy);
    let fixed = fixed_part(old, new);
    if follows(old, new) {
        changes.push("proxy settings were changed".to_owned());
    }
    let mut needs_restart: Vec<String> = fixed
        .into_iter()
        .map(|key| format!("proxy.{key} takes effect at the next restart or upgrade"))
        .collect();
    let (now, then) = (before.settings.raw_addresses(), settings.raw_addresses());
    let listens =
        then.difference(&now).map(|at| format!("{at} is listened on after the next restart or upgrade"));
    let closes = now.difference(&then).map(|at| format!("{at} is closed at the next restart or upgrade"));
    needs_restart.extend(listens.chain(closes));
    Reloaded { changes, needs_restart }
}

/// The changed keys that a running process cannot follow.
fn fixed_part(old: &ProxySettings, new: &ProxySettings) -> Vec<&'static str> {
    [
        ("http", old.http != new.http),
        ("tcp", old.tcp != new.tcp),
        ("https", addresses(old) != addresses(new)),
        ("admin", old.admin != new.admin),
        ("status", old.status != new.status),
        ("data_dir", old.data_dir != new.data_dir),
        ("threads", old.threads != new.threads),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}

/// What is listened on with TLS; how is followed.
fn addresses(proxy: &ProxySettings) -> Vec<&Listener> {
    proxy.https.iter().map(|tls| &tls.listener).collect()
}

/// Whether something else was changed, which a running process follows.
fn follows(old: &ProxySettings, new: &ProxySettings) -> bool {
    let https = if addresses(old) == addresses(new) { &old.https } else { &new.https };
    let unchanged = ProxySettings {
        http: new.http.clone(),
        tcp: new.tcp,
        https: https.clone(),
        admin: new.admin.clone(),
        status: new.status,
        data_dir: new.data_dir.clone(),
        threads: new.threads,
        ..old.clone()
    };
    unchanged != *new
}
