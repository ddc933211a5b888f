//! Volumes: directories and files of the host inside a container.
//!
//! The source is cloned as a detached mount and the target is looked up inside the new root with
//! `openat2(RESOLVE_IN_ROOT)`; both are descriptors from then on, so that no symbolic link that is
//! swapped in between can lead a volume out of the root (CVE-2021-30465, CVE-2018-15664). As with
//! Docker, volumes may hold devices and set-user-id programs: what stops those are the device
//! rules and `no_new_privs`.

mod seed;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use part2_namespaces::{at_root, attach, open_beneath, shell_place, shell_read_only};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use shared::journal::Undo;
use shared::part::Request;
use shared::recipe::{Outcome, Place, Recipe, Step};
use shared::shell::{all_quoted, quoted};
use shared::spec::{Mount, Source};
use shared::sys::{MountAttr, mount_setattr};
use shared::{Call, Error, Failed, Result};

use crate::PART;

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
        Source::Anonymous => {
            let name = format!("{}.anonymous-{number}", request.name);
            (request.home.volumes().join(name), true)
        }
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

/// Adds the steps: make those that are ours, mount all.
///
/// # Errors
/// As [`plan`].
pub(crate) fn add(recipe: &mut Recipe, request: &Request) -> Result<()> {
    let volumes = plan(request)?;
    let ours: Vec<_> = volumes.iter().filter(|volume| volume.ours).cloned().collect();
    if !ours.is_empty() {
        recipe.insert_before("clone", make(ours));
    }
    for volume in volumes {
        let place = shell_place(&request.rootfs, &volume.target);
        insert_mount(recipe, mount_step(volume, &place));
    }
    Ok(())
}

/// Mounts come when the tree is there, before it can be read-only, and before we wait for the
/// network.
pub(crate) fn insert_mount(recipe: &mut Recipe, step: Step) {
    let later = ["read-only root", "eth0", "loopback", "pivot_root"];
    let next = recipe.steps.iter().find(|step| later.contains(&&*step.name));
    let next = next.map_or("pivot_root".into(), |step| step.name.clone());
    recipe.insert_before(&next, step);
}

fn make(volumes: Vec<Volume>) -> Step {
    let shown: Vec<_> = volumes.iter().map(|v| v.source.display().to_string()).collect();
    let mut step = Step::new(PART, Place::Prepare, "volumes")
        .what(format!("have the directories of the volumes: {}", shown.join(", ")))
        .why("what is in a named volume stays when its containers are gone")
        .section("5.9")
        .shell(format!("mkdir -p {}", all_quoted(&shown)));
    for volume in volumes.iter().filter(|volume| volume.anonymous) {
        step = step.undo_on_remove(Undo::RemoveTree { path: volume.source.clone() });
    }
    step.does(move || {
        volumes.iter().try_for_each(|volume| {
            let call = || format!("mkdir -p {}", volume.source.display());
            std::fs::create_dir_all(&volume.source).call(call())
        })
    })
}

fn mount_step(volume: Volume, place: &str) -> Step {
    let (source, target) = (volume.source.display(), volume.target.display());
    let (before, after) = shell_around(&volume, place);
    let shown = quoted(&source);
    Step::new(PART, Place::Child, format!("volume {target}"))
        .what(format!("mount {source} at {target}"))
        .why("files that live longer than the container, or are shared with it")
        .section("5.9")
        .shell([before, format!("mount --rbind {shown} {}", quoted(place)), after].concat())
        .hint("does the volume's source exist, and may this user open it?")
        .does(move || {
            let root = at_root()?;
            if volume.ours {
                seed::fill(root.as_fd(), &volume.source, &volume.target)?;
            }
            mount_volume(root.as_fd(), &volume.source, &volume.target, volume.read_only)
        })
}

/// The shell commands before and after the one that mounts a volume.
fn shell_around(volume: &Volume, place: &str) -> (String, String) {
    let (source, target) = (quoted(volume.source.display()), quoted(place));
    // A new volume begins with what the image has there.
    let fill = match volume.ours {
        true => {
            format!("[[ $(ls -A {source}) || ! -d {target} ]] || cp -a {target}/. {source}\n")
        }
        false => String::new(),
    };
    let make = match volume.ours || volume.source.is_dir() {
        true => format!("mkdir -p {target}; "),
        false => shell_of_file(place) + "\n",
    };
    let protect = match volume.read_only {
        true => format!("\n{}", shell_read_only(place)),
        false => String::new(),
    };
    (fill + &make, protect)
}

/// Makes a file to be mounted over, if it is missing.
pub(crate) fn shell_of_file(place: &str) -> String {
    let parent = Path::new(place).parent().unwrap_or(Path::new("."));
    let (parent, place) = (quoted(parent.display()), quoted(place));
    format!("mkdir -p {parent}; [[ -e {place} ]] || touch {place}")
}

// ANCHOR: mount_volume
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
    attach(tree.as_fd(), place.as_fd()).call(format!(
        "move_mount({} to {})",
        source.display(),
        target.display()
    ))
}
// ANCHOR_END: mount_volume

/// As many links in a row as the kernel follows.
const LINKS_MAX: u32 = 40;

/// Opens `target` inside `root`; what is missing of it is made.
fn find_or_make(root: BorrowedFd, target: &Path, is_dir: bool) -> Result<OwnedFd, Failed> {
    let mut target = target.to_owned();
    for _ in 0..LINKS_MAX {
        match open_beneath(root, &target) {
            Err(rustix::io::Errno::NOENT) => {}
            other => return other.call(format!("openat2({}, RESOLVE_IN_ROOT)", target.display())),
        }
        let parent = target.parent().unwrap_or(Path::new("/")).to_owned();
        let name = target.file_name().unwrap_or_default();
        let dir = find_or_make_parent(root, &parent)?;
        // Neither call follows a link called `name`.
        match make_entry(dir.as_fd(), Path::new(name), is_dir) {
            // A link that leads nowhere (`/etc/resolv.conf` of Debian): what it names is made.
            Err(Errno::EEXIST) => {
                let link =
                    readlinkat(&dir, name).call(format!("readlink({})", target.display()))?;
                target = parent.join(link);
            }
            other => other.call(format!("make {}", target.display()))?,
        }
    }
    Err(Failed::new(format!("openat2({})", target.display()), Errno::ELOOP))
}

fn find_or_make_parent(root: BorrowedFd, parent: &Path) -> Result<OwnedFd, Failed> {
    if parent == Path::new("/") || parent == Path::new("") {
        return root.try_clone_to_owned().call("dup(root)");
    }
    find_or_make(root, parent, true)
}

fn make_entry(dir: BorrowedFd, name: &Path, is_dir: bool) -> Result<(), Errno> {
    if is_dir {
        return mkdirat(dir, name, Mode::from_bits_truncate(0o755));
    }
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
}
