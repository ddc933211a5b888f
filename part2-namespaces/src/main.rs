//! The binary of part 2.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::cli::main(&part2_namespaces::part())
}
