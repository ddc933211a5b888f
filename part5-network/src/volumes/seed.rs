//! A new volume starts with what the image has at its place, as with Docker.
//!
//! Everything is reached through open directories and no link is followed, so nothing outside the
//! root can be copied in.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};
use part2_namespaces::open_beneath;
use shared::Call;
use shared::recipe::Outcome;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Copies what is at `target` in `root` into the volume at `source`, if that is empty.
pub(super) fn fill(root: BorrowedFd, source: &Path, target: &Path) -> Outcome {
    let is_empty = fs::read_dir(source).is_ok_and(|mut entries| entries.next().is_none());
    let from = match open_beneath(root, target) {
        Ok(found) if is_empty => found,
        // Nothing to copy, or something is there already.
        _ => return Ok(()),
    };
    let from = match openat(&from, ".", DIRECTORY, Mode::empty()) {
        // A file is no content for a volume.
        Err(Errno::ENOTDIR) => return Ok(()),
        other => other.call(format!("open({})", target.display()))?,
    };
    let to = File::open(source).call(format!("open({})", source.display()))?;
    let stat = nix::sys::stat::fstat(&from).call(format!("fstat({})", target.display()))?;
    copy_children(from, to.as_fd())?;
    own(to.as_fd(), &stat)
}

fn copy_children(from: OwnedFd, to: BorrowedFd) -> Outcome {
    let mut dir = Dir::from_fd(from).call("fdopendir")?;
    let names: Vec<_> = dir
        .iter()
        .flatten()
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| ![&b"."[..], b".."].contains(&name.to_bytes()))
        .collect();
    for name in names {
        use std::os::unix::ffi::OsStrExt;
        let name = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        copy(dir.as_fd(), to, name)?;
    }
    Ok(())
}

fn copy(from: BorrowedFd, to: BorrowedFd, name: &Path) -> Outcome {
    let call = |what: &str| format!("{what}({}) into the volume", name.display());
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).call(call("fstatat"))?;
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => {
            let source = openat(from, name, DIRECTORY, Mode::empty()).call(call("openat"))?;
            mkdirat(to, name, Mode::S_IRWXU).call(call("mkdirat"))?;
            let target = openat(to, name, DIRECTORY, Mode::empty()).call(call("openat"))?;
            copy_children(source, target.as_fd())?;
            return own(target.as_fd(), &stat);
        }
        SFlag::S_IFREG => return copy_file(from, to, name, &stat),
        SFlag::S_IFLNK => {
            let link = readlinkat(from, name).call(call("readlinkat"))?;
            symlinkat(link.as_os_str(), to, name).call(call("symlinkat"))?;
        }
        // Without privileges a device cannot be made, and a volume is seldom the place for one.
        kind => match mknodat(to, name, kind, mode_of(&stat), stat.st_rdev) {
            Err(Errno::EPERM) => return Ok(()),
            other => other.call(call("mknodat"))?,
        },
    }
    let (uid, gid) = owner_of(&stat);
    let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
    allowed_to_fail(fchownat(to, name, Some(uid), Some(gid), nofollow)).call(call("fchownat"))
}

fn copy_file(from: BorrowedFd, to: BorrowedFd, name: &Path, stat: &FileStat) -> Outcome {
    let call = |what: &str| format!("{what}({}) into the volume", name.display());
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let source = openat(from, name, flags, Mode::empty()).call(call("openat"))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let target = openat(to, name, flags, Mode::S_IRWXU).call(call("openat"))?;
    let mut target = File::from(target);
    std::io::copy(&mut File::from(source), &mut target).call(call("copy"))?;
    own(target.as_fd(), stat)
}

/// Owner and mode, in this order: a change of owner takes set-user-id away. By descriptor: a
/// container that has the volume already could have put a link under the name.
fn own(file: BorrowedFd, stat: &FileStat) -> Outcome {
    let (uid, gid) = owner_of(stat);
    allowed_to_fail(fchown(file, Some(uid), Some(gid))).call("fchown(volume)")?;
    fchmod(file, mode_of(stat)).call("fchmod(volume)")
}

fn owner_of(stat: &FileStat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn mode_of(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

/// The owner may be one that this user namespace does not have.
fn allowed_to_fail(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EINVAL | Errno::EPERM) => Ok(()),
        other => other,
    }
}
