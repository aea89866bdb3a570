//! Why the demo or the gate could not go on. Faults of the traffic are not here: they are counted.

use std::path::PathBuf;
use std::time::Duration;

/// Why the stage could not be set or the story not be played.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A program is not there.
    #[error(
        "{program} is neither in {} nor on the PATH; build it with `cargo build -p switcher-proxy -p switcher`",
        beside.display()
    )]
    Missing {
        /// The program.
        program: &'static str,
        /// The folder that was searched first.
        beside: PathBuf,
    },
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {}s; the last words of the proxy: {last_words}", within.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The end of the proxy's log.
        last_words: String,
    },
    /// The proxy ended although nobody killed it.
    #[error("the proxy ended by itself while {waiting_for} was waited for; its last words: {last_words}")]
    Died {
        /// What was waited for.
        waiting_for: String,
        /// The end of the proxy's log.
        last_words: String,
    },
    /// A command of the product failed where it had to succeed.
    #[error("`switcher {command}` ended with exit code {code}: {said}")]
    Command {
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
        /// What it said on standard error.
        said: String,
    },
}

impl Trouble {
    /// For `map_err`: the system refused to do `what`.
    pub fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
