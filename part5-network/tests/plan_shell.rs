//! `plan --shell`: what is printed makes the same container as the recipe does.
//!
//! The program in both is `probe look`, and what it sees from inside is compared. What differs by
//! nature is in [`EXCEPTIONS`]; that the comparison can fail is a test of its own.

mod e2e;
#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use e2e::{assert_home_is_empty, container};
use harness::{Need, Running, Sandbox, TestResult, need, needs, test};
use nix::sys::signal::Signal;
use serde_json::Value;
use shared::identity::Identity;
use shared::part::User;

const PARTS: [&str; 5] =
    ["part1-chroot", "part2-namespaces", "part3-cgroups", "part4-overlay", "part5-network"];
const PART2: &str = PARTS[1];
const PART5: &str = PARTS[4];

/// The script has no filter of system calls: there is no tool for it.
const EXCEPTIONS: [&str; 1] = ["seccomp"];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for part in PARTS {
        tests.push(test(format!("the_same_container_as_of_{part}"), of(part), move || same(part)));
    }
    tests.extend([
        test("the_same_container_on_several_networks", of_root(), several_networks),
        test("the_same_container_without_a_network", of(PART5), no_network),
        test("the_same_container_on_the_hosts_network", of(PART5), host_network),
        test("a_step_that_is_left_out_is_found", of(PART2), left_out),
        test("a_limit_that_is_left_out_is_found", of_limits(), limit_left_out),
        test("it_ends_with_the_programs_status", of(PART5), status),
        test("a_step_that_fails_leaves_nothing", of(PART5), failing_step),
        test("signals_reach_the_program", of(PART5), signals),
        test("shellcheck_finds_nothing", vec![quick_shellcheck()], shellcheck),
    ]);
    e2e::main(tests)
}

fn of(part: &'static str) -> Vec<Need> {
    let mut needs = match part {
        "part1-chroot" => needs![root],
        "part2-namespaces" | "part3-cgroups" => needs![userns],
        _ => container(),
    };
    needs.extend(needs![binary("probe"), binary("part1-chroot"), binary(part)]);
    needs
}

/// It says the same everywhere, but takes minutes in an emulated machine.
fn quick_shellcheck() -> Need {
    need::custom("shellcheck", || match shared::lab::needs::find_program("shellcheck") {
        None => Err("shellcheck is not installed".into()),
        Some(_) if is_emulated() => Err("it takes minutes here".into()),
        Some(_) => Ok(()),
    })
}

fn is_emulated() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("User Mode Linux"))
}

fn of_root() -> Vec<Need> {
    [needs![root], of(PART5)].into_iter().flatten().collect()
}

fn of_limits() -> Vec<Need> {
    [needs![cgroups, controller("cpu")], of("part3-cgroups")].into_iter().flatten().collect()
}

/// A service file in a sandbox, and the two ways to run it.
struct Pair {
    sandbox: Sandbox,
    part: &'static str,
    rootfs: PathBuf,
    spec: String,
}

impl Pair {
    /// For a part. Parts 1 to 3 use their tree in place, so they get one of their own.
    fn new(part: &'static str) -> Result<Self, Box<dyn std::error::Error>> {
        let sandbox = Sandbox::new()?;
        let rootfs = match part {
            "part4-overlay" | "part5-network" => sandbox.rootfs(),
            _ => sandbox.own_rootfs(),
        };
        sandbox.file("files/one", "one");
        sandbox.file("file", "text");
        Ok(Self { sandbox, part, rootfs, spec: String::new() })
    }

    /// The service `one` with these keys, and more of the file.
    fn with(&mut self, keys: &[&str], more: &str) -> &Self {
        let rootfs = self.rootfs.display();
        let mut text = format!("services:\n  one:\n    x-rootfs: {rootfs}\n");
        text.extend(keys.iter().map(|key| format!("    {key}\n")));
        text.push_str(more);
        self.spec = self.sandbox.spec(&text).display().to_string();
        self
    }

    /// What `plan --shell` prints.
    fn script(&self) -> String {
        let output = self.sandbox.run(&[self.part, "plan", "--shell", &self.spec]);
        output.assert_code(0);
        output.stdout
    }

    /// A command that runs a script.
    fn command(&self, script: &str) -> Command {
        let file = self.sandbox.file("script", script);
        let mut command = self.sandbox.command("bash");
        command.arg(file);
        command
    }

    fn seen_by_script(&self, script: &str) -> Facts {
        self.seen(self.command(script))
    }

    fn seen_by_recipe(&self) -> Facts {
        let mut command = self.sandbox.command(self.part);
        command.args(["run", &self.spec]);
        self.seen(command)
    }

    /// What `probe look --json` prints. In part 1, which mounts no `/proc`, it gets one to see by.
    fn seen(&self, command: Command) -> Facts {
        let command = match self.part {
            "part1-chroot" => behind_proc(&self.sandbox, &command),
            _ => command,
        };
        let output = Running::start(command).wait(Duration::from_secs(60));
        output.assert_code(0);
        let facts: Facts = serde_json::from_str(&output.stdout).expect("JSON");
        facts.into_iter().map(|(name, fact)| (name, comparable(fact))).collect()
    }

    /// Asserts that both see the same.
    fn assert_same(&self) {
        let (script, recipe) = (self.seen_by_script(&self.script()), self.seen_by_recipe());
        let different = differences(self.part, &script, &recipe);
        assert!(different.is_empty(), "the script's and the recipe's: {different:#?}");
        assert!(recipe.len() > 30 && !recipe["mounts"].as_array().is_none_or(Vec::is_empty));
        assert_home_is_empty_but_for_volumes(&self.sandbox);
    }
}

/// Facts by their names.
type Facts = BTreeMap<String, Value>;

/// Runs a command in a mount namespace where the tree has a `/proc`.
fn behind_proc(sandbox: &Sandbox, command: &Command) -> Command {
    let mut behind = sandbox.command("unshare");
    let script = "mount -t proc proc rootfs/proc; exec \"$@\"";
    behind.args(["--mount", "sh", "-ec", script, "sh"]).arg(command.get_program());
    behind.args(command.get_args());
    behind
}

/// Without what differs between any two containers: the numbers of namespaces (what counts is
/// whether one is the host's) and of pipes, and an address that comes a moment later than it is
/// looked for.
fn comparable(fact: Value) -> Value {
    let Value::Array(values) = fact else { return fact };
    let texts = values.iter().filter_map(Value::as_str);
    let texts = texts.filter(|text| !text.starts_with("fe80:")).map(|text| {
        let Some((kind, _)) = text.split_once(":[") else { return text.to_owned() };
        let of_host = fs::read_link(format!("/proc/self/ns/{kind}"));
        let is_hosts = of_host.is_ok_and(|link| link.as_os_str() == text);
        format!("{kind}{}", if is_hosts { " of the host" } else { "" })
    });
    texts.collect()
}

/// The facts that are not the same.
fn differences(part: &str, a: &Facts, b: &Facts) -> BTreeMap<String, (Value, Value)> {
    // In part 1 these are the host's.
    let of_host: &[&str] = if part == "part1-chroot" { &["pid", "processes"] } else { &[] };
    let names = a.keys().chain(b.keys());
    names
        .filter(|name| !EXCEPTIONS.contains(&name.as_str()) && !of_host.contains(&name.as_str()))
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| (name.clone(), (a[name].clone(), b[name].clone())))
        .collect()
}

fn assert_home_is_empty_but_for_volumes(sandbox: &Sandbox) {
    let _ = fs::remove_dir_all(sandbox.home().join("data/volumes"));
    assert_home_is_empty(sandbox);
}

/// Something for every wall to do. `init` is not among it: the script has no init.
fn keys() -> Vec<&'static str> {
    let mut keys = vec![
        LOOK,
        "hostname: little",
        "domainname: example.org",
        "working_dir: /srv/deep",
        "environment: {A: \"it's\", B: 'two words', C: \"two\\nlines of 100%\", D: \"\"}",
        "cap_add: [SYS_NICE]",
        "cap_drop: [MKNOD, NET_RAW]",
        "ulimits: {nofile: {soft: 100, hard: 200}, core: 0}",
        "oom_score_adj: 100",
        "sysctls: {kernel.msgmax: 4711}",
        "tmpfs: ['/tmp:size=1m,mode=700', /run, /var/run/deep]",
        "shm_size: 1m",
        "mem_limit: 64m",
        "cpus: 0.5",
        "cpu_shares: 512",
        "cpuset: '0'",
        "pids_limit: 50",
        "volumes: ['./files:/files:ro', 'kept:/var/cache', './file:/etc/file', /anonymous]",
        "ports: ['127.0.0.1::80', 81/udp]",
        "devices: ['/dev/null:/dev/deep/nothing']",
    ];
    if Identity::of_user(User::current()).has(33) {
        keys.push("user: '33:4'");
    }
    keys
}

const LOOK: &str = "command: [probe, look, --json]";
const KEPT: &str = "volumes: {kept: {}}\n";

fn same(part: &'static str) -> TestResult {
    let mut pair = Pair::new(part)?;
    pair.with(&keys(), KEPT).assert_same();
    // The directory is there now, also in a tree that cannot be written.
    let more =
        ["read_only: true", "security_opt: ['no-new-privileges:false']", "working_dir: /srv"];
    let keys: Vec<_> = keys().into_iter().filter(|key| !key.starts_with("working_dir")).collect();
    pair.with(&[&keys[..], &more].concat(), KEPT).assert_same();
    pair.with(&[LOOK], "").assert_same();
    Ok(())
}

fn several_networks() -> TestResult {
    let keys = [LOOK, "networks: [back, front, third]"];
    let more = "networks:\n  back: {internal: true}\n  front: {}\n  \
                third: {ipam: {config: [{subnet: 10.99.7.0/28}]}}\n";
    let mut pair = Pair::new(PART5)?;
    pair.with(&keys, more).assert_same();
    let seen = pair.seen_by_recipe();
    assert_eq!(seen["interfaces"].as_array().map(Vec::len), Some(4), "{seen:?}");
    Ok(())
}

fn no_network() -> TestResult {
    let keys = [&keys()[..], &["network_mode: none"]].concat();
    let keys: Vec<_> = keys.into_iter().filter(|key| !key.starts_with("ports")).collect();
    Pair::new(PART5)?.with(&keys, KEPT).assert_same();
    Ok(())
}

fn host_network() -> TestResult {
    let keys = [&keys()[..], &["network_mode: host"]].concat();
    let keys: Vec<_> = keys.into_iter().filter(|key| !key.starts_with("ports")).collect();
    Pair::new(PART5)?.with(&keys, KEPT).assert_same();
    Ok(())
}

/// The script without what it does for a step.
fn without(script: &str, step: &str) -> String {
    let mut left_out = false;
    let mut in_block = false;
    let mut lines = Vec::new();
    for line in script.lines() {
        let text = line.trim_start();
        let name =
            text.strip_prefix("# ").and_then(|text| text.split_once(". ")?.1.split_once(':'));
        in_block = name.map_or(in_block && !text.is_empty(), |(name, _)| name == step);
        if in_block && !text.starts_with('#') {
            left_out = true;
            // The first of several that share one command.
            if text.starts_with("with+=(setpriv") {
                lines.push("with+=(setpriv)");
            }
        } else {
            lines.push(line);
        }
    }
    assert!(left_out, "there is no {step} in {script}");
    lines.join("\n")
}

/// Leaves out one step after the other; each time, the comparison must find this difference.
fn assert_found(pair: &Pair, steps: &[(&str, &str)]) {
    let (script, recipe) = (pair.script(), pair.seen_by_recipe());
    assert_eq!(differences(pair.part, &pair.seen_by_script(&script), &recipe), BTreeMap::new());
    // That the comparison can fail does not depend on the machine: a slow one tries a few.
    let few = if is_emulated() { 3 } else { steps.len() };
    for (step, fact) in steps.iter().take(few) {
        let seen = pair.seen_by_script(&without(&script, step));
        let different = differences(pair.part, &seen, &recipe);
        assert!(different.contains_key(*fact), "without {step}: {different:#?}");
    }
}

fn left_out() -> TestResult {
    let keys = [&keys()[..], &["read_only: true"]].concat();
    let mut pair = Pair::new(PART2)?;
    fs::create_dir(pair.rootfs.join("srv/deep"))?;
    assert_found(
        pair.with(&keys, KEPT),
        &[
            ("session", "session"),
            ("cgroup namespace", "namespaces"),
            ("devpts", "mounts"),
            ("read-only paths", "mounts"),
            ("masked paths", "mounts"),
            ("tmpfs /tmp", "mounts"),
            ("hostname", "hostname"),
            ("domainname", "domainname"),
            ("read-only root", "mounts"),
            ("loopback", "addresses"),
            ("working directory", "cwd"),
            ("ulimits", "ulimits"),
            ("oom_score_adj", "oom_score_adj"),
            ("capability bounds", "cap_bounding"),
            ("no_new_privs", "no_new_privs"),
        ],
    );
    Ok(())
}

fn limit_left_out() -> TestResult {
    let found =
        [("limits", "limits"), ("cgroup files", "mounts"), ("join cgroup", "cgroups_joined")];
    assert_found(Pair::new(PARTS[2])?.with(&keys(), KEPT), &found);
    Ok(())
}

fn status() -> TestResult {
    let mut pair = Pair::new(PART5)?;
    pair.with(&["command: [sh, -c, 'cat; echo done; exit 7']"], "");
    let output = Running::start(pair.command(&pair.script())).wait(Duration::from_secs(60));
    assert_eq!(output.assert_code(7).stdout, "done\n");
    assert_home_is_empty(&pair.sandbox);
    Ok(())
}

fn failing_step() -> TestResult {
    let mut pair = Pair::new(PART5)?;
    for key in ["working_dir: /etc/passwd", "tmpfs: [/etc/passwd]", "sysctls: {kernel.msgmax: -1}"]
    {
        pair.with(&["command: [echo, started]", key], "");
        let output = Running::start(pair.command(&pair.script())).wait(Duration::from_secs(60));
        assert!(output.code() != 0 && output.stdout.is_empty(), "{output}");
        assert_home_is_empty(&pair.sandbox);
    }
    // What is there already is not made, and not taken away.
    pair.with(&["command: [echo, started]", "container_name: one"], "");
    let layers = pair.sandbox.home().join("data/containers/one");
    fs::create_dir_all(&layers)?;
    let output = Running::start(pair.command(&pair.script())).wait(Duration::from_secs(60));
    output.assert_code(1).assert_stderr("File exists");
    assert!(output.stdout.is_empty() && layers.is_dir());
    Ok(())
}

fn signals() -> TestResult {
    let script = "trap 'exit 3' TERM; trap 'exit 4' INT; echo ready; while :; do sleep 0.05; done";
    let command = format!("command: [sh, -c, \"{script}\"]");
    let mut pair = Pair::new(PART5)?;
    pair.with(&[&command], "");
    for (signal, status) in [(Signal::SIGTERM, 3), (Signal::SIGINT, 4)] {
        let (running, mut lines) = Running::start_to_read(pair.command(&pair.script()));
        assert_eq!(lines.next_line(), "ready");
        running.signal(signal);
        running.wait(Duration::from_secs(60)).assert_code(status);
        assert_home_is_empty(&pair.sandbox);
    }
    Ok(())
}

fn shellcheck() -> TestResult {
    for part in PARTS.into_iter().filter(|part| harness::sandbox::binary(part).is_file()) {
        let many = [&keys()[..], &["read_only: true", "init: true", "cap_add: [ALL]"]].concat();
        let many: Vec<_> = many.into_iter().filter(|key| *key != "cap_add: [SYS_NICE]").collect();
        let mut pair = Pair::new(part)?;
        for keys in [&many[..], &["tty: true", "stdin_open: true", "network_mode: host"], &[]] {
            pair.with(keys, KEPT);
            let file = pair.sandbox.file("script", pair.script());
            let file = file.to_str().ok_or("our paths are text")?;
            pair.sandbox.run(&["shellcheck", file]).assert_code(0);
        }
    }
    Ok(())
}
