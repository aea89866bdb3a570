//! The service: watches every application until a signal ends it, and reads the configuration again on SIGHUP.
//!
//! Invariant: a configuration is taken up between deployments, and only when it is good; until then the one before holds.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sd_notify::NotifyState;
use switcher_config::Loaded;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::internal;
use super::setup::{self, Watched};
use crate::configuration;
use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::watch::application::{Application, Tools};
use crate::watch::voice::Voice;
use crate::watch::webhook::Webhook;

/// Watches until a signal comes.
pub(super) async fn run(ctx: &Context) -> Result<u8, Failure> {
    let (interrupt, mut hangups) = signals().map_err(|error| internal(ctx, &error))?;
    let mut loaded = configuration::load(ctx, &ctx.command("config check"))?;
    let tools = setup::tools(ctx)?;
    let voice = tools.voice;
    let mut alive = None;
    loop {
        let Watched { mut applications, refused } = setup::watched(ctx, &loaded)?;
        for (app, failure) in refused {
            let Failure { code, message, next, .. } = failure;
            voice.say(Some(&app), &format!("it is not watched: {code}: {message}; next: {next}"));
        }
        let door = listen(ctx, &loaded, &applications, voice).await?;
        alive.get_or_insert_with(|| {
            tell_manager(voice, &[NotifyState::Ready]);
            sd_notify::watchdog_enabled().map(|every| tokio::spawn(stay_alive(voice, every / 2)))
        });
        let again = round(ctx, &mut applications, &tools, &interrupt, hangups.as_mut()).await;
        if let Some(door) = door {
            door.abort();
            // The next door may be at the same address.
            let _ = door.await;
        }
        match again {
            Some(again) => loaded = again,
            None => break,
        }
    }
    tell_manager(voice, &[NotifyState::Stopping]);
    if let Some(alive) = alive.flatten() {
        alive.abort();
    }
    voice.say(None, "ended");
    Ok(0)
}

/// Whoever watches in a terminal ends when it goes away; a service has none, and SIGHUP is how it is reloaded.
fn signals() -> std::io::Result<(Interrupt, Option<Signal>)> {
    if std::io::stdin().is_terminal() {
        return Ok((Interrupt::listen()?, None));
    }
    let hangups = signal(SignalKind::hangup())?;
    Ok((Interrupt::listen_as_service()?, Some(hangups)))
}

/// Watches until a signal ends it, or until there is another configuration, which is answered.
async fn round(
    ctx: &Context,
    applications: &mut [Application],
    tools: &Tools,
    interrupt: &Interrupt,
    mut hangups: Option<&mut Signal>,
) -> Option<Loaded> {
    let (stop, stopped) = watch::channel(false);
    let watching =
        join_all(applications.iter_mut().map(|it| it.watch(tools, interrupt.clone(), stopped.clone())));
    let mut watching = std::pin::pin!(watching);
    loop {
        tokio::select! {
            _ = &mut watching => return None,
            () = hung_up(&mut hangups) => {}
        }
        match read_again(ctx) {
            Ok(loaded) => {
                tools.voice.say(None, "the configuration was read again; it is taken up between deployments");
                stop.send_replace(true);
                watching.await;
                return (!interrupt.was_heard()).then_some(loaded);
            }
            Err(failure) => {
                let report = failure.report.map(|report| report.0).unwrap_or_default();
                let words =
                    format!("the configuration cannot be taken up, and nothing changes: {}", failure.message);
                tools.voice.say(None, &format!("{words} {report}"));
            }
        }
    }
}

async fn hung_up(hangups: &mut Option<&mut Signal>) {
    match hangups {
        Some(hangups) => drop(hangups.recv().await),
        None => std::future::pending().await,
    }
}

fn read_again(ctx: &Context) -> Result<Loaded, Failure> {
    let loaded = configuration::load(ctx, &ctx.command("config check"))?;
    setup::check(ctx, &loaded)?;
    Ok(loaded)
}

/// Opens the door for webhooks, if there is to be one.
async fn listen(
    ctx: &Context,
    loaded: &Loaded,
    applications: &[Application],
    voice: Voice,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(settings) = &loaded.settings.switcher.webhook else { return Ok(None) };
    let secret = setup::secret(ctx, loaded, settings)?;
    let bells = applications.iter().map(|it| (it.app.clone(), Arc::clone(&it.bell))).collect();
    let webhook = Arc::new(Webhook::new(secret, bells, voice));
    let open = webhook.open(settings.listen.0).await;
    Ok(Some(tokio::spawn(webhook.serve(open, settings.listen.0))))
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
