//! What a deployment would do, as data and as text (`--dry-run`). Pure; made of the very order that would run.

use serde::Serialize;
use switcher_config::settings::{DeploySettings, Hook, RuntimeKind, Workers};
use switcher_config::{Slot, Span};

use super::canary::CanaryOrder;
use super::order::{Order, Purpose, Stage};
use super::verify::{returns, without_query};
use crate::layout::{Page, Tone};
use crate::redact::Redactor;

/// What would be done.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The application.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// What for.
    pub purpose: Purpose,
    /// The live slot, and what runs there.
    pub live: Occupied,
    /// The slot it would go into, and what is there now.
    pub target: Occupied,
    /// The version.
    pub version: String,
    /// The pinned image; none without containers.
    pub image: Option<String>,
    /// Every stage, in order.
    pub stages: Vec<Planned>,
    /// What stands in the way now, or is worth knowing, a sentence each.
    pub notes: Vec<String>,
}

/// A slot and what is in it.
#[derive(Debug, Clone, Serialize)]
pub struct Occupied {
    /// The slot.
    pub slot: Slot,
    /// The release that the proxy knows there.
    pub release: Option<String>,
}

/// One stage of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// The stage.
    pub stage: Stage,
    /// What it would do, as a sentence.
    pub what: String,
}

impl Plan {
    /// The same with every secret hidden: somebody may have written one into a hook.
    #[must_use]
    pub fn redacted(mut self, redactor: &Redactor) -> Self {
        for stage in &mut self.stages {
            stage.what = redactor.line(&stage.what);
        }
        self
    }
}

/// Makes the plan of an order.
#[must_use]
pub fn plan(
    order: &Order,
    settings: &DeploySettings,
    releases: [Option<String>; 2],
    notes: Vec<String>,
) -> Plan {
    let [live, target] = releases;
    Plan {
        app: order.app.to_string(),
        environment: order.environment.clone(),
        purpose: order.purpose,
        live: Occupied { slot: order.slot.other(), release: live },
        target: Occupied { slot: order.slot, release: target.clone() },
        version: order.release.version.clone(),
        image: order.release.image.as_ref().map(|image| image.pinned.clone()),
        stages: order
            .stages
            .iter()
            .map(|stage| Planned { stage: *stage, what: what(*stage, order, settings, target.as_deref()) })
            .collect(),
        notes,
    }
}

/// A stage as a sentence.
#[must_use]
pub fn what(stage: Stage, order: &Order, settings: &DeploySettings, there: Option<&str>) -> String {
    let (slot, old, hooks) = (order.slot, order.slot.other(), &settings.hooks);
    match stage {
        Stage::PreDeploy => hook("pre_deploy", hooks.pre_deploy.as_ref()),
        Stage::Pull => match &order.release.image {
            Some(image) => format!("pull {} for {}", image.pinned, image.platform),
            None => "pull the image".to_owned(),
        },
        Stage::Inspect => "read the schema's version; a dirty one stops here".to_owned(),
        Stage::Snapshot => {
            let keep = settings.snapshot.as_ref().map_or_else(Span::default, |snapshot| snapshot.keep);
            format!("dump the database, verify the dump and keep it for {keep}")
        }
        Stage::Migrate => settings.migrate.as_ref().map_or_else(String::new, |migrate| {
            let command = migrate.command.join(" ");
            format!("run `{command}` once from the new image, at most {}", migrate.timeout)
        }),
        Stage::Vacate => match there {
            Some(release) => format!("withdraw {release} from {slot}, let it drain, and remove it"),
            None => format!("make sure that {slot} is empty"),
        },
        Stage::Start => start(order, settings),
        Stage::Register => format!("tell the proxy the addresses of {slot}"),
        Stage::Probe => format!("wait until {slot} is healthy, at most {}", settings.ready_timeout),
        Stage::Smoke => match settings.smoke.as_slice() {
            [one] => format!("ask {slot} for {} through the proxy's own listener", one.path),
            all => format!("ask {slot} for {} pages through the proxy's own listener", all.len()),
        },
        Stage::Canary => order.canary.as_ref().map_or_else(String::new, |canary| led(canary, slot)),
        Stage::PrePromote => hook("pre_promote", hooks.pre_promote.as_ref()),
        Stage::Deactivate => {
            format!("stop the workers of {old}: {}", hook("deactivate", hooks.deactivate.as_ref()))
        }
        Stage::Activate => {
            format!("start the workers of {slot}: {}", hook("activate", hooks.activate.as_ref()))
        }
        Stage::Promote => format!("move traffic from {old} to {slot}"),
        Stage::Verify => settings.verify.as_ref().map_or_else(String::new, |verify| {
            let else_what = if returns(order.purpose, verify) { "else traffic goes back" } else { "else that is told" };
            let address = without_query(&verify.url);
            format!("ask {address} until it answers with the new version, at most {}; {else_what}", verify.timeout)
        }),
        Stage::Drain => format!("wait until {old} has drained; it stays warm for {}", order.keep_previous),
        Stage::Bake => order.bake.as_ref().map_or_else(String::new, |bake| {
            format!(
                "let the proxy judge {slot} on live traffic for {}; when it is worse, traffic goes back to {old}",
                bake.window
            )
        }),
        Stage::Retire => {
            format!("stop the workers of {old}: {}", hook("deactivate", hooks.deactivate.as_ref()))
        }
        Stage::PostPromote => hook("post_promote", hooks.post_promote.as_ref()),
        Stage::PostRollback => hook("post_rollback", hooks.post_rollback.as_ref()),
        Stage::Record => "write state and history".to_owned(),
    }
}

fn led(canary: &CanaryOrder, slot: Slot) -> String {
    format!(
        "send {} of the clients to {slot}, {} each, while the proxy judges it against {}; when it is worse they are taken back",
        canary.words(),
        canary.every,
        slot.other()
    )
}

fn start(order: &Order, settings: &DeploySettings) -> String {
    let slot = order.slot;
    let workers = match settings.workers {
        Workers::Overlap => "",
        Workers::StopOldFirst => "; the old workers stop before traffic moves",
    };
    match settings.runtime {
        RuntimeKind::Docker => {
            let containers = match settings.replicas {
                1 => "1 container".to_owned(),
                several => format!("{several} containers"),
            };
            format!("start {containers} in {slot} on the network {}{workers}", settings.network)
        }
        RuntimeKind::Static => {
            format!("start {slot}: {}{workers}", hook("start", settings.hooks.start.as_ref()))
        }
    }
}

fn hook(name: &str, hook: Option<&Hook>) -> String {
    match hook {
        Some(hook) => {
            let words = match hook.command.as_slice() {
                [shell, flag, text] if shell == "/bin/sh" && flag == "-c" => text.clone(),
                words => words.join(" "),
            };
            format!("run the hook {name}: `{words}`")
        }
        None => format!("run the hook {name}"),
    }
}

/// The plan for people.
#[must_use]
pub fn page(plan: &Plan) -> Page {
    let named = |slot: &Occupied| match &slot.release {
        Some(release) => format!("{} ({release})", slot.slot),
        None => format!("{} (nothing)", slot.slot),
    };
    let mut page = Page::default();
    page.line("", Tone::Plain, 0)
        .words(&format!("{}:", plan.app), Tone::Strong)
        .words(&format!("{} of {} would go into", plan.purpose.as_str(), plan.version), Tone::Plain)
        .words(&format!("{};", named(&plan.target)), Tone::Strong)
        .words(&format!("live is {}", named(&plan.live)), Tone::Plain);
    for (number, stage) in plan.stages.iter().enumerate() {
        page.line(&format!("  {:>2}. {}", number + 1, stage.stage.as_str()), Tone::Faint, 20)
            .words(&stage.what, Tone::Plain);
    }
    for note in &plan.notes {
        page.line("  note", Tone::Warn, 20).words(note, Tone::Plain);
    }
    page
}
