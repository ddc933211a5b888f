//! Cgroups: whether one of ours can be made, and has the controllers.
//!
//! The one thing here that no namespace hides: an empty cgroup is made on the machine, and
//! removed at once.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::geteuid;

use super::Need;
use crate::error::{AsErrno, Call, Failed};
use crate::hierarchy::{Cgroups, Hierarchy, Unusable, Version, names_in};
use crate::lab::trial::{Tried, Trouble, ended_well, in_child};
use crate::sys::{self, Cloned};

pub(super) const NEEDS: &[Need] = &[
    Need::new("cgroup2", "limits by cgroup version 2 (one tree)", || both(Version::V2))
        .kernel((5, 7), "CONFIG_CGROUPS"),
    Need::new("cgroup1", "limits by cgroup version 1 (a tree for each)", || both(Version::V1)),
    Need::new("delegation", "a cgroup that our user may divide", delegation)
        .kernel((5, 7), "CONFIG_CGROUPS"),
    Need::new("memory", "limits on memory", || any("memory", "memory")),
    Need::new("pids", "limits on the number of processes", || any("pids", "pids")),
    Need::new("cpu", "limits on CPU time", || any("cpu", "cpu")),
    Need::new("cpuset", "a choice of CPUs", || any("cpuset", "cpuset")),
    Need::new("io", "limits on disks", || any("io", "blkio")),
    Need::new("devices", "a list of devices (cgroup version 1)", || {
        controller("devices", Some(Version::V1))
    }),
    Need::new("psi", "how long a group waits for what it lacks", psi)
        .kernel((4, 20), "CONFIG_PSI")
        .remedy("boot with psi=1"),
    Need::new("bpf-device", "a list of devices (cgroup version 2 and bpf)", bpf_device)
        .kernel((4, 15), "CONFIG_CGROUP_BPF"),
];

const OF_UNIFIED: &str = "boot with systemd.unified_cgroup_hierarchy=1";
const OF_V1: &str = "none is needed where there is version 2 (systemd up to 255: boot with \
     systemd.unified_cgroup_hierarchy=0)";

fn both(version: Version) -> Tried {
    ["memory", "pids"].iter().try_for_each(|name| controller(name, Some(version)))?;
    let parents = parents_of("memory", Some(version))?;
    parents.first().map_or(Ok(()), |parent| join(version, parent))
}

fn any(v2: &'static str, v1: &'static str) -> Tried {
    controller(v2, Some(Version::V2)).or_else(|of_v2| {
        controller(v1, Some(Version::V1)).map_err(|of_v1| {
            // The tree that has the controller says why it is not ours.
            let is_elsewhere = Cgroups::detect().hierarchies.iter().any(|h| has(h, v1));
            if is_elsewhere { of_v1 } else { of_v2 }
        })
    })
}

/// Makes a cgroup in the tree that has the controller (by its kernel name: `io`, `blkio`, …), of
/// that version or any; and looks whether it is there.
///
/// # Errors
/// No tree has it, or we may not make cgroups there.
pub fn controller(name: &str, version: Option<Version>) -> Tried {
    let parents = parents_of(name, version)?;
    let mut result = Err(no_controller(name, version));
    for parent in parents {
        result = in_new_cgroup(&parent, |cgroup| {
            let prefix = format!("{name}.");
            let is_v2 = cgroup.join("cgroup.controllers").exists();
            let names = fs::read_dir(cgroup).call(format!("opendir({cgroup:?})"))?;
            let names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
            let has_file = names.iter().any(|n| n.to_string_lossy().starts_with(&prefix));
            // Version 2 passes it on when the runtime asks for it.
            if is_v2 || has_file { Ok(()) } else { Err(no_controller(name, version)) }
        });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The cgroups in which ours would be made.
fn parents_of(name: &str, version: Option<Version>) -> Result<Vec<PathBuf>, Trouble> {
    let cgroups = Cgroups::detect();
    let is_wanted = |h: &&Hierarchy| version.is_none_or(|v| v == h.version);
    let mut parents = Vec::new();
    let mut trouble = no_controller(name, version);
    for hierarchy in cgroups.hierarchies.iter().filter(is_wanted) {
        if !has(hierarchy, name) {
            continue;
        }
        match hierarchy.parent() {
            Err(unusable) => trouble = about(unusable, hierarchy.version),
            Ok(parent) if hierarchy.version == Version::V2 && !passes_on(&parent, name) => {
                trouble = Trouble::known(
                    format!("{} has no {name} controller to pass on", parent.display()),
                    "start it with `systemd-run -p Delegate=yes`, or as root",
                );
            }
            Ok(parent) => parents.push(parent),
        }
    }
    if parents.is_empty() { Err(trouble) } else { Ok(parents) }
}

fn has(hierarchy: &Hierarchy, name: &str) -> bool {
    match hierarchy.version {
        Version::V1 => hierarchy.controllers.iter().any(|c| c.v1_name() == name),
        Version::V2 => passes_on(&hierarchy.mount, name),
    }
}

fn passes_on(cgroup: &Path, name: &str) -> bool {
    names_in(&cgroup.join("cgroup.controllers")).iter().any(|n| n == name)
}

fn no_controller(name: &str, version: Option<Version>) -> Trouble {
    let (tree, advice) = match version {
        Some(Version::V2) => ("version 2", OF_UNIFIED),
        Some(Version::V1) => ("version 1", OF_V1),
        None => ("either version", "boot with cgroup_enable=memory, mount /sys/fs/cgroup"),
    };
    Trouble::known(format!("no cgroup tree of {tree} has the {name} controller"), advice)
}

fn about(unusable: Unusable, version: Version) -> Trouble {
    match unusable {
        Unusable::NotOurs(dir) => Trouble::known(
            format!("we may not make cgroups in {}", dir.display()),
            way_out(version),
        ),
        Unusable::Busy(dir) => Trouble::known(
            format!("{} has processes, so its children can have no limits", dir.display()),
            "move them to a cgroup below it first",
        ),
    }
}

fn way_out(version: Version) -> &'static str {
    if geteuid().is_root() {
        return "mount the cgroup file system writable (docker run --privileged)";
    }
    let systemd_of_user = std::env::var_os("XDG_RUNTIME_DIR")
        .is_some_and(|dir| Path::new(&dir).join("systemd/private").exists());
    match (version, systemd_of_user) {
        (Version::V2, true) => "start it with `systemd-run --user --scope -p Delegate=yes`",
        (Version::V2, false) => {
            "log in through systemd and start it with \
             `systemd-run --user --scope -p Delegate=yes`, or as root (sudo)"
        }
        (Version::V1, _) => "run it as root (sudo): version 1 cannot be delegated safely",
    }
}

/// A user's own part of the tree. Root has all of it.
fn delegation() -> Tried {
    if geteuid().is_root() {
        return Ok(());
    }
    let cgroups = Cgroups::detect();
    let unified = cgroups.hierarchies.iter().find(|h| h.version == Version::V2);
    let tree = unified.ok_or_else(|| Trouble::known("there is no cgroup version 2", OF_UNIFIED))?;
    if !has(tree, "memory") {
        let why = "only cgroup version 2 can be given to a user; here it has no memory controller";
        return Err(Trouble::known(why, format!("{OF_UNIFIED}, or run it as root (sudo)")));
    }
    let parent = tree.parent().map_err(|unusable| about(unusable, Version::V2))?;
    join(Version::V2, &parent)
}

/// A process of ours is born in (version 2) or moves to (version 1) a new cgroup.
fn join(version: Version, parent: &Path) -> Tried {
    in_new_cgroup(parent, |cgroup| match version {
        Version::V2 => in_child(|| born_in(cgroup)),
        Version::V1 => in_child(|| {
            fs::write(cgroup.join("cgroup.procs"), "0").call("write(cgroup.procs)")?;
            Ok(())
        }),
    })
}

fn born_in(cgroup: &Path) -> Tried {
    let directory = File::open(cgroup).call(format!("open({cgroup:?})"))?;
    let call = "clone3(CLONE_INTO_CGROUP)";
    match sys::clone3(CloneFlags::empty(), Some(directory.as_fd())).call(call)? {
        Cloned::Child => sys::exit_now(0),
        Cloned::Parent { pid, .. } if ended_well(pid) => Ok(()),
        Cloned::Parent { .. } => Err(Failed::new(call, Errno::EIO).into()),
    }
}

fn in_new_cgroup(parent: &Path, act: impl FnOnce(&Path) -> Tried) -> Tried {
    let cgroup = parent.join(format!("inside-docker-doctor-{}", std::process::id()));
    fs::create_dir(&cgroup).call(format!("mkdir({cgroup:?})"))?;
    let tried = act(&cgroup);
    // A process that has just ended may count for a moment more.
    for _ in 0..50 {
        match fs::remove_dir(&cgroup).map_err(|error| error.as_errno()) {
            Err(Errno::EBUSY) => sleep(Duration::from_millis(1)),
            _ => break,
        }
    }
    tried
}

/// `return 1`: everything is allowed. It is checked by the kernel, and attached to nothing.
/// Groups of version 2 have pressure files, with or without controllers.
fn psi() -> Tried {
    fs::read_to_string("/proc/pressure/cpu").call("read(\"/proc/pressure/cpu\")")?;
    let has_tree = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .any(|tree| Path::new(tree).join("cgroup.procs").exists());
    let advice = "boot with systemd.unified_cgroup_hierarchy=1";
    let missing = || Trouble::known("there is no cgroup tree of version 2", advice);
    if has_tree { Ok(()) } else { Err(missing()) }
}

fn bpf_device() -> Tried {
    let instruction =
        |code, immediate| sys::bpf::Instruction { code, registers: 0, offset: 0, immediate };
    let program = [instruction(0xb7, 1), instruction(0x95, 0)];
    sys::bpf::load_device_program(&program).call("bpf(BPF_PROG_LOAD)")?;
    let tree = Cgroups::detect().hierarchies.into_iter().find(|h| h.version == Version::V2);
    tree.map(drop).ok_or_else(|| Trouble::known("there is no cgroup version 2", OF_UNIFIED))
}
