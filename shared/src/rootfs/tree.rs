//! Writes files into a directory so that nothing ever lands outside it.
//!
//! Every path is resolved by the kernel as if the directory were `/`: `openat2(2)` with
//! `RESOLVE_IN_ROOT`. A symbolic link on the way, absolute or climbing, leads to a place inside.
//! The last component is then created through the descriptor of its directory, and never followed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid,
    XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr, fstatvfs, futimens, linkat, mkdirat,
    mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::part::User;

/// Files above this size are checked against the free space before they are written, in bytes.
const LARGE: u64 = 16 << 20;
/// How much is copied at once, in bytes.
const BLOCK: usize = 64 * 1024;
/// `openat2` answers EAGAIN when something was renamed meanwhile, anywhere on the machine.
const ATTEMPTS: u32 = 128;

/// What a file has besides its content.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds.
    pub modified: (i64, i64),
    /// Extended attributes: `security.capability`, `user.…`.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// A directory that is being filled.
pub struct Tree {
    root: OwnedFd,
    /// Only root gives files away, makes devices and keeps set-user-id.
    privileged: bool,
    /// The last directory written to: the next file is mostly in the same.
    last: Option<(PathBuf, OwnedFd)>,
    /// Directories get their attributes last: writing into them changes their time, and they may
    /// be closed to writing.
    directories: BTreeMap<PathBuf, Attributes>,
    /// What could not be done, and how often.
    notes: BTreeMap<&'static str, u64>,
}

impl Tree {
    /// Opens the directory `root`.
    ///
    /// # Errors
    /// `open(2)`.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            root: openat(CWD, root, flags, Mode::empty())?,
            privileged: User::current().is_root(),
            last: None,
            directories: BTreeMap::new(),
            notes: BTreeMap::new(),
        })
    }

    /// Makes a directory; one that is there already gets the attributes.
    ///
    /// # Errors
    /// `path` climbs; `mkdirat(2)`.
    pub fn directory(&mut self, path: &Path, attributes: Attributes) -> io::Result<()> {
        let names = names(path)?;
        if !names.as_os_str().is_empty() {
            self.replace(&names, |parent, name| {
                match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                    Err(Errno::EXIST) if is_directory(parent, name) => Ok(()),
                    other => other,
                }
            })?;
        }
        self.directories.insert(names, attributes);
        Ok(())
    }

    /// Makes a regular file with `size` bytes of `content`.
    ///
    /// # Errors
    /// `path` climbs; there is less content than `size`, or less space; `write(2)`.
    pub fn file(
        &mut self,
        path: &Path,
        attributes: &Attributes,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        self.check_space(size)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(self.replace(&names(path)?, |parent, name| {
            openat(parent, name, flags | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600))
        })?);
        copy(content, size, &mut file)?;
        self.set(file.as_fd(), attributes)
    }

    /// Makes a symbolic link. Its target is only text; whoever follows it resolves it.
    ///
    /// # Errors
    /// `path` climbs; `symlinkat(2)`.
    pub fn symlink(
        &mut self,
        path: &Path,
        target: &Path,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let names = names(path)?;
        self.replace(&names, |parent, name| symlinkat(target, parent, name))?;
        self.last = None;
        self.set_by_name(&names, attributes)
    }

    /// Gives the file `target`, of this tree, another name.
    ///
    /// # Errors
    /// `path` or `target` climbs; `target` is not there; `linkat(2)`.
    pub fn hard_link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let (names, target) = (names(path)?, self::names(target)?);
        let directory = self.resolve(target.parent().unwrap_or(Path::new("")))?;
        let original = target.file_name().ok_or(Errno::ISDIR)?;
        let found = statat(&directory, original, AtFlags::SYMLINK_NOFOLLOW)?;
        self.replace(&names, |parent, name| {
            match linkat(&directory, original, parent, name, AtFlags::empty()) {
                // A link to itself: there is nothing to do, and nothing may be removed for it.
                Err(Errno::EXIST) if is_same(parent, name, found.st_dev, found.st_ino) => Ok(()),
                other => other,
            }
        })
    }

    /// Makes a device or, with `FileType::Fifo`, a FIFO. Where only root may, it is left out.
    ///
    /// # Errors
    /// `path` climbs; `mknodat(2)`.
    pub fn node(
        &mut self,
        path: &Path,
        kind: FileType,
        device: Dev,
        attributes: &Attributes,
    ) -> io::Result<()> {
        const LEFT_OUT: &str = "device files left out: only root can make them";
        if kind != FileType::Fifo && !self.privileged {
            self.note(LEFT_OUT);
            return Ok(());
        }
        let names = names(path)?;
        let mode = Mode::from_raw_mode(0o600);
        match self.replace(&names, |parent, name| mknodat(parent, name, kind, mode, device)) {
            // Root of a user namespace only.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.note(LEFT_OUT);
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => self.set_by_name(&names, attributes),
        }
    }

    /// Notes something that was left out.
    pub fn note(&mut self, what: &'static str) {
        *self.notes.entry(what).or_default() += 1;
    }

    /// Gives the directories their attributes; answers what was left out, as sentences.
    ///
    /// # Errors
    /// `fchmod(2)`, `futimens(2)`.
    pub fn finish(mut self) -> io::Result<Vec<String>> {
        // The deepest first: a parent may close the way to its children.
        for (path, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            match self.openat2(&path, flags) {
                Ok(directory) => self.set(directory.as_fd(), &attributes)?,
                // Something else has taken its place in the meantime.
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.notes.iter().map(|(what, count)| format!("{count} {what}")).collect())
    }

    /// Runs `make` in the directory of `path`; what has that name already goes first.
    fn replace<T>(
        &mut self,
        path: &Path,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let name = path.file_name().ok_or_else(|| io::Error::other("it names the root itself"))?;
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        let made = match make(parent, name) {
            Err(Errno::EXIST) => {
                let removed = unlinkat(parent, name, AtFlags::empty());
                if removed == Err(Errno::ISDIR) {
                    unlinkat(parent, name, AtFlags::REMOVEDIR)?;
                } else {
                    removed?;
                }
                let made = make(parent, name);
                // The path of the last directory may lead elsewhere now.
                self.last = None;
                made
            }
            other => other,
        };
        Ok(made?)
    }

    /// The directory at `path`, made with all above it if need be.
    fn parent(&mut self, path: &Path) -> io::Result<BorrowedFd<'_>> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let directory = match self.resolve(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_all(path)?,
                other => other?,
            };
            self.last = Some((path.to_owned(), directory));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd()))
    }

    fn make_all(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut so_far = PathBuf::new();
        let mut directory = self.resolve(&so_far)?;
        for name in path {
            so_far.push(name);
            directory = match self.resolve(&so_far) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let mode = Mode::from_raw_mode(0o755);
                    mkdirat(&directory, name, mode)?;
                    // Whatever our umask is.
                    chmodat(&directory, name, mode, AtFlags::empty())?;
                    self.resolve(&so_far)?
                }
                other => other?,
            };
        }
        Ok(directory)
    }

    fn resolve(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(self.openat2(path, OFlags::PATH | OFlags::DIRECTORY)?)
    }

    fn openat2(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    fn check_space(&self, size: u64) -> io::Result<()> {
        if size <= LARGE {
            return Ok(());
        }
        // A descriptor opened with O_PATH will do: fstatvfs(3).
        let disk = fstatvfs(&self.root)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if size > free {
            let (size, free) = (size >> 20, free >> 20);
            let text = format!("it needs {size} MiB and the disk has {free} MiB left");
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Ok(())
    }

    fn set(&mut self, file: BorrowedFd<'_>, attributes: &Attributes) -> io::Result<()> {
        if self.privileged {
            let owner = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            self.owned(fchown(file, Some(owner.0), Some(owner.1)))?;
        }
        // After the owner: a change of owner clears set-user-id.
        fchmod(file, self.mode(attributes))?;
        for (name, value) in &attributes.xattrs {
            match fsetxattr(file, name.as_os_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {
                    self.note("extended attributes left out: not allowed or not supported here");
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(futimens(file, &times(attributes))?)
    }

    /// For what is not to be opened: links and devices.
    fn set_by_name(&mut self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default();
        let parent = self.resolve(path.parent().unwrap_or(Path::new("")))?;
        let not_followed = AtFlags::SYMLINK_NOFOLLOW;
        if self.privileged {
            let owner = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            self.owned(chownat(&parent, name, Some(owner.0), Some(owner.1), not_followed))?;
        }
        let kind = FileType::from_raw_mode(statat(&parent, name, not_followed)?.st_mode);
        if kind != FileType::Symlink {
            // Nobody else has access to the tree: it is no link a moment later either.
            chmodat(&parent, name, self.mode(attributes), AtFlags::empty())?;
        }
        Ok(utimensat(&parent, name, &times(attributes), not_followed)?)
    }

    fn owned(&mut self, result: rustix::io::Result<()>) -> io::Result<()> {
        match result {
            // Root of a user namespace that does not have that id.
            Err(Errno::INVAL | Errno::PERM) => {
                self.note("files keep you as their owner: their own is not known here");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn mode(&self, attributes: &Attributes) -> Mode {
        // A set-user-id file of an ordinary user would lend others that user's rights.
        let kept = if self.privileged { 0o7777 } else { 0o1777 };
        Mode::from_raw_mode(attributes.mode & kept)
    }
}

/// Copies `size` bytes. Blocks of zeros become holes: an archive of a few bytes may claim
/// gigabytes of them.
fn copy(content: &mut dyn Read, size: u64, file: &mut File) -> io::Result<()> {
    let mut content = content.take(size);
    let mut block = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        let length = BLOCK.min(usize::try_from(left).unwrap_or(BLOCK));
        content.read_exact(&mut block[..length]).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it ends too early"),
            _ => error,
        })?;
        if block[..length].iter().all(|&byte| byte == 0) {
            file.seek_relative(length as i64)?;
        } else {
            file.write_all(&block[..length])?;
        }
        left -= length as u64;
    }
    // A hole at the end is none yet.
    file.set_len(size)
}

/// The path without `/` and `.`; one with `..` is refused.
fn names(path: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                return Err(io::Error::other(
                    "its path has a `..` in it, which could lead outside",
                ));
            }
        }
    }
    Ok(out)
}

fn is_directory(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

fn is_same(parent: BorrowedFd<'_>, name: &OsStr, device: u64, inode: u64) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| (found.st_dev, found.st_ino) == (device, inode))
}

fn times(attributes: &Attributes) -> Timestamps {
    let (tv_sec, tv_nsec) = attributes.modified;
    let time = Timespec { tv_sec, tv_nsec: tv_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}
