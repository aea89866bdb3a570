//! What a page shows: one moment, taken once, so that nothing on a page contradicts the rest of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use switcher_config::wire::{AppStatus, CertificateStatus, Health, Mode, Status};
use switcher_config::{AppName, Slot};

use crate::admin::Admin;
use crate::history::{Seen, Series};
use crate::view::{AppView, View};

/// How many applications are shown whole on the front page; more are a table with a page each.
const WHOLE: usize = 12;

/// One moment.
pub(super) struct Scene {
    /// When.
    pub(super) now: Timestamp,
    /// What `/v1/status` tells.
    pub(super) status: Status,
    /// Applications whose standby slot is the one that was left by the newest switch: to promote it is to go back.
    pub(super) back: BTreeMap<AppName, Slot>,
    /// The last minutes, of the applications that are shown whole.
    pub(super) seen: Seen,
    /// Whether people with the token may act.
    pub(super) acts: bool,
}

impl Scene {
    /// Everything, for the front page.
    pub(super) fn all(admin: &Admin) -> Self {
        Self::of(admin, &admin.control.view(), None)
    }

    /// Everything, with the last minutes of one application; none when there is no such application.
    pub(super) fn one(admin: &Admin, app: &str) -> Option<(Self, AppName)> {
        let (view, name) = (admin.control.view(), app.parse::<AppName>().ok()?);
        view.apps.contains_key(&name).then(|| (Self::of(admin, &view, Some(&name)), name))
    }

    fn of(admin: &Admin, view: &View, one: Option<&AppName>) -> Self {
        let whole = |name: &&AppName| one.map_or(view.apps.len() <= WHOLE, |one| one == *name);
        let back = view.apps.iter().filter_map(|(name, app)| Some((name.clone(), left_last(app)?)));
        Self {
            now: Timestamp::now(),
            status: admin.status(view),
            back: back.collect(),
            seen: admin.dashboard.history.seen(view.apps.keys().filter(whole)),
            acts: view.settings.proxy.dashboard_token.is_some(),
        }
    }

    /// Whether every application is shown whole on the front page.
    pub(super) fn is_small(&self) -> bool {
        self.status.apps.len() <= WHOLE
    }

    /// The last minutes of an application.
    pub(super) fn series(&self, app: &AppName) -> Option<&Series> {
        self.seen.series.get(app)
    }

    /// What people should know first, a sentence each; nothing when all is well.
    pub(super) fn concerns(&self) -> Vec<String> {
        let mut concerns: Vec<String> =
            self.status.apps.iter().filter_map(|(name, app)| concern(name, app)).collect();
        for certificate in &self.status.certificates {
            let names = names(certificate);
            if certificate.not_after <= self.now {
                concerns.push(format!("The certificate for {names} has expired."));
            } else if let Some(problem) = &certificate.problem {
                concerns.push(format!("The certificate for {names}: {problem}"));
            }
        }
        concerns
    }
}

/// The names of a certificate; a placeholder is for those that have none of their own.
pub(super) fn names(certificate: &CertificateStatus) -> String {
    if certificate.names.is_empty() { "every other name".to_owned() } else { certificate.names.join(", ") }
}

/// The slot that the newest switch left, when nothing was changed since.
/// The slot that the newest switch of an application has left, while it is the standby: to promote it is to go back.
pub(super) fn left_last(app: &AppView) -> Option<Slot> {
    let left = app.drains.last()?.epoch();
    let newest = left.generation.next() == app.routing.generation && left.slot != app.routing.active;
    newest.then_some(left.slot)
}

fn concern(name: &AppName, app: &AppStatus) -> Option<String> {
    match app.mode {
        Mode::Paused => return Some(format!("{name} is paused: new requests are held.")),
        Mode::Stopped => return Some(format!("{name} is stopped: the maintenance page is served.")),
        Mode::Open => {}
    }
    let live = app.slots.get(app.active);
    if live.upstreams.is_empty() {
        return Some(format!("{name} waits for its first deployment."));
    }
    let why = || live.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match live.health {
        Health::Healthy => None,
        Health::Unhealthy => Some(format!("{name}: {} is live and not healthy{}", app.active, why())),
        Health::Unknown => {
            Some(format!("{name}: {} is live and not known to be healthy{}", app.active, why()))
        }
    }
}
