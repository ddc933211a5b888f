//! Containers known to this machine, by name.
//!
//! A container is a directory: `state.json`, the `journal`, the `log`. Who looks after it is
//! [`crate::ownership`]'s concern.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::container::Exit;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::process::Process;
use crate::spec::Service;

/// What is remembered of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// The part that started it, 1–5.
    pub part: u8,
    /// The project of its file; None when it was run on its own.
    pub project: Option<String>,
    /// Where it is in its life.
    pub status: Status,
    /// Whether it is removed as soon as it stops (a `run` in the foreground).
    pub remove_on_stop: bool,
    /// Its root file system.
    pub rootfs: PathBuf,
    /// As it was asked for.
    pub service: Service,
    /// When it was made.
    pub created: SystemTime,
    /// Its first process as the host sees it; 0 before it starts.
    pub pid: i32,
    /// See [`crate::process::start_time`].
    pub start_time: u64,
    /// The cgroup directories it is in (one on v2, one for each hierarchy on v1).
    pub cgroups: Vec<PathBuf>,
    /// Its addresses, a network's name and `address/prefix` each.
    pub addresses: Vec<(String, String)>,
    /// What this machine or user could not do for it.
    pub notes: Vec<String>,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// When it ended.
    pub finished: Option<SystemTime>,
    /// How often `restart:` has started it again, or tried to.
    #[serde(default)]
    pub restarts: u32,
    /// Why its last start failed, if it did.
    #[serde(default)]
    pub error: Option<String>,
}

/// Where a container is in its life; the OCI runtime specification's words, and Docker's for the
/// time between two lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its name is taken, its program does not run yet.
    Created,
    /// Its program runs.
    Running,
    /// It has ended, and its supervisor will start it again.
    Restarting,
    /// It has ended.
    Stopped,
}

/// A container's name: letters, digits, `_`, `.`, `-`; at most 63 characters.
///
/// # Errors
/// It is something else.
pub fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.len() <= 63 && name.chars().all(good) {
        return Ok(());
    }
    Err(Error::new(format!("{name:?} cannot be a container's name"))
        .hint("use up to 63 letters, digits, `_`, `.` and `-`, a letter or digit first"))
}

/// A container's record, as it is on disk; None when there is none (yet).
pub fn read(dir: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(dir.join("state.json")).ok()?).ok()
}

/// The container called `name`.
///
/// # Errors
/// There is none; the message names those there are.
pub fn find(home: &Home, name: &str) -> Result<Record> {
    if let Some(record) = check_name(name).ok().and_then(|()| read(&home.containers().join(name))) {
        return Ok(record);
    }
    let names: Vec<_> = list(home).into_iter().map(|record| record.name).collect();
    let error = Error::new(format!("there is no container called {name:?}"));
    Err(match &names[..] {
        [] => error.hint("`run -d` starts one"),
        names => error.hint(format!("one of: {}", names.join(", "))),
    })
}

/// All containers, in the order they were made.
pub fn list(home: &Home) -> Vec<Record> {
    let mut records: Vec<_> = dirs(home).iter().filter_map(|dir| read(dir)).collect();
    records.sort_by_key(|record| record.created);
    records
}

fn dirs(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.containers()).into_iter().flatten().flatten();
    let born = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    born.map(|entry| entry.path()).collect()
}

/// Changes the record of a container whose supervisor lives (new limits). The supervisor takes
/// the change over the next time it writes the record.
///
/// # Errors
/// There is no such container, or its record cannot be written.
pub fn amend(home: &Home, name: &str, change: impl FnOnce(&mut Record)) -> Result<()> {
    let mut record = find(home, name)?;
    change(&mut record);
    let dir = home.containers().join(name);
    // A name of our own: the supervisor may be writing, too.
    let new = dir.join(format!("state.new.{}", std::process::id()));
    let path = dir.join("state.json");
    let text = serde_json::to_vec(&record).unwrap_or_default();
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|e| Error::new(format!("cannot write {}", path.display())).because(e))
}

impl Record {
    /// Its first process, if that still runs.
    pub fn process(&self) -> Option<Process> {
        (self.status == Status::Running)
            .then(|| Process::find(Pid::from_raw(self.pid), self.start_time))
            .flatten()
    }
}
