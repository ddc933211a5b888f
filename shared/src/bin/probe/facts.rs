//! What a process can find out about itself and its surroundings, nearly all of it in `/proc`.
//!
//! Every function answers `None` or an empty list where the file is not there: a root file system
//! without `/proc` is one of the things a reader meets. See `proc(5)`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The text of a file without the white space around it; None when it cannot be read.
pub fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// A field of `/proc/self/status`: `status("CapEff")`.
pub fn status(field: &str) -> Option<String> {
    let status = text("/proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The effective one of the four ids of `Uid:` or `Gid:`.
pub fn effective_id(field: &str) -> Option<u64> {
    status(field)?.split_whitespace().nth(1)?.parse().ok()
}

/// The name this machine, or this UTS namespace, goes by.
pub fn hostname() -> Option<String> {
    text("/proc/sys/kernel/hostname")
}

/// The NIS domain of this UTS namespace.
pub fn domainname() -> Option<String> {
    text("/proc/sys/kernel/domainname")
}

/// The session it belongs to, by its leader's pid; 0 when that is outside of the pid namespace.
pub fn session() -> Option<u64> {
    // The name of the program stands in brackets and may hold anything.
    let stat = text("/proc/self/stat")?;
    stat.rsplit_once(") ")?.1.split(' ').nth(3)?.parse().ok()
}

/// The environment, sorted: `PATH=/usr/bin:/bin`.
pub fn environment() -> Vec<String> {
    let pair = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        format!("{}={}", key.to_string_lossy(), value.to_string_lossy())
    };
    let mut pairs: Vec<String> = std::env::vars_os().map(pair).collect();
    pairs.sort();
    pairs
}

/// Its `setrlimit(2)`: `open files 1024 4096`, the soft one first.
pub fn ulimits() -> Vec<String> {
    let table = text("/proc/self/limits").unwrap_or_default();
    table.lines().filter_map(ulimit).collect()
}

/// `Max open files            1024                 4096                 files`.
fn ulimit(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Max ")?.split_once("  ")?;
    let mut values = rest.split_whitespace();
    Some(format!("{name} {} {}", values.next()?, values.next()?))
}

/// The names of a directory's entries, sorted; empty when it cannot be read.
pub fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The namespaces as the kernel names them: `pid:[4026531836]`. Two processes that show the same
/// number share that namespace; see `namespaces(7)`.
pub fn namespaces() -> Vec<String> {
    names("/proc/self/ns")
        .into_iter()
        // What children will get is not where we are.
        .filter(|name| !name.ends_with("_for_children"))
        .filter_map(|name| link(&format!("/proc/self/ns/{name}")))
        .collect()
}

/// How many processes show in `/proc`; None without `/proc`.
pub fn processes() -> Option<usize> {
    let is_pid = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    Some(names("/proc").iter().filter(|name| is_pid(name)).count()).filter(|&count| count > 0)
}

/// The mounts, one a line: `/proc proc rw,nosuid`; of a file system in memory also its own
/// options: `/run tmpfs rw,nosuid size=64k,mode=755`.
pub fn mounts() -> Vec<String> {
    let table = text("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(mount).collect()
}

/// One line of `/proc/self/mountinfo` made short.
fn mount(line: &str) -> Option<String> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(4);
    let (target, options) = (fields.next()?, fields.next()?);
    let mut after = after.split(' ');
    let kind = after.next()?;
    let own = after.nth(1).and_then(|own| own.split_once(',')).filter(|_| kind == "tmpfs");
    let own = own.map_or(String::new(), |(_, own)| format!(" {own}"));
    Some(format!("{target} {kind} {options}{own}"))
}

/// The control groups it is in, as `/proc/self/cgroup` says.
pub fn cgroups() -> Vec<String> {
    text("/proc/self/cgroup").unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The memory limit in bytes that its cgroup shows; None: no limit, or none to be seen.
pub fn memory_limit() -> Option<u64> {
    let files = cgroups().into_iter().flat_map(|line| memory_files(&line));
    let limit: u64 = files.filter_map(text).next()?.parse().ok()?;
    // cgroup v1 says "no limit" with a number near the largest there is.
    (limit < 1 << 60).then_some(limit)
}

/// Where the limit may stand for a line `0::/path` (v2) or `9:memory:/path` (v1). Inside a
/// cgroup namespace, or with only its own cgroup mounted, the path starts at the mount itself.
fn memory_files(line: &str) -> Vec<String> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
    let (mount, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        list if list.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    vec![format!("{mount}{path}/{file}"), format!("{mount}/{file}")]
}

/// The files with the limits of a cgroup, of version 1 and 2.
const LIMITS: [&str; 12] = [
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "pids.max",
    "cpu.cfs_quota_us",
    "cpu.shares",
    "cpu.max",
    "cpu.weight",
    "cpuset.cpus",
    "devices.list",
];

/// The limits that it finds below `/sys/fs/cgroup`, as a program would: `pids.max 100`. In a
/// cgroup namespace these are its own.
pub fn limits() -> Vec<String> {
    let places = cgroup_places();
    let shown = |file: &&str| {
        let value = places.iter().find_map(|place| text(format!("{place}/{file}")))?;
        Some(format!("{file} {}", value.replace('\n', ", ")))
    };
    LIMITS.iter().filter_map(shown).collect()
}

/// Those of these cgroups that it is itself in: it sees `memory/cgroup.procs`, with its pid in it.
pub fn cgroups_joined() -> Vec<String> {
    let own = std::process::id().to_string();
    let joined = |place: String| {
        let file = format!("{place}/cgroup.procs");
        text(&file)?.lines().any(|pid| pid == own).then_some(())?;
        Some(file.strip_prefix(CGROUPS)?.trim_start_matches('/').to_owned())
    };
    cgroup_places().into_iter().filter_map(joined).collect()
}

/// Where cgroup trees are looked for.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Version 2 is mounted there, those of version 1 in directories below.
fn cgroup_places() -> Vec<String> {
    let below = names(CGROUPS).into_iter().map(|name| format!("{CGROUPS}/{name}"));
    [CGROUPS.to_owned()].into_iter().chain(below).collect()
}

/// The open file descriptors and where they lead: `3 -> /etc/passwd`.
pub fn descriptors() -> Vec<String> {
    // The one used for listing is closed again when its link is read, so it does not show.
    let open = names("/proc/self/fd");
    let shown = |fd: String| Some(format!("{fd} -> {}", link(&format!("/proc/self/fd/{fd}"))?));
    open.into_iter().filter_map(shown).collect()
}

/// The devices right below `/dev`.
pub fn devices() -> Vec<String> {
    let is_device = |name: &String| {
        fs::metadata(format!("/dev/{name}"))
            .map(|found| found.file_type())
            .is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
    };
    names("/dev").into_iter().filter(is_device).collect()
}

/// Whether one of these kernel settings could be written. They are opened, never written to.
pub fn writable(settings: &[&str]) -> bool {
    settings.iter().any(|path| fs::OpenOptions::new().write(true).open(path).is_ok())
}

/// Settings of the whole machine, not of a namespace.
pub const PROC_SYS: [&str; 3] =
    ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/panic"];

/// The same below `/sys`.
pub const SYS: [&str; 4] = [
    "/sys/kernel/rcu_expedited",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/profiling",
    "/sys/power/state",
];

fn link(path: &str) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_made_short() {
        let line = "36 35 98:0 /a /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mount(line).as_deref(), Some("/mnt ext3 rw,noatime"));
        let line = "37 35 0:9 / /run rw,nosuid - tmpfs tmpfs rw,size=64k,mode=755";
        assert_eq!(mount(line).as_deref(), Some("/run tmpfs rw,nosuid size=64k,mode=755"));
        let line = "37 35 0:9 / /run rw,nosuid - tmpfs tmpfs rw";
        assert_eq!(mount(line).as_deref(), Some("/run tmpfs rw,nosuid"));
        assert_eq!(mount("nonsense"), None);
    }

    #[test]
    fn a_limit_is_made_short() {
        let line = "Max open files            1024                 4096                 files     ";
        assert_eq!(ulimit(line).as_deref(), Some("open files 1024 4096"));
        let line = "Max nice priority         0                    0                    ";
        assert_eq!(ulimit(line).as_deref(), Some("nice priority 0 0"));
        assert_eq!(ulimit("Limit                     Soft Limit           Hard Limit"), None);
    }

    #[test]
    fn where_the_memory_limit_stands() {
        assert_eq!(memory_files("0::/a")[0], "/sys/fs/cgroup/a/memory.max");
        let v1 = memory_files("9:cpu,memory:/a");
        assert_eq!(v1[0], "/sys/fs/cgroup/memory/a/memory.limit_in_bytes");
        assert!(memory_files("3:pids:/a").is_empty());
    }

    #[test]
    fn we_see_ourselves() {
        assert_eq!(status("Pid"), Some(std::process::id().to_string()));
        assert!(namespaces().iter().any(|name| name.starts_with("mnt:[")));
        assert!(session().is_some() && !ulimits().is_empty() && !environment().is_empty());
        assert!(processes() > Some(0));
        assert!(mounts().iter().any(|mount| mount.starts_with("/ ")));
    }
}
