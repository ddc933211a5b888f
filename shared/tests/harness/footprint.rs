//! What can be seen of us on the machine: taken before and after each test, it must be the same.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid, gethostname};
use shared::home::Home;

use super::reaper;
use super::sandbox;

/// Everything a container could leave: how often each line was seen, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    seen: BTreeMap<(&'static str, String), usize>,
}

impl Footprint {
    /// Looks at the machine as it is now.
    pub fn take() -> Self {
        let mut footprint = Self { seen: BTreeMap::new() };
        footprint.add("mount", mounts());
        footprint.add("cgroup", cgroups());
        footprint.add("link", links());
        footprint.add("route", lines_of("/proc/net/route"));
        footprint.add("rule", firewall_rules());
        footprint.add("process", processes().into_values());
        footprint.add("file", our_files());
        footprint.add("setting", settings());
        footprint.add("loop device", loop_devices());
        footprint
    }

    /// What differs from now, in words; empty when nothing does. Waits up to `grace` for the
    /// kernel to finish cleaning up.
    pub fn differences(&self, grace: Duration) -> Vec<String> {
        let end = Instant::now() + grace;
        let mut pause = Duration::from_millis(5);
        loop {
            let differences = self.compare(&Self::take());
            if differences.is_empty() || Instant::now() > end {
                return differences;
            }
            thread::sleep(pause);
            pause *= 2;
        }
    }

    /// Panics, naming what is left or gone, unless the machine is again as it was.
    pub fn assert_unchanged(&self) {
        let differences = self.differences(super::GRACE);
        assert!(differences.is_empty(), "left behind:\n  {}", differences.join("\n  "));
    }

    fn add(&mut self, kind: &'static str, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            *self.seen.entry((kind, line)).or_default() += 1;
        }
    }

    fn compare(&self, now: &Self) -> Vec<String> {
        let more = |a: &Self, b: &Self, verb: &str| {
            a.seen
                .iter()
                .filter(|(key, count)| b.seen.get(*key).unwrap_or(&0) < count)
                .map(|((kind, line), _)| format!("{kind} {verb}: {line}"))
                .collect::<Vec<_>>()
        };
        let mut differences = more(now, self, "left");
        differences.extend(more(self, now, "gone"));
        differences
    }

    /// Whether this process was there.
    fn has_process(&self, description: &str) -> bool {
        self.seen.contains_key(&("process", description.to_string()))
    }
}

/// The mount table without the mounts' own numbers: a change of propagation shows.
fn mounts() -> Vec<String> {
    lines_of("/proc/self/mountinfo")
        .iter()
        .map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" "))
        .collect()
}

/// The mount point and kind (`cgroup`, `cgroup2`) of each hierarchy.
pub fn cgroup_hierarchies() -> Vec<(PathBuf, String)> {
    let hierarchy = |line: &String| {
        let (left, right) = line.split_once(" - ")?;
        let kind = right.split(' ').next()?;
        let point = left.split(' ').nth(4)?;
        kind.starts_with("cgroup").then(|| (PathBuf::from(point), kind.to_string()))
    };
    lines_of("/proc/self/mountinfo").iter().filter_map(hierarchy).collect()
}

/// Every cgroup that could be ours: those with processes of others alone are not.
/// (A service manager makes and removes cgroups while we look, each with its processes.)
fn cgroups() -> Vec<String> {
    let ours = processes();
    let mut found = Vec::new();
    for (root, _) in cgroup_hierarchies() {
        for directory in sub_directories(&root) {
            collect_cgroups(&directory, &ours, &mut found);
        }
    }
    found
}

/// Adds `directory` and the cgroups below it; answers whether others' processes are in there.
fn collect_cgroups(
    directory: &Path,
    ours: &BTreeMap<i32, String>,
    found: &mut Vec<String>,
) -> bool {
    let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let is_ours = |pid: &str| pid.parse().is_ok_and(|pid| ours.contains_key(&pid));
    let mut foreign = !members.is_empty() && !members.lines().any(is_ours);
    for below in sub_directories(directory) {
        foreign |= collect_cgroups(&below, ours, found);
    }
    if !foreign {
        found.push(directory.display().to_string());
    }
    foreign
}

fn sub_directories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The names of the network interfaces of this network namespace.
fn links() -> Vec<String> {
    let name = |line: &String| Some(line.split_once(':')?.0.trim().to_string());
    lines_of("/proc/net/dev").iter().filter_map(name).collect()
}

/// nftables and iptables without their counters; nothing where we may not ask.
fn firewall_rules() -> Vec<String> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    let mut rules = output_of("nft", &["--stateless", "list", "ruleset"]);
    // Asking for a table makes it: ask only for those there are.
    for table in lines_of("/proc/net/ip_tables_names") {
        rules.extend(output_of("iptables-legacy", &["-w", "-t", &table, "-S"]));
    }
    rules
}

/// Our descendants, and processes that run a binary of ours: what they are by their pid.
fn processes() -> BTreeMap<i32, String> {
    let all: BTreeMap<i32, Stat> =
        all_pids().filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();
    let directory = sandbox::binary("");
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let reaper = reaper::pid().as_raw();
    let counts = |pid: i32| {
        pid != own
            && pid != reaper
            && (descends(pid, reaper, &all) || runs_binary_of(pid, &directory))
    };
    all.iter()
        .filter(|(pid, _)| counts(**pid))
        .map(|(pid, stat)| (*pid, stat.describe(*pid)))
        .collect()
}

fn all_pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn descends(mut pid: i32, ancestor: i32, all: &BTreeMap<i32, Stat>) -> bool {
    while let Some(stat) = all.get(&pid) {
        if stat.parent == ancestor {
            return true;
        }
        pid = stat.parent;
    }
    false
}

/// Whether it runs `part…` or `probe` of `directory`. (Cargo, which lies elsewhere, does not
/// count; nor do the tests, which lie in a directory below.)
fn runs_binary_of(pid: i32, directory: &Path) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.parent() == Some(directory)
}

/// What `/proc/PID/stat` says: see proc(5).
struct Stat {
    name: String,
    parent: i32,
    start_time: String,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (left, right) = line.rsplit_once(") ")?;
        let fields: Vec<&str> = right.split(' ').collect();
        Some(Self {
            name: left.split_once('(')?.1.to_string(),
            parent: fields.get(1)?.parse().ok()?,
            start_time: (*fields.get(19)?).to_string(),
        })
    }

    fn describe(&self, pid: i32) -> String {
        format!("{pid} {} (started {})", self.name, self.start_time)
    }
}

/// Kills those of our descendants that were not there `before`.
pub fn kill_leftover_processes(before: &Footprint) {
    for (pid, description) in processes() {
        if !before.has_process(&description) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Files of ours outside a sandbox: this user's own containers, and temporary files.
fn our_files() -> Vec<String> {
    let mut found = Vec::new();
    let home = Home::of_this_user();
    for root in [home.containers(), home.networks(), home.images(), home.volumes()] {
        found.extend(sub_directories(&root).iter().map(|path| path.display().to_string()));
    }
    for directory in [env::temp_dir(), "/tmp".into(), "/dev/shm".into(), "/run".into()] {
        let names = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(
            names
                .map(|entry| entry.path().display().to_string())
                .filter(|path| path.contains("/inside-docker-") && !sandbox::is_shared(path)),
        );
    }
    found
}

/// Settings of the whole machine that a network could want changed, and its name.
fn settings() -> Vec<String> {
    let files = [
        "net/ipv4/ip_forward",
        "net/ipv4/conf/all/route_localnet",
        "net/ipv4/conf/lo/route_localnet",
        "net/bridge/bridge-nf-call-iptables",
        "kernel/core_pattern",
    ];
    let mut settings: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let value = fs::read_to_string(Path::new("/proc/sys").join(file)).ok()?;
            Some(format!("{file} = {}", value.trim()))
        })
        .collect();
    settings.extend(gethostname().map(|name| format!("host name {}", name.display())));
    settings
}

/// Loop devices in use, with their files.
fn loop_devices() -> Vec<String> {
    sub_directories(Path::new("/sys/block"))
        .iter()
        .chain(&links_in("/sys/block"))
        .filter_map(|device| {
            let file = fs::read_to_string(device.join("loop/backing_file")).ok()?;
            Some(format!("{} on {}", device.display(), file.trim()))
        })
        .collect()
}

fn links_in(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_symlink()).collect()
}

fn lines_of(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}

fn output_of(program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_string).collect()
}
