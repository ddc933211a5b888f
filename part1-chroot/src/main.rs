//! The binary of part 1.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::cli::main(&part1_chroot::part())
}
