//! `switcher-proxy`: reads the command line and the configuration, then runs the composition root.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use switcher_config::{Sources, load};
use switcher_proxy::command::Command;
use switcher_proxy::compose::{self, CannotRun};
use switcher_proxy::reload::check_certificates;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("switcher-proxy: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(command: Command) -> Result<(), CannotRun> {
    let sources = Sources::from_process(command.config.clone(), command.environment.clone());
    let loaded = load(&sources).map_err(CannotRun::Configuration)?;
    loaded.check_pages().map_err(CannotRun::Configuration)?;
    if command.check {
        let files: Vec<String> = loaded.files.iter().map(|f| f.display().to_string()).collect();
        check_certificates(&loaded.proxy_settings(), None).map_err(CannotRun::Certificates)?;
        // A reader that is gone has seen enough; the exit code says the rest.
        let _ = writeln!(std::io::stdout(), "{}: ok", files.join(", "));
        return Ok(());
    }
    // Before anything could install another one: this one prefers post-quantum key exchange.
    switcher_certs::install_provider();
    log_to_stderr();
    raise_descriptor_limit();
    let system = |source| CannotRun::System { what: "the runtime cannot be started", source };
    let threads = compose::threads(&loaded.settings.proxy);
    let mut runtime = if threads == 1 {
        // One thread alone has nobody to wake and nobody to take work from: measured, 5 to 8 % less CPU a request.
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    // Of no meaning to a single one.
    runtime.worker_threads(threads);
    let runtime = runtime.enable_all().build().map_err(system)?;
    let outcome = runtime.block_on(compose::run(command, loaded.proxy_settings()));
    // Whatever is still running had its time.
    runtime.shutdown_background();
    outcome
}

/// Each request has a client's and an upstream's connection open, and the usual limit of 1024 is from another time.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Standard output belongs to the access log.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("SWITCHER_LOG").unwrap_or_else(|_| {
        EnvFilter::new("info,pingora=warn,pingora_core=error,pingora_core::apps=off,pingora_proxy=error")
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
