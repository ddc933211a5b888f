//! Where cgroups are on this machine, and where ours may go: `cgroups(7)`.
//!
//! Version 2 is one tree with all controllers. Version 1 has a tree for each controller (or
//! pair). A hybrid machine has version 1 for some, version 2 for the others. Nothing here is
//! taken for granted, not even `/sys/fs/cgroup`: the kernel says in `/proc/self/mountinfo` where
//! the trees are mounted and in `/proc/self/cgroup` where in each we are ourselves.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// What a cgroup can limit or count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Memory and swap.
    Memory,
    /// How many processes and threads.
    Pids,
    /// CPU time: shares and quota.
    Cpu,
    /// CPU time used. Version 1 only: every version 2 cgroup counts it.
    CpuAccounting,
    /// Which CPUs.
    Cpuset,
    /// Block devices: weight and rates.
    Io,
    /// Which devices. Version 2 has no such controller; a program does it there.
    Devices,
}

impl Controller {
    const ALL: [Self; 7] = [
        Self::Memory,
        Self::Pids,
        Self::Cpu,
        Self::CpuAccounting,
        Self::Cpuset,
        Self::Io,
        Self::Devices,
    ];

    /// Its name in version 1.
    pub fn v1_name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::CpuAccounting => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Io => "blkio",
            Self::Devices => "devices",
        }
    }

    /// Its name in version 2's `cgroup.controllers`; None where nothing need be switched on.
    pub fn v2_name(self) -> Option<&'static str> {
        match self {
            Self::CpuAccounting | Self::Devices => None,
            Self::Io => Some("io"),
            other => Some(other.v1_name()),
        }
    }
}

/// One of the kernel's two kinds of cgroup trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A tree for each controller.
    V1,
    /// One tree for all.
    V2,
}

/// What a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Controllers in version 1 trees, and a version 2 tree besides.
    Hybrid,
    /// No cgroup file system is mounted.
    None,
}

/// One tree, and where in it we are ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which kind.
    pub version: Version,
    /// Version 1: its controllers. Version 2: empty, its files say.
    pub controllers: Vec<Controller>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The directory of our own cgroup; `mount` or below.
    pub own: PathBuf,
}

/// The cgroup trees of this machine that we can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// Version 1 first.
    pub hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Asks the kernel. Without `/proc` there are none.
    pub fn detect() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
    }

    /// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
    pub fn parse(own: &str, mountinfo: &str) -> Self {
        let mounts: Vec<_> = mountinfo.lines().filter_map(CgroupMount::parse).collect();
        let mut hierarchies: Vec<_> =
            own.lines().filter_map(|line| hierarchy_of(line, &mounts)).collect();
        hierarchies.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
        Self { hierarchies }
    }

    /// What this machine has.
    pub fn mode(&self) -> Mode {
        let has = |version| self.hierarchies.iter().any(|h| h.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => Mode::Hybrid,
            (true, false) => Mode::V1,
            (false, true) => Mode::V2,
            (false, false) => Mode::None,
        }
    }

    /// The tree that has a controller: version 1 if there is one, else version 2.
    pub fn with(&self, controller: Controller) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|h| h.version == Version::V2 || h.controllers.contains(&controller))
    }
}

/// `4:memory:/some/where` of `/proc/self/cgroup`, brought together with its mount.
fn hierarchy_of(line: &str, mounts: &[CgroupMount]) -> Option<Hierarchy> {
    let mut fields = line.splitn(3, ':');
    let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = if number == "0" { Version::V2 } else { Version::V1 };
    let has_name = |name: &str| names.split(',').any(|n| n == name);
    let controllers: Vec<_> =
        Controller::ALL.into_iter().filter(|c| has_name(c.v1_name())).collect();
    if version == Version::V1 && controllers.is_empty() {
        return None; // `name=systemd`, or a controller that is nothing to us.
    }
    mounts
        .iter()
        .filter(|m| m.version == version)
        .filter(|m| controllers.iter().all(|c| m.has_option(c.v1_name())))
        .filter_map(|m| Some((m, m.directory_of(path)?)))
        // The mount that shows the most of the tree.
        .min_by_key(|(m, _)| m.root.as_os_str().len())
        .map(|(m, own)| Hierarchy { version, controllers, mount: m.target.clone(), own })
}

/// A line of `/proc/self/mountinfo` that mounts a cgroup tree: `proc_pid_mountinfo(5)`.
struct CgroupMount<'a> {
    version: Version,
    /// Which directory of the tree is mounted.
    root: PathBuf,
    target: PathBuf,
    options: &'a str,
}

impl<'a> CgroupMount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, target) = (front.next()?, front.next()?);
        let mut back = back.split(' ');
        let version = match back.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = back.nth(1)?;
        Some(Self { version, root: unescape(root), target: unescape(target), options })
    }

    fn has_option(&self, name: &str) -> bool {
        self.version == Version::V2 || self.options.split(',').any(|option| option == name)
    }

    /// Where a cgroup of the tree is to be seen below this mount, if it is.
    fn directory_of(&self, cgroup: &str) -> Option<PathBuf> {
        let below = Path::new(cgroup).strip_prefix(&self.root).ok()?;
        let outside = below.components().any(|c| c == std::path::Component::ParentDir);
        (!outside && !cgroup.ends_with(" (deleted)")).then(|| {
            // `join` of an empty path would end with a slash.
            below.components().fold(self.target.clone(), |dir, part| dir.join(part))
        })
    }
}

/// The kernel writes space, tab, newline and backslash as `\040`, `\011`, …
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let octal = after.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => bytes.push(*first),
        }
    }
    OsString::from_vec(bytes).into()
}

/// Why a tree cannot take a cgroup of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// We may not make cgroups there.
    NotOurs(PathBuf),
    /// Version 2: a cgroup with processes cannot have children with controllers.
    Busy(PathBuf),
}

impl Hierarchy {
    /// The cgroup below which ours can be made.
    ///
    /// Version 1: our own, so that what limits us limits our containers, too. Version 2: the
    /// highest one above our own (or our own) that we may change: a cgroup that has processes of
    /// its own cannot pass controllers on, and those with processes are at the bottom. For root
    /// that is the top, for a user the cgroup that was delegated to them.
    ///
    /// # Errors
    /// Why there is none.
    pub fn parent(&self) -> Result<PathBuf, Unusable> {
        if self.version == Version::V1 {
            let ours = can_write(&self.own).then(|| self.own.clone());
            return ours.ok_or_else(|| Unusable::NotOurs(self.own.clone()));
        }
        let highest = self
            .own
            .ancestors()
            .take_while(|dir| dir.starts_with(&self.mount) && is_delegated(dir))
            .last()
            .ok_or_else(|| Unusable::NotOurs(self.own.clone()))?;
        if has_processes(highest) && !is_root_cgroup(highest) {
            return Err(Unusable::Busy(highest.to_owned()));
        }
        Ok(highest.to_owned())
    }
}

fn can_write(path: &Path) -> bool {
    access(path, AccessFlags::W_OK).is_ok()
}

/// `cgroups(7)`, "Delegation": these three must be ours.
fn is_delegated(dir: &Path) -> bool {
    can_write(dir)
        && can_write(&dir.join("cgroup.procs"))
        && can_write(&dir.join("cgroup.subtree_control"))
}

fn has_processes(dir: &Path) -> bool {
    std::fs::read(dir.join("cgroup.procs")).map_or(true, |list| !list.is_empty())
}

/// The kernel's own root has no such file; it alone may have both processes and controllers.
fn is_root_cgroup(dir: &Path) -> bool {
    !dir.join("cgroup.type").exists()
}

/// The names in a version 2 file like `cgroup.controllers`.
pub fn names_in(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_of(cgroups: &Cgroups, controller: Controller) -> Option<&str> {
        cgroups.with(controller).and_then(|h| h.own.to_str())
    }

    #[test]
    fn version_2_with_systemd() {
        let cgroups = Cgroups::parse(
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert_eq!(cgroups.mode(), Mode::V2);
        assert_eq!(
            own_of(&cgroups, Controller::Memory),
            Some("/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope")
        );
    }

    #[test]
    fn hybrid_with_one_tree_for_two_controllers() {
        let cgroups = Cgroups::parse(
            "9:name=systemd:/a\n4:memory:/own/tree\n2:cpu,cpuacct:/\n0::/b\n",
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(cgroups.mode(), Mode::Hybrid);
        assert_eq!(cgroups.hierarchies.len(), 3);
        assert_eq!(own_of(&cgroups, Controller::Cpu), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(own_of(&cgroups, Controller::Memory), Some("/sys/fs/cgroup/memory/own/tree"));
        // A controller that is in no version 1 tree is looked for in the version 2 tree.
        assert_eq!(own_of(&cgroups, Controller::Pids), Some("/sys/fs/cgroup/unified/b"));
    }

    #[test]
    fn a_mount_may_show_a_part_of_the_tree_only() {
        let mount = "35 24 0:30 /docker/web /a\\040b rw - cgroup cgroup rw,memory\n";
        let inside = Cgroups::parse("4:memory:/docker/web/x\n", mount);
        assert_eq!(own_of(&inside, Controller::Memory), Some("/a b/x"));
        let outside = Cgroups::parse("4:memory:/docker/db\n", mount);
        assert_eq!(outside.mode(), Mode::None);
    }

    #[test]
    fn above_a_cgroup_namespace_nothing_is_seen() {
        let mount = "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(Cgroups::parse("0::/../other\n", mount).mode(), Mode::None);
        assert_eq!(Cgroups::parse("0::/gone (deleted)\n", mount).mode(), Mode::None);
        assert_eq!(Cgroups::parse("", "").mode(), Mode::None);
    }

    #[test]
    fn this_machine_has_cgroups_where_the_kernel_says() {
        for hierarchy in Cgroups::detect().hierarchies {
            assert!(hierarchy.own.join("cgroup.procs").exists(), "{hierarchy:?}");
        }
    }
}
