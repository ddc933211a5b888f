//! How long a container takes, from the start of the runtime's process to its end.
//!
//! ```console
//! # cargo bench -p part5-network
//! # cargo bench -p part5-network -- --rounds 20
//! ```
//!
//! Every side starts the same static program, which exits at once, in the same root file system.
//! All sides run in turn, in another order in each round, so that a busy moment of the machine
//! falls on all of them. The floor is the least a container can cost.

mod floor;
mod measure;
mod ours;
mod peers;
mod programs;
mod report;

use std::path::Path;
use std::process::ExitCode;

use nix::unistd::Uid;
use shared::{Error, Result};

use measure::Side;

/// Runs that are not counted: they fill the caches.
const WARM_UP: usize = 3;
const ROUNDS: usize = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        [floor::FLAG, rootfs] => floor::run(Path::new(rootfs)),
        [measure::PEAK_FLAG, program, ref rest @ ..] => measure::report_peak(program, rest),
        _ => rounds(&words).and_then(bench),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("start: {error}");
            ExitCode::from(error.code())
        }
    }
}

/// `--rounds N`; Cargo adds `--bench`.
fn rounds(words: &[&str]) -> Result<usize> {
    let usage = || Error::new("usage: cargo bench -p part5-network -- [--rounds N]");
    match words.iter().filter(|word| **word != "--bench").collect::<Vec<_>>()[..] {
        [] => Ok(ROUNDS),
        [flag, n] if *flag == "--rounds" => match n.parse() {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(usage()),
        },
        _ => Err(usage()),
    }
}

fn bench(rounds: usize) -> Result<()> {
    if !Uid::effective().is_root() {
        println!("SKIPPED: the peers and the floor need root");
        return Ok(());
    }
    let temporary = tempfile::Builder::new()
        .prefix("start-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .map_err(|e| Error::new("cannot make a directory for the bench").because(e))?;
    let dir = temporary.path();
    let programs = programs::build(dir)?;

    let mut sides = vec![floor::side(&programs.rootfs)?];
    sides.extend(peers::sides(dir, &programs.rootfs)?);
    let ours = ours::Ours::prepare(dir)?;
    sides.extend(ours.sides());
    let sides = keep_those_that_work(sides, &programs)?;

    let results = measure::measure(&sides, rounds, WARM_UP)?;
    let supervisor = ours.supervisor_memory()?;
    report::print(&results, measure::smallest_peak()?, supervisor);
    Ok(())
}

/// Starts each side once with a program that answers a certain status. A side that does not bring
/// that answer back has started nothing; its time would be a lie.
fn keep_those_that_work(sides: Vec<Side>, programs: &programs::Programs) -> Result<Vec<Side>> {
    programs.set_true(programs::ANSWERING)?;
    let mut working = Vec::new();
    for side in sides {
        match measure::output(&side)? {
            (Some(programs::ANSWER), _) => working.push(side),
            (status, text) => {
                println!("SKIPPED {}: status {status:?} {}", side.name, text.trim());
            }
        }
    }
    programs.set_true(programs::TRUE)?;
    Ok(working)
}
