//! The verbs, a file each; [`dispatch`] runs one and turns its outcome into an exit code.

mod canary;
mod certs;
mod completions;
mod config;
mod deploy;
mod doctor;
mod drain;
mod events;
mod explain;
mod history;
mod import;
mod init;
pub(crate) mod lock;
mod logs;
mod memory;
mod migrate;
mod mode;
mod preview;
mod promote;
mod prune;
mod register;
mod reload;
mod repair;
mod rollback;
mod snapshot;
mod status;
pub(crate) mod top;
mod watch;

use std::ffi::OsString;
use std::future::Future;

use crate::cli::{Cli, Command};
use crate::code::Code;
use crate::context::{Context, Surroundings};
use crate::demo;
use crate::failure::{Failure, Live};
use crate::interrupt::{Interrupt, Interrupted};

/// What a verb answers: that all is well, or why not.
type Outcome = Result<(), Failure>;

/// Runs the verb; answers the exit code.
pub(crate) fn dispatch(cli: Cli, args: &[OsString], surroundings: Surroundings) -> u8 {
    let Cli { global, command } = cli;
    let ctx = Context::new(global, args, surroundings);
    let outcome = match command {
        Command::Demo(args) => return demo::run(args, ctx.global.json, ctx.global.progress),
        Command::DemoApp(args) => return demo::app::run(args),
        Command::Config(what) => config::run(&ctx, &what),
        Command::Certs(what) => block_on(&ctx, certs::run(&ctx, what)),
        Command::Completions { shell } => completions::run(&ctx, shell),
        Command::Explain { code } => explain::run(&ctx, code.as_deref()),
        Command::Status { watch } => block_on(&ctx, status::run(&ctx, watch)),
        Command::Promote(args) => block_on(&ctx, promote::promote(&ctx, args)),
        Command::Canary(args) => block_on(&ctx, canary::run(&ctx, args)),
        Command::Deploy(args) => block_on(&ctx, deploy::run(&ctx, args)),
        Command::Rollback(args) => block_on(&ctx, rollback::run(&ctx, args)),
        Command::Repair(args) => block_on(&ctx, repair::run(&ctx, args)),
        Command::Prune { dry_run, lock } => block_on(&ctx, prune::run(&ctx, dry_run, lock)),
        Command::Snapshot(what) => block_on(&ctx, snapshot::run(&ctx, what)),
        Command::Migrate(what) => block_on(&ctx, migrate::run(&ctx, what)),
        Command::Preview { holds } => block_on(&ctx, preview::run(&ctx, holds)),
        Command::Pause { max } => block_on(&ctx, mode::pause(&ctx, max)),
        Command::Resume => block_on(&ctx, mode::resume(&ctx)),
        Command::Stop { message } => block_on(&ctx, mode::stop(&ctx, message)),
        Command::Drain { slot, watch } => block_on(&ctx, drain::run(&ctx, slot, watch)),
        Command::Reload => block_on(&ctx, reload::run(&ctx)),
        Command::Register { slot, upstreams, release } => {
            block_on(&ctx, register::run(&ctx, slot, upstreams, release))
        }
        Command::History { limit, yaml } => history::run(&ctx, limit, yaml),
        Command::Lock(what) => block_on(&ctx, lock::run(&ctx, what)),
        Command::Top(args) => block_on(&ctx, top::run(&ctx, args)),
        Command::Events => block_on(&ctx, events::run(&ctx)),
        Command::Init(args) => run_on_one_thread(&ctx, init::run(&ctx, args)),
        Command::Import(args) => import::run(&ctx, &args),
        Command::Doctor => run_on_one_thread(&ctx, doctor::run(&ctx)),
        Command::Logs(args) => block_on(&ctx, logs::run(&ctx, args)),
        Command::Watch(args) => match run_on_one_thread(&ctx, watch::run(&ctx, args)) {
            Ok(0) => Ok(()),
            // Whoever did it has said why.
            Ok(exit) => return exit,
            Err(failure) => Err(failure),
        },
    };
    ctx.reporter.done();
    match outcome {
        Ok(()) => 0,
        // The plan was the answer; the exit code says that it is not empty.
        Err(failure) if failure.code == Code::ToDo => failure.code.exit() as u8,
        Err(failure) => {
            ctx.console.failure(&failure);
            failure.code.exit() as u8
        }
    }
}

/// Reaches the server that is meant, where it is another machine, then works.
fn block_on(ctx: &Context, work: impl Future<Output = Outcome>) -> Outcome {
    run_on_one_thread(ctx, async {
        ctx.reach().await?;
        work.await
    })
}

/// One thread is enough for one question at a time.
fn run_on_one_thread<T>(ctx: &Context, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| internal(ctx, &error))?;
    runtime.block_on(Box::pin(work))
}

/// Hears of Ctrl-C from now on.
fn interrupt(ctx: &Context) -> Result<Interrupt, Failure> {
    Interrupt::listen().map_err(|error| internal(ctx, &error))
}

/// The end of a watch: nothing was changed, and nobody needs to be told twice.
fn watched(ctx: &Context, Interrupted: Interrupted) -> Failure {
    Failure::new(Code::InterruptedBefore, "the watch was ended", Live::Unchanged, ctx.command("status"))
}

/// The end of a command that had not even seen the status.
fn interrupted_early(ctx: &Context, Interrupted: Interrupted) -> Failure {
    let message = "interrupted before the proxy had answered and before anything was changed";
    Failure::new(Code::InterruptedBefore, message, Live::Unchanged, ctx.again())
}

fn internal(ctx: &Context, error: &std::io::Error) -> Failure {
    let message = format!("the system refused what this command needs: {error}");
    Failure::new(Code::Internal, message, Live::Unchanged, ctx.again())
}
