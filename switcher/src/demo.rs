//! `switcher demo`: real traffic moved between running versions by the real programs, every answer judged.
//!
//! Needs no root, no Docker and no network beyond loopback. The [`story`] is played on a [`stage`]
//! under a [`load`]; the drain gate of `benches/` plays another story on the same stage.

use std::io::Write as _;
use std::time::Duration;

use crate::code::Exit;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Reporter};

use self::child::Programs;
use self::story::{Outcome, Sabotage};
use self::trouble::Trouble;

pub mod app;
pub mod backend;
pub mod child;
pub mod load;
pub mod pattern;
pub mod product;
pub mod proxy;
pub mod report;
pub mod stage;
pub mod story;
pub mod trouble;

/// What `switcher demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// About how long it runs
    #[arg(long, default_value_t = 25, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=600))]
    pub seconds: u64,
    /// Break the promise on purpose, to see that it is noticed
    #[arg(long, value_enum, value_name = "HOW")]
    pub sabotage: Option<Sabotage>,
}

/// Why there is no outcome.
enum Ended {
    Interrupted,
    Trouble(Trouble),
}

/// Runs the demo and prints its result. Returns the exit code: 0 only when nothing at all was lost.
#[must_use]
pub fn run(args: DemoArgs, json: bool, progress: Progress) -> u8 {
    let progress = progress.resolve(json, false);
    let reporter = Reporter::new(progress);
    let live = progress == Progress::Tty;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let played = runtime
        .map_err(Trouble::system("start the runtime"))
        .map_err(Ended::Trouble)
        .and_then(|runtime| runtime.block_on(play(&args, (&reporter, live))));
    reporter.done();
    match played {
        Ok(outcome) => print(&outcome, json),
        Err(Ended::Interrupted) => {
            complain("interrupted; the demo's proxy and applications are stopped");
            Exit::Interrupted as u8
        }
        Err(Ended::Trouble(trouble)) => {
            complain(&format!("the demo cannot go on: {trouble}"));
            let missing = matches!(trouble, Trouble::Missing { .. });
            if missing { Exit::Unreachable as u8 } else { Exit::Failed as u8 }
        }
    }
}

/// Plays the story; Ctrl-C drops it, and with it every child.
async fn play(args: &DemoArgs, told: (&Reporter, bool)) -> Result<Outcome, Ended> {
    let programs = Programs::of_this_process().map_err(Ended::Trouble)?;
    let listening = Interrupt::listen().map_err(Trouble::system("listen for Ctrl-C"));
    let mut interrupt = listening.map_err(Ended::Trouble)?;
    let length = Duration::from_secs(args.seconds);
    let story = Box::pin(story::play(&programs, length, args.sabotage, told));
    match interrupt.unless(story).await {
        Ok(outcome) => outcome.map_err(Ended::Trouble),
        Err(_) => Err(Ended::Interrupted),
    }
}

fn print(outcome: &Outcome, json: bool) -> u8 {
    let text = if json { format!("{}\n", report::to_json(outcome)) } else { report::to_text(outcome) };
    // A reader that went away does not change what happened; the exit code still says it.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if outcome.ok() { 0 } else { Exit::Failed as u8 }
}

/// A line on standard error; when that is gone there is nobody to tell.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
