//! Removing a whole tree, and never what is mounted in it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::error::Call;
use crate::{Error, Result};

/// The mounts below `dir` (not at it), deepest first.
pub fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let targets = table.split(|&byte| byte == b'\n').filter_map(|line| {
        let field = line.split(|&byte| byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescaped(field))))
    });
    let mut found: Vec<PathBuf> =
        targets.filter(|target| target.starts_with(&real) && *target != real).collect();
    found.reverse();
    found
}

/// Unmounts what a program of ours has mounted below `dir` and not unmounted.
///
/// # Errors
/// `umount2(2)`.
pub fn unmount_below(dir: &Path) -> Result<()> {
    for target in mounts_below(dir) {
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        umount2(&target, flags).call(format!("umount2({}, MNT_DETACH)", target.display()))?;
    }
    Ok(())
}

/// Removes `dir` and everything in it; follows no symbolic link.
///
/// # Errors
/// Something is mounted in it: it is left as it is. `unlink(2)`, `rmdir(2)`.
pub fn remove_tree(dir: &Path) -> Result<()> {
    let failed = || Error::new(format!("cannot remove {}", dir.display()));
    if let Some(mount) = mounts_below(dir).first() {
        return Err(failed()
            .because(format!("{} is mounted in it", mount.display()))
            .hint(format!("stop what uses it, then umount {}", mount.display())));
    }
    let removed = fs::remove_dir_all(dir).or_else(|error| match error.kind() {
        // Directories we own but may not write: nothing a chmod does not change.
        io::ErrorKind::PermissionDenied => {
            make_writable(dir).and_then(|()| fs::remove_dir_all(dir))
        }
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    });
    removed.map_err(|error| failed().because(error))
}

fn make_writable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // The type of the entry itself: a symbolic link to a directory is none.
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// `mountinfo` writes a space as `\040`; see `proc(5)`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < field.len() {
        let octal = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let value = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match value.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(field[at]);
                at += 1;
            }
        }
    }
    out
}

/// The bytes of all regular files below `dir`, and how many files there are.
///
/// # Errors
/// A directory cannot be read.
pub fn size_of(dir: &Path) -> io::Result<(u64, u64)> {
    let (mut bytes, mut files) = (0, 0);
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                todo.push(entry.path());
            } else {
                files += 1;
                bytes += if kind.is_file() { entry.metadata()?.len() } else { 0 };
            }
        }
    }
    Ok((bytes, files))
}

/// Whether the name is one that only we give: `.NAME.partial.…`.
pub fn is_partial_of(entry: &std::ffi::OsStr, name: &std::ffi::OsStr) -> bool {
    let prefix = [b".", name.as_bytes(), b".partial."].concat();
    entry.as_bytes().starts_with(&prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_and_unescaped() {
        assert!(mounts_below(Path::new("/")).contains(&PathBuf::from("/proc")));
        assert!(mounts_below(Path::new("/proc/self")).is_empty());
        assert_eq!(unescaped(br"/a\040b\134"), b"/a b\\");
        assert_eq!(unescaped(br"/a\04"), br"/a\04");
    }

    #[test]
    fn a_tree_with_a_directory_nobody_may_write() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("closed/inner")).unwrap();
        fs::write(dir.path().join("kept"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), tree.join("link")).unwrap();
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && dir.path().join("kept").exists());
        remove_tree(&tree).unwrap();
    }
}
