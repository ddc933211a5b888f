//! `/dev`: a few devices that are safe to share, and memory file systems of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, open, openat, symlinkat};
use rustix::mount::MountAttrFlags;
use shared::error::{Call, Failed, Result};
use shared::part::Request;
use shared::recipe::{Outcome, Place, Recipe, Step};
use shared::shell::quoted;
use shared::spec::{Device, Tmpfs};

use crate::PART;
use crate::mounts::{
    DATA_ONLY, at_root, attach, detached, detached_bind, mount_at, mount_point, shell_place,
};

// ANCHOR: devices
/// Name, major and minor number: see the kernel's `admin-guide/devices.txt`.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
// ANCHOR_END: devices

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// `/dev/shm` unless the service says otherwise, as Docker's.
const SHM_SIZE: u64 = 64 << 20;

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    let service = request.service;
    // Before the paths are masked: they are covered with the new /dev/null.
    recipe.insert_before("read-only paths", dev(request));
    recipe.insert_before("read-only paths", devpts(request));
    recipe.insert_before("read-only paths", shm(service.shm_size.unwrap_or(SHM_SIZE)));
    recipe.insert_before("read-only paths", mqueue());
    for tmpfs in &service.tmpfs {
        let place = quoted(shell_place(&request.rootfs, &tmpfs.target));
        recipe.insert_before("chroot", memory_fs(tmpfs, &place));
    }
}

fn dev(request: &Request) -> Step {
    let root = request.user.is_root();
    let devices = request.service.devices.clone();
    let names: Vec<_> = DEVICES.iter().map(|(name, ..)| *name).collect();
    Step::new(PART, Place::Child, "dev")
        .what(format!("make a /dev with {} only", names.join(", ")))
        .why("the host's /dev reaches its disks and its memory")
        .section("2.13")
        .shell(format!(
            "mkdir -p dev; mount -t tmpfs -o nosuid,noexec,mode=755,size=64k tmpfs dev\n{}",
            shell_of_dev(root, &request.service.devices)
        ))
        .hint("the root file system needs a directory /dev that is no symbolic link")
        .does(move || make_dev(root, &devices))
}

fn shell_of_dev(root: bool, devices: &[Device]) -> String {
    let mut lines = Vec::new();
    let made =
        DEVICES.map(|(name, major, minor)| format!("mknod -m 666 dev/{name} c {major} {minor}"));
    let names = DEVICES.map(|(name, ..)| name);
    match root {
        true => lines.extend(made.chunks(3).map(|line| line.join("; "))),
        false => lines.push(format!(
            "for d in {}; do touch \"dev/$d\"; mount --bind \"/dev/$d\" \"dev/$d\"; done",
            names.join(" ")
        )),
    }
    lines.extend(devices.iter().map(|device| shell_of_device(root, device)));
    let links = LINKS.map(|(name, target)| format!("ln -s {target} dev/{name}"));
    lines.extend(links.chunks(3).map(|line| line.join("; ")));
    lines.push(
        "mkdir dev/pts dev/shm dev/mqueue; touch dev/console; chmod 600 dev/console".to_owned(),
    );
    lines.join("\n")
}

/// One of `devices:`.
fn shell_of_device(root: bool, device: &Device) -> String {
    let (source, target) = (quoted(device.source.display()), device.target.display());
    let place = quoted(format!(".{target}"));
    let parent = device.target.parent().unwrap_or(Path::new("/dev"));
    let make_parent = match parent == Path::new("/dev") {
        true => String::new(),
        false => format!("mkdir -p {}; ", quoted(format!(".{}", parent.display()))),
    };
    if !root {
        return format!("{make_parent}touch {place}; mount --bind {source} {place}");
    }
    let Ok(host) = rustix::fs::stat(&device.source) else {
        return format!("# there is no {source} to be copied");
    };
    let kind =
        if FileType::from_raw_mode(host.st_mode) == FileType::BlockDevice { 'b' } else { 'c' };
    let (major, minor) = (rustix::fs::major(host.st_rdev), rustix::fs::minor(host.st_rdev));
    format!("{make_parent}mknod -m 666 {place} {kind} {major} {minor}")
}

/// Everything is made in the new file system while it is detached: no path of the image is used.
fn make_dev(root: bool, devices: &[Device]) -> Outcome {
    let target = mount_point("dev")?;
    let options = [("mode", "755"), ("size", "64k")];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = detached("tmpfs", &options, attributes)?;
    for (name, major, minor) in DEVICES {
        if root {
            make_node(
                dev.as_fd(),
                Path::new(name),
                FileType::CharacterDevice,
                makedev(major, minor),
            )?;
        } else {
            make_file(dev.as_fd(), name)?;
        }
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name).call(format!("symlink({target:?}, \"/dev/{name}\")"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755)).call(format!("mkdir(\"/dev/{name}\")"))?;
    }
    // For the terminal, which is bound to it.
    make_file(dev.as_fd(), "console")?;
    for device in devices {
        add_device(dev.as_fd(), device, root)?;
    }
    attach(dev.as_fd(), target.as_fd()).call("move_mount(\"/dev\")")?;
    if !root {
        // Nobody may make devices in a user namespace: the host's are bound instead.
        let names = DEVICES.iter().map(|(name, ..)| (PathBuf::from("/dev").join(name), *name));
        for (source, name) in names {
            bind_device(dev.as_fd(), &source, Path::new(name))?;
        }
        for device in devices {
            bind_device(dev.as_fd(), &device.source, in_dev(device)?)?;
        }
    }
    Ok(())
}

// ANCHOR: make_node
fn make_node(dev: BorrowedFd, name: &Path, kind: FileType, number: u64) -> Outcome {
    mknodat(dev, name, kind, Mode::from_raw_mode(0o666), number)
        // The umask took some of the permissions away.
        .and_then(|()| {
            rustix::fs::chmodat(dev, name, Mode::from_raw_mode(0o666), rustix::fs::AtFlags::empty())
        })
        .call(format!("mknod(\"/dev/{}\")", name.display()))
}
// ANCHOR_END: make_node

fn make_file(dev: BorrowedFd, name: &str) -> Outcome {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::WRONLY;
    openat(dev, name, flags, Mode::from_raw_mode(0o600))
        .call(format!("creat(\"/dev/{name}\")"))
        .map(drop)
}

/// A device of `devices:`, with the numbers the host's has.
fn add_device(dev: BorrowedFd, device: &Device, root: bool) -> Outcome {
    let name = in_dev(device)?;
    if let Some(parent) = name.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let mut made = PathBuf::new();
        for part in parent {
            made.push(part);
            let _ = mkdirat(dev, &made, Mode::from_raw_mode(0o755));
        }
    }
    if !root {
        return make_file(dev, &name.to_string_lossy());
    }
    let host = rustix::fs::stat(&device.source).call(format!("stat({:?})", device.source))?;
    make_node(dev, name, FileType::from_raw_mode(host.st_mode), host.st_rdev)
}

/// Where in `/dev` a device goes.
fn in_dev(device: &Device) -> Result<&Path, Failed> {
    device.target.strip_prefix("/dev").map_err(|_| {
        Failed::new(
            format!("devices: {:?} is not below /dev", device.target),
            nix::errno::Errno::EINVAL,
        )
    })
}

fn bind_device(dev: BorrowedFd, source: &Path, name: &Path) -> Outcome {
    let host = open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call(format!("open({source:?})"))?;
    let place = openat(dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .call(format!("open(\"/dev/{}\")", name.display()))?;
    let copy = detached_bind(host.as_fd(), false).call(format!("open_tree({source:?})"))?;
    attach(copy.as_fd(), place.as_fd()).call(format!("move_mount({source:?})"))
}

fn devpts(request: &Request) -> Step {
    // Terminals belong to the group `tty`, number 5 on Debian, where that group exists inside.
    let has_tty_group = shared::identity::Identity::of_user(request.user).has(5);
    let mut options = vec![("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    if has_tty_group {
        options.push(("gid", "5"));
    }
    let of_shell: Vec<_> = options
        .iter()
        .map(|(key, value)| if value.is_empty() { (*key).into() } else { format!("{key}={value}") })
        .collect();
    Step::new(PART, Place::Child, "devpts")
        .what("mount a /dev/pts of its own")
        .why("with the host's it could read and write the host's terminals")
        .section("2.13")
        .shell(format!("mount -t devpts -o nosuid,noexec,{} devpts dev/pts", of_shell.join(",")))
        .does(move || {
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            mount_at("dev/pts", "devpts", &options, attributes)
        })
}

fn shm(size: u64) -> Step {
    let size = size.to_string();
    Step::new(PART, Place::Child, "shm")
        .what(format!("mount a /dev/shm of its own, at most {size} bytes"))
        .why("shared memory of shm_open(3) lives there")
        .section("2.13")
        .shell(format!("mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size={size} shm dev/shm"))
        .does(move || mount_at("dev/shm", "tmpfs", &[("mode", "1777"), ("size", &size)], DATA_ONLY))
}

fn mqueue() -> Step {
    Step::new(PART, Place::Child, "mqueue")
        .what("mount a /dev/mqueue of its own")
        .why("it shows the message queues of the IPC namespace that mounts it")
        .section("2.13")
        .shell("mount -t mqueue -o nosuid,nodev,noexec mqueue dev/mqueue")
        .does(|| mount_at("dev/mqueue", "mqueue", &[], DATA_ONLY))
}

/// One of `tmpfs:`.
fn memory_fs(tmpfs: &Tmpfs, place: &str) -> Step {
    let target = tmpfs.target.clone();
    let mode = format!("{:o}", tmpfs.mode.unwrap_or(0o1777));
    let mut options = format!("mode={mode}");
    if let Some(size) = tmpfs.size {
        options.push_str(&format!(",size={size}"));
    }
    let (size, shown) = (tmpfs.size.map(|size| size.to_string()), target.display().to_string());
    Step::new(PART, Place::Child, format!("tmpfs {shown}"))
        .what(format!("mount an empty file system in memory at {shown}"))
        .why("what is written there is fast and is gone with the container")
        .section("2.13")
        .shell(format!(
            "mkdir -p {place}; mount -t tmpfs -o nosuid,nodev,noexec,{options} tmpfs {place}"
        ))
        .hint("the place must be a directory, or missing, and not in /proc")
        .does(move || {
            let mut options = vec![("mode", mode.as_str())];
            options.extend(size.as_deref().map(|size| ("size", size)));
            let root = at_root()?;
            let place = directory(root.as_fd(), &target)?;
            let mount = detached("tmpfs", &options, DATA_ONLY)?;
            attach(mount.as_fd(), place.as_fd()).call(format!("move_mount(tmpfs, {target:?})"))
        })
}

/// Opens a directory below `root`, made if missing, as the container would see it.
fn directory(root: BorrowedFd, path: &Path) -> Result<OwnedFd, Failed> {
    let call = || format!("mkdir({path:?})");
    let mut here = root.try_clone_to_owned().call(call())?;
    let mut so_far = PathBuf::new();
    for name in path.components() {
        let std::path::Component::Normal(name) = name else { continue };
        so_far.push(name);
        // Always from the root: where a symbolic link on the way leads, is counted from there.
        let parent = here;
        here = match crate::open_beneath(root, &so_far) {
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(&parent, name, Mode::from_raw_mode(0o755)).call(call())?;
                crate::open_beneath(root, &so_far).call(call())?
            }
            result => result.call(call())?,
        };
    }
    let found = rustix::fs::fstat(&here).call(call())?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Err(Failed::new(call(), nix::errno::Errno::ENOTDIR));
    }
    // An image may have a link to /proc there: nothing of what the kernel tells is covered.
    if rustix::fs::fstatfs(&here).call(call())?.f_type == rustix::fs::PROC_SUPER_MAGIC {
        return Err(Failed::new(format!("{path:?} leads into /proc"), nix::errno::Errno::EPERM));
    }
    Ok(here)
}

/// Opens the console's place, for the terminal to be bound to.
pub(crate) fn console() -> Result<OwnedFd, Failed> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, "dev/console", flags, Mode::empty()).call("open(\"/dev/console\")")
}
