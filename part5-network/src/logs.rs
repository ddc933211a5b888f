//! `logs`: what the containers wrote; of several, each line with the name of its container.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, FromArgMatches};
use colored::{Color, Colorize};
use shared::home::Home;
use shared::part::Command;
use shared::spec::Spec;
use shared::state::{self, Status};
use shared::{Error, Result};

use crate::compose::HERE;

/// How often followed logs are looked at.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);

const COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Blue, Color::Red];

#[derive(Debug, Args)]
struct Logs {
    /// Go on until they stop
    #[arg(short, long)]
    follow: bool,

    /// Only the last lines of each
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,

    /// The file whose services are meant when no container is named
    #[arg(short, long, value_name = "FILE", default_value = HERE)]
    spec: PathBuf,

    /// The containers
    names: Vec<String>,
}

pub(crate) fn command() -> Command {
    Command {
        name: "logs",
        define: || Logs::augment_args(clap::Command::new("logs").about("Show what they wrote")),
        run: |_, matches| {
            let logs = Logs::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            show(&logs)
        },
    }
}

fn show(logs: &Logs) -> Result<u8> {
    let home = Home::of_this_user();
    if let [name] = &logs.names[..] {
        let record = shared::cli::find_logged(&home, name)?;
        let dir = home.containers().join(record.name);
        return shared::cli::follow(&dir, logs.follow, logs.tail, &mut std::io::stdout())
            .map(|()| 0);
    }
    let names =
        if logs.names.is_empty() { of_project(&home, &logs.spec)? } else { logs.names.clone() };
    let mut tails = Vec::new();
    for name in names {
        let record = shared::cli::find_logged(&home, &name)?;
        tails.push(Tail::open(&home, &record.name, logs.tail)?);
    }
    while Tail::show_all(&mut tails)? && logs.follow {
        std::thread::sleep(GLANCE);
    }
    Ok(0)
}

/// The containers of a file that have a log.
fn of_project(home: &Home, file: &Path) -> Result<Vec<String>> {
    let project = Spec::load(file)?.project;
    let records = state::list(home).into_iter();
    Ok(records
        .filter(|record| record.project.as_ref() == Some(&project) && !record.remove_on_stop)
        .map(|record| record.name)
        .collect())
}

/// One of several logs.
pub(crate) struct Tail {
    name: String,
    dir: PathBuf,
    log: File,
    /// The begin of a line whose end is not written yet.
    begun: Vec<u8>,
    ended: bool,
}

impl Tail {
    /// Opens a container's log, at its last `lines` if told.
    pub(crate) fn open(home: &Home, name: &str, lines: Option<usize>) -> Result<Self> {
        let dir = home.containers().join(name);
        let failed = |e| Error::new(format!("cannot read the log of {name:?}")).because(e);
        let mut log = File::open(dir.join("log")).map_err(failed)?;
        if let Some(lines) = lines {
            shared::cli::skip_to_last(&mut log, lines).map_err(failed)?;
        }
        Ok(Self { name: name.to_owned(), dir, log, begun: Vec::new(), ended: false })
    }

    /// Shows what is new in each. Answers whether more may come.
    pub(crate) fn show_all(tails: &mut [Self]) -> Result<bool> {
        let width = tails.iter().map(|tail| tail.name.len()).max().unwrap_or(0);
        let mut out = std::io::stdout().lock();
        for (tail, colour) in tails.iter_mut().zip(COLOURS.iter().cycle()) {
            let prefix = format!("{:width$} |", tail.name).color(*colour).to_string();
            tail.show(&prefix, &mut out)
                .map_err(|e| Error::new("cannot show the logs").because(e))?;
        }
        Ok(tails.iter().any(|tail| !tail.ended))
    }

    fn show(&mut self, prefix: &str, out: &mut impl Write) -> std::io::Result<()> {
        // Asked before the last look: what it wrote before it stopped is then in the file.
        self.ended = state::read(&self.dir).is_none_or(|r| r.status == Status::Stopped);
        self.log.read_to_end(&mut self.begun)?;
        if self.ended && !self.begun.is_empty() && !self.begun.ends_with(b"\n") {
            self.begun.push(b'\n');
        }
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in self.begun.drain(..whole).as_slice().split_inclusive(|byte| *byte == b'\n') {
            write!(out, "{prefix} ")?;
            out.write_all(line)?;
        }
        out.flush()
    }
}
