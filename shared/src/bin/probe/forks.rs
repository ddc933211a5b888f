//! `probe forks N`: how many processes may there be?

use std::process::{Child, Command};
use std::time::Duration;

use crate::Outcome;
use crate::args::{Args, Seconds};

/// Longer than anyone looks; every sleeper is ended before we return.
const ASLEEP: &str = "86400";

/// Starts `N` sleeping copies of itself, says how many there were and what stopped it.
///
/// Answers an error when not all of them could be started, as a limit should see to.
pub fn run(words: Vec<String>) -> Outcome {
    let mut args = Args::new(words);
    let hold: Option<Seconds> = args.option("--hold")?;
    let wanted: usize = args.word("N")?;
    args.end()?;

    let mut sleepers: Vec<Child> = Vec::new();
    let mut stopped_by = None;
    while sleepers.len() < wanted {
        match sleeper() {
            Ok(child) => sleepers.push(child),
            Err(error) => {
                stopped_by = Some(error);
                break;
            }
        }
    }
    println!("started {} of {wanted}", sleepers.len());
    std::thread::sleep(hold.map(|Seconds(time)| time).unwrap_or(Duration::ZERO));
    end(&mut sleepers);
    match stopped_by {
        None => Ok(()),
        Some(error) => Err(format!("the next one: {error}")),
    }
}

fn sleeper() -> std::io::Result<Child> {
    // Without /proc the program does not know its own path; then it is the one it was called by.
    let program = std::env::current_exe()
        .or_else(|error| std::env::args_os().next().map(Into::into).ok_or(error))?;
    Command::new(program).args(["sleep", ASLEEP]).spawn()
}

fn end(sleepers: &mut [Child]) {
    for child in &mut *sleepers {
        // It may have been killed already; waiting for it below is what counts.
        let _ = child.kill();
    }
    for child in sleepers {
        let _ = child.wait();
    }
}
