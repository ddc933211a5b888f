//! The binary of part 3.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::cli::main(&part3_cgroups::part())
}
