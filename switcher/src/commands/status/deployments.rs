//! What the deployer remembers, shown beside what the proxy says: lease, deployments, an operation cut short.
//!
//! Invariant: nothing here fails a status. Without a configuration there is nothing to show; a memory that cannot be
//! read is a line.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use switcher_config::AppName;
use switcher_config::settings::Settings;
use switcher_config::wire::AppStatus;

use super::{COLUMN, watch};
use crate::configuration;
use crate::context::Context;
use crate::deploy::journal::{Entry, replay};
use crate::deploy::machine::Machine;
use crate::layout::{Page, Tone};
use crate::phrase;
use crate::state::record::{DeploymentRecord, LockRecord, State, Status};
use crate::state::{StateError, Store, Verdict};
use crate::watch::memory::{self, Memory};

/// How many of the newest deployments people see.
const SHOWN: usize = 3;
/// How many of them are in the JSON.
const LISTED: usize = 5;

/// What is remembered of each application that is deployed.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Deployments(BTreeMap<AppName, Remembered>);

/// What is remembered of an application.
#[derive(Debug)]
enum Remembered {
    Known(Box<Known>),
    /// It cannot be read, and why.
    Unreadable(String),
}

#[derive(Debug)]
struct Known {
    state: State,
    verdict: Verdict,
    unfinished: Option<Unfinished>,
    /// What `switcher watch` remembers, or why that cannot be read; none where nothing was ever watched.
    watch: Option<Result<Memory, String>>,
}

/// The operation whose journal is open.
#[derive(Debug, Serialize)]
struct Unfinished {
    deployment: String,
    operation: &'static str,
    version: String,
    during: &'static str,
    #[serde(skip)]
    repair: String,
}

impl Deployments {
    /// Reads it, for the application of `--app` or for all.
    pub(super) fn read(ctx: &Context) -> Self {
        let Ok(loaded) = configuration::load(ctx, ctx.again()) else { return Self::default() };
        let deployed = deployed(&loaded.settings);
        let sole = deployed.len() == 1;
        let wanted = |app: &&AppName| ctx.global.app.as_ref().is_none_or(|named| named == *app);
        let read = |app: &AppName| match known(ctx, &loaded.settings, app, sole) {
            Ok(known) => Remembered::Known(Box::new(known)),
            Err(why) => Remembered::Unreadable(why),
        };
        Self(deployed.into_iter().filter(wanted).map(|app| (app.clone(), read(app))).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines below an application's slots. Pure.
    pub(super) fn lines(&self, page: &mut Page, name: &AppName, app: &AppStatus, now: Timestamp) {
        match self.0.get(name) {
            None => {}
            Some(Remembered::Unreadable(why)) => {
                line(page, "deployments", Tone::Warn).words(why, Tone::Warn);
            }
            Some(Remembered::Known(known)) => known.lines(page, app, now),
        }
    }
}

fn deployed(settings: &Settings) -> Vec<&AppName> {
    settings.apps.iter().filter(|(_, app)| app.deploy.is_some()).map(|(name, _)| name).collect()
}

fn known(ctx: &Context, settings: &Settings, app: &AppName, sole: bool) -> Result<Known, String> {
    let words = |error: StateError| format!("what is remembered cannot be read: {error}");
    let environment = configuration::environment(ctx);
    let store = Store::open(&settings.switcher.state_dir, &environment, app, sole).map_err(words)?;
    let state = store.read().map_err(words)?;
    let verdict = store.verdict(&state.lock, Timestamp::now());
    let told = replay(store.journal::<Entry>().map_err(words)?.unwrap_or_default());
    let told = told.map_err(|error| format!("the journal cannot be understood: {error}"))?;
    let unfinished = told.map(|told| Unfinished::of(&told.machine, ctx.command("repair")));
    let watch = Memory::read(&memory::file(&store)).map_err(|error| error.to_string()).transpose();
    Ok(Known { state, verdict, unfinished, watch })
}

impl Unfinished {
    fn of(machine: &Machine, repair: String) -> Self {
        Self {
            deployment: machine.order.id.to_string(),
            operation: machine.order.purpose.as_str(),
            version: machine.order.release.version.clone(),
            during: machine.stage().as_str(),
            repair,
        }
    }
}

impl Known {
    fn lines(&self, page: &mut Page, app: &AppStatus, now: Timestamp) {
        let (label, words, tone) = match &self.state.current_deployment {
            None => ("deployed", "nothing yet".to_owned(), Tone::Faint),
            Some(current) => ("deployed", deployed_words(current, now), Tone::Plain),
        };
        line(page, label, Tone::Faint).words(&words, tone);
        if let Some(verified) = self.state.current_deployment.as_ref().and_then(|it| it.verified.as_ref()) {
            let tone = if verified.matched { Tone::Plain } else { Tone::Bad };
            let words = format!("{} {} ago", phrase::verified(verified), phrase::since(verified.at, now));
            line(page, "verified", Tone::Faint).words(&words, tone);
        }
        if let Some(previous) = &self.state.previous_deployment {
            line(page, "before", Tone::Faint).words(&previous_words(previous, app, now), Tone::Plain);
        }
        let held = matches!(self.verdict, Verdict::Held(_));
        if let Some(unfinished) = &self.unfinished {
            let Unfinished { operation, version, during, repair, .. } = unfinished;
            let what = format!("{operation} of {version}");
            let (words, tone) = if held {
                (format!("{what} is at work: {during}"), Tone::Strong)
            } else {
                (format!("{what} was cut short during {during}: `{repair}` brings it to its end"), Tone::Bad)
            };
            line(page, "unfinished", Tone::Faint).words(&words, tone);
        }
        let (words, tone) = lease_words(&self.verdict, now);
        line(page, "lease", Tone::Faint).words(&words, tone);
        if let Some(watch) = &self.watch {
            let (words, tone) = watch::words(watch, now);
            line(page, "watch", Tone::Faint).words(&words, tone);
        }
        let mut label = "history";
        for record in self.state.deployment_history.iter().take(SHOWN) {
            let (words, tone) = history_words(record, now);
            line(page, label, Tone::Faint).words(&words, tone);
            label = "";
        }
    }
}

impl Serialize for Remembered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl Remembered {
    /// The state as its file has it, with a shorter history, and how the lease and the journal stand.
    fn value(&self) -> Value {
        let known = match self {
            Self::Unreadable(why) => return json!({ "error": why }),
            Self::Known(known) => known,
        };
        let mut state = known.state.clone();
        state.deployment_history.truncate(LISTED);
        let mut value = json!(state);
        value["verdict"] = json!(word(&known.verdict));
        value["unfinished"] = json!(known.unfinished);
        if let Some(watch) = &known.watch {
            value["watch"] =
                watch.as_ref().map_or_else(|why| json!({ "error": why }), |memory| json!(memory));
        }
        value
    }
}

fn line<'a>(page: &'a mut Page, label: &str, tone: Tone) -> &'a mut Page {
    page.line(&format!("  {label}"), tone, COLUMN)
}

/// How the lease stands, in a word.
const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Free => "free",
        Verdict::Dead(_) => "dead",
        Verdict::Expired(_) => "expired",
        Verdict::Held(_) => "held",
    }
}

fn deployed_words(current: &DeploymentRecord, now: Timestamp) -> String {
    let DeploymentRecord { version, id, deployed_by, deployed_at, .. } = current;
    format!("{version} ({id}), {} ago by {deployed_by}", phrase::since(*deployed_at, now))
}

/// Whether going back is instant: its slot is registered with that release still.
fn previous_words(previous: &DeploymentRecord, app: &AppStatus, now: Timestamp) -> String {
    let slot = app.slots.get(previous.active_slot);
    let there = app.active != previous.active_slot
        && !slot.upstreams.is_empty()
        && slot.release.as_ref() == Some(&previous.version);
    let warmth = match previous.warm_until {
        _ if !there => "cold: going back starts it again".to_owned(),
        Some(until) if until > now => {
            format!("warm in {} for {}", previous.active_slot, phrase::since(now, until))
        }
        Some(_) => format!("warm in {} beyond its time, until it is pruned", previous.active_slot),
        None => format!("warm in {}", previous.active_slot),
    };
    format!("{} ({}), {warmth}", previous.version, previous.id)
}

fn lease_words(verdict: &Verdict, now: Timestamp) -> (String, Tone) {
    let until = |holder: &LockRecord| {
        let at = holder.lock_expires_at?;
        Some(if at > now {
            format!(", for {} unless it is renewed", phrase::since(now, at))
        } else {
            format!(", expired {} ago", phrase::since(at, now))
        })
    };
    let sentence =
        |holder: &LockRecord| format!("{}{}", holder.sentence(), until(holder).unwrap_or_default());
    match verdict {
        Verdict::Free => ("free".to_owned(), Tone::Faint),
        Verdict::Held(holder) => (format!("held: {}", sentence(holder)), Tone::Strong),
        Verdict::Dead(holder) => (format!("free, since its owner died: {}", holder.sentence()), Tone::Warn),
        Verdict::Expired(holder) => (format!("free, since it ran out: {}", sentence(holder)), Tone::Warn),
    }
}

fn history_words(record: &DeploymentRecord, now: Timestamp) -> (String, Tone) {
    let status = record.status.as_str().replace('_', " ");
    let failure =
        record.failure.as_ref().map(|failure| format!(" during {}: {}", failure.phase, failure.code));
    let ago = phrase::since(record.deployed_at, now);
    let words = format!("{} {status}{}, {ago} ago", record.version, failure.unwrap_or_default());
    let tone = match record.status {
        Status::Active => Tone::Good,
        Status::Failed => Tone::Bad,
        Status::Deploying | Status::RolledBack => Tone::Warn,
        Status::Superseded => Tone::Plain,
    };
    (words, tone)
}

#[cfg(test)]
mod tests {
    use switcher_config::Slot;

    use super::*;
    use crate::deployment::DeploymentId;
    use crate::state::record::{FailureRecord, HealthStatus};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn name() -> AppName {
        "shop".parse().expect("a name")
    }

    fn record(n: u8, status: Status, slot: Slot) -> DeploymentRecord {
        let id: DeploymentId = format!("dep_01JBQR2K3M4N5P6Q7R8S9T0VW{n}").parse().expect("an id");
        DeploymentRecord {
            health_status: HealthStatus::Healthy,
            status,
            ..DeploymentRecord::begun(
                id,
                format!("v1.{n}.0"),
                slot,
                "ada@build".to_owned(),
                at(i64::from(n) * 60),
            )
        }
    }

    fn holder() -> LockRecord {
        LockRecord {
            locked: true,
            locked_by: Some("ada@build".to_owned()),
            lock_expires_at: Some(at(700)),
            pid: Some(4711),
            hostname: Some("build".to_owned()),
            operation: Some("deploy".to_owned()),
            ..LockRecord::free(7)
        }
    }

    /// v1.5.0 is live in blue, v1.4.0 is in green, v1.6.0 failed.
    fn known() -> Known {
        let current = record(5, Status::Active, Slot::Blue);
        let previous =
            DeploymentRecord { warm_until: Some(at(900)), ..record(4, Status::Superseded, Slot::Green) };
        let failure = FailureRecord {
            code: "E-MIGRATE-02".to_owned(),
            phase: "migrate".to_owned(),
            message: String::new(),
            evidence: Vec::new(),
        };
        let failed = DeploymentRecord { failure: Some(failure), ..record(6, Status::Failed, Slot::Green) };
        let mut state = State::new("production", &name());
        state.deployment_history = vec![failed, current.clone(), previous.clone()];
        state.deployment_history.extend((0..4).map(|n| record(n, Status::Superseded, Slot::Blue)));
        state.current_deployment = Some(current);
        state.previous_deployment = Some(previous);
        Known { state, verdict: Verdict::Free, unfinished: None, watch: None }
    }

    fn unfinished() -> Option<Unfinished> {
        Some(Unfinished {
            deployment: "dep_01JBQR2K3M4N5P6Q7R8S9T0VW7".to_owned(),
            operation: "deploy",
            version: "v1.7.0".to_owned(),
            during: "migrate",
            repair: "switcher repair".to_owned(),
        })
    }

    fn proxy(green: Option<&str>) -> AppStatus {
        let upstream =
            json!({"address": "10.0.0.2:80", "health": "healthy", "last_check": null, "checks": []});
        let slot = |release: Option<&str>| {
            let upstreams: Vec<&Value> = release.iter().map(|_| &upstream).collect();
            json!({"health": "healthy", "release": release, "upstreams": upstreams,
                "in_flight": {"requests": 0, "uploads": 0, "streams": 0, "websockets": 0}})
        };
        serde_json::from_value(
            json!({"active": "blue", "generation": 7, "mode": "open", "held": 0, "draining": [],
            "slots": {"blue": slot(Some("v1.5.0")), "green": slot(green)}}),
        )
        .expect("a status")
    }

    fn deployments(remembered: Remembered) -> Deployments {
        Deployments(BTreeMap::from([(name(), remembered)]))
    }

    fn shown(remembered: Remembered, green: Option<&str>, width: usize) -> String {
        let mut page = Page::default();
        deployments(remembered).lines(&mut page, &name(), &proxy(green), at(600));
        page.render(width, false)
    }

    #[test]
    fn lease_deployments_and_what_was_cut_short_are_shown_however_they_stand() {
        let fresh = Known {
            state: State::new("production", &name()),
            verdict: Verdict::Free,
            unfinished: None,
            watch: None,
        };
        let late = |mut known: Known| {
            known.state.previous_deployment.as_mut().expect("one before").warm_until = Some(at(599));
            known
        };
        let expired = LockRecord { lock_expires_at: Some(at(480)), ..holder() };
        let unreadable = "what is remembered cannot be read: /var/lib/state.json is damaged: no JSON";
        let pages = [
            ("nothing yet", shown(Remembered::Known(Box::new(fresh)), None, 100)),
            ("warm", shown(Remembered::Known(Box::new(known())), Some("v1.4.0"), 100)),
            ("beyond its time", shown(Remembered::Known(Box::new(late(known()))), Some("v1.4.0"), 100)),
            (
                "at work",
                shown(
                    Remembered::Known(Box::new(Known {
                        verdict: Verdict::Held(holder()),
                        unfinished: unfinished(),
                        ..known()
                    })),
                    None,
                    100,
                ),
            ),
            (
                "cut short",
                shown(
                    Remembered::Known(Box::new(Known {
                        verdict: Verdict::Dead(holder()),
                        unfinished: unfinished(),
                        ..known()
                    })),
                    Some("v1.7.0"),
                    100,
                ),
            ),
            (
                "expired",
                shown(
                    Remembered::Known(Box::new(Known { verdict: Verdict::Expired(expired), ..known() })),
                    None,
                    100,
                ),
            ),
            ("unreadable", shown(Remembered::Unreadable(unreadable.to_owned()), None, 100)),
        ];
        let text: Vec<String> = pages.iter().map(|(title, page)| format!("{title}\n{page}")).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn the_lines_fit_every_terminal() {
        for width in 24..140 {
            let known = Known { verdict: Verdict::Dead(holder()), unfinished: unfinished(), ..known() };
            for line in shown(Remembered::Known(Box::new(known)), Some("v1.4.0"), width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn scripts_get_the_state_as_its_file_has_it_with_a_short_history() {
        let all = deployments(Remembered::Known(Box::new(Known { unfinished: unfinished(), ..known() })));
        let shop = &json!(all)["shop"];
        assert_eq!(shop["current_deployment"]["version"], "v1.5.0");
        assert_eq!(shop["previous_deployment"]["warm_until"], at(900).to_string());
        assert_eq!(shop["deployment_history"].as_array().map(Vec::len), Some(LISTED));
        assert_eq!((&shop["verdict"], &shop["lock"]["locked"]), (&json!("free"), &json!(false)));
        assert_eq!(
            (&shop["unfinished"]["version"], &shop["unfinished"]["during"]),
            (&json!("v1.7.0"), &json!("migrate"))
        );
        let unreadable = json!(deployments(Remembered::Unreadable("it is damaged".to_owned())));
        assert_eq!(unreadable, json!({"shop": {"error": "it is damaged"}}));
    }
}
