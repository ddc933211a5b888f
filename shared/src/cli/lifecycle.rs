//! `stop`, `kill`, `rm`: the end of a container.

use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Args, FromArgMatches};
use nix::sys::signal::Signal;

use super::output;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::ownership;
use crate::part::Command;
use crate::spec::Restart;
use crate::state::{self, Record, Status};

/// Between the polite signal and `SIGKILL`, as Docker waits.
const GRACE: Duration = Duration::from_secs(10);

/// How long a supervisor may take to clean up after its container.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long one that may start again is waited for.
const MOMENT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
struct Stop {
    /// Seconds to wait before it is killed
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<u64>,

    /// The containers
    #[arg(required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct Kill {
    /// The signal: KILL, TERM, 9, …
    #[arg(short, long, default_value = "KILL", value_parser = signal_number)]
    signal: i32,

    /// The containers
    #[arg(required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct Rm {
    /// Kill it first if it runs
    #[arg(short, long)]
    force: bool,

    /// The containers
    #[arg(required = true)]
    names: Vec<String>,
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        Command {
            name: "stop",
            define: || {
                Stop::augment_args(
                    clap::Command::new("stop").about("Ask it to end, and kill it if it does not"),
                )
            },
            run: |_, matches| {
                let stop_them: Stop = parse(matches)?;
                let grace = stop_them.time.map(Duration::from_secs);
                each(&stop_them.names, |home, name| stop(home, name, grace))
            },
        },
        Command {
            name: "kill",
            define: || {
                Kill::augment_args(
                    clap::Command::new("kill").about("Send its first process a signal"),
                )
            },
            run: |_, matches| {
                let kill: Kill = parse(matches)?;
                each(&kill.names, |home, name| {
                    let record = state::find(home, name)?;
                    running(&record)?.signal(kill.signal)
                })
            },
        },
        Command {
            name: "rm",
            define: || {
                Rm::augment_args(clap::Command::new("rm").about("Remove it and what it wrote"))
            },
            run: |_, matches| {
                let rm: Rm = parse(matches)?;
                each(&rm.names, |home, name| remove(home, name, rm.force))
            },
        },
    ]
}

fn parse<T: FromArgMatches>(matches: &clap::ArgMatches) -> Result<T> {
    T::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))
}

/// Does it for each, also after one failed; prints the names of those done, and what went wrong.
fn each(names: &[String], act: impl Fn(&Home, &str) -> Result<()>) -> Result<u8> {
    let home = Home::of_this_user();
    let mut last_error = None;
    for name in names {
        match act(&home, name) {
            Ok(()) => println!("{name}"),
            Err(error) => {
                if let Some(before) = last_error.replace(error) {
                    output::error(&before.to_string());
                }
            }
        }
    }
    last_error.map_or(Ok(0), Err)
}

fn running(record: &Record) -> Result<crate::process::Process> {
    record.process().ok_or_else(|| Error::new(format!("{:?} is not running", record.name)))
}

/// A signal by name, with or without `SIG`, or by number 1–64.
fn signal_number(text: &str) -> Result<i32, String> {
    if let Ok(number @ 1..=64) = text.parse() {
        return Ok(number);
    }
    let upper = text.to_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    Signal::from_str(&name)
        .map(|signal| signal as i32)
        .map_err(|_| format!("there is no signal {text:?}; `kill -l` lists them"))
}

/// Asks a container to end, kills it if it does not, and waits until nothing of it is left on
/// the host. None: the service's own grace period, or 10 s.
///
/// # Errors
/// It is not known, or does not end.
pub fn stop(home: &Home, name: &str, grace: Option<Duration>) -> Result<()> {
    let service = state::find(home, name)?.service;
    let dir = home.containers().join(name);
    let signal = service.stop_signal.unwrap_or(Signal::SIGTERM as i32);
    let grace = grace.or(service.stop_grace_period).unwrap_or(GRACE);
    let give_up = Instant::now() + grace + PATIENCE;
    if ownership::is_supervised(&dir)? {
        // Tells a supervisor that would restart it not to.
        let _ = fs::write(dir.join("stopping"), "");
    }
    while ownership::is_supervised(&dir)? {
        // Looked up each time: it may be between two lives, or have just begun another.
        if let Some(process) = state::read(&dir).and_then(|record| record.process()) {
            process.signal(signal)?;
            if !process.wait(grace) {
                process.kill(PATIENCE)?;
            }
        }
        if Instant::now() > give_up {
            return Err(Error::new(format!("the supervisor of {name:?} does not end"))
                .hint("kill it; the next command cleans up"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    ownership::sweep_one(&dir)
}

/// A supervisor whose container has just ended is still undoing things. (One that will start it
/// again is not waited for.)
fn await_cleaner(home: &Home, record: &Record) -> Result<()> {
    let dir = home.containers().join(&record.name);
    let patience = if record.service.restart == Restart::No { PATIENCE } else { MOMENT };
    let give_up = Instant::now() + patience;
    while Instant::now() < give_up && ownership::is_supervised(&dir)? {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Removes a container and what it wrote; with `force`, kills it first.
///
/// # Errors
/// It is not known, it runs, or something of it cannot be removed.
pub fn remove(home: &Home, name: &str, force: bool) -> Result<()> {
    let record = state::find(home, name)?;
    if force {
        stop(home, name, Some(Duration::ZERO))?;
    } else if record.status == Status::Stopped
        // Its supervisor is about to write down that it has ended.
        || record.status == Status::Running && record.process().is_none()
    {
        await_cleaner(home, &record)?;
    }
    if state::find(home, name).is_err() {
        // It ran in the foreground and has removed itself.
        return Ok(());
    }
    ownership::remove(home, name)
}
