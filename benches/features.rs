//! `cargo bench --workspace --bench features [-- --quick] [-- --json] [-- --write-readme] [-- --before PROGRAM]`: CPU a request
//! of compression, a cache hit, a rate limit and a login, beside nginx, Caddy and Traefik; and of none of them beside another
//! build. Figures are reported, not judged; they are kept in `target/features.json`. It fails when an answer is not as it should be.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use switcher::demo::trouble::Trouble;
use switcher_benches::features::{Comparison, NAME, Scale};
use switcher_benches::options::Writing;
use switcher_benches::{quiet, readme};

/// What this bench takes.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench features --", disable_version_flag = true)]
struct Told {
    #[command(flatten)]
    writing: Writing,
    /// A switcher-proxy of another build, for requests that use none of the features
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Told { writing, before } = Told::parse();
    match measure(&writing, before) {
        Ok(code) => code,
        Err(trouble) => {
            eprintln!("nothing can be compared: {trouble}");
            ExitCode::from(2)
        }
    }
}

fn measure(writing: &Writing, before: Option<PathBuf>) -> Result<ExitCode, Trouble> {
    let scale = if writing.options.quick { Scale::QUICK } else { Scale::FULL };
    let comparison = Comparison::run(scale, before)?;
    let (json, page) = (comparison.to_json(), comparison.to_markdown());
    readme::keep_json(NAME, &json)?;
    if writing.options.json {
        println!("{json}")
    } else {
        print!("{page}")
    }
    if writing.write_readme && comparison.busy_before > quiet::QUIET {
        eprintln!("the README is left as it is: the machine was busy with other things");
        return Ok(ExitCode::FAILURE);
    }
    if writing.write_readme {
        readme::write(NAME, &page)?;
    }
    Ok(ExitCode::SUCCESS)
}
