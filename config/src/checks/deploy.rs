//! What the `deploy` section says, compared with itself and with the slots of its application.

use std::collections::BTreeMap;

use super::{is_bare, is_filled, quietly};
use crate::node::{Node, Origin, Value};
use crate::reader::{Reader, shown};
use crate::settings::{RuntimeKind, Workers};
use crate::values::{BakeSpan, Volume};
use crate::{BakeLimits, Slot, Span};

/// The default of `keep_previous`.
const KEPT: Span = Span::seconds(1800);

/// Tells what does not fit, for one application.
pub(super) fn check(app: &Node, reader: &mut Reader) {
    let Some(deploy) = app.get("deploy") else { return };
    reader.under("deploy", |reader| {
        if is_bare(deploy) {
            let hint = "write `deploy: {}` to deploy with every default, or leave the key out";
            reader.wrong(deploy, "the section is empty", hint);
        }
    });
    if !matches!(deploy.value, Value::Mapping(_)) {
        return;
    }
    match deploy.get("runtime").map_or(Some(RuntimeKind::Docker), |node| quietly(Some(node))) {
        Some(RuntimeKind::Docker) => docker(app, deploy, reader),
        Some(RuntimeKind::Static) => fixed(app, deploy, reader),
        None => {}
    }
    reader.under("deploy", |reader| {
        workers(deploy, reader);
        bake(deploy, reader);
        canary(deploy, reader);
        watch(deploy, reader);
        mounts(deploy, reader);
    });
    affinity(app, deploy, reader);
}

fn hook<'a>(deploy: &'a Node, name: &str) -> Option<&'a Node> {
    deploy.get("hooks").and_then(|hooks| hooks.given(name))
}

/// Containers with addresses that are fixed beforehand, or with hooks that nobody would run.
fn docker(app: &Node, deploy: &Node, reader: &mut Reader) {
    if let Some(slots) = app.get("slots").filter(|_| Slot::ALL.into_iter().any(|slot| is_filled(app, slot))) {
        let message = "containers are dialled by addresses that nobody knows beforehand, and these are fixed";
        let hint = "remove `slots`, or write `deploy: {runtime: static}` with the hooks `start` and `stop`";
        reader.under("slots", |reader| reader.wrong(slots, message, hint));
    }
    for name in ["start", "stop"] {
        let Some(node) = hook(deploy, name) else { continue };
        let message =
            format!("the hook `{name}` is for `runtime: static`; containers are started by the engine");
        let hint = "remove it, or take `pre_promote` and `post_promote`, `activate` and `deactivate`";
        reader.under(&format!("deploy.hooks.{name}"), |reader| reader.wrong(node, message, hint));
    }
}

/// Processes whose addresses are unknown, or that nobody starts.
fn fixed(app: &Node, deploy: &Node, reader: &mut Reader) {
    let Some(runtime) = deploy.get("runtime") else { return };
    if let Some(migrate) = deploy.given("migrate") {
        let message =
            "migrations run in a container of the new image, and with `runtime: static` there is none";
        let hint = "remove `migrate`, and migrate in the hook `pre_deploy`";
        reader.under("deploy.migrate", |reader| reader.wrong(migrate, message, hint));
    }
    reader.under("deploy.runtime", |reader| {
        for slot in Slot::ALL.into_iter().filter(|slot| !is_filled(app, *slot)) {
            let message = format!("with `runtime: static` both slots have fixed addresses, and {slot} has none");
            let hint = "add for example `slots: {blue: [127.0.0.1:8001], green: [127.0.0.1:8002]}` beside `deploy`";
            reader.wrong(runtime, message, hint);
        }
        if hook(deploy, "start").is_none() {
            let message = "with `runtime: static` the hook `start` starts a version, and it is missing";
            let hint = "add for example `hooks: {start: [systemctl, start, \"shop@{slot}\"], stop: [systemctl, stop, \"shop@{slot}\"]}`";
            reader.wrong(runtime, message, hint);
        }
    });
}

/// Old workers that nobody would stop.
fn workers(deploy: &Node, reader: &mut Reader) {
    let Some(node) = deploy.get("workers") else { return };
    if quietly(Some(node)) == Some(Workers::StopOldFirst) && hook(deploy, "deactivate").is_none() {
        let message = "`stop_old_first` runs the hook `deactivate` for the old slot, and it is missing";
        let hint = "add for example `hooks: {deactivate: [FILE, \"{slot}\"], activate: [FILE, \"{slot}\"]}`, or write `workers: overlap`";
        reader.under("workers", |reader| reader.wrong(node, message, hint));
    }
}

/// A version that is judged for longer than there is something to go back to.
fn bake(deploy: &Node, reader: &mut Reader) {
    let Some(bake) = deploy.given("bake") else { return };
    let keep = deploy.get("keep_previous");
    let given: Option<BakeSpan> = quietly(bake.get("for"));
    let window = given.map_or(BakeLimits::default().window, |span| span.0);
    let Some(keep) = keep.map_or(Some(KEPT), |node| quietly(Some(node))) else { return };
    if window > keep {
        let message = format!(
            "the new version is judged for {window}, and the one before is kept for {keep} alone: there would be nothing to go back to"
        );
        let hint = format!("judge it for a shorter time, or write `keep_previous: {window}` or more");
        let node = bake.get("for").unwrap_or(bake);
        reader.under("bake.for", |reader| reader.wrong(node, message, hint));
    }
}

/// Visitors who may stay in a slot for longer than it is kept.
fn affinity(app: &Node, deploy: &Node, reader: &mut Reader) {
    let Some(node) = app.given("release_affinity").and_then(|affinity| affinity.get("for")) else { return };
    let keep = deploy.get("keep_previous").map_or(Some(KEPT), |node| quietly(Some(node)));
    let (Some(BakeSpan(stay)), Some(keep)) = (quietly(Some(node)), keep) else { return };
    if stay > keep {
        let message = format!(
            "visitors may stay on the version before for {stay}, and by `deploy.keep_previous` it is kept for {keep} alone"
        );
        let hint = format!("let them stay for a shorter time, or write `keep_previous: {stay}` or more");
        reader.under("release_affinity.for", |reader| reader.wrong(node, message, hint));
    }
}

/// Clients on the new schema in a version that cannot run on it.
fn canary(deploy: &Node, reader: &mut Reader) {
    let Some(canary) = deploy.given("canary") else { return };
    let compatible = deploy.given("migrate").and_then(|migrate| migrate.get("compatible"));
    if quietly(compatible) == Some(false) {
        let message = "most clients stay in the live version while some try the new one, and by `migrate.compatible: false` \
                       the live version cannot run on the new schema";
        let hint = "remove `canary`, or write migrations that both versions can run on";
        reader.under("canary", |reader| reader.wrong(canary, message, hint));
    }
}

/// A tag of nobody knows what.
fn watch(deploy: &Node, reader: &mut Reader) {
    let Some(watch) = deploy.given("watch") else { return };
    let fixed = deploy.get("runtime").and_then(|node| quietly(Some(node))) == Some(RuntimeKind::Static);
    let (message, hint) = if fixed {
        let message = "a tag of an image is watched, and with `runtime: static` no image is deployed";
        (message, "remove `watch`, and let whoever makes a version call `switcher deploy VERSION`")
    } else if deploy.given("image").is_none() {
        let message = "nobody knows of which image the tag is: `deploy.image` is missing";
        (message, "add for example `image: ghcr.io/acme/shop` beside `watch`")
    } else {
        return;
    };
    reader.under("watch", |reader| reader.wrong(watch, message, hint));
}

/// Two mounts at one place.
fn mounts(deploy: &Node, reader: &mut Reader) {
    let Some(volumes) = deploy.get("volumes") else { return };
    let mut seen: BTreeMap<String, &Origin> = BTreeMap::new();
    for (index, item) in volumes.items().iter().enumerate() {
        let Some(volume) = quietly::<Volume>(Some(item)) else { continue };
        let target = volume.target().to_owned();
        let text = shown(item, &target);
        if let Some(first) = seen.insert(target, &item.origin) {
            let message = format!("something is mounted at {text} already, at {first}");
            reader.under(&format!("volumes[{index}]"), |reader| {
                reader.wrong(item, message, "keep one of the two")
            });
        }
    }
}
