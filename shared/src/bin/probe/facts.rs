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

/// The mounts, one a line: `/proc proc rw,nosuid`.
pub fn mounts() -> Vec<String> {
    let table = text("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(mount).collect()
}

/// One line of `/proc/self/mountinfo` made short.
fn mount(line: &str) -> Option<String> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(4);
    let (target, options) = (fields.next()?, fields.next()?);
    let kind = after.split(' ').next()?;
    Some(format!("{target} {kind} {options}"))
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
        assert_eq!(mount("nonsense"), None);
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
        assert!(processes() > Some(0));
        assert!(mounts().iter().any(|mount| mount.starts_with("/ ")));
    }
}
