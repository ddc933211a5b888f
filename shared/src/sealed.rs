//! Runs us from a copy of our binary that nobody can write.
//!
//! `exec` joins a container while it is still our program. If the container gets the kernel to
//! run that program once more inside (a script that begins with `#!/proc/self/exe`), then it is a
//! process of the container, whose others open its `/proc/PID/exe`. They cannot write there while
//! it runs, but the descriptor stays: once the last process of ours has ended, they write through
//! it, over our binary on the host, and the next call of it is theirs (CVE-2019-5736).
//!
//! To refuse such programs is not enough: a script can change after we have looked at it. So
//! `exec` runs from a mount of its own that is read-only, or, for an ordinary user, from a file
//! in memory that is sealed (`memfd_create(2)`, `F_ADD_SEALS` of `fcntl(2)`).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::sys::prctl;
use rustix::fs::{
    AtFlags, CWD, MemfdFlags, SealFlags, StatVfsMountFlags, StatxAttributes, StatxFlags,
    fcntl_add_seals, fcntl_get_seals, fstatvfs, memfd_create, statx,
};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::{self, MountAttr};

/// `/proc/self/exe`: the binary that runs.
const SELF: &str = "/proc/self/exe";

/// Executes a protected copy of ourselves with the same arguments and environment. Comes back in
/// that copy, or in the original where the kernel lets us have neither kind of copy.
pub fn run_from_a_copy() {
    let Ok(ours) = File::open(SELF) else { return };
    if is_protected(ours.as_fd()) {
        // `ps` would show the name of a descriptor or of a memfd.
        let name = std::env::args().next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        let _ = CString::new(name).map(|name| prctl::set_name(&name));
        return;
    }
    let words = |word: Vec<u8>| CString::new(word).ok();
    let argv: Vec<_> = std::env::args_os().map(OsStringExt::into_vec).filter_map(words).collect();
    let variable = |(key, value)| [OsStringExt::into_vec(key), OsStringExt::into_vec(value)];
    let environment: Vec<_> =
        std::env::vars_os().map(variable).map(|pair| pair.join(&b'=')).filter_map(words).collect();
    for copy in [read_only_mount, sealed_memfd] {
        // What we execute passes the test above: there is no loop.
        if let Ok(copy) = copy(&ours)
            && is_protected(copy.as_fd())
        {
            let _failed = sys::execveat(copy.as_fd(), &argv, &environment);
        }
    }
}

/// Whether nobody can ever write to a binary through its `/proc/PID/exe`.
///
/// That it lies on a read-only file system is not enough: an update makes that writable for a
/// while, and who has kept a descriptor writes then. A mount of the binary alone was made for it.
fn is_protected(binary: BorrowedFd) -> bool {
    if fcntl_get_seals(binary).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) {
        return true;
    }
    statx(binary, "", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|s| s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        && fstatvfs(binary).is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// For root: costs nothing, and has no name anywhere. It goes with the last process that uses it.
fn read_only_mount(_ours: &File) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, SELF, flags)?;
    let read_only = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    sys::mount_setattr(mount.as_fd(), false, read_only)?;
    Ok(mount)
}

/// For everybody: the whole binary, in memory once more.
fn sealed_memfd(mut ours: &File) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // A kernel before 6.3 does not know EXEC, a later one may refuse to go without.
    let memfd = memfd_create("inside-docker", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("inside-docker", flags))?;
    let mut memfd = File::from(memfd);
    io::copy(&mut ours, &mut memfd)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&memfd, seals)?;
    Ok(memfd.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_sealed_copy_is_whole_and_protected() {
        let ours = File::open(SELF).unwrap();
        assert!(!is_protected(ours.as_fd()));
        let mut copy = File::from(sealed_memfd(&ours).unwrap());
        assert!(is_protected(copy.as_fd()));
        assert_eq!(copy.metadata().unwrap().len(), ours.metadata().unwrap().len());
        assert!(copy.write(b"x").is_err());
    }

    #[test]
    fn a_mount_of_its_own_is_protected() {
        let ours = File::open(SELF).unwrap();
        // Only root gets one.
        if let Ok(mount) = read_only_mount(&ours) {
            assert!(is_protected(mount.as_fd()));
        }
    }
}
