//! Copies files of the host to the same place in a new tree, with every link on the way.
//!
//! `/bin/awk` may be `/bin -> usr/bin`, then `awk -> /etc/alternatives/awk -> /usr/bin/mawk`. All
//! three links and the file are made in the tree, so that every name works there as it does here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use crate::rootfs::report::SourceFile;

/// As many as the kernel follows: `path_resolution(7)`.
const LINKS: usize = 40;

/// A tree that becomes like the host, file by file.
pub struct Mirror<'a> {
    /// Nobody else has access to it, so nothing in it changes under us.
    tree: &'a Path,
    /// The host's paths that are in the tree.
    done: HashSet<PathBuf>,
    /// Files with several names, by device and inode.
    names: HashMap<(u64, u64), PathBuf>,
    /// What was copied.
    pub sources: Vec<SourceFile>,
}

impl<'a> Mirror<'a> {
    /// Fills `tree`, an empty directory.
    pub fn new(tree: &'a Path) -> Self {
        let done = HashSet::new();
        Self { tree, done, names: HashMap::new(), sources: Vec::new() }
    }

    /// Makes `path` of the host work in the tree; answers the path without links.
    ///
    /// # Errors
    /// The path leads nowhere or cannot be read; the tree cannot be written.
    pub fn add(&mut self, path: &Path) -> io::Result<PathBuf> {
        let mut todo: VecDeque<OsString> = names(path).into();
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let found = fs::symlink_metadata(&next)?;
            if !found.is_symlink() {
                self.place(&next, &found)?;
                here = next;
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = fs::read_link(&next)?;
            if self.done.insert(next.clone()) {
                symlink(&target, self.inside(&next))?;
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            names(&target).into_iter().rev().for_each(|name| todo.push_front(name));
        }
        Ok(here)
    }

    /// Puts a program of ours at `path`.
    ///
    /// # Errors
    /// `open(2)`, `write(2)`.
    pub fn write(&mut self, path: &Path, program: &[u8]) -> io::Result<()> {
        self.done.insert(path.to_owned());
        fs::write(self.inside(path), program)?;
        fs::set_permissions(self.inside(path), fs::Permissions::from_mode(0o755))
    }

    /// Puts a link to `target` at `path`, unless something is there.
    ///
    /// # Errors
    /// `symlink(2)`.
    pub fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        if self.done.insert(path.to_owned()) {
            symlink(target, self.inside(path))?;
        }
        Ok(())
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.tree.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn place(&mut self, path: &Path, found: &fs::Metadata) -> io::Result<()> {
        if self.done.contains(path) {
            return Ok(());
        }
        if found.is_dir() {
            let copy = self.inside(path);
            fs::create_dir(&copy)?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        } else if found.is_file() {
            self.copy(path, found)?;
        } else {
            return Err(io::Error::other("neither a file nor a directory"));
        }
        self.done.insert(path.to_owned());
        Ok(())
    }

    /// A real copy, never a hard link: what runs inside could change the host's own program.
    fn copy(&mut self, path: &Path, found: &fs::Metadata) -> io::Result<()> {
        let copy = self.inside(path);
        let several = found.nlink() > 1;
        let inode = (found.dev(), found.ino());
        if several && let Some(first) = self.names.get(&inode) {
            fs::hard_link(self.inside(first), copy)?;
        } else {
            copy_file(path, &copy, found)?;
        }
        if several {
            self.names.entry(inode).or_insert_with(|| path.to_owned());
        }
        self.sources.push(SourceFile::of(path, found));
        Ok(())
    }
}

/// Copies content, permission bits and time, but not set-user-id and set-group-id: a program of
/// the host that is root's must not be a way to root for who finds the tree.
fn copy_file(from: &Path, to: &Path, found: &fs::Metadata) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    // The kernel copies it, and shares the blocks where the file system can: copy_file_range(2).
    io::copy(&mut source, &mut copy)?;
    copy.set_permissions(fs::Permissions::from_mode(found.mode() & 0o777))?;
    copy.set_modified(found.modified()?)
}

fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

impl SourceFile {
    /// The state of a file.
    pub fn of(path: &Path, found: &fs::Metadata) -> Self {
        Self {
            path: path.to_owned(),
            size: found.len(),
            seconds: found.mtime(),
            nanoseconds: found.mtime_nsec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of a host in a temporary directory, mirrored to its place in a tree.
    fn host() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let host = fs::canonicalize(dir.path()).unwrap().join("host");
        fs::create_dir_all(host.join("usr/bin")).unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        fs::write(host.join("usr/bin/mawk"), "awk").unwrap();
        fs::set_permissions(host.join("usr/bin/mawk"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::hard_link(host.join("usr/bin/mawk"), host.join("usr/bin/same")).unwrap();
        symlink("usr/bin", host.join("bin")).unwrap();
        symlink(host.join("usr/awk"), host.join("usr/bin/awk")).unwrap();
        symlink("../usr/./bin/mawk", host.join("usr/awk")).unwrap();
        symlink("loop", host.join("loop")).unwrap();
        (dir, host)
    }

    #[test]
    fn every_link_on_the_way() {
        let (dir, host) = host();
        let tree = dir.path().join("tree");
        let mut mirror = Mirror::new(&tree);
        assert_eq!(mirror.add(&host.join("bin/awk")).unwrap(), host.join("usr/bin/mawk"));
        mirror.add(&host.join("bin/awk")).unwrap();
        mirror.add(&host.join("bin/same")).unwrap();
        let copy = tree.join(host.strip_prefix("/").unwrap());
        assert_eq!(fs::read_link(copy.join("bin")).unwrap(), Path::new("usr/bin"));
        assert_eq!(fs::read_link(copy.join("usr/bin/awk")).unwrap(), host.join("usr/awk"));
        let (file, original) = (copy.join("usr/bin/mawk"), host.join("usr/bin/mawk"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "awk");
        let (file, original) = (fs::metadata(file).unwrap(), fs::metadata(original).unwrap());
        assert_eq!(file.mode() & 0o7777, 0o755, "no set-user-id");
        assert_eq!(file.modified().unwrap(), original.modified().unwrap());
        assert_ne!(file.ino(), original.ino(), "a copy, no link to the host's file");
        assert_eq!(file.nlink(), 2, "both names are one file, as on the host");
    }

    #[test]
    fn dead_ends() {
        let (dir, host) = host();
        let tree = dir.path().join("tree");
        let mut mirror = Mirror::new(&tree);
        assert_eq!(mirror.add(&host.join("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        let nothing = mirror.add(&host.join("none")).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::NotFound);
        assert!(mirror.add(Path::new("/dev/null")).is_err());
    }
}
