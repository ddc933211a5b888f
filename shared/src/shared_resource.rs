//! A thing of the host that several containers use: a network.
//!
//! It is a directory: a `lock`, a `journal`, and `users/` with a file for each user. Who joins
//! first sets it up; who leaves last plays its journal back, and nothing is left.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Result};
use crate::journal::{Due, Journal};

/// A shared thing, locked: nobody joins or leaves while this lives.
#[derive(Debug)]
pub struct Resource {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Resource {
    /// Locks the shared thing at `dir`, made if missing. Waits for others to be done.
    ///
    /// # Errors
    /// The directory or its lock cannot be made.
    pub fn lock(dir: &Path) -> Result<Self> {
        let failed =
            |e: std::io::Error| Error::new(format!("cannot lock {}", dir.display())).because(e);
        loop {
            fs::create_dir_all(dir.join("users")).map_err(failed)?;
            let file = match File::create(dir.join("lock")) {
                // The last user removed it between our two calls.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                other => other.map_err(failed)?,
            };
            let lock =
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed(e.into()))?;
            // We may have waited for the last user, who removed the file that we hold.
            if same_file(&lock, &dir.join("lock")) {
                return Ok(Self { dir: dir.to_owned(), _lock: lock });
            }
        }
    }

    /// Where it keeps its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its journal, played back when the last user has left.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn journal(&self) -> Result<Journal> {
        Journal::open(&self.dir)
    }

    /// Adds a user; `about` is what it wants remembered (its addresses).
    ///
    /// # Errors
    /// It cannot be written.
    pub fn join(&self, user: &str, about: &str) -> Result<()> {
        fs::write(self.dir.join("users").join(user), about)
            .map_err(|e| Error::new(format!("cannot join {}", self.dir.display())).because(e))
    }

    /// Forgets users that are gone without having left: `is_there` knows. Nothing is undone.
    pub fn forget_unless(&self, is_there: impl Fn(&str) -> bool) {
        for (user, _) in self.users().iter().filter(|(user, _)| !is_there(user)) {
            let _ = fs::remove_file(self.dir.join("users").join(user));
        }
    }

    /// Its users and what they wanted remembered.
    pub fn users(&self) -> Vec<(String, String)> {
        let Ok(entries) = fs::read_dir(self.dir.join("users")) else { return Vec::new() };
        entries
            .flatten()
            .map(|entry| {
                let about = fs::read_to_string(entry.path()).unwrap_or_default();
                (entry.file_name().to_string_lossy().into_owned(), about)
            })
            .collect()
    }
}

/// Removes a user; the last one out plays the journal back and removes the directory.
///
/// # Errors
/// An undo failed.
pub fn leave(dir: &Path, user: &str) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let resource = Resource::lock(dir)?;
    let _ = fs::remove_file(dir.join("users").join(user));
    if resource.users().is_empty() {
        resource.journal()?.play_back(Due::Stop)?;
        fs::remove_dir_all(dir)
            .map_err(|e| Error::new(format!("cannot remove {}", dir.display())).because(e))?;
        // So does the directory of all of them, if it was the last one; else this fails.
        dir.parent().map(fs::remove_dir);
    }
    Ok(())
}

fn same_file(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (open.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}
