//! `/proc` and `/sys`: the kernel's files, and what of them is hidden.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use shared::error::{Call, Failed};
use shared::part::Request;
use shared::recipe::{Outcome, Place, Recipe, Step};
use shared::shell::quoted;
use shared::spec::NetworkMode;

use crate::PART;
use crate::mounts::{
    DATA_ONLY, at_root, attach, detached, detached_bind, make_read_only, mount_at, open_beneath,
};

/// What `fstatfs(2)` calls the two file systems.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;

/// Readable, not writable: they change the kernel or its hardware for everybody.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Not even readable: they tell of the host or of other containers. Files, then directories.
const MASKED_FILES: [&str; 7] =
    ["interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats"];
const MASKED_DIRS: [&str; 3] = ["acpi", "asound", "scsi"];
/// The same, of /sys.
const MASKED_SYS: [&str; 2] = ["devices/virtual/powercap", "firmware"];

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    recipe.insert_before("chroot", proc());
    recipe.insert_before("chroot", sys(request));
    if !request.service.sysctls.is_empty() {
        recipe.insert_before("chroot", sysctls(request));
    }
    recipe.insert_before("chroot", read_only_paths());
    recipe.insert_before("chroot", masked_paths());
}

// ANCHOR: proc
fn proc() -> Step {
    Step::new(PART, Place::Child, "proc")
        .what("mount a /proc of its own")
        .why("it shows the processes of the pid namespace that mounts it, and no others")
        .section("2.10")
        .shell("mkdir -p proc; mount -t proc -o nosuid,nodev,noexec proc proc")
        .hint("the root file system needs a directory /proc that is no symbolic link")
        .does(|| mount_at("proc", "proc", &[], DATA_ONLY))
}
// ANCHOR_END: proc

// ANCHOR: sys
fn sys(request: &Request) -> Step {
    // Without a network namespace of its own a user namespace may not mount sysfs: it would show
    // the devices of a network that it does not own. The host's, read-only, is as good.
    let borrowed = !request.user.is_root() && request.service.network_mode == NetworkMode::Host;
    let step = Step::new(PART, Place::Child, "sys")
        .what("mount /sys, read-only")
        .why("its files are switches of the host's kernel and devices")
        .section("2.11")
        .hint("the root file system needs a directory /sys that is no symbolic link");
    let read_only = DATA_ONLY | MountAttrFlags::MOUNT_ATTR_RDONLY;
    if borrowed {
        step.shell(format!("mkdir -p sys; mount --rbind /sys sys\n{}", shell_read_only("sys")))
            .does(bind_sys)
    } else {
        step.shell("mkdir -p sys; mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys")
            .does(move || mount_at("sys", "sysfs", &[], read_only))
    }
}
// ANCHOR_END: sys

/// The shell command that makes a mount read-only with all below it, and keeps its other options.
pub fn shell_read_only(target: &str) -> String {
    format!(
        "findmnt -Rlno TARGET {} | while read -r m; do mount -o remount,bind,ro \"$m\"; done",
        quoted(target)
    )
}

fn bind_sys() -> Outcome {
    let target = crate::mounts::mount_point("sys")?;
    let host = rustix::fs::open("/sys", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())
        .call("open(\"/sys\")")?;
    let tree = detached_bind(host.as_fd(), true).call("open_tree(\"/sys\")")?;
    make_read_only(tree.as_fd(), true)?;
    attach(tree.as_fd(), target.as_fd()).call("move_mount(\"/sys\")")
}

fn sysctls(request: &Request) -> Step {
    let values: Vec<_> = request
        .service
        .sysctls
        .iter()
        .map(|(key, value)| (format!("/proc/sys/{}", key.replace('.', "/")), value.clone()))
        .collect();
    let shell: Vec<_> =
        request.service.sysctls.iter().map(|(k, v)| quoted(format!("{k}={v}"))).collect();
    Step::new(PART, Place::Child, "sysctls")
        .what("set the kernel's tunables of these namespaces")
        .why("they are the container's own, but /proc/sys is read-only once it runs")
        .section("2.10")
        .shell(format!("sysctl -qw {}", shell.join(" ")))
        .does(move || {
            let root = at_root()?;
            values.iter().try_for_each(|(path, value)| {
                let call = || format!("write({path:?}, {value:?})");
                let file = open_file_to_write(root.as_fd(), Path::new(path)).call(call())?;
                std::io::Write::write_all(&mut std::fs::File::from(file), value.as_bytes())
                    .call(call())
            })
        })
}

fn open_file_to_write(root: BorrowedFd, path: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    openat2(
        root,
        path.strip_prefix("/").unwrap_or(path),
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    )
}

fn read_only_paths() -> Step {
    Step::new(PART, Place::Child, "read-only paths")
        .what("make parts of /proc read-only")
        .why("a write to /proc/sys or /proc/sysrq-trigger reaches the whole machine")
        .section("2.12")
        .shell(format!(
            "for p in {}; do\n  \
               [[ ! -e proc/$p ]] || mount --bind -o ro,nosuid,nodev,noexec \"proc/$p\" \"proc/$p\"\n\
             done",
            READ_ONLY.join(" ")
        ))
        .does(|| {
            let proc = kernel_fs("proc", PROC_SUPER_MAGIC)?;
            READ_ONLY.iter().try_for_each(|path| read_only_path(proc.as_fd(), path))
        })
}

// ANCHOR: read_only_path
fn read_only_path(proc: BorrowedFd, path: &str) -> Outcome {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let copy = match open_tree(proc, path, flags) {
        // This kernel does not have it.
        Err(Errno::NOENT) => return Ok(()),
        result => result.call(format!("open_tree(/proc/{path})"))?,
    };
    make_read_only(copy.as_fd(), true)?;
    cover(copy.as_fd(), proc, path).call(format!("move_mount(/proc/{path})"))
}
// ANCHOR_END: read_only_path

/// Attaches a detached mount to a path below an open directory: `move_mount(2)`.
fn cover(mount: BorrowedFd, dir: BorrowedFd, path: &str) -> Result<(), Errno> {
    move_mount(mount, "", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Opens the `/proc` or `/sys` that was just mounted, and makes sure that it is that: everything
/// below is found from here, so that no image can lead it astray (CVE-2025-52881).
fn kernel_fs(name: &str, magic: u64) -> Result<OwnedFd, Failed> {
    let dir = crate::mounts::mount_point(name)?;
    let found = rustix::fs::fstatfs(&dir).call(format!("fstatfs(\"/{name}\")"))?;
    if found.f_type as u64 == magic {
        return Ok(dir);
    }
    Err(Failed::new(format!("/{name} is not the kernel's"), nix::errno::Errno::EXDEV))
}

fn masked_paths() -> Step {
    let files = MASKED_FILES.map(|name| format!("proc/{name}"));
    let dirs = MASKED_DIRS.map(|name| format!("proc/{name}")).into_iter();
    let dirs: Vec<_> = dirs.chain(MASKED_SYS.map(|name| format!("sys/{name}"))).collect();
    Step::new(PART, Place::Child, "masked paths")
        .what("hide parts of /proc and /sys")
        .why("they show the host's memory, keys, timers and hardware")
        .section("2.12")
        .shell(format!(
            "for f in {}; do\n  \
               [[ ! -e $f ]] || mount --bind dev/null \"$f\"\n\
             done\n\
             for d in {}; do\n  \
               [[ ! -e $d ]] || mount -t tmpfs -o ro,nosuid,nodev,noexec,size=4k,mode=755 tmpfs \"$d\"\n\
             done",
            files.join(" "),
            dirs.join(" ")
        ))
        .does(mask_all)
}

/// A file is covered by `/dev/null`, a directory by an empty one.
fn mask_all() -> Outcome {
    let proc = kernel_fs("proc", PROC_SUPER_MAGIC)?;
    let sys = kernel_fs("sys", SYSFS_MAGIC)?;
    let null = null_device()?;
    for path in MASKED_FILES.into_iter().filter(|path| exists(&proc, path)) {
        let copy = detached_bind(null.as_fd(), false).call("open_tree(\"/dev/null\")")?;
        cover(copy.as_fd(), proc.as_fd(), path).call(format!("move_mount(/proc/{path})"))?;
    }
    let in_proc = MASKED_DIRS.into_iter().map(|path| (&proc, path));
    let in_sys = MASKED_SYS.into_iter().map(|path| (&sys, path));
    mask_dirs(in_proc.chain(in_sys).filter(|(dir, path)| exists(dir, path)))
}

/// Whether this kernel has a path. Asked first: a detached mount that is closed unused costs more
/// than ten that are used.
fn exists(dir: &OwnedFd, path: &str) -> bool {
    rustix::fs::accessat(dir, path, Access::EXISTS, AtFlags::empty()).is_ok()
}

/// One empty file system serves all directories: it goes to the first, copies of it to the rest.
fn mask_dirs<'a>(dirs: impl Iterator<Item = (&'a OwnedFd, &'a str)>) -> Outcome {
    let read_only = DATA_ONLY | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let mut empty: Option<OwnedFd> = None;
    for (dir, path) in dirs {
        let mount = match &empty {
            None => detached("tmpfs", &[("size", "4k"), ("mode", "755")], read_only)?,
            Some(first) => {
                detached_bind(first.as_fd(), false).call("open_tree(an empty directory)")?
            }
        };
        cover(mount.as_fd(), dir.as_fd(), path).call(format!("move_mount({path})"))?;
        empty.get_or_insert(mount);
    }
    Ok(())
}

/// Our own device, made a moment ago, and checked: not whatever the image calls `/dev/null`
/// (CVE-2025-31133).
fn null_device() -> Result<OwnedFd, Failed> {
    let root = at_root()?;
    let null = open_beneath(root.as_fd(), Path::new("/dev/null")).call("open(\"/dev/null\")")?;
    let found = rustix::fs::fstat(&null).call("fstat(\"/dev/null\")")?;
    if found.st_rdev == rustix::fs::makedev(1, 3) {
        return Ok(null);
    }
    Err(Failed::new("/dev/null is not the null device", nix::errno::Errno::ENODEV))
}
