//! `switcher watch [--once]`: deploys a tag whenever it moves. A service; `--once` is for timers and for trying out.

mod service;
mod setup;

use std::collections::BTreeMap;

use serde_json::json;
use switcher_config::AppName;

use self::setup::Watched;
use super::interrupt;
use crate::cli::WatchArgs;
use crate::code::{Code, Exit};
use crate::configuration;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::layout::{Page, Tone};
use crate::state::StateError;
use crate::watch::application::{Application, Did, Tools};

/// Watches until a signal comes; answers the exit code. With `--once` that of what it did.
pub(super) async fn run(ctx: &Context, args: WatchArgs) -> Result<u8, Failure> {
    if !args.once {
        return service::run(ctx).await;
    }
    let mut interrupt = interrupt(ctx)?;
    let loaded = configuration::load(ctx, &ctx.command("config check"))?;
    let watched = setup::watched(ctx, &loaded)?;
    let tools = setup::tools(ctx)?;
    once(ctx, watched, &tools, &mut interrupt).await
}

/// Looks once at each, deploys what is new, and prints what that came to.
async fn once(
    ctx: &Context,
    watched: Watched,
    tools: &Tools,
    interrupt: &mut Interrupt,
) -> Result<u8, Failure> {
    let Watched { mut applications, refused } = watched;
    let mut did: BTreeMap<AppName, Did> = BTreeMap::new();
    let mut failed = None;
    let mut refuse = |did: &mut BTreeMap<AppName, Did>, app: AppName, failure: Failure| {
        did.insert(app, Did::Refused { code: failure.code.as_str(), message: failure.message.clone() });
        failed.get_or_insert(failure);
    };
    for (app, failure) in refused {
        refuse(&mut did, app, failure);
    }
    for application in &mut applications {
        if interrupt.was_heard() {
            break;
        }
        match look(application, tools, interrupt).await {
            Ok(done) => drop(did.insert(application.app.clone(), done)),
            Err(error) => refuse(&mut did, application.app.clone(), setup::failure(ctx, &error)),
        }
    }
    ctx.console.result(&page(&did).render(ctx.console.width, ctx.console.colour), &json!({ "apps": did }))?;
    if interrupt.was_heard() {
        return Ok(Exit::Interrupted as u8);
    }
    ended(ctx, did, failed)
}

/// One look, after what was cut short has been brought to its end.
async fn look(
    application: &mut Application,
    tools: &Tools,
    interrupt: &mut Interrupt,
) -> Result<Did, StateError> {
    application.begin(tools, interrupt).await?;
    application.look(tools, true, interrupt).await
}

/// The exit code: that of a deployment that did not end well, then what could not be watched, then a silent registry.
fn ended(ctx: &Context, did: BTreeMap<AppName, Did>, failed: Option<Failure>) -> Result<u8, Failure> {
    let mut exits = did.values().filter_map(|did| match did {
        Did::Deployed { exit, .. } => exit.map_or(Some(1), |exit| u8::try_from(exit).ok()),
        Did::Nothing { .. } | Did::Trouble { .. } | Did::Refused { .. } => None,
    });
    if let Some(exit) = exits.find(|exit| *exit != 0) {
        return Ok(exit);
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    let trouble = did.into_values().find_map(|did| match did {
        Did::Trouble { message } => Some(message),
        Did::Nothing { .. } | Did::Deployed { .. } | Did::Refused { .. } => None,
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
            Did::Deployed { digest, exit: Some(0), words, .. } => {
                (format!("{digest} is {words}"), Tone::Good)
            }
            Did::Deployed { digest, live: true, words, .. } => (format!("{digest} is {words}"), Tone::Warn),
            Did::Deployed { digest, words, .. } => (format!("{digest} is {words}"), Tone::Bad),
            Did::Refused { message, .. } => (message.clone(), Tone::Bad),
            Did::Trouble { message } => (message.clone(), Tone::Warn),
        };
        page.line("", Tone::Plain, 0).words(&format!("{app}:"), Tone::Strong).words(&words, tone);
    }
    page
}
