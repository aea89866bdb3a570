//! The call sites of the configuration reader: from the global options to settings, or to a failure.

use std::path::PathBuf;

use serde_json::Value;
use switcher_config::settings::Settings;
use switcher_config::{Loaded, Report, Sources};

use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};

/// Reads the configuration that the options and the environment name; `next` leads on when it is bad.
pub(crate) fn load(ctx: &Context, next: &str) -> Result<Loaded, Failure> {
    switcher_config::load(&sources(ctx)).map_err(|report| bad(&report, next))
}

/// Reads the configuration; everything that is wrong with it.
pub(crate) fn read(ctx: &Context) -> Result<Loaded, Report> {
    switcher_config::load(&sources(ctx))
}

/// The admin socket that the configuration names, even when something else in it is wrong.
pub(crate) fn admin_socket(ctx: &Context, next: &str) -> Result<PathBuf, Failure> {
    match switcher_config::load(&sources(ctx)) {
        Ok(loaded) => Ok(loaded.settings.proxy.admin),
        Err(Report { admin: Some(socket), .. }) => Ok(socket),
        Err(report) => Err(bad(&report, next)),
    }
}

/// The admin socket that the configuration names; none without any configuration.
pub(crate) fn admin_socket_if_any(ctx: &Context, next: &str) -> Result<Option<PathBuf>, Failure> {
    match switcher_config::load(&sources(ctx)) {
        Ok(loaded) => Ok(Some(loaded.settings.proxy.admin)),
        Err(Report { admin: Some(socket), .. }) => Ok(Some(socket)),
        Err(report) if report.problems.iter().all(|problem| problem.file.is_empty()) => Ok(None),
        Err(report) => Err(bad(&report, next)),
    }
}

/// What the proxy is told apart by from others on its machine: its admin socket.
pub(crate) fn proxy_name(ctx: &Context, settings: &Settings) -> PathBuf {
    let socket = ctx.named_admin().unwrap_or_else(|| settings.proxy.admin.clone());
    std::path::absolute(&socket).unwrap_or(socket)
}

/// The proxy's data folder that the configuration names.
pub(crate) fn data_dir(ctx: &Context) -> Result<PathBuf, Failure> {
    Ok(load(ctx, &ctx.command("config check"))?.settings.proxy.data_dir)
}

/// The environment's name: `--environment`, else `$SWITCHER_ENVIRONMENT`, else `production`.
pub(crate) fn environment(ctx: &Context) -> String {
    let sources = sources(ctx);
    let variable = || sources.variables.get("SWITCHER_ENVIRONMENT").cloned();
    let filled = |name: &String| !name.is_empty();
    let named = sources.environment.clone().filter(filled).or_else(|| variable().filter(filled));
    named.unwrap_or_else(|| "production".to_owned())
}

fn sources(ctx: &Context) -> Sources {
    Sources::from_process(ctx.global.config.clone(), ctx.global.environment.clone())
}

/// The JSON Schema of the configuration file.
pub(crate) fn schema() -> Value {
    switcher_config::schema()
}

pub(crate) fn bad(report: &Report, next: &str) -> Failure {
    let json = serde_json::to_value(report).unwrap_or_else(|_| Value::String(report.to_string()));
    Failure {
        report: Some(Box::new((report.to_string(), json))),
        ..Failure::new(Code::ConfigBad, summary(report), Live::Unchanged, next)
    }
}

/// One sentence: how many problems, and in which files.
fn summary(report: &Report) -> String {
    let mut files: Vec<&str> =
        report.problems.iter().map(|problem| problem.file.as_str()).filter(|file| !file.is_empty()).collect();
    files.dedup();
    let problems = match report.problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    if files.is_empty() {
        "no configuration file was found".to_owned()
    } else {
        format!("the configuration cannot be used: {problems} in {}", files.join(" and "))
    }
}
