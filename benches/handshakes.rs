//! `cargo bench --workspace --bench handshakes [-- --quick] [-- --json]`: TLS handshakes of this proxy beside
//! nginx and HAProxy. Figures are reported, not judged; it fails when a handshake fails or is of the wrong kind.

use std::process::ExitCode;

use clap::Parser as _;
use switcher_benches::handshakes::{Comparison, Scale, report};
use switcher_benches::options::Reading;

fn main() -> ExitCode {
    let Reading { options } = Reading::parse();
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    match Comparison::run(scale) {
        Ok(comparison) => {
            let page = if options.json { report::to_json(&comparison) } else { report::to_text(&comparison) };
            print!("{page}");
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            eprintln!("the handshakes cannot be measured: {trouble}");
            ExitCode::from(2)
        }
    }
}
