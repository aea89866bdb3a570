//! `cargo bench --workspace --bench compare [-- --quick] [-- --json] [-- --write-readme]`: CPU a request, handshakes
//! and memory of this proxy beside nginx, HAProxy and Caddy. Figures are reported, not judged; they are kept in
//! `target/compare.json`. It fails when an answer is not as it should be.

use std::process::ExitCode;

use clap::Parser as _;
use switcher::demo::trouble::Trouble;
use switcher_benches::compare::{Comparison, NAME, Scale, report};
use switcher_benches::options::Writing;
use switcher_benches::{quiet, readme};

fn main() -> ExitCode {
    let Writing { options, write_readme } = Writing::parse();
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    match measure(scale, options.json, write_readme) {
        Ok(code) => code,
        Err(trouble) => {
            eprintln!("nothing can be compared: {trouble}");
            ExitCode::from(2)
        }
    }
}

fn measure(scale: Scale, as_json: bool, write: bool) -> Result<ExitCode, Trouble> {
    let comparison = Comparison::run(scale)?;
    let (json, page) = (report::to_json(&comparison), report::to_markdown(&comparison));
    readme::keep_json(NAME, &json)?;
    if as_json {
        println!("{json}")
    } else {
        print!("{page}")
    }
    if write && comparison.busy_before > quiet::QUIET {
        eprintln!("the README is left as it is: the machine was busy with other things");
        return Ok(ExitCode::FAILURE);
    }
    if write {
        readme::write(NAME, &page)?;
    }
    Ok(ExitCode::SUCCESS)
}
