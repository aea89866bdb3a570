//! `switcher migrate status`: how far the live database's schema is migrated, read only; `up` and `down` move it.

mod run;

use serde_json::json;

use super::snapshot::words;
use super::{Outcome, interrupt, interrupted_early};
use crate::cli::MigrateCommand;
use crate::code::Code;
use crate::context::Context;
use crate::database::{DatabaseUrl, SchemaState, probe};
use crate::deploy::site::Site;
use crate::failure::{Failure, Live};
use crate::layout::{Page, Tone};

/// Where the text beside the labels begins.
const COLUMN: usize = 12;

/// Runs the verb.
pub(super) async fn run(ctx: &Context, what: MigrateCommand) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let early = |end| interrupted_early(ctx, end);
    match what {
        MigrateCommand::Up { lock } => Box::pin(run::up(ctx, lock)).await,
        MigrateCommand::Down { to, lock } => Box::pin(run::down(ctx, &to, lock)).await,
        MigrateCommand::Status => interrupt.unless(Box::pin(status(ctx))).await.map_err(early)?,
    }
}

/// Shows it; a failure when a migration got stuck.
async fn status(ctx: &Context) -> Outcome {
    let site = Box::pin(Site::open(ctx)).await?;
    let url = url(&site).await?;
    ctx.reporter.waiting(&format!("asking {} for its schema …", url.label()));
    let looked = probe(&url).await;
    ctx.reporter.done();
    let state = looked.map_err(|error| {
        let message = site.redactor.line(&error.to_string());
        Failure::new(error.code(), message, Live::Unchanged, ctx.again())
    })?;
    let page = page(&url.label(), state.as_ref()).render(ctx.console.width, ctx.console.colour);
    ctx.console.result(&page, &json!({ "app": site.app, "database": url.label(), "schema": state }))?;
    match state.and_then(|state| state.dirty) {
        None => Ok(()),
        Some(dirty) => {
            let message = format!("{}; {}", dirty.what, dirty.way_out);
            Err(Failure::new(Code::SchemaDirty, message, Live::Unchanged, ctx.again()))
        }
    }
}

/// The database whose schema is read, as it is reached from here.
async fn url(site: &Site<'_>) -> Result<DatabaseUrl, Failure> {
    let refused =
        |code, message: String| Failure::new(code, message, Live::Unchanged, site.ctx.command("config show"));
    let words = words(site)?;
    let found =
        site.environment()?.schema_url(&words).map_err(|problems| site.environment_failure(&problems))?;
    let text = found.ok_or_else(|| {
        let message = format!(
            "no database is known of {}: write `deploy.migrate` with a `database_url`, or with a DATABASE_URL under `env`",
            site.app
        );
        refused(Code::ConfigBad, message)
    })?;
    let url: DatabaseUrl = text
        .expose()
        .parse()
        .map_err(|error: crate::database::InvalidUrl| refused(Code::DatabaseUrl, error.to_string()))?;
    Ok(site.reachable(url).await)
}

/// Pure.
fn page(database: &str, state: Option<&SchemaState>) -> Page {
    let mut page = Page::default();
    page.line("", Tone::Plain, 0).words(&format!("{database}:"), Tone::Strong);
    let Some(state) = state else {
        page.words("no migration tool that is known has left its table there", Tone::Plain);
        return page;
    };
    let version = state.version.as_deref().unwrap_or("before its first migration");
    page.words(version, if state.dirty.is_some() { Tone::Bad } else { Tone::Good });
    page.line("  tool", Tone::Faint, COLUMN).words(&format!("{} ({})", state.tool, state.table), Tone::Plain);
    if let Some(applied) = state.applied {
        page.line("  applied", Tone::Faint, COLUMN).words(&applied.to_string(), Tone::Plain);
    }
    if let Some(dirty) = &state.dirty {
        page.line("  stuck", Tone::Faint, COLUMN).words(&dirty.what, Tone::Bad);
        page.line("  way out", Tone::Faint, COLUMN).words(&dirty.way_out, Tone::Plain);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{Dirty, Tool};

    #[test]
    fn a_schema_is_one_short_page() {
        let mut state = SchemaState {
            tool: Tool::Sqlx,
            table: "public._sqlx_migrations".to_owned(),
            version: Some("20260201".to_owned()),
            applied: Some(12),
            dirty: None,
        };
        let good = page("shop@db", Some(&state)).render(80, false);
        state.dirty = Some(Dirty { what: "migration 7 did not end".into(), way_out: "run `x`".into() });
        let stuck = page("shop@db", Some(&state)).render(80, false);
        let none = page("shop@db", None).render(80, false);
        insta::assert_snapshot!(format!("{good}\n{stuck}\n{none}"), @"
        shop@db: 20260201
          tool      sqlx (public._sqlx_migrations)
          applied   12

        shop@db: 20260201
          tool      sqlx (public._sqlx_migrations)
          applied   12
          stuck     migration 7 did not end
          way out   run `x`

        shop@db: no migration tool that is known has left its table there
        ");
    }
}
