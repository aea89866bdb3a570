//! `cargo bench --workspace --bench compare_swap [-- --quick] [-- --json] [-- --write-readme]`: what switches under load
//! cost the clients of this proxy, nginx, HAProxy and Caddy. Kept in `target/compare-swap.json`. Exits with 1 when ours
//! lost anything, or when a switch that was not made went unnoticed.

use std::process::ExitCode;

use clap::Parser as _;
use switcher::demo::child::Programs;
use switcher::demo::trouble::Trouble;
use switcher_benches::compare_swap::{NAME, Scale, Swaps, report};
use switcher_benches::options::Writing;
use switcher_benches::readme;

fn main() -> ExitCode {
    let Writing { options, write_readme } = Writing::parse();
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    // One thread starts every child, and lives as long as they do.
    let swaps = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Trouble::system("start the runtime"))
        .and_then(|runtime| runtime.block_on(count(scale)))
        .and_then(|swaps| tell(&swaps, options.json, write_readme).map(|()| swaps));
    match swaps {
        Ok(swaps) => ExitCode::from(u8::from(!swaps.ok())),
        Err(trouble) => {
            eprintln!("the switches cannot be counted: {trouble}");
            ExitCode::from(2)
        }
    }
}

async fn count(scale: Scale) -> Result<Swaps, Trouble> {
    let bench = std::env::current_exe().map_err(Trouble::system("find this program"))?;
    // Benches lie in `deps` below the folder of their profile, the programs in that folder itself.
    let folder = bench.ancestors().nth(2).unwrap_or(&bench);
    Swaps::count(&Programs::in_folder(folder)?, scale).await
}

fn tell(swaps: &Swaps, as_json: bool, write: bool) -> Result<(), Trouble> {
    let (json, page) = (report::to_json(swaps), report::to_markdown(swaps));
    readme::keep_json(NAME, &json)?;
    if as_json {
        println!("{json}")
    } else {
        print!("{page}")
    }
    if !swaps.ok() {
        eprint!("{}", report::why(swaps));
    } else if write {
        readme::write(NAME, &page)?;
    }
    Ok(())
}
