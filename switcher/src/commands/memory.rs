//! The way of a command to the deployer's memory, by the configuration alone; and the failures it can meet there.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use switcher_config::AppName;
use switcher_config::settings::Settings;

use crate::code::Code;
use crate::configuration;
use crate::context::{Context, quoted};
use crate::failure::{Failure, Live};
use crate::state::{StateError, Store};

/// The memory of the application that is meant. No proxy is asked.
pub(super) fn open(ctx: &Context) -> Result<Store, Failure> {
    let loaded = configuration::load(ctx, &ctx.command("config check"))?;
    let (app, sole) = chosen(ctx, &loaded.settings)?;
    let allowed = std::env::var_os("SWITCHER_ALLOW_TEMPORARY_STATE").is_some_and(|value| value == "1");
    let state_dir = &loaded.settings.switcher.state_dir;
    Store::open(state_dir, &configuration::environment(ctx), &app, sole)
        .map(|store| store.allow_temporary(allowed))
        .map_err(|error| failure(ctx, &error))
}

/// The application: the named one, else the only one that is deployed. And whether it is the only one.
fn chosen(ctx: &Context, settings: &Settings) -> Result<(AppName, bool), Failure> {
    let deployed: Vec<&AppName> =
        settings.apps.iter().filter(|(_, app)| app.deploy.is_some()).map(|(name, _)| name).collect();
    let refused =
        |code: Code, message: String, next: String| Err(Failure::new(code, message, Live::Unchanged, next));
    match (&ctx.global.app, deployed.as_slice()) {
        (Some(app), _) if settings.apps.contains_key(app) => {
            Ok((app.clone(), deployed.iter().all(|other| *other == app)))
        }
        (Some(app), _) => {
            let known: Vec<&str> = settings.apps.keys().map(AppName::as_str).collect();
            let message =
                format!("there is no application \"{app}\"; the configuration has {}", known.join(", "));
            refused(Code::AppUnknown, message, ctx.command("config show"))
        }
        (None, [only]) => Ok(((*only).clone(), true)),
        (None, []) => {
            let message =
                "no application of the configuration has a `deploy` section, so there is nothing to remember";
            refused(Code::AppNone, message.to_owned(), ctx.command("config show"))
        }
        (None, [first, ..]) => {
            let names: Vec<&str> = deployed.iter().map(|app| app.as_str()).collect();
            let message = format!("{} are deployed; name the one you mean with --app", names.join(", "));
            refused(Code::AppAmbiguous, message, format!("{} --app {first}", ctx.again()))
        }
    }
}

/// What the memory refused, and the way out. Traffic was not touched for it.
pub(super) fn failure(ctx: &Context, error: &StateError) -> Failure {
    let (code, more, next) = way_out(ctx, error);
    Failure::new(code, format!("{error}{more}"), Live::Unchanged, next)
}

/// The code, what to say besides, and one command that leads on.
fn way_out(ctx: &Context, error: &StateError) -> (Code, String, String) {
    let copy = |from: &Path, to: &Path| format!("cp -p {} {}", shell(from), shell(to));
    match error {
        StateError::Damaged { file, why: _, last_good: Some(good) }
        | StateError::Gone { file, last_good: good } => {
            (Code::StateDamaged, format!("; the last good copy is {}", good.display()), copy(good, file))
        }
        StateError::Damaged { file, why: _, last_good: None } => {
            let more = "; there is no good copy beside it, so take one from your backup";
            (Code::StateDamaged, more.to_owned(), format!("ls -l {}", shell(folder(file))))
        }
        StateError::DamagedLine { file, line, why: _ } => {
            let more = "; mend it or take it out, the other lines are good";
            (Code::StateDamaged, more.to_owned(), format!("sed -n {line}p {}", shell(file)))
        }
        StateError::Newer { .. } => {
            let more = "; a newer switcher wrote it: use that one";
            (Code::StateDamaged, more.to_owned(), "switcher --version".to_owned())
        }
        StateError::Foreign { .. } => (
            Code::StateDamaged,
            "; was it copied there, or was the application renamed?".to_owned(),
            ctx.command("config show"),
        ),
        StateError::Io { step: _, path, source } => (Code::StateRefused, String::new(), look(path, source)),
        StateError::Busy { .. } => {
            (Code::StateRefused, "; it is stopped, or its disk hangs".to_owned(), ctx.command("lock status"))
        }
        StateError::Temporary { .. } => (
            Code::StatePlace,
            "; set `switcher.state_dir` to a folder that stays, such as /var/lib/switcher-deployments"
                .to_owned(),
            ctx.command("config show --origin"),
        ),
        StateError::Untrusted { folder, why: _ } => (
            Code::StatePlace,
            "; set `switcher.state_dir` to a folder of this user's or root's below such folders, for example \
             /var/lib/switcher-deployments, or mend this one with chown and `chmod go-w`"
                .to_owned(),
            format!("ls -ld {}", shell(folder)),
        ),
        StateError::Environment(_) => (Code::StatePlace, String::new(), ctx.command("config show")),
    }
}

/// A command that shows why the system refused.
fn look(path: &Path, source: &io::Error) -> String {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        format!("df -h {}", shell(folder(path)))
    } else {
        format!("ls -ld {}", shell(folder(path)))
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn shell(path: &Path) -> String {
    quoted(OsStr::new(path))
}
