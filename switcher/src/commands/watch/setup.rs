//! What a watch begins with: the applications that can be watched, the others with the reason, and the door's secret.
//!
//! Invariant: an application whose memory is damaged, or that somebody else watches, keeps no other from being watched.
//! Called by `commands::watch`, and by its service whenever the configuration is read again.

use std::ffi::OsStr;
use std::sync::Arc;

use jiff::Timestamp;
use switcher_config::secret_file::{self, Owner};
use switcher_config::settings::{AppSettings, Settings, WatchSettings, Webhook as WebhookSettings};
use switcher_config::{AppName, ImageReference, Loaded};

use crate::code::Code;
use crate::configuration;
use crate::context::{Context, quoted};
use crate::deploy::site::open_store;
use crate::failure::{Failure, Live};
use crate::state::StateError;
use crate::watch::application::{Application, Tools};
use crate::watch::bell::Bell;
use crate::watch::child::Children;
use crate::watch::decide;
use crate::watch::memory::{self, Hold, Memory};
use crate::watch::registry::Registry;
use crate::watch::voice::Voice;

/// The shortest secret of a webhook.
const SHORTEST: usize = 16;

/// The applications that are to be watched.
pub(super) struct Watched {
    /// Those that can be.
    pub(super) applications: Vec<Application>,
    /// Those that cannot be, and why.
    pub(super) refused: Vec<(AppName, Failure)>,
}

/// What the configuration says of a watched application: its tag, and how it is watched.
type Plan<'a> = (ImageReference, &'a WatchSettings);

/// What every application is watched with.
pub(super) fn tools(ctx: &Context) -> Result<Tools, Failure> {
    let internal = |why: String| Failure::new(Code::Internal, why, Live::Unchanged, ctx.again());
    let registry = Registry::new(ctx.surroundings.docker_config.clone()).map_err(internal)?;
    let children =
        Children::of(ctx).map_err(|error| internal(format!("this program cannot be found: {error}")))?;
    Ok(Tools { registry, children, voice: Voice { json: ctx.global.json } })
}

/// Whether this configuration can be watched by; nothing is touched for it.
pub(super) fn check(ctx: &Context, loaded: &Loaded) -> Result<(), Failure> {
    planned(ctx, loaded)?;
    loaded
        .settings
        .switcher
        .webhook
        .as_ref()
        .map_or(Ok(()), |settings| secret(ctx, loaded, settings).map(drop))
}

/// Every application that is to be watched, held from now on. A failure when none can be: that of the first.
pub(super) fn watched(ctx: &Context, loaded: &Loaded) -> Result<Watched, Failure> {
    let mut watched = Watched { applications: Vec::new(), refused: Vec::new() };
    for (app, plan) in planned(ctx, loaded)? {
        match application(ctx, &loaded.settings, app, plan) {
            Ok(application) => watched.applications.push(application),
            Err(failure) => watched.refused.push((app.clone(), failure)),
        }
    }
    if watched.applications.is_empty() && !watched.refused.is_empty() {
        return Err(watched.refused.swap_remove(0).1);
    }
    Ok(watched)
}

/// Every application with `deploy.watch`, or the one that is named.
fn planned<'a>(ctx: &Context, loaded: &'a Loaded) -> Result<Vec<(&'a AppName, Plan<'a>)>, Failure> {
    let settings = &loaded.settings;
    if let Some(named) = ctx.global.app.as_ref().filter(|named| !settings.apps.contains_key(*named)) {
        let message = format!("there is no application \"{named}\" in the configuration");
        return Err(Failure::new(Code::AppUnknown, message, Live::Unchanged, ctx.command("config show")));
    }
    let wanted = |app: &AppName| ctx.global.app.as_ref().is_none_or(|named| named == app);
    let apps = settings.apps.iter().filter(|(app, _)| wanted(app));
    let found: Vec<_> = apps.filter_map(|(app, about)| Some((app, plan(about)?))).collect();
    if found.is_empty() {
        let which = ctx.global.app.as_ref().map_or_else(|| "no application".to_owned(), ToString::to_string);
        let verb = if ctx.global.app.is_some() { "has no" } else { "has a" };
        let message =
            format!("{which} {verb} `deploy.watch` section, so nobody says which tag is to be deployed");
        return Err(Failure::new(Code::WatchNone, message, Live::Unchanged, ctx.command("config show")));
    }
    Ok(found)
}

/// The configuration says it: a watched application names its image.
fn plan(about: &AppSettings) -> Option<Plan<'_>> {
    let deploy = about.deploy.as_ref()?;
    let watch = deploy.watch.as_ref()?;
    Some((deploy.image.as_ref()?.at_tag(&watch.tag), watch))
}

fn application(
    ctx: &Context,
    settings: &Settings,
    app: &AppName,
    (image, watch): Plan<'_>,
) -> Result<Application, Failure> {
    let sole = settings.apps.values().filter(|app| app.deploy.is_some()).count() == 1;
    let store = open_store(ctx, settings, &configuration::environment(ctx), app, sole)?;
    let hold = Hold::take(&store).map_err(|error| failure(ctx, &error))?.ok_or_else(|| {
        let message = format!("another `switcher watch` watches {app} on this machine already");
        Failure::new(Code::WatchTwice, message, Live::Unchanged, "systemctl status switcher-watch")
    })?;
    let file = memory::file(&store);
    let known = Memory::read(&file).map_err(|error| damaged(ctx, &error))?;
    let known = known.unwrap_or_else(|| Memory::new(app.as_str(), &image.to_string()));
    let mut memory = Memory { app: app.to_string(), image: image.to_string(), ..known };
    decide::settle(&mut memory, watch.interval.0, Timestamp::now());
    let (app, settings, bell) = (app.clone(), watch.clone(), Arc::new(Bell::default()));
    Ok(Application { app, image, settings, store, bell, file, memory, prune_failed: None, _hold: hold })
}

/// What the deployer's memory refused.
pub(super) fn failure(ctx: &Context, error: &StateError) -> Failure {
    super::super::lock::state_failure(ctx, error)
}

/// A `watch.json` that is not what was written. Nothing but the tries of the newest digest is lost with it.
fn damaged(ctx: &Context, error: &StateError) -> Failure {
    let told = failure(ctx, error);
    let (StateError::Damaged { file, .. } | StateError::Newer { file, .. }) = error else { return told };
    let quoted = quoted(OsStr::new(file));
    let message = format!(
        "{error}; move the file away to go on: what is live still counts as deployed, and what the history has as failed \
         is not tried again"
    );
    Failure { message, next: format!("mv {quoted} {quoted}.damaged"), ..told }
}

/// What webhooks are signed with.
pub(super) fn secret(ctx: &Context, loaded: &Loaded, settings: &WebhookSettings) -> Result<Vec<u8>, Failure> {
    let path = loaded.folder().join(&settings.secret_file);
    let refuse = |why: String| {
        let message = format!("the secret of `switcher.webhook` cannot be used: {why}");
        Failure::new(Code::WebhookBad, message, Live::Unchanged, ctx.command("config show"))
    };
    let secret = secret_file::read(&path, Owner::UsOrRoot).map_err(refuse)?;
    if secret.len() < SHORTEST {
        let hint = "`openssl rand -hex 32` makes one";
        return Err(refuse(format!("{}: it has fewer than {SHORTEST} characters; {hint}", path.display())));
    }
    Ok(secret.into_bytes())
}
