//! `logs`: what a detached container wrote.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use clap::{Args, FromArgMatches};

use crate::error::{Error, Result};
use crate::home::Home;
use crate::part::Command;
use crate::state::{self, Record, Status};

/// How often a followed log is looked at.
const GLANCE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
struct Logs {
    /// Go on until the container stops
    #[arg(short, long)]
    follow: bool,

    /// Only the last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,

    /// The container
    name: String,
}

pub(super) fn command() -> Command {
    Command {
        name: "logs",
        define: || Logs::augment_args(clap::Command::new("logs").about("Show what it wrote")),
        run: |_, matches| {
            let logs = Logs::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            let home = Home::of_this_user();
            let record = find_logged(&home, &logs.name)?;
            let dir = home.containers().join(&record.name);
            follow(&dir, logs.follow, logs.tail, &mut std::io::stdout())?;
            Ok(0)
        },
    }
}

/// A container that keeps a log.
///
/// # Errors
/// It is not known, or runs in the foreground.
pub fn find_logged(home: &Home, name: &str) -> Result<Record> {
    let record = state::find(home, name)?;
    if !record.remove_on_stop {
        return Ok(record);
    }
    Err(Error::new(format!("{:?} runs in the foreground", record.name))
        .hint("what it writes is on its terminal; only `run -d` keeps a log"))
}

/// Copies a container's log to `to`; with `follow`, until the container has stopped.
///
/// # Errors
/// It cannot be read or written.
pub fn follow(dir: &Path, follow: bool, tail: Option<usize>, to: &mut dyn Write) -> Result<()> {
    let path = dir.join("log");
    let failed = |e| Error::new(format!("cannot read {}", path.display())).because(e);
    let mut log = File::open(&path).map_err(failed)?;
    if let Some(lines) = tail {
        skip_to_last(&mut log, lines).map_err(failed)?;
    }
    loop {
        // Asked before the last look: what it wrote before it stopped is then in the file.
        let goes_on = follow && state::read(dir).is_some_and(|r| r.status != Status::Stopped);
        std::io::copy(&mut log, to).map_err(failed)?;
        to.flush().map_err(failed)?;
        if !goes_on {
            return Ok(());
        }
        std::thread::sleep(GLANCE);
    }
}

/// Moves to the last `lines` lines of a log.
///
/// # Errors
/// It cannot be read.
pub fn skip_to_last(log: &mut File, lines: usize) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let end = bytes.strip_suffix(b"\n").unwrap_or(&bytes).len();
    let breaks = bytes[..end].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let start = match lines {
        0 => bytes.len(),
        n => breaks.map(|(at, _)| at + 1).nth(n - 1).unwrap_or(0),
    };
    log.seek(SeekFrom::Start(start as u64)).map(drop)
}
