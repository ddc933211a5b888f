//! Who looks after a container: its supervisor, as long as it lives; then whoever comes next.
//!
//! A supervisor holds the `lock` in the container's directory. When the container has stopped and
//! everything due is undone, the lock file goes. So a lock file that nobody holds means a
//! supervisor that was killed, and [`sweep`] cleans up after it.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;

use crate::container::Exit;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::journal::{Due, Journal};
use crate::process;
use crate::state::{Record, Status, check_name, find, read};

/// Bytes that a record and a journal of some size take, and a log.
const ROOM: u64 = 32 << 10;

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
        home.make()?;
        let dir = home.containers().join(name);
        let failed =
            |e: std::io::Error| Error::new(format!("cannot make {}", dir.display())).because(e);
        fs::create_dir_all(home.containers()).map_err(failed)?;
        // Made under another name and locked there, so that no sweep finds it without its lock.
        let new = home.containers().join(unborn_name(name, std::process::id()));
        fs::create_dir_all(&new).map_err(failed)?;
        let lock = Self::lock_new(&new)?.ok_or_else(|| name_taken(&dir, name))?.lock;
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

    /// Locks a directory that has no lock file; None when somebody else was faster.
    fn lock_new(dir: &Path) -> Result<Option<Self>> {
        Self::lock(dir, OpenOptions::new().write(true).create(true))
    }

    /// Locks a directory by its lock file; None when somebody holds it.
    fn lock(dir: &Path, options: &OpenOptions) -> Result<Option<Self>> {
        let path = dir.join("lock");
        let failed =
            |e: std::io::Error| Error::new(format!("cannot lock {}", path.display())).because(e);
        let file = options.open(&path).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { dir: dir.to_owned(), lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(failed(errno.into())),
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
            .because(Errno::ENOSPC.desc())
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

    /// Says that nothing is left to be done for it: the lock file goes.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn settle(&self) -> Result<()> {
        match fs::remove_file(self.dir.join("lock")) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::new(format!("cannot settle {}", self.dir.display())).because(e))
            }
            _ => Ok(()),
        }
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

/// The lock, by which a process that closes its files knows which to keep.
impl AsFd for Owned {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
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

/// Who holds a container.
enum Holder {
    /// Nobody need: it has stopped and everything due is undone.
    Nobody,
    /// Its supervisor, which lives.
    Supervisor,
    /// We: its supervisor was killed.
    Us(Owned),
}

fn holder(dir: &Path) -> Result<Holder> {
    if !dir.join("lock").exists() {
        return Ok(Holder::Nobody);
    }
    match Owned::lock(dir, OpenOptions::new().write(true)) {
        Ok(Some(owned)) => Ok(Holder::Us(owned)),
        Ok(None) => Ok(Holder::Supervisor),
        // It was settled or removed between our two calls.
        Err(_) if !dir.join("lock").exists() => Ok(Holder::Nobody),
        Err(error) => Err(error),
    }
}

/// Whether a container's supervisor lives.
///
/// # Errors
/// The lock cannot be looked at.
pub fn is_supervised(dir: &Path) -> Result<bool> {
    Ok(matches!(holder(dir)?, Holder::Supervisor))
}

/// Cleans up after one container if it lost its supervisor.
///
/// # Errors
/// An undo failed.
pub fn sweep_one(dir: &Path) -> Result<()> {
    let Holder::Us(owned) = holder(dir)? else { return Ok(()) };
    owned.release()?;
    match read(dir) {
        Some(mut record) if !record.remove_on_stop && record.status != Status::Created => {
            if record.status == Status::Running {
                // Nobody saw how it ended; its supervisor's end killed it.
                record.exit = Some(Exit { code: 137, signal: Some(9), out_of_memory: false });
                record.finished = Some(SystemTime::now());
            }
            record.status = Status::Stopped;
            owned.save(&record)?;
            owned.settle()
        }
        _ => owned.remove(),
    }
}

/// Removes a stopped container and what it keeps.
///
/// # Errors
/// It is running, or an undo failed.
pub fn remove(home: &Home, name: &str) -> Result<()> {
    let record = find(home, name)?;
    let dir = home.containers().join(&record.name);
    let owned = match holder(&dir)? {
        Holder::Us(owned) => Some(owned),
        Holder::Nobody => Owned::lock_new(&dir)?,
        Holder::Supervisor => None,
    };
    owned.map_or_else(|| Err(is_running(name)), Owned::remove)
}

fn is_running(name: &str) -> Error {
    Error::new(format!("{name:?} is running"))
        .hint(format!("stop it first: `stop {name}`, or `rm --force {name}`"))
}
