//! `ps`: the containers of this user.

use std::path::PathBuf;

use clap::{Args, FromArgMatches};

use super::output;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::part::Command;
use crate::spec::Spec;
use crate::state::{self, Record, Status};

#[derive(Debug, Args)]
struct Ps {
    /// Those that have stopped, too
    #[arg(short, long)]
    all: bool,

    /// Only names
    #[arg(short, long)]
    quiet: bool,

    /// As JSON, one array
    #[arg(long)]
    json: bool,

    /// Only those of this service file
    spec: Option<PathBuf>,
}

pub(super) fn command() -> Command {
    Command {
        name: "ps",
        define: || Ps::augment_args(clap::Command::new("ps").about("List containers")),
        run: |_, matches| {
            let ps = Ps::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            list(&ps)
        },
    }
}

fn list(ps: &Ps) -> Result<u8> {
    let mut records = state::list(&Home::of_this_user());
    if let Some(file) = &ps.spec {
        let project = Spec::load(file)?.project;
        records.retain(|record| record.project.as_ref() == Some(&project));
    }
    records.retain(|record| ps.all || record.status != Status::Stopped);
    if ps.json {
        let text = serde_json::to_string_pretty(&records)
            .map_err(|e| Error::new("cannot write JSON").because(e))?;
        println!("{text}");
    } else if ps.quiet {
        records.iter().for_each(|record| println!("{}", record.name));
    } else {
        println!("{}", table(&records));
    }
    Ok(0)
}

/// The table of `ps`.
pub(super) fn table(records: &[Record]) -> String {
    let mut table = output::table(["NAME", "PART", "STATUS", "PID", "ADDRESS", "PORTS", "COMMAND"]);
    for record in records {
        let addresses: Vec<_> =
            record.addresses.iter().map(|(_, address)| address.as_str()).collect();
        table.add_row([
            record.name.clone(),
            record.part.to_string(),
            status(record),
            if record.status == Status::Running { record.pid.to_string() } else { "-".into() },
            or_dash(addresses.join(" ")),
            or_dash(ports(record)),
            command_line(record),
        ]);
    }
    let lines = table.to_string();
    lines.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

fn status(record: &Record) -> String {
    match (record.status, &record.exit) {
        (Status::Created, _) => "starting".into(),
        (Status::Running, _) => {
            format!("up {}", output::ago(record.created).trim_end_matches(" ago"))
        }
        (Status::Restarting, Some(exit)) => format!("restarting ({})", exit.code),
        (Status::Restarting, None) => "restarting".into(),
        (Status::Stopped, Some(exit)) if exit.out_of_memory => "exited (out of memory)".into(),
        (Status::Stopped, Some(exit)) => format!("exited ({})", exit.code),
        (Status::Stopped, None) => "exited".into(),
    }
}

/// What part 5 has published. (What the file asks for is not what a container of another part
/// has; and only the start knows a port that was chosen.)
fn ports(record: &Record) -> String {
    let file = Home::of_this_user().containers().join(&record.name).join("ports");
    let published = std::fs::read_to_string(file).unwrap_or_default();
    let short = |line: &str| line.replace("0.0.0.0:", "").replace("/tcp", "");
    published.lines().map(short).collect::<Vec<_>>().join(" ")
}

fn command_line(record: &Record) -> String {
    let service = &record.service;
    let words: Vec<_> = service.entrypoint.iter().chain(&service.command).cloned().collect();
    let line =
        if words.is_empty() { "/bin/sh".to_owned() } else { output::printable(&words.join(" ")) };
    match line.char_indices().nth(30) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
