//! The `switcher` program: hands the process's arguments and surroundings to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(switcher::run(std::env::args_os(), switcher::Surroundings::from_process()))
}
