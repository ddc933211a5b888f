//! The container's own cgroup files, to read: `/sys/fs/cgroup`.
//!
//! A program looks there for its limits. It must not write there: its limits are in these files,
//! and on version 1 a `release_agent` is a program that the *host* runs (CVE-2022-0492).

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use part2_namespaces::{
    DATA_ONLY, at_root, attach, detached, detached_bind, make_read_only, open_beneath,
};
use rustix::fs::{Mode, OFlags, mkdirat, open};
use rustix::mount::MountAttrFlags;
use shared::error::Call;
use shared::recipe::{Outcome, Place, Step};
use shared::shell::quoted;
use shared::sys::{MountAttr, mount_setattr};

use crate::PART;
use crate::hierarchy::Version;
use crate::placement::Group;

const WHERE: &str = "/sys/fs/cgroup";

/// Shows the container its own cgroup, as the root of the tree.
pub(crate) fn show(groups: &[Group]) -> Step {
    let step = Step::new(PART, Place::Child, "cgroup files")
        .what(format!("show it its own cgroup at {WHERE}, read-only"))
        .why("a program may read its limits, but not change them")
        .section("3.13");
    match groups {
        [only] if only.version == Version::V2 => {
            let dir = only.dir.clone();
            let shell = format!("mount --bind -o {READ_ONLY} \"${}\" .{WHERE}", only.variable());
            step.shell(shell).does(move || bind(&dir, None))
        }
        _ => {
            let trees = named(groups);
            step.shell(shell_of_all(groups, &trees)).does(move || bind_all(&trees))
        }
    }
}

/// The options of all these mounts.
const READ_ONLY: &str = "ro,nosuid,nodev,noexec";

fn shell_of_all(groups: &[Group], trees: &[(PathBuf, String)]) -> String {
    let trunk = format!("mount -t tmpfs -o nosuid,nodev,noexec,mode=755,size=64k tmpfs .{WHERE}");
    let bind = |(group, (_, name)): (&Group, &(PathBuf, String))| {
        let (dir, place) = (group.variable(), quoted(format!(".{WHERE}/{name}")));
        format!("mkdir -m 555 {place}; mount --bind -o {READ_ONLY} \"${dir}\" {place}")
    };
    let done = format!("mount -o remount,bind,ro .{WHERE}");
    [trunk]
        .into_iter()
        .chain(groups.iter().zip(trees).map(bind))
        .chain([done])
        .collect::<Vec<_>>()
        .join("\n")
}

/// Version 1 has a tree for each controller, and each tree a directory of its name.
fn named(groups: &[Group]) -> Vec<(PathBuf, String)> {
    let name = |group: &Group| match group.version {
        Version::V2 => "unified".to_owned(),
        Version::V1 => {
            let names: Vec<_> = group.controllers.iter().map(|c| c.v1_name()).collect();
            names.join(",")
        }
    };
    groups.iter().map(|group| (group.dir.clone(), name(group))).collect()
}

fn bind_all(trees: &[(PathBuf, String)]) -> Outcome {
    let call = || format!("mount(tmpfs, {WHERE:?})");
    let place = open_beneath(at_root()?.as_fd(), Path::new(WHERE)).call(call())?;
    let trunk = detached("tmpfs", &[("mode", "755"), ("size", "64k")], DATA_ONLY)?;
    for (_, name) in trees {
        mkdirat(&trunk, name, Mode::from_raw_mode(0o555)).call(format!("mkdir({name:?})"))?;
    }
    attach(trunk.as_fd(), place.as_fd()).call(call())?;
    trees.iter().try_for_each(|(dir, name)| bind(dir, Some(name)))?;
    make_read_only(trunk.as_fd(), false)
}

// ANCHOR: bind
fn bind(dir: &Path, name: Option<&str>) -> Outcome {
    let target = name.map_or_else(|| PathBuf::from(WHERE), |name| Path::new(WHERE).join(name));
    let call = || format!("mount(--bind, {dir:?}, {target:?})");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = open(dir, flags, Mode::empty()).call(call())?;
    let copy = detached_bind(own.as_fd(), false).call(call())?;
    let attr = MountAttr {
        set: (DATA_ONLY | MountAttrFlags::MOUNT_ATTR_RDONLY).bits().into(),
        ..MountAttr::default()
    };
    mount_setattr(copy.as_fd(), false, attr).call(call())?;
    let place = open_beneath(at_root()?.as_fd(), &target).call(call())?;
    attach(copy.as_fd(), place.as_fd()).call(call())
}
// ANCHOR_END: bind
