//! `/proc` and `/sys`: the kernel's files, and what of them is hidden.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use shared::error::{Call, Failed};
use shared::part::Request;
use shared::recipe::{Outcome, Place, Recipe, Step};
use shared::spec::NetworkMode;

use crate::PART;
use crate::mounts::{
    DATA_ONLY, at_root, attach, detached, detached_bind, make_read_only, mount_at, open_beneath,
};

/// Readable, not writable: they change the kernel or its hardware for everybody.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Not even readable: they tell of the host or of other containers.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    recipe.insert_before("chroot", proc());
    recipe.insert_before("chroot", sys(request));
    if !request.service.sysctls.is_empty() {
        recipe.insert_before("chroot", sysctls(request));
    }
    recipe.insert_before("chroot", read_only_paths());
    recipe.insert_before("chroot", masked_paths());
}

fn proc() -> Step {
    Step::new(PART, Place::Child, "proc")
        .what("mount a /proc of its own")
        .why("it shows the processes of the pid namespace that mounts it, and no others")
        .section("2.9")
        .shell("mount -t proc -o nosuid,nodev,noexec proc proc")
        .hint("the root file system needs a directory /proc that is no symbolic link")
        .does(|| mount_at("proc", "proc", &[], DATA_ONLY))
}

fn sys(request: &Request) -> Step {
    // Without a network namespace of its own a user namespace may not mount sysfs: it would show
    // the devices of a network that it does not own. The host's, read-only, is as good.
    let borrowed = !request.user.is_root() && request.service.network_mode == NetworkMode::Host;
    let step = Step::new(PART, Place::Child, "sys")
        .what("mount /sys, read-only")
        .why("its files are switches of the host's kernel and devices")
        .section("2.10")
        .hint("the root file system needs a directory /sys that is no symbolic link");
    let read_only = DATA_ONLY | MountAttrFlags::MOUNT_ATTR_RDONLY;
    if borrowed {
        step.shell("mount --rbind -o ro /sys sys").does(bind_sys)
    } else {
        step.shell("mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys")
            .does(move || mount_at("sys", "sysfs", &[], read_only))
    }
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
        request.service.sysctls.iter().map(|(k, v)| format!("sysctl -w {k}={v}")).collect();
    Step::new(PART, Place::Child, "sysctls")
        .what("set the kernel's tunables of these namespaces")
        .why("they are the container's own, but /proc/sys is read-only once it runs")
        .section("2.9")
        .shell(shell.join("; "))
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
        .section("2.11")
        .shell(format!("for p in {}; do mount --bind -o ro .$p .$p; done", READ_ONLY.join(" ")))
        .does(|| {
            let root = at_root()?;
            READ_ONLY.iter().try_for_each(|path| read_only_path(root.as_fd(), path))
        })
}

fn read_only_path(root: BorrowedFd, path: &str) -> Outcome {
    let Some(target) = present(root, path)? else { return Ok(()) };
    let copy = detached_bind(target.as_fd(), true).call(format!("open_tree({path:?})"))?;
    make_read_only(copy.as_fd(), true)?;
    attach(copy.as_fd(), target.as_fd()).call(format!("move_mount({path:?})"))
}

fn masked_paths() -> Step {
    Step::new(PART, Place::Child, "masked paths")
        .what("hide parts of /proc and /sys")
        .why("they show the host's memory, keys, timers and hardware")
        .section("2.11")
        .shell(format!(
            "for p in {}; do [ -d .$p ] && mount -t tmpfs -o ro none .$p || \
             mount --bind dev/null .$p; done",
            MASKED.join(" ")
        ))
        .does(mask_all)
}

/// A file is covered by `/dev/null`, a directory by an empty one.
fn mask_all() -> Outcome {
    let root = at_root()?;
    // Our own device, made a moment ago, and checked: not whatever the image calls /dev/null
    // (CVE-2025-31133).
    let null = open_beneath(root.as_fd(), Path::new("/dev/null")).call("open(\"/dev/null\")")?;
    let is_null = rustix::fs::fstat(&null).call("fstat(\"/dev/null\")")?;
    if is_null.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(Failed::new("/dev/null is not the null device", nix::errno::Errno::ENODEV));
    }
    let read_only = DATA_ONLY | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let mut empty = None;
    for path in MASKED {
        let Some(target) = present(root.as_fd(), path)? else { continue };
        let is_dir = rustix::fs::fstat(&target)
            .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
            .call(format!("fstat({path:?})"))?;
        let cover = if is_dir {
            // One empty file system serves all directories.
            match &empty {
                None => {
                    let new = detached("tmpfs", &[("size", "0")], read_only)?;
                    attach(new.as_fd(), target.as_fd()).call(format!("move_mount({path:?})"))?;
                    empty = Some(new);
                    continue;
                }
                Some(mount) => detached_bind(mount.as_fd(), false),
            }
        } else {
            detached_bind(null.as_fd(), false)
        }
        .call(format!("open_tree(a cover for {path:?})"))?;
        attach(cover.as_fd(), target.as_fd()).call(format!("move_mount({path:?})"))?;
    }
    Ok(())
}

/// Opens a path of /proc or /sys; None when this kernel does not have it.
fn present(root: BorrowedFd, path: &str) -> Result<Option<std::os::fd::OwnedFd>, Failed> {
    match open_beneath(root, Path::new(path)) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e).call(format!("open({path:?})")),
    }
}
