//! What a bench is told on its command line. Anything else is refused before something is measured for a quarter of an hour.

use clap::Args;

/// What every bench takes.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// Measure little, to see that it works
    #[arg(long)]
    pub quick: bool,
    /// Write one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// What cargo itself says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a bench takes that writes a table of the README.
#[derive(Debug, Clone, Copy, clap::Parser)]
#[command(name = "cargo bench --bench … --", disable_version_flag = true)]
pub struct Writing {
    /// The rest.
    #[command(flatten)]
    pub options: Options,
    /// Put the tables into the README
    #[arg(long)]
    pub write_readme: bool,
}

/// What a bench takes that writes nothing.
#[derive(Debug, Clone, Copy, clap::Parser)]
#[command(name = "cargo bench --bench … --", disable_version_flag = true)]
pub struct Reading {
    /// The rest.
    #[command(flatten)]
    pub options: Options,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn what_cargo_says_is_taken_and_what_nobody_knows_is_refused() {
        let told = Writing::try_parse_from(["bench", "--bench", "--quick", "--write-readme"]).expect("known");
        assert!(told.options.quick && told.write_readme && !told.options.json);
        assert!(Writing::try_parse_from(["bench", "--hepl"]).is_err());
        assert!(Reading::try_parse_from(["bench", "--write-readme"]).is_err());
    }
}
