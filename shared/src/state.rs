//! Containers known to this machine, by name.
//!
//! A container is a directory: `state.json`, the `journal`, the `log`, and a `lock` that its
//! supervisor holds as long as it lives. A container whose lock is free but which says that it
//! runs has lost its supervisor (`kill -9`): [`sweep`] cleans up after it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::container::Exit;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::journal::{Due, Journal};
use crate::process::{self, Process};
use crate::spec::Service;

/// Bytes that a record and a journal of some size take, and a log.
const ROOM: u64 = 32 << 10;

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
}

/// Where a container is in its life; the OCI runtime specification's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its name is taken, its program does not run yet.
    Created,
    /// Its program runs.
    Running,
    /// It has ended.
    Stopped,
}

/// A container's directory, with its lock held: only its supervisor has one.
#[derive(Debug)]
pub struct Owned {
    dir: PathBuf,
    lock: Flock<File>,
}

impl Owned {
    /// Takes a new name.
    ///
    /// # Errors
    /// A container has it already, or the directory cannot be made.
    pub fn create(home: &Home, name: &str) -> Result<Self> {
        check_name(name)?;
        let dir = home.containers().join(name);
        let failed =
            |e: std::io::Error| Error::new(format!("cannot make {}", dir.display())).because(e);
        fs::create_dir_all(home.containers()).map_err(failed)?;
        // Made under another name and locked there, so that no sweep finds it without its lock.
        let new = home.containers().join(unborn_name(name, std::process::id()));
        fs::create_dir_all(&new).map_err(failed)?;
        let lock = Self::lock(&new)?.ok_or_else(|| name_taken(&dir, name))?.lock;
        let taken = rustix::fs::renameat_with(
            rustix::fs::CWD,
            &new,
            rustix::fs::CWD,
            &dir,
            rustix::fs::RenameFlags::NOREPLACE,
        );
        match taken {
            Ok(()) => Ok(Self { dir, lock }),
            Err(e) => {
                let _ = fs::remove_dir_all(&new);
                match e {
                    rustix::io::Errno::EXIST => Err(name_taken(&dir, name)),
                    e => Err(failed(e.into())),
                }
            }
        }
    }

    /// Takes over a container whose supervisor is gone; None when it has one.
    fn lock(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("lock");
        let file = match File::create(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other
                .map_err(|e| Error::new(format!("cannot make {}", path.display())).because(e))?,
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { dir: dir.to_owned(), lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, e)) => {
                Err(Error::new(format!("cannot lock {}", path.display())).because(e.desc()))
            }
        }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks whether the disk has room for its record and journal: once the program runs, it is
    /// too late to find out. (To reserve the room costs a millisecond.)
    ///
    /// # Errors
    /// The disk is full.
    pub fn check_room(&self) -> Result<()> {
        let found = rustix::fs::statvfs(&self.dir)
            .map_err(|e| Error::new(format!("cannot look at {}", self.dir.display())).because(e))?;
        let free = if nix::unistd::geteuid().is_root() { found.f_bfree } else { found.f_bavail };
        // A file system without blocks does not say how much it holds.
        if found.f_blocks == 0 || free.saturating_mul(found.f_frsize) >= ROOM {
            return Ok(());
        }
        Err(Error::new(format!("cannot write to {}", self.dir.display()))
            .because(nix::errno::Errno::ENOSPC.desc())
            .hint("free some disk space (`df -h`), or choose a disk with INSIDE_DOCKER_HOME=DIR"))
    }

    /// Writes its record.
    ///
    /// # Errors
    /// It cannot be written (a full disk).
    pub fn save(&self, record: &Record) -> Result<()> {
        let path = self.dir.join("state.json");
        let new = self.dir.join("state.new");
        let text = serde_json::to_vec(record).unwrap_or_default();
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|e| Error::new(format!("cannot write {}", path.display())).because(e))
    }

    /// Undoes what is due when it stops.
    ///
    /// # Errors
    /// An undo failed; it stays in the journal.
    pub fn release(&self) -> Result<()> {
        Journal::open(&self.dir)?.play_back(Due::Stop)
    }

    /// Undoes everything and forgets the container.
    ///
    /// # Errors
    /// An undo failed; the container is still known.
    pub fn remove(self) -> Result<()> {
        Journal::open(&self.dir)?.play_back(Due::Remove)?;
        // From here on nobody finds it, and the name is free.
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let gone = self.dir.with_file_name(unborn_name(&name, std::process::id()));
        let failed = |e| Error::new(format!("cannot remove {}", self.dir.display())).because(e);
        fs::rename(&self.dir, &gone).map_err(failed)?;
        drop(self.lock);
        fs::remove_dir_all(&gone).map_err(failed)
    }
}

fn name_taken(dir: &Path, name: &str) -> Error {
    // Without a record it is about to run: that is written once it does.
    let running = read(dir).is_none_or(|record| record.status != Status::Stopped);
    let error = Error::new(format!("a container is already called {name:?}"));
    if running {
        error.because("it is running").hint(format!("stop it: `stop {name}`, or use `--name`"))
    } else {
        error.because("it has stopped").hint(format!("remove it: `rm {name}`, or use `--name`"))
    }
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

/// Cleans up after containers that lost their supervisor, and after those who were killed before
/// a container had its name. Answers what could not be done.
pub fn sweep(home: &Home) -> Vec<Error> {
    let entries = fs::read_dir(home.containers()).into_iter().flatten().flatten();
    let mut errors = Vec::new();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        match unborn_of(&name) {
            None => errors.extend(sweep_one(&entry.path()).err()),
            Some(pid) if process::start_time(pid).is_some() => {}
            Some(_) => drop(fs::remove_dir_all(entry.path())),
        }
    }
    errors
}

/// What a directory is called before a container has its name, and after.
fn unborn_name(name: &str, pid: u32) -> String {
    format!(".{name}.{pid}")
}

/// The process that is at work on a directory called so.
fn unborn_of(name: &str) -> Option<Pid> {
    let (_, pid) = name.strip_prefix('.')?.rsplit_once('.')?;
    pid.parse().ok().map(Pid::from_raw)
}

/// Cleans up after one container if it lost its supervisor.
///
/// # Errors
/// An undo failed.
pub fn sweep_one(dir: &Path) -> Result<()> {
    if read(dir).is_some_and(|record| record.status == Status::Stopped) && !is_due(dir)? {
        return Ok(());
    }
    let Some(owned) = Owned::lock(dir)? else { return Ok(()) };
    owned.release()?;
    match read(dir) {
        Some(mut record) if !record.remove_on_stop && record.status != Status::Created => {
            if record.status != Status::Stopped {
                // Nobody saw how it ended; its supervisor's end killed it.
                record.exit = Some(Exit { code: 137, signal: Some(9), out_of_memory: false });
                record.finished = Some(SystemTime::now());
            }
            record.status = Status::Stopped;
            owned.save(&record)
        }
        _ => owned.remove(),
    }
}

/// Whether a container's supervisor lives.
///
/// # Errors
/// The lock cannot be looked at.
pub fn supervised(dir: &Path) -> Result<bool> {
    Ok(dir.exists() && Owned::lock(dir)?.is_none())
}

fn is_due(dir: &Path) -> Result<bool> {
    Ok(Journal::open(dir)?.is_due(Due::Stop))
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

/// Removes a stopped container and what it keeps.
///
/// # Errors
/// It is running, or an undo failed.
pub fn remove(home: &Home, name: &str) -> Result<()> {
    let record = find(home, name)?;
    match Owned::lock(&home.containers().join(&record.name))? {
        Some(owned) => owned.remove(),
        None => Err(Error::new(format!("{name:?} is running"))
            .hint(format!("stop it first: `stop {name}`, or `rm --force {name}`"))),
    }
}

impl Record {
    /// Its first process, if that still runs.
    pub fn process(&self) -> Option<Process> {
        (self.status == Status::Running)
            .then(|| Process::find(Pid::from_raw(self.pid), self.start_time))
            .flatten()
    }
}
