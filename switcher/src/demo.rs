//! Placeholder for the demonstration, so that the command line compiles without it.

pub mod app {
    //! Placeholder for the demonstration's application.

    /// What `demo-app` takes.
    #[derive(Debug, clap::Args)]
    pub struct AppArgs {}

    /// Runs the application.
    #[must_use]
    pub fn run(_args: AppArgs) -> u8 {
        1
    }
}

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

/// Runs the demonstration.
#[must_use]
pub fn run(_args: DemoArgs, _json: bool, _progress: crate::progress::Progress) -> u8 {
    1
}
