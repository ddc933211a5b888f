//! `stats`: what containers use.

use std::io::{IsTerminal, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, FromArgMatches};
use serde::Serialize;
use shared::cli::output;
use shared::home::Home;
use shared::part::Command;
use shared::state::{self, Record, Status};
use shared::{Error, Result};

use crate::usage::Usage;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Clears the screen: `console_codes(4)`.
const CLEAR: &str = "\x1b[H\x1b[J";

#[derive(Debug, Args)]
struct Stats {
    /// The containers (all that run)
    names: Vec<String>,

    /// Look once (two looks, a second apart: CPU time is a rate)
    #[arg(long)]
    no_stream: bool,

    /// As JSON, one object a line for each container
    #[arg(long)]
    json: bool,
}

/// What `--json` prints for a container. A value that nothing counts here is null.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// CPU time used in the last second; 100 is one CPU.
    pub cpu_percent: Option<f64>,
    /// CPU time used since its start, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Memory in use, without what the kernel can forget at once.
    pub memory_bytes: Option<u64>,
    /// `mem_limit`; null: unlimited.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// `pids_limit`; null: unlimited.
    pub pids_limit: Option<u64>,
    /// Read from block devices since its start. On cgroup v1 only with a `blkio_config`.
    pub read_bytes: Option<u64>,
    /// Written to block devices since its start.
    pub written_bytes: Option<u64>,
    /// In how many periods (0.1 s) it had to wait because its `cpus` were used up. On cgroup v1
    /// only with `cpus` or `cpu_shares`.
    pub throttled_periods: Option<u64>,
    /// How many of its processes were killed because its memory was used up.
    pub oom_kills: Option<u64>,
}

/// The command.
pub fn command() -> Command {
    Command {
        name: "stats",
        define: || {
            Stats::augment_args(
                clap::Command::new("stats")
                    .about("What containers use, each second")
                    .after_help("Example: stats --no-stream web"),
            )
        },
        run: |_, matches| {
            let stats = Stats::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            watch(&Home::of_this_user(), &stats)
        },
    }
}

fn watch(home: &Home, stats: &Stats) -> Result<u8> {
    let on_terminal = std::io::stdout().is_terminal();
    let once = stats.no_stream || !(on_terminal || stats.json);
    let mut before = look(home, &stats.names)?;
    loop {
        sleep(INTERVAL);
        // One that has ended meanwhile is no error, unless it was the only one asked for.
        let now = look(home, &stats.names)?;
        let lines: Vec<_> = now.iter().map(|sample| sample.since(&before)).collect();
        let text = if stats.json { json(&lines)? } else { table(&lines) };
        let clear = if on_terminal && !once && !stats.json { CLEAR } else { "" };
        let mut out = std::io::stdout().lock();
        if write!(out, "{clear}{text}").and_then(|()| out.flush()).is_err() || once {
            return Ok(0);
        }
        before = now;
    }
}

/// A container at one moment.
struct Sample {
    name: String,
    when: Instant,
    usage: Usage,
}

fn look(home: &Home, names: &[String]) -> Result<Vec<Sample>> {
    let records = if names.is_empty() {
        let mut all = state::list(home);
        all.retain(|record| record.status == Status::Running);
        all
    } else {
        names.iter().map(|name| running(home, name)).collect::<Result<_>>()?
    };
    Ok(records.into_iter().map(Sample::of).collect())
}

/// The record of a container that runs.
///
/// # Errors
/// There is none of that name, or it does not run.
pub fn running(home: &Home, name: &str) -> Result<Record> {
    let record = state::find(home, name)?;
    match record.status {
        Status::Running => Ok(record),
        _ => Err(Error::new(format!("{name:?} is not running")).hint("`ps -a` shows how it ended")),
    }
}

impl Sample {
    fn of(record: Record) -> Self {
        let usage = Usage::of(&record.cgroups);
        Self { name: record.name, when: Instant::now(), usage }
    }

    fn since(&self, earlier: &[Self]) -> Line {
        let before = earlier.iter().find(|sample| sample.name == self.name);
        let cpu_percent = before.and_then(|before| {
            let used = self.usage.cpu?.checked_sub(before.usage.cpu?)?;
            let passed = self.when.duration_since(before.when);
            Some((used.as_secs_f64() / passed.as_secs_f64() * 1000.0).round() / 10.0)
        });
        let usage = &self.usage;
        Line {
            name: self.name.clone(),
            cpu_percent,
            cpu_seconds: usage.cpu.map(|time| time.as_secs_f64()),
            memory_bytes: usage.memory,
            memory_limit_bytes: usage.memory_limit,
            pids: usage.pids,
            pids_limit: usage.pids_limit,
            read_bytes: usage.io.map(|(read, _)| read),
            written_bytes: usage.io.map(|(_, written)| written),
            throttled_periods: usage.throttled,
            oom_kills: usage.oom_kills,
        }
    }
}

fn json(lines: &[Line]) -> Result<String> {
    let mut text = String::new();
    for line in lines {
        let line =
            serde_json::to_string(line).map_err(|e| Error::new("cannot write JSON").because(e))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

fn table(lines: &[Line]) -> String {
    let header = ["NAME", "CPU", "MEMORY", "PIDS", "READ / WRITTEN", "THROTTLED", "OOM"];
    let mut table = output::table(header);
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |n| n.to_string());
    let size = |value: Option<u64>| value.map_or("-".to_owned(), output::size);
    for line in lines {
        table.add_row([
            line.name.clone(),
            line.cpu_percent.map_or("-".to_owned(), |percent| format!("{percent:.1}%")),
            of_limit(size(line.memory_bytes), line.memory_limit_bytes.map(output::size)),
            of_limit(number(line.pids), line.pids_limit.map(|n| n.to_string())),
            format!("{} / {}", size(line.read_bytes), size(line.written_bytes)),
            number(line.throttled_periods),
            number(line.oom_kills),
        ]);
    }
    let text = table.to_string();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn of_limit(used: String, limit: Option<String>) -> String {
    match limit {
        Some(limit) => format!("{used} / {limit}"),
        None => used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_millis: u64, when: Instant) -> Sample {
        let cpu = Some(Duration::from_millis(cpu_millis));
        Sample { name: "web".into(), when, usage: Usage { cpu, ..Usage::default() } }
    }

    #[test]
    fn cpu_time_is_a_rate() {
        let start = Instant::now();
        let before = [sample(1000, start)];
        let line = sample(1500, start + Duration::from_secs(2)).since(&before);
        assert_eq!(line.cpu_percent, Some(25.0));
        // One that is new has no rate yet.
        assert_eq!(sample(1500, start).since(&[]).cpu_percent, None);
    }

    #[test]
    fn a_full_line_fits_the_screen() {
        let line = Line {
            name: "example-web-1".into(),
            cpu_percent: Some(100.0),
            cpu_seconds: Some(12.5),
            memory_bytes: Some(62 << 20),
            memory_limit_bytes: Some(64 << 20),
            pids: Some(12),
            pids_limit: Some(100),
            read_bytes: Some(100 << 20),
            written_bytes: Some(100 << 20),
            throttled_periods: Some(1234),
            oom_kills: Some(1),
        };
        let text = table(&[line]);
        assert!(text.contains("62MiB / 64MiB") && text.contains("12 / 100"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
