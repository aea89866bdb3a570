//! `switcher config check | show | schema`.

use serde_json::json;

use super::Outcome;
use crate::cli::ConfigCommand;
use crate::configuration;
use crate::context::Context;

/// Answers from the files alone; no proxy is asked.
pub(super) fn run(ctx: &Context, what: &ConfigCommand) -> Outcome {
    match what {
        ConfigCommand::Check => {
            let loaded = configuration::load(ctx, ctx.again())?;
            loaded.check_pages().map_err(|report| configuration::bad(&report, ctx.again()))?;
            let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
            let apps: Vec<&str> = loaded.settings.apps.keys().map(|app| app.as_str()).collect();
            let text = format!("{}: good; it describes {}", files.join(", "), counted(apps.len()));
            ctx.console.result(&text, &json!({ "ok": true, "files": files, "apps": apps }))
        }
        ConfigCommand::Show { origin } => {
            let loaded = configuration::load(ctx, ctx.again())?;
            ctx.console.result(&loaded.show(*origin), &loaded.show_json())
        }
        ConfigCommand::Schema => ctx.console.write(&format!("{:#}", configuration::schema())),
    }
    .map(drop)
}

fn counted(apps: usize) -> String {
    match apps {
        0 => "no application".to_owned(),
        1 => "1 application".to_owned(),
        n => format!("{n} applications"),
    }
}
