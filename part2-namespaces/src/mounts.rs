//! Mounting without being led astray.
//!
//! A mount is first made *detached*, as an open file, and then attached to a directory that was
//! opened before: no path is looked up twice, so nobody can swap it in between
//! (CVE-2021-30465, CVE-2024-45310). See `fsopen(2)`, `open_tree(2)`, `move_mount(2)`,
//! `openat2(2)`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use shared::error::{Call, Failed};
use shared::recipe::Outcome;
use shared::sys::{MountAttr, mount_setattr};

/// No set-user-id, no devices, no programs: what nothing but data needs.
pub const DATA_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Opens the new root: before `pivot_root` it is the working directory.
///
/// # Errors
/// What `openat2(2)` answered.
pub fn at_root() -> Result<OwnedFd, Failed> {
    rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .call("open(\".\")")
}

/// Opens a directory or file below `root` as the container would see it: symbolic links stay
/// inside, and none leads through `/proc`.
///
/// # Errors
/// `ENOENT`, `ELOOP`, `ENOTDIR`, …
pub fn open_beneath(root: BorrowedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    openat2(
        root,
        inside,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// What a shell in the new root calls `path` there: the links on the way are followed as they are
/// now, for the shell would follow them as the host sees them.
pub fn shell_place(rootfs: &Path, path: &Path) -> String {
    let mut place = PathBuf::new();
    let mut left: Vec<_> = path.components().rev().map(owned).collect();
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == Path::new("/") {
            place.clear();
        } else if part == Path::new("..") {
            place.pop();
        } else if let Ok(link) = std::fs::read_link(rootfs.join(&place).join(&part))
            && links < LINKS_MAX
        {
            links += 1;
            left.extend(link.components().rev().map(owned));
        } else {
            place.push(part);
        }
    }
    format!("./{}", place.display())
}

/// As many links in a row as the kernel follows.
const LINKS_MAX: u32 = 40;

fn owned(part: Component) -> PathBuf {
    part.as_os_str().into()
}

/// Opens a directory of the new root that must be one: not a symbolic link (CVE-2019-16884,
/// CVE-2023-27561: an image whose `/proc` is a link makes masking work on something else).
/// Makes it if it is missing.
pub(crate) fn mount_point(name: &str) -> Result<OwnedFd, Failed> {
    let call = || format!("open(\"/{name}\") as a directory, not a symbolic link");
    let open = || {
        openat2(
            CWD,
            name,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
    };
    match open() {
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(CWD, name, Mode::from_raw_mode(0o755)).call(call())?;
            open().call(call())
        }
        result => result.call(call()),
    }
}

/// Makes a file system of the kernel, detached. An option without a value is a flag.
///
/// # Errors
/// The call that failed.
pub fn detached(
    kind: &'static str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Failed> {
    let call = |what: &str| format!("{what}({kind:?})");
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).call(call("fsopen"))?;
    for (key, value) in options {
        match *value {
            "" => fsconfig_set_flag(context.as_fd(), *key),
            value => fsconfig_set_string(context.as_fd(), *key, value),
        }
        .call(format!("fsconfig({kind:?}, {key}={value})"))?;
    }
    fsconfig_create(context.as_fd()).call(call("fsconfig_create"))?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).call(call("fsmount"))
}

/// Makes a detached copy of the mount at an open path, with all below when `recursive`: what a
/// bind mount attaches.
///
/// # Errors
/// What `open_tree(2)` answered.
pub fn detached_bind(of: BorrowedFd, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(of, "", flags)
}

/// Attaches a detached mount to an open directory or file.
///
/// # Errors
/// What `move_mount(2)` answered.
pub fn attach(mount: BorrowedFd, target: BorrowedFd) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Makes a file system and attaches it to a directory of the new root.
pub(crate) fn mount_at(
    name: &str,
    kind: &'static str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Outcome {
    let target = mount_point(name)?;
    let mount = detached(kind, options, attributes)?;
    attach(mount.as_fd(), target.as_fd()).call(format!("move_mount({kind}, \"/{name}\")"))
}

/// Makes a mount read-only, with all below when `recursive`: `mount_setattr(2)`.
///
/// # Errors
/// What it answered.
pub fn make_read_only(mount: BorrowedFd, recursive: bool) -> Outcome {
    let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(mount, recursive, attr).call("mount_setattr(RDONLY)")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_shell_is_told_where_links_lead_inside() {
        let tree = tempfile::tempdir().expect("a directory");
        let at = |name: &str| tree.path().join(name);
        std::fs::create_dir_all(at("var/lib")).expect("mkdir");
        for (link, name) in [
            ("/run", "var/run"),
            ("../run/resolve/stub", "stub"),
            ("../../../../etc", "var/lib/up"),
            ("round", "round"),
        ] {
            symlink(link, at(name)).expect("symlink");
        }
        for (path, place) in [
            ("/var/run/deep/er", "./run/deep/er"),
            ("/stub", "./run/resolve/stub"),
            ("/var/lib/up/x", "./etc/x"),
            ("/var/./lib/", "./var/lib"),
            ("/round", "./round"),
            ("/", "./"),
        ] {
            assert_eq!(shell_place(tree.path(), Path::new(path)), place);
        }
    }
}
