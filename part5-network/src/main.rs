//! The binary of part 5.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::cli::main(&part5_network::part())
}
