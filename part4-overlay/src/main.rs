//! The binary of part 4.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::cli::main(&part4_overlay::part())
}
