//! `cargo bench --workspace --bench handshakes [-- --quick] [-- --json]`: TLS handshakes of this proxy beside
//! nginx and HAProxy. Figures are reported, not judged; it fails when a handshake fails or is of the wrong kind.

use std::process::ExitCode;

use switcher_benches::handshakes::{Comparison, Scale, report};

fn main() -> ExitCode {
    let given = |option: &str| std::env::args().any(|arg| arg == option);
    let scale = if given("--quick") { Scale::QUICK } else { Scale::FULL };
    match Comparison::run(scale) {
        Ok(comparison) => {
            let page =
                if given("--json") { report::to_json(&comparison) } else { report::to_text(&comparison) };
            print!("{page}");
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            eprintln!("the handshakes cannot be measured: {trouble}");
            ExitCode::from(2)
        }
    }
}
