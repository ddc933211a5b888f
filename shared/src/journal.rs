//! What was done to the host, on disk, and undoing it.
//!
//! Before a step acts, its undo is appended to the container's journal. After any end, also
//! `kill -9`, the journal is played backwards. Each undo is idempotent: one that was never
//! needed, or was done before, does nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::netlink::nft::Element;
use crate::undo;

/// How one change to the host is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Kills a process, if it is still the one that had this pid.
    Kill {
        /// Its pid on the host.
        pid: i32,
        /// Field 22 of `/proc/PID/stat`: tells it from a later process with the same pid.
        start_time: u64,
    },
    /// Unmounts what is mounted at a path, lazily.
    Unmount {
        /// Where.
        target: PathBuf,
    },
    /// Removes a file.
    RemoveFile {
        /// Which.
        path: PathBuf,
    },
    /// Removes a directory if it is empty.
    RemoveDir {
        /// Which.
        path: PathBuf,
    },
    /// Removes a directory and everything in it; never follows symbolic links or mounts.
    RemoveTree {
        /// Which.
        path: PathBuf,
    },
    /// Kills what is left in a cgroup and removes it.
    RemoveCgroup {
        /// Its directory in a cgroup file system.
        path: PathBuf,
    },
    /// Writes a value back (a sysctl).
    WriteFile {
        /// The file.
        path: PathBuf,
        /// What stood in it.
        content: String,
    },
    /// Deletes a network interface.
    DeleteLink {
        /// Its name.
        name: String,
    },
    /// Removes elements of sets and maps of our firewall table (published ports).
    RemoveElements(Vec<Element>),
    /// Runs a command that takes the change back; it may fail.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// What it reads.
        stdin: String,
    },
    /// Stops using something shared (a network). The last user plays its journal.
    Leave {
        /// The directory of the shared thing: see [`crate::journal::Shared`].
        resource: PathBuf,
        /// Who leaves.
        user: String,
    },
}

/// When an undo is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Due {
    /// When the container stops.
    Stop,
    /// When it is removed.
    Remove,
}

#[derive(Serialize, Deserialize)]
struct Line {
    due: Due,
    undo: Undo,
}

/// The journal of one container (or of one shared thing): a file, a line for each undo.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// None: nothing is to be remembered.
    file: Option<File>,
}

impl Journal {
    /// Opens the journal in `dir`, made if missing.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("journal");
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(|e| {
            Error::new(format!("cannot open the journal {}", path.display())).because(e)
        })?;
        Ok(Self { path, file: Some(file) })
    }

    /// A journal that remembers nothing: for a process that changes nothing on the host.
    pub fn nowhere() -> Self {
        Self { path: PathBuf::new(), file: None }
    }

    /// Writes down how a change will be undone. Call it *before* the change.
    ///
    /// # Errors
    /// It cannot be written (a full disk): then the change must not be made.
    pub fn record(&mut self, due: Due, undo: &Undo) -> Result<()> {
        let failed = |cause: &dyn std::fmt::Display| {
            Error::new(format!("cannot write the journal {}", self.path.display())).because(cause)
        };
        let mut line =
            serde_json::to_string(&Line { due, undo: undo.clone() }).map_err(|e| failed(&e))?;
        line.push('\n');
        // One write: a line is in the file whole, or, at its end after a crash, not at all.
        match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()).map_err(|e| failed(&e)),
            None => Ok(()),
        }
    }

    /// Plays back, last first, what is due at `due`, and forgets it. When a container is removed,
    /// everything is due.
    ///
    /// # Errors
    /// The first undo that failed; the others are done all the same, and the failed ones stay
    /// in the journal for the next try.
    pub fn play_back(&mut self, due: Due) -> Result<()> {
        let mut kept = Vec::new();
        let mut first_error = None;
        for line in read(&self.path).into_iter().rev() {
            if due == Due::Stop && line.due == Due::Remove {
                kept.push(line);
            } else if let Err(error) = undo::apply(&line.undo) {
                first_error.get_or_insert(error);
                kept.push(line);
            }
        }
        kept.reverse();
        if due == Due::Stop || !kept.is_empty() {
            self.rewrite(&kept)?;
        }
        first_error.map_or(Ok(()), Err)
    }

    fn rewrite(&mut self, lines: &[Line]) -> Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(line).unwrap_or_default());
            text.push('\n');
        }
        // The journal may have removed itself together with its directory: that is its end.
        let written = if lines.is_empty() {
            self.file.as_ref().map_or(Ok(()), |file| file.set_len(0))
        } else {
            let new = self.path.with_extension("new");
            fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path))
        };
        match written {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::new(format!("cannot write the journal {}", self.path.display()))
                    .because(e))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Vec<Line> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    // A line cut short by a crash was not followed by its change: it is passed over.
    BufReader::new(file)
        .lines()
        .map_while(std::io::Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}
