//! `probe sleep SECONDS`: a process to look at from outside.

use crate::Outcome;
use crate::args::{Args, Seconds};

/// Sleeps as long as it is told.
pub fn run(words: Vec<String>) -> Outcome {
    let mut args = Args::new(words);
    let Seconds(time) = args.word("SECONDS")?;
    args.end()?;
    std::thread::sleep(time);
    Ok(())
}
