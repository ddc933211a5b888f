//! What the end-to-end tests share: a project made of one service file, and a network to be in.
//!
//! As root, the whole test program runs in a network namespace of its own, which plays the host:
//! the machine's own interfaces, rules and settings are not touched. An ordinary user's tests
//! publish ports on the machine's 127.0.0.1.
#![allow(dead_code)]

pub mod http;
pub mod net;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use serde_json::Value;

use crate::harness::{self, Need, Output, Running, Sandbox, Test, need};

/// For what must happen; an emulated kernel is slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What every container of part 5 needs, of root and of others.
pub fn container() -> Vec<Need> {
    let mut needs = match geteuid().is_root() {
        true => vec![need::bridge(), need::overlay()],
        false => vec![need::userns(), need::overlay_userns()],
    };
    needs.extend([need::binary("probe"), need::binary("part1-chroot")]);
    needs
}

/// As [`container`], with root and its bridges.
pub fn network() -> Vec<Need> {
    [vec![need::root()], container()].into_iter().flatten().collect()
}

/// Runs the tests, as root on a host of their own.
pub fn main(tests: Vec<Test>) -> ExitCode {
    if let Err(reason) = net::become_a_host() {
        eprintln!("no network of our own: {reason}");
        return ExitCode::FAILURE;
    }
    harness::run(tests)
}

/// Waits until `holds`.
///
/// # Panics
/// It does not in time; `what` says what was waited for.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A service file in a directory, and the commands on it.
pub struct Project<'a> {
    sandbox: &'a Sandbox,
    /// The service file.
    pub file: PathBuf,
}

impl<'a> Project<'a> {
    /// Writes the file `NAME/service-specs.yml` and calls the project NAME. `ROOTFS` in it
    /// stands for the root file system that all tests share.
    pub fn new(sandbox: &'a Sandbox, name: &str, services: &str) -> Self {
        let mut yaml = format!("name: {name}\n{services}");
        if yaml.contains("ROOTFS") {
            yaml = yaml.replace("ROOTFS", &sandbox.rootfs().display().to_string());
        }
        Self { sandbox, file: sandbox.file(&format!("{name}/service-specs.yml"), yaml) }
    }

    /// The directory of the file: what `./x` in it means.
    pub fn dir(&self) -> &Path {
        self.file.parent().expect("a file lies in a directory")
    }

    /// `part5-network COMMAND FILE WORDS…`.
    pub fn run(&self, command: &str, words: &[&str]) -> Output {
        self.spawn(command, words).wait(PATIENCE * 2)
    }

    /// As [`Project::run`], without waiting.
    pub fn spawn(&self, command: &str, words: &[&str]) -> Running {
        let file = self.file.to_str().expect("our paths are text");
        let all: Vec<&str> =
            ["part5-network", command, file].iter().chain(words).copied().collect();
        self.sandbox.spawn(&all)
    }

    /// `up --detach`; it must succeed.
    pub fn up(&self) -> Output {
        let output = self.run("up", &["--detach"]);
        output.assert_code(0);
        output
    }

    /// `down`; it must succeed.
    pub fn down(&self) -> Output {
        let output = self.run("down", &["--time", "2"]);
        output.assert_code(0);
        output
    }

    /// `up --detach`, which must be refused: exit status 125, one message that has all of `words`.
    #[track_caller]
    pub fn refuses(&self, words: &[&str]) -> Output {
        let output = self.run("up", &["--detach"]);
        assert_refused(&output, words);
        output
    }
}

/// One clear message and exit status 125.
#[track_caller]
pub fn assert_refused(output: &Output, words: &[&str]) {
    output.assert_code(125);
    for word in words {
        output.assert_stderr(word);
    }
    let errors = output.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert!(errors == 1, "{output} (expected one error, not {errors})");
    for line in output.stderr.lines().filter(|line| !line.contains('/')) {
        assert!(line.chars().count() <= 120, "{output} (too long: {line:?})");
    }
}

/// `part5-network WORDS…`.
pub fn part5(sandbox: &Sandbox, words: &[&str]) -> Output {
    sandbox.run(&["part5-network"].iter().chain(words).copied().collect::<Vec<_>>())
}

/// `part5-network exec CONTAINER WORDS…`; it must succeed. Answers what it printed.
#[track_caller]
pub fn exec(sandbox: &Sandbox, container: &str, words: &[&str]) -> String {
    let output = part5(sandbox, &[&["exec", container], words].concat());
    output.assert_code(0);
    output.stdout
}

/// What `inspect` says of a container.
#[track_caller]
pub fn inspect(sandbox: &Sandbox, container: &str) -> Value {
    let output = part5(sandbox, &["inspect", container]);
    output.assert_code(0);
    let mut all: Value = serde_json::from_str(&output.stdout).expect("inspect prints JSON");
    all[0].take()
}

/// The pid of its first process, as the host sees it.
#[track_caller]
pub fn pid(sandbox: &Sandbox, container: &str) -> i32 {
    let pid = inspect(sandbox, container)["pid"].as_i64().expect("a pid");
    i32::try_from(pid).expect("a pid")
}

/// The exit status of one that has stopped.
#[track_caller]
pub fn exit_code(sandbox: &Sandbox, container: &str) -> Option<i64> {
    inspect(sandbox, container)["exit"]["code"].as_i64()
}

/// Its address on its first network.
#[track_caller]
pub fn address(sandbox: &Sandbox, container: &str) -> Ipv4Addr {
    let record = inspect(sandbox, container);
    let text = record["addresses"][0][1].as_str().unwrap_or_else(|| panic!("{record}"));
    text.split('/').next().and_then(|text| text.parse().ok()).expect("an address")
}

/// What a file of its cgroups says, in whichever of them it is.
pub fn cgroup_file(sandbox: &Sandbox, container: &str, names: &[&str]) -> Option<String> {
    let record = inspect(sandbox, container);
    let groups = record["cgroups"].as_array()?;
    let paths = groups.iter().filter_map(|group| group.as_str()).map(PathBuf::from);
    let mut files = paths.flat_map(|group| names.iter().map(move |name| group.join(name)));
    files.find_map(|file| fs::read_to_string(file).ok()).map(|text| text.trim().to_owned())
}

/// Whether a process is there (a zombie is not).
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The process that looks after a container's first process: its parent.
#[track_caller]
pub fn supervisor_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
    parent.expect("proc(5)")
}

/// Nothing of any container is in the sandbox's home: no state, lease, layer or volume.
#[track_caller]
pub fn assert_home_is_empty(sandbox: &Sandbox) {
    for place in ["run/containers", "run/networks", "data/containers", "data/volumes"] {
        let entries = fs::read_dir(sandbox.home().join(place)).into_iter().flatten().flatten();
        let left: Vec<_> = entries.map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
    let host = part5_network::host::dir().expect("/proc is there");
    let ours = geteuid().is_root(); // Another user's may be there.
    assert!(!(ours && host.exists()), "left behind: {}", host.display());
}
