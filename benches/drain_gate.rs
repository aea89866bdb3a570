//! `cargo bench --workspace --bench drain_gate [-- --quick] [-- --json]`: the gate that a switch must
//! pass. Exits with 1 when anything was lost, or when the gate missed a fault that it made itself.

use std::process::ExitCode;

use clap::Parser as _;
use switcher::demo::child::Programs;
use switcher::demo::trouble::Trouble;
use switcher_benches::drain_gate::{Gate, Scale, report};
use switcher_benches::options::Reading;

fn main() -> ExitCode {
    let Reading { options } = Reading::parse();
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    // One thread starts every child, and lives as long as they do.
    let gate = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Trouble::system("start the runtime"))
        .and_then(|runtime| runtime.block_on(pass(scale)));
    match gate {
        Ok(gate) => {
            print!("{}", if options.json { report::to_json(&gate) } else { report::to_text(&gate) });
            ExitCode::from(u8::from(!gate.ok()))
        }
        Err(trouble) => {
            eprintln!("the drain gate cannot run: {trouble}");
            ExitCode::from(2)
        }
    }
}

async fn pass(scale: Scale) -> Result<Gate, Trouble> {
    let bench = std::env::current_exe().map_err(Trouble::system("find this program"))?;
    // Benches lie in `deps` below the folder of their profile, the programs in that folder itself.
    let folder = bench.ancestors().nth(2).unwrap_or(&bench);
    Gate::pass(&Programs::in_folder(folder)?, scale).await
}
