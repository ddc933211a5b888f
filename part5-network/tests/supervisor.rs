//! What stays beside a detached container: its supervisor, and how little memory that takes.

mod e2e;
#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::process::ExitCode;

use e2e::{Project, assert_home_is_empty, container, part5, pid, supervisor_of};
use harness::{Sandbox, TestResult, test};

/// Private memory of a supervisor in a release build, in kB.
const AIM: u64 = 200;
/// In a debug build code and data are larger.
const DEBUG_BOUND: u64 = 600;
/// So many at a time.
const MANY: usize = 5;

fn main() -> ExitCode {
    e2e::main(vec![
        test("a_supervisor_is_small", container(), small),
        test("a_supervisor_keeps_nothing_open", container(), nothing_open),
    ])
}

const YAML: &str = "
services:
  sleeper: {x-rootfs: ROOTFS, init: true, command: [probe, sleep, '3600'], mem_limit: 32m}
";

fn start<'a>(sandbox: &'a Sandbox, names: &[String]) -> Project<'a> {
    let project = Project::new(sandbox, "small", YAML);
    for name in names {
        project.run("run", &["--detach", "--name", name]).assert_code(0);
    }
    project
}

/// `Private_Clean` and `Private_Dirty` of `/proc/PID/smaps_rollup`, in kB.
fn private_memory(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it is ours");
    let value = |line: &str| line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    text.lines().filter(|line| line.starts_with("Private_")).filter_map(value).sum()
}

fn small() -> TestResult {
    let sandbox = Sandbox::new()?;
    let names: Vec<_> = (0..MANY).map(|number| format!("small-{number}")).collect();
    start(&sandbox, &names);
    let supervisors: Vec<_> = names.iter().map(|name| supervisor_of(pid(&sandbox, name))).collect();
    let private: Vec<_> = supervisors.iter().map(|pid| private_memory(*pid)).collect();
    println!("private memory of {MANY} supervisors in kB: {private:?}");
    let bound = if cfg!(debug_assertions) { DEBUG_BOUND } else { AIM };
    assert!(private.iter().all(|kb| (1..bound).contains(kb)), "{private:?} kB, not {bound}");
    end(&sandbox, &names)
}

fn nothing_open() -> TestResult {
    let sandbox = Sandbox::new()?;
    let names = ["small-one".to_owned()];
    start(&sandbox, &names);
    let supervisor = supervisor_of(pid(&sandbox, "small-one"));
    // Its standard streams are nobody's, and it keeps no file system busy.
    let link = |name: &str| fs::read_link(format!("/proc/{supervisor}/{name}"));
    for name in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(name)?.to_str(), Some("/dev/null"));
    }
    assert_eq!(link("cwd")?.to_str(), Some("/"));
    // What it holds is the container's: lock, log, journal, pidfd, signals.
    let open = fs::read_dir(format!("/proc/{supervisor}/fd"))?.flatten();
    let targets: Vec<_> = open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
    let home = sandbox.home().join("run/containers/small-one");
    for target in &targets {
        let text = target.display().to_string();
        let known =
            text == "/dev/null" || text.starts_with("anon_inode:") || target.starts_with(&home);
        assert!(known || text.starts_with("pidfd:"), "{text} is open in {targets:?}");
    }
    end(&sandbox, &names)
}

fn end(sandbox: &Sandbox, names: &[String]) -> TestResult {
    for name in names {
        part5(sandbox, &["rm", "--force", name]).assert_code(0);
    }
    assert_home_is_empty(sandbox);
    Ok(())
}
