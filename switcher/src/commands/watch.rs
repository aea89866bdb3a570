//! `switcher watch [--once]`: deploys a tag whenever it moves. A service; `--once` is for timers and for trying out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sd_notify::NotifyState;
use serde_json::json;
use switcher_config::secret_file::{self, Owner};
use switcher_config::settings::{AppSettings, Settings, Webhook as WebhookSettings};
use switcher_config::{AppName, Loaded};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::interrupt;
use crate::cli::WatchArgs;
use crate::code::{Code, Exit};
use crate::configuration;
use crate::context::Context;
use crate::deploy::site::open_store;
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::layout::{Page, Tone};
use crate::state::StateError;
use crate::watch::application::{Application, Did, Tools};
use crate::watch::child::Children;
use crate::watch::memory::{self, Hold, Memory};
use crate::watch::registry::Registry;
use crate::watch::voice::Voice;
use crate::watch::webhook::Webhook;

/// The shortest secret of a webhook.
const SHORTEST: usize = 16;

/// Watches until a signal comes; answers the exit code. With `--once` that of what it did.
pub(super) async fn run(ctx: &Context, args: WatchArgs) -> Result<u8, Failure> {
    let mut interrupt = interrupt(ctx)?;
    let loaded = configuration::load(ctx, &ctx.command("config check"))?;
    let mut applications = watched(ctx, &loaded)?;
    let voice = Voice { json: ctx.global.json };
    let internal = |why: String| Failure::new(Code::Internal, why, Live::Unchanged, ctx.again());
    let registry = Registry::new(ctx.surroundings.docker_config.clone()).map_err(internal)?;
    let children =
        Children::of(ctx).map_err(|error| internal(format!("this program cannot be found: {error}")))?;
    let tools = Tools { registry, children, voice };
    if args.once {
        return once(ctx, &mut applications, &tools, &mut interrupt).await;
    }
    let listening = match &loaded.settings.switcher.webhook {
        Some(settings) => Some(listen(ctx, &loaded, settings, &applications, voice).await?),
        None => None,
    };
    tell_manager(voice, &[NotifyState::Ready]);
    let alive = sd_notify::watchdog_enabled().map(|every| tokio::spawn(stay_alive(voice, every / 2)));
    join_all(applications.iter_mut().map(|application| application.watch(&tools, interrupt.clone()))).await;
    tell_manager(voice, &[NotifyState::Stopping]);
    for task in listening.into_iter().chain(alive) {
        task.abort();
    }
    voice.say(None, "ended");
    Ok(0)
}

/// Looks once at each, deploys what is new, and prints what that came to.
async fn once(
    ctx: &Context,
    applications: &mut [Application],
    tools: &Tools,
    interrupt: &mut Interrupt,
) -> Result<u8, Failure> {
    let mut did: BTreeMap<AppName, Did> = BTreeMap::new();
    for application in applications {
        if interrupt.was_heard() {
            break;
        }
        let looked = async {
            application.begin(tools, interrupt).await?;
            application.look(tools, true, interrupt).await
        };
        let done = looked.await.map_err(|error| failure(ctx, &error))?;
        did.insert(application.app.clone(), done);
    }
    ctx.console.result(&page(&did).render(ctx.console.width, ctx.console.colour), &json!({ "apps": did }))?;
    if interrupt.was_heard() {
        return Ok(Exit::Interrupted as u8);
    }
    let mut exits = did.values().filter_map(|did| match did {
        Did::Deployed { exit, .. } => exit.map_or(Some(1), |exit| u8::try_from(exit).ok()),
        Did::Nothing { .. } | Did::Trouble { .. } => None,
    });
    if let Some(exit) = exits.find(|exit| *exit != 0) {
        return Ok(exit);
    }
    let trouble = did.into_values().find_map(|did| match did {
        Did::Trouble { message } => Some(message),
        Did::Nothing { .. } | Did::Deployed { .. } => None,
    });
    trouble.map_or(Ok(0), |message| {
        Err(Failure::new(Code::ImageUnavailable, message, Live::Unchanged, ctx.command("doctor")))
    })
}

/// Pure.
fn page(did: &BTreeMap<AppName, Did>) -> Page {
    let mut page = Page::default();
    for (app, did) in did {
        let (words, tone) = match did {
            Did::Nothing { digest, words } => (format!("nothing to do: {digest} is {words}"), Tone::Plain),
            Did::Deployed { digest, exit: Some(0), words } => (format!("{digest} is {words}"), Tone::Good),
            Did::Deployed { digest, words, .. } => (format!("{digest} is {words}"), Tone::Bad),
            Did::Trouble { message } => (message.clone(), Tone::Warn),
        };
        page.line("", Tone::Plain, 0).words(&format!("{app}:"), Tone::Strong).words(&words, tone);
    }
    page
}

/// Every application with `deploy.watch`, or the one that is named.
fn watched(ctx: &Context, loaded: &Loaded) -> Result<Vec<Application>, Failure> {
    let settings = &loaded.settings;
    if let Some(named) = ctx.global.app.as_ref().filter(|named| !settings.apps.contains_key(*named)) {
        let message = format!("there is no application \"{named}\" in the configuration");
        return Err(Failure::new(Code::AppUnknown, message, Live::Unchanged, ctx.command("config show")));
    }
    let wanted = |app: &AppName| ctx.global.app.as_ref().is_none_or(|named| named == app);
    let apps = settings.apps.iter().filter(|(app, _)| wanted(app));
    let found =
        apps.map(|(app, about)| application(ctx, settings, app, about)).collect::<Result<Vec<_>, _>>()?;
    let found: Vec<Application> = found.into_iter().flatten().collect();
    if found.is_empty() {
        let which = ctx.global.app.as_ref().map_or_else(|| "no application".to_owned(), ToString::to_string);
        let verb = if ctx.global.app.is_some() { "has no" } else { "has a" };
        let message =
            format!("{which} {verb} `deploy.watch` section, so nobody says which tag is to be deployed");
        return Err(Failure::new(Code::WatchNone, message, Live::Unchanged, ctx.command("config show")));
    }
    Ok(found)
}

fn application(
    ctx: &Context,
    settings: &Settings,
    app: &AppName,
    about: &AppSettings,
) -> Result<Option<Application>, Failure> {
    let deploy = about.deploy.as_ref();
    let Some((deploy, watch)) = deploy.and_then(|deploy| Some((deploy, deploy.watch.as_ref()?))) else {
        return Ok(None);
    };
    // The configuration says it: a watched application names its image.
    let Some(repository) = &deploy.image else { return Ok(None) };
    let image = repository.at_tag(&watch.tag);
    let sole = settings.apps.values().filter(|app| app.deploy.is_some()).count() == 1;
    let store = open_store(ctx, settings, &configuration::environment(ctx), app, sole)?;
    let hold = Hold::take(&store).map_err(|error| failure(ctx, &error))?.ok_or_else(|| {
        let message = format!("another `switcher watch` watches {app} on this machine already");
        Failure::new(Code::WatchTwice, message, Live::Unchanged, ctx.command("status"))
    })?;
    let file = memory::file(&store);
    let known = Memory::read(&file).map_err(|error| damaged(ctx, &error))?;
    let known = known.unwrap_or_else(|| Memory::new(app.as_str(), &image.to_string()));
    let memory = Memory { app: app.to_string(), image: image.to_string(), ..known };
    let (app, settings, bell) = (app.clone(), watch.clone(), Arc::new(Notify::new()));
    Ok(Some(Application { app, image, settings, store, bell, file, memory, prune_failed: None, _hold: hold }))
}

fn failure(ctx: &Context, error: &StateError) -> Failure {
    super::lock::state_failure(ctx, error)
}

/// A `watch.json` that is not what was written. Nothing but the tries of the newest digest is lost with it.
fn damaged(ctx: &Context, error: &StateError) -> Failure {
    let message = format!(
        "{error}; move the file away to go on: what the history has as deployed or failed still counts as tried"
    );
    Failure { message, ..failure(ctx, error) }
}

/// Opens the door for webhooks.
async fn listen(
    ctx: &Context,
    loaded: &Loaded,
    settings: &WebhookSettings,
    applications: &[Application],
    voice: Voice,
) -> Result<tokio::task::JoinHandle<()>, Failure> {
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
    let address = settings.listen.0;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let message = format!("`switcher.webhook` cannot listen on {address}: {error}");
        Failure::new(Code::WebhookBad, message, Live::Unchanged, ctx.again())
    })?;
    let bells = applications.iter().map(|it| (it.app.clone(), Arc::clone(&it.bell))).collect();
    let webhook = Arc::new(Webhook::new(secret.into_bytes(), bells, voice));
    let at = listener.local_addr().unwrap_or(address);
    voice.say(None, &format!("webhooks are taken at http://{at}/hooks/APP"));
    Ok(tokio::spawn(webhook.serve(listener)))
}

/// Tells the service manager that the event loop turns.
async fn stay_alive(voice: Voice, every: Duration) {
    let mut beat = tokio::time::interval(every.max(Duration::from_millis(10)));
    loop {
        beat.tick().await;
        tell_manager(voice, &[NotifyState::Watchdog]);
    }
}

/// Without a service manager there is nobody to tell.
fn tell_manager(voice: Voice, states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        voice.say(None, &format!("the service manager could not be told: {error}"));
    }
}
