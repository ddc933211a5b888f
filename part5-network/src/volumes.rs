//! Volumes: directories and files of the host inside a container.
//!
//! The source is cloned as a detached mount and the target is looked up inside the new root with
//! `openat2(RESOLVE_IN_ROOT)`; both are descriptors from then on, so that no symbolic link that is
//! swapped in between can lead a volume out of the root (CVE-2021-30465, CVE-2018-15664). As with
//! Docker, volumes may hold devices and set-user-id programs: what stops those are the device
//! rules and `no_new_privs`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use shared::part::Request;
use shared::recipe::Outcome;
use shared::spec::{Mount, Source};
use shared::sys::{MountAttr, mount_setattr};
use shared::{Call, Error, Result};

/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 1;

/// Where a volume is on the host, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// On the host, absolute.
    pub source: PathBuf,
    /// In the container, absolute.
    pub target: PathBuf,
    /// `:ro`.
    pub read_only: bool,
    /// Whether the source is a directory of ours, made on first use.
    pub ours: bool,
    /// Whether it ends with its container.
    pub anonymous: bool,
}

/// The volumes of a service, in the order in which they are mounted: outer ones first.
///
/// # Errors
/// A source that is missing, or a target that cannot be one.
pub fn plan(request: &Request) -> Result<Vec<Volume>> {
    let numbered = request.service.volumes.iter().enumerate();
    let mut volumes =
        numbered.map(|(i, mount)| plan_one(request, i, mount)).collect::<Result<Vec<_>>>()?;
    volumes.sort_by_key(|volume| volume.target.components().count());
    Ok(volumes)
}

fn plan_one(request: &Request, number: usize, mount: &Mount) -> Result<Volume> {
    check_target(&mount.target)?;
    let (source, ours) = match &mount.source {
        Source::Bind(path) => (existing(path)?, false),
        Source::Volume(name) => (request.home.volumes().join(volume_name(request, name)), true),
        Source::Anonymous => (request.data().join(format!("volume-{number}")), true),
    };
    Ok(Volume {
        source,
        ours,
        target: mount.target.clone(),
        read_only: mount.read_only,
        anonymous: mount.source == Source::Anonymous,
    })
}

/// A named volume is its project's.
fn volume_name(request: &Request, name: &str) -> String {
    match request.spec {
        Some(spec) => format!("{}_{name}", spec.project),
        None => name.to_owned(),
    }
}

fn existing(path: &Path) -> Result<PathBuf> {
    match path.metadata() {
        Ok(_) => Ok(path.to_owned()),
        Err(e) => Err(Error::new(format!("volume source missing: {}", path.display()))
            .because(e)
            .hint("make it, or correct the path (relative to the service file)")),
    }
}

fn check_target(target: &Path) -> Result<()> {
    let plain = |c: &Component| matches!(c, Component::RootDir | Component::Normal(_));
    let wrong = if !target.is_absolute() || !target.components().all(|c| plain(&c)) {
        "it must be an absolute path without `..`"
    } else if target == Path::new("/") {
        "the whole root file system cannot be a volume"
    } else if target.starts_with("/proc") {
        "nothing may be mounted into /proc"
    } else {
        return Ok(());
    };
    Err(Error::new(format!("a volume cannot be mounted at {}", target.display()))
        .because(wrong)
        .hint("choose another target, such as /data"))
}

/// Mounts `source` at `target` below `root`, and makes a target that is missing.
///
/// Runs in the child, in its own mount namespace, before `pivot_root`.
///
/// # Errors
/// The call that failed: `open_tree`, `mount_setattr`, `openat2`, `mkdirat`, `move_mount`.
pub fn mount_volume(root: BorrowedFd, source: &Path, target: &Path, read_only: bool) -> Outcome {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, flags)
        .call(format!("open_tree({}, OPEN_TREE_CLONE)", source.display()))?;
    if read_only {
        let attr = MountAttr { set: READ_ONLY, ..MountAttr::default() };
        mount_setattr(tree.as_fd(), true, attr).call("mount_setattr(MOUNT_ATTR_RDONLY)")?;
    }
    let mode = fstat(&tree).call("fstat(volume)")?.st_mode;
    let is_dir = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR;
    let place = find_or_make(root, target, is_dir)?;
    // The image may have a link to /proc there: see `check_target`.
    if fstatfs(&place).call("fstatfs(target)")?.filesystem_type() == PROC_SUPER_MAGIC {
        return Err(Errno::EPERM).call(format!("move_mount({}): in /proc", target.display()));
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &place, "", flags).call(format!(
        "move_mount({} to {})",
        source.display(),
        target.display()
    ))
}

/// Opens `target` inside `root`; what is missing of it is made.
fn find_or_make(root: BorrowedFd, target: &Path, is_dir: bool) -> Result<OwnedFd, shared::Failed> {
    match open_inside(root, target) {
        Err(Errno::ENOENT) => {}
        other => return other.call(format!("openat2({}, RESOLVE_IN_ROOT)", target.display())),
    }
    let parent = target.parent().unwrap_or(Path::new("/"));
    let name = target.file_name().unwrap_or_default();
    let parent = if parent == Path::new("/") {
        root.try_clone_to_owned().call("dup(root)")?
    } else {
        find_or_make(root, parent, true)?
    };
    // Neither call follows a link called `name`: one that leads nowhere is EEXIST.
    if is_dir {
        let mode = Mode::from_bits_truncate(0o755);
        mkdirat(&parent, name, mode).call(format!("mkdirat({})", target.display()))?;
    } else {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(&parent, name, flags, Mode::from_bits_truncate(0o644))
            .call(format!("openat({}, O_CREAT)", target.display()))?;
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(&parent, name, flags, Mode::empty()).call(format!("openat({})", target.display()))
}

fn open_inside(root: BorrowedFd, target: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, target, how)
}
