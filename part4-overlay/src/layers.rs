//! The layers of a container: lower, upper, work, and the tree it sees.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::fchdir;
use part2_namespaces::attach;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use shared::error::{Call, Failed};
use shared::journal::Undo;
use shared::part::Request;
use shared::recipe::{Outcome, Place, Recipe, Step};
use shared::shell::quoted;

use crate::PART;

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    let layers = Layers::of(request);
    recipe.steps.insert(0, directories(&layers));
    recipe.replace("rootfs", overlay(layers));
}

/// Where a container's layers are.
#[derive(Debug, Clone)]
struct Layers {
    lower: PathBuf,
    data: PathBuf,
    /// Options that are set or not.
    flags: Vec<&'static str>,
}

impl Layers {
    // ANCHOR: flags
    fn of(request: &Request) -> Self {
        let mut flags = Vec::new();
        if request.throw_away {
            // What nobody will read again need not reach the disk.
            flags.push("volatile");
        }
        if !request.user.is_root() {
            // A user namespace may not write the `trusted.` attributes that mark an opaque
            // directory; `user.` ones do as well.
            flags.push("userxattr");
        }
        Self { lower: request.rootfs.clone(), data: request.data(), flags }
    }
    // ANCHOR_END: flags

    fn upper(&self) -> PathBuf {
        upper(&self.data)
    }

    fn work(&self) -> PathBuf {
        self.data.join("work")
    }

    fn options(&self) -> String {
        let [lower, upper, work] =
            [&self.lower, &self.upper(), &self.work()].map(|d| d.display().to_string());
        let flags: String = self.flags.iter().map(|flag| format!(",{flag}")).collect();
        format!("lowerdir={lower},upperdir={upper},workdir={work}{flags}")
    }
}

/// Where a container's own changes are, below what it keeps.
pub(crate) fn upper(data: &Path) -> PathBuf {
    data.join("upper")
}

// ANCHOR: directories
fn directories(layers: &Layers) -> Step {
    let (data, upper, work) = (layers.data.clone(), layers.upper(), layers.work());
    let parent = quoted(data.parent().unwrap_or(&data).display());
    let [data_shown, upper_shown, work_shown] = [&data, &upper, &work].map(|d| quoted(d.display()));
    Step::new(PART, Place::Prepare, "layers")
        .what(format!("make room for its changes in {}", data.display()))
        .why("what it writes goes there, and the image stays as it is")
        .section("4.4")
        .shell(format!(
            "mkdir -p {parent}; mkdir -m 700 {data_shown}\nmkdir {upper_shown} {work_shown}"
        ))
        .undo_on_remove(Undo::RemoveTree { path: data.clone() })
        .does(move || {
            make(&data, 0o700)?;
            // This directory is the root that the container sees.
            make(&upper, 0o755)?;
            make(&work, 0o700)
        })
}
// ANCHOR_END: directories

fn make(dir: &Path, mode: u32) -> Outcome {
    DirBuilder::new().recursive(true).mode(mode).create(dir).call(format!("mkdir({dir:?})"))
}

fn overlay(layers: Layers) -> Step {
    let shown = quoted(layers.lower.display());
    Step::new(PART, Place::Child, "rootfs")
        .what(format!("put a writable layer on {}", layers.lower.display()))
        .why("many containers start from one image, and none changes it for the others")
        .section("4.1")
        .shell(format!(
            "mount -t overlay -o {} overlay {shown}; cd {shown}",
            quoted(layers.options())
        ))
        .hint(
            "the upper layer must be on a file system that can hold one (ext4, xfs, btrfs, \
             tmpfs): choose one with INSIDE_DOCKER_HOME=DIR",
        )
        .does(move || mount(&layers))
}

// ANCHOR: mount
fn mount(layers: &Layers) -> Outcome {
    let mut named = Vec::new();
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).call("fsopen(\"overlay\")")?;
    let set = |key: &str, value: &str| {
        fsconfig_set_string(context.as_fd(), key, value)
            .call(format!("fsconfig(overlay, {key}={value})"))
    };
    let (lower, upper, work) = (layers.lower.clone(), layers.upper(), layers.work());
    let directories = [("lowerdir", lower), ("upperdir", upper), ("workdir", work)];
    for (key, path) in directories {
        let directory = Directory::of(&path)?;
        set(key, &directory.name)?;
        named.push(directory);
    }
    for flag in &layers.flags {
        fsconfig_set_flag(context.as_fd(), *flag).call(format!("fsconfig(overlay, {flag})"))?;
    }
    fsconfig_create(context.as_fd()).call("fsconfig_create(overlay)")?;
    let none = MountAttrFlags::empty();
    let mount =
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, none).call("fsmount(overlay)")?;

    // Its place is on top of the image: a mount needs a directory, and there nobody is.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place =
        open(&layers.lower, flags, Mode::empty()).call(format!("open({:?})", layers.lower))?;
    attach(mount.as_fd(), place.as_fd()).call("move_mount(overlay)")?;
    fchdir(&mount).call("fchdir(new root)")
}
// ANCHOR_END: mount

/// A directory by a name that an option can give it.
struct Directory {
    name: String,
    /// Open as long as its name is used.
    _file: Option<OwnedFd>,
}

impl Directory {
    /// Colons, commas and backslashes have a meaning in an option, and which of them can be
    /// escaped depends on the kernel's age. A path with one in it is named by a descriptor.
    fn of(path: &Path) -> Result<Self, Failed> {
        match path.to_str() {
            Some(name) if !name.contains([':', ',', '\\']) => {
                Ok(Self { name: name.to_owned(), _file: None })
            }
            _ => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let file = open(path, flags, Mode::empty()).call(format!("open({path:?})"))?;
                let name = format!("/proc/self/fd/{}", file.as_raw_fd());
                Ok(Self { name, _file: Some(file) })
            }
        }
    }
}
