//! A root file system appears whole or not at all.
//!
//! It is made in a directory beside the one asked for and renamed into place when complete. A
//! failure removes the half-made tree at once; after a crash or `kill -9` the next creation does,
//! because nobody holds the lock on that directory any more.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::interrupt::Interrupt;
use super::remove::{is_partial_of, mounts_below, remove_tree, unmount_below};
use super::report::Report;
use crate::error::Call;
use crate::{Error, Result};

/// Makes a root file system at `dir`: `fill` fills an empty directory, and reports.
///
/// # Errors
/// `dir` is a symbolic link, no directory, or has something in it (only what we made may be
/// replaced, with `force`); or `fill` failed, and nothing is left of what it made.
pub fn build(
    dir: &Path,
    force: bool,
    fill: impl FnOnce(&Path, &Interrupt) -> Result<Report>,
) -> Result<Report> {
    let (parent, name) = check(dir, force)?;
    remove_leftovers(&parent, &name);
    let interrupt = Interrupt::new()?;
    let partial = Partial::new(&parent, &name)?;
    let report = fill(&partial.path, &interrupt)?;
    super::unfit(&partial.path).map_err(|(why, hint)| {
        Error::new(format!("cannot create {}", dir.display())).because(why).hint(hint)
    })?;
    report.write(&partial.path)?;
    interrupt.check()?;
    partial.publish(&parent.join(&name))?;
    Ok(report)
}

/// Whether `dir` may be made or replaced; answers its parent directory and its name.
fn check(dir: &Path, force: bool) -> Result<(PathBuf, std::ffi::OsString)> {
    let refused = || Error::new(format!("cannot create {}", dir.display()));
    let name = dir.file_name().ok_or_else(|| {
        refused().because("it has no name of its own").hint("name a new directory: ./rootfs")
    })?;
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let parent = fs::canonicalize(parent).map_err(|error| {
        let hint = format!("mkdir -p {}", parent.display());
        refused().because(format!("{}: {error}", parent.display())).hint(hint)
    })?;
    replaceable(&parent.join(name), force)
        .map_err(|(why, hint)| refused().because(why).hint(hint))?;
    Ok((parent, name.to_owned()))
}

/// Why `dir` may not be replaced, and what to try.
fn replaceable(dir: &Path, force: bool) -> Result<(), (String, &'static str)> {
    let found = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err((error.to_string(), "check the path")),
        Ok(found) => found,
    };
    if found.is_symlink() {
        return Err(("it is a symbolic link".into(), "name the directory itself"));
    }
    if !found.is_dir() {
        return Err(("it exists and is no directory".into(), "choose another name"));
    }
    let mut entries = fs::read_dir(dir).map_err(|error| (error.to_string(), "check the path"))?;
    if entries.next().is_none() {
        return Ok(());
    }
    if Report::read(dir).is_none() {
        let why = "it has files in it, and is no root file system we made";
        return Err((why.into(), "choose another name, or empty it first"));
    }
    if !force {
        return Err(("there is a root file system already".into(), "--force makes it anew"));
    }
    match mounts_below(dir).first() {
        Some(mount) => {
            Err((format!("{} is mounted in it", mount.display()), "stop what uses it first"))
        }
        None => Ok(()),
    }
}

/// Removes what a creation left that was killed. One that still runs holds its lock.
fn remove_leftovers(parent: &Path, name: &std::ffi::OsStr) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !is_partial_of(&entry.file_name(), name) {
            continue;
        }
        let Ok(directory) = File::open(entry.path()) else { continue };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Best effort: it is in nobody's way, and the next creation tries again.
            let _ = unmount_below(&entry.path()).and_then(|()| remove_tree(&entry.path()));
        }
    }
}

/// A tree that is not complete; removed when dropped.
struct Partial {
    path: PathBuf,
    /// Locked while we live.
    _lock: File,
}

impl Partial {
    fn new(parent: &Path, name: &std::ffi::OsStr) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut own = std::ffi::OsString::from(".");
        own.push(name);
        own.push(format!(".partial.{}.{count}", std::process::id()));
        let path = parent.join(own);
        let make = || -> io::Result<File> {
            // For us alone until it is complete.
            DirBuilder::new().mode(0o700).create(&path)?;
            let directory = File::open(&path)?;
            flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
            Ok(directory)
        };
        let lock = make().map_err(|error| {
            Error::new(format!("cannot make a directory in {}", parent.display()))
                .because(error)
                .hint("choose a directory you may write to")
        })?;
        Ok(Self { path, _lock: lock })
    }

    /// Gives the tree its name. What had that name takes ours, and is removed with us.
    fn publish(self, dir: &Path) -> Result<()> {
        let wanted = || Error::new(format!("cannot move the new tree to {}", dir.display()));
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755))
            .map_err(|error| wanted().because(error))?;
        let call = || format!("renameat2({}, {})", self.path.display(), dir.display());
        let occupied = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        let flags = if occupied { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
        renameat_with(CWD, &self.path, CWD, dir, flags)
            .call(call())
            .map_err(|failed| wanted().because(failed))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let removed = unmount_below(&self.path).and_then(|()| remove_tree(&self.path));
        if let Err(error) = removed {
            eprintln!("warning: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Origin;
    use super::*;

    fn filled(text: &'static str) -> impl FnOnce(&Path, &Interrupt) -> Result<Report> {
        move |tree, _| {
            fs::create_dir(tree.join("bin")).unwrap();
            fs::write(tree.join("bin/sh"), text).unwrap();
            Ok(Report::new(Origin::Host { system: "test".into() }))
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let failure = build(&tree, false, |tree, _| {
            fs::write(tree.join("half"), "").unwrap();
            Err(Error::new("no"))
        });
        assert!(failure.is_err() && names(dir.path()).is_empty());
        build(&tree, false, filled("1")).unwrap();
        assert_eq!(names(dir.path()), ["tree"]);
        assert_eq!(fs::metadata(&tree).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn only_our_own_is_replaced_and_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap(); // empty: may be used
        build(&tree, false, filled("1")).unwrap();
        assert!(build(&tree, false, filled("2")).is_err());
        build(&tree, true, filled("2")).unwrap();
        assert_eq!(fs::read_to_string(tree.join("bin/sh")).unwrap(), "2");
        assert_eq!(names(dir.path()), ["tree"]);

        let foreign = dir.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("precious"), "").unwrap();
        assert!(build(&foreign, true, filled("1")).is_err());
        assert!(foreign.join("precious").exists());
    }

    #[test]
    fn symbolic_links_and_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for name in ["link", "link/", "file", "none/tree", "real/.."] {
            assert!(build(&dir.path().join(name), true, filled("1")).is_err(), "{name}");
        }
        assert!(names(&dir.path().join("real")).is_empty());
    }

    #[test]
    fn leftovers_of_the_dead_go_and_those_of_the_living_stay() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join(".tree.partial.1.0");
        fs::create_dir_all(dead.join("x")).unwrap();
        let living = Partial::new(dir.path(), std::ffi::OsStr::new("tree")).unwrap();
        build(&dir.path().join("tree"), false, filled("1")).unwrap();
        assert!(!dead.exists() && living.path.exists());
    }
}
