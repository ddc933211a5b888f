//! One tree from the host's tools for all containers, made when needed and remade when stale.
//!
//! Trees have names of their own, and `current` is a link to the newest. A container that still
//! uses an older one keeps it: a tree is removed only when nobody can be seen to use it.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, openat, statat};

use super::{PROBE_ID, create, find};
use crate::rootfs::remove::remove_tree;
use crate::rootfs::report::Report;
use crate::{Error, Result};

const CURRENT: &str = "current";
const PREFIX: &str = "tree-";

/// The tree kept in the directory `dir` (made if missing), with all it was copied from unchanged.
///
/// Answers in a fraction of a millisecond when it is fresh. Several processes may ask at once:
/// one makes the tree, the others wait for it.
///
/// # Errors
/// As [`create`].
pub fn ensure(dir: &Path) -> Result<PathBuf> {
    if let Some(tree) = fresh(dir) {
        return Ok(tree);
    }
    let failed = |error: std::io::Error| {
        Error::new(format!("cannot keep a root file system in {}", dir.display())).because(error)
    };
    fs::create_dir_all(dir).map_err(failed)?;
    let dir = &fs::canonicalize(dir).map_err(failed)?;
    let lock = File::create(dir.join("lock")).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    // Somebody else may have made it while we waited.
    if let Some(tree) = fresh(dir) {
        return Ok(tree);
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("{PREFIX}{}", since_1970.as_nanos());
    create(&dir.join(&name), false)?;
    point_to(dir, &name).map_err(failed)?;
    remove_unused(dir, &name);
    Ok(dir.join(name))
}

/// The current tree, if nothing it was made from or consists of has changed.
fn fresh(dir: &Path) -> Option<PathBuf> {
    let name = fs::read_link(dir.join(CURRENT)).ok()?;
    let tree = fs::canonicalize(dir).ok()?.join(name);
    let report = Report::read(&tree)?;
    let unchanged = unchanged(Path::new("/"), &report) && unchanged(&tree, &report);
    // A program that was installed since belongs in, too.
    let none_new = report.missing.iter().all(|missing| find(&missing.program).is_none());
    (unchanged && none_new && report.probe.as_deref() == Some(PROBE_ID)).then_some(tree)
}

/// Whether the files below `root` are as they were copied. A copy has the size and the time of
/// its original, so this is asked of the host and of the tree alike.
///
/// This is done before every start: a directory is opened once for all files in it, which takes
/// half the time of as many whole paths.
fn unchanged(root: &Path, report: &Report) -> bool {
    let mut last: Option<(&Path, OwnedFd)> = None;
    report.sources.iter().all(|file| {
        let (Some(parent), Some(name)) = (file.path.parent(), file.path.file_name()) else {
            return false;
        };
        if last.as_ref().is_none_or(|(path, _)| *path != parent) {
            let inside = root.join(parent.strip_prefix("/").unwrap_or(parent));
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            last = openat(CWD, inside, flags, Mode::empty()).ok().map(|opened| (parent, opened));
        }
        let Some((_, directory)) = &last else { return false };
        statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
            (found.st_size as u64, found.st_mtime, found.st_mtime_nsec as i64)
                == (file.size, file.seconds, file.nanoseconds)
        })
    })
}

/// Where [`ensure`] keeps the tree of `dir`, as a path to show. Changes nothing; the tree may not
/// have been made yet.
pub fn place(dir: &Path) -> PathBuf {
    dir.join(CURRENT)
}

/// Lets `current` point to `name`, in one step.
fn point_to(dir: &Path, name: &str) -> std::io::Result<()> {
    let new = dir.join("current.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => symlink(name, &new)?,
    }
    fs::rename(new, dir.join(CURRENT))
}

/// Removes the other trees that nobody uses.
fn remove_unused(dir: &Path, current: &str) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let others = entries.filter(|entry| {
        let name = entry.file_name();
        name != current && name.to_string_lossy().starts_with(PREFIX)
    });
    for other in others.map(|entry| entry.path()) {
        if !is_used(&other) {
            // Best effort: the next time tries again.
            let _ = remove_tree(&other);
        }
    }
}

/// Whether a process has `tree` as its root directory or among its mounts (as a layer, too).
fn is_used(tree: &Path) -> bool {
    let tree = tree.to_string_lossy();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|process| process.path()).any(|process| {
        let root = fs::read_link(process.join("root"));
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        root.is_ok_and(|root| root.starts_with(&*tree)) || mounts.contains(&*tree)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees(dir: &Path) -> usize {
        let names = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with(PREFIX)).count()
    }

    #[test]
    fn kept_while_fresh_and_remade_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("a/b");
        let tree = ensure(&cache).unwrap();
        assert_eq!(ensure(&cache).unwrap(), tree);
        let shell = fs::canonicalize("/bin/sh").unwrap();
        fs::write(tree.join(shell.strip_prefix("/").unwrap()), "damaged").unwrap();
        let second = ensure(&cache).unwrap();
        assert_ne!(second, tree);
        assert_eq!(trees(&cache), 1);
        fs::remove_file(second.join(super::super::super::report::MANIFEST)).unwrap();
        assert_ne!(ensure(&cache).unwrap(), second);
    }

    #[test]
    fn many_at_once_make_one() {
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<PathBuf> = std::thread::scope(|scope| {
            let ask = || scope.spawn(|| ensure(dir.path()).unwrap());
            let threads: Vec<_> = (0..8).map(|_| ask()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|tree| *tree == made[0]));
        assert_eq!(trees(dir.path()), 1);
    }
}
