//! `cargo bench --workspace --bench mirror [-- --quick] [-- --json]`: the latency of the live slot while copies of its
//! requests go to a standby that is dead, silent, endless or well. Figures are reported, not judged; it fails when a request does.

use std::process::ExitCode;

use clap::Parser as _;
use switcher_benches::mirror::{Comparison, Scale};
use switcher_benches::options::Reading;

fn main() -> ExitCode {
    let Reading { options } = Reading::parse();
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the system refused a runtime: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(Box::pin(Comparison::run(scale))) {
        Ok(comparison) => {
            print!("{}", if options.json { comparison.to_json() } else { comparison.to_text() });
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            eprintln!("copies cannot be measured: {trouble}");
            ExitCode::from(2)
        }
    }
}
