//! The walls of this part, each seen by its effect on a real process in a real cgroup.
//!
//! Works on cgroup v1, hybrid and v2; needs root and a writable cgroup file system.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};

use harness::{TestResult, needs, test};
use nix::errno::Errno;
use part3_cgroups::hierarchy::{Cgroups, Controller, Version};
use part3_cgroups::limits::Limits;
use part3_cgroups::placement::Placement;
use part3_cgroups::settings::{Located, Setting, settings};
use part3_cgroups::{device_program, devices, oom, settings, steps};
use shared::journal::{Due, Journal};
use shared::recipe::{Context, Outcome, Step};
use shared::spec::Service;

fn main() -> ExitCode {
    harness::run(vec![
        test(
            "who_uses_too_much_memory_is_killed",
            needs![root, cgroups],
            who_uses_too_much_memory_is_killed,
        ),
        test(
            "a_fork_bomb_stops_at_its_limit",
            needs![root, cgroups],
            a_fork_bomb_stops_at_its_limit,
        ),
        test(
            "a_device_that_is_not_on_the_list_cannot_be_opened",
            needs![root, cgroups],
            a_device_that_is_not_on_the_list_cannot_be_opened,
        ),
        test(
            "a_value_that_the_kernel_changes_is_noticed",
            needs![root, cgroups],
            a_value_that_the_kernel_changes_is_noticed,
        ),
        test(
            "the_kernel_accepts_the_default_device_program",
            needs![root],
            the_kernel_accepts_the_default_device_program,
        ),
    ])
}

/// The cgroups of a container that has no walls but these; removed when dropped.
struct Cell {
    placement: Placement,
    journal: Journal,
    _dir: tempfile::TempDir,
}

impl Cell {
    fn new(name: &str, service: &Service) -> Self {
        let limits = Limits::of(service).expect("limits");
        let mut asked: Vec<_> =
            settings(&limits, Version::V2).iter().map(|setting| setting.controller).collect();
        asked.push(Controller::Devices);
        let name = format!("inside-docker-test-{name}-{}", std::process::id());
        let placement = Placement::find(&Cgroups::detect(), &name, &asked);
        assert!(placement.missing.is_empty(), "no cgroup to be had: {:?}", placement.missing);
        let dir = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::open(dir.path()).expect("a journal");
        let step = steps::make(&placement.groups);
        step.undo.iter().for_each(|undo| journal.record(Due::Stop, undo).expect("a record"));
        let cell = Self { placement, journal, _dir: dir };
        run(&step).expect("cgroups");
        let located = cell.placement.locate(|version| settings(&limits, version));
        run(&steps::limit(located, &cell.placement.groups)).expect("limits");
        cell
    }

    /// Runs a shell script inside.
    fn sh(&self, script: &str) -> Output {
        let join: String = self
            .placement
            .groups
            .iter()
            .map(|group| format!("echo $$ > {}/cgroup.procs\n", group.dir.display()))
            .collect();
        sh(&format!("{join}{script}"))
    }

    fn dir(&self, controller: Controller) -> PathBuf {
        self.placement.with(controller).expect("a group").dir.clone()
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.journal.play_back(Due::Stop).expect("all undone");
        for group in &self.placement.groups {
            assert!(!group.dir.exists(), "{} is left", group.dir.display());
        }
    }
}

fn run(step: &Step) -> Outcome {
    let mut nowhere = Context { pid: None, pidfd: None, link: None, exit: None };
    step.action.as_ref().map_or(Ok(()), |action| action(&mut nowhere))
}

fn sh(script: &str) -> Output {
    Command::new("sh").args(["-c", script]).output().expect("a shell")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn who_uses_too_much_memory_is_killed() -> TestResult {
    let service = Service { mem_limit: Some(16 << 20), ..Service::default() };
    let cell = Cell::new("memory", &service);
    let group = cell.placement.with(Controller::Memory).expect("memory");
    let counter = group.dir.join(oom::file(group.version));

    assert_eq!(text(&cell.sh("head -c 1000000 /dev/zero | wc -c").stdout), "1000000");
    assert_eq!(oom::kills(&counter), Ok(0));
    assert_eq!(cell.sh("exec tail /dev/zero").status.signal(), Some(9));
    assert_eq!(oom::kills(&counter), Ok(1));
    Ok(())
}

fn a_fork_bomb_stops_at_its_limit() -> TestResult {
    let service = Service { pids_limit: Some(10), ..Service::default() };
    let cell = Cell::new("pids", &service);
    // A shell that cannot fork tries again for a while, or ends.
    let bomb = cell.sh("i=0; while [ $i -lt 30 ]; do sleep 60 >&- 2>&- & i=$((i+1)); done");
    assert!(!bomb.status.success(), "{bomb:?}");
    let count = std::fs::read_to_string(cell.dir(Controller::Pids).join("pids.current"));
    let count: u32 = count.expect("a count").trim().parse().expect("a number");
    assert!((5..=10).contains(&count), "{count} processes");
    Ok(())
}

fn a_device_that_is_not_on_the_list_cannot_be_opened() -> TestResult {
    let cell = Cell::new("devices", &Service::default());
    let group = cell.placement.with(Controller::Devices).expect("devices");
    let rules = devices::rules(&Service::default()).expect("rules");
    let dir = tempfile::tempdir_in("/dev").expect("a directory where devices work");
    // 1:12 has no driver: outside the wall ENXIO; opening it does nothing anywhere.
    let open = format!(
        "cd {}; rm -f x; mknod x c 1 12 || exit 9; (: < x); : < /dev/null && echo null",
        dir.path().display()
    );
    let before = cell.sh(&open);
    assert!(text(&before.stderr).contains("No such device"), "{before:?}");
    run(&steps::restrict_devices(group, &rules)).expect("the device wall");
    let after = cell.sh(&open);
    assert!(text(&after.stderr).contains("not permitted"), "{after:?}");
    assert_eq!(text(&after.stdout), "null");
    Ok(())
}

fn a_value_that_the_kernel_changes_is_noticed() -> TestResult {
    let cell = Cell::new("changed", &Service::default());
    let group = cell.placement.with(Controller::Memory).expect("memory");
    let file = match group.version {
        Version::V1 => &["memory.limit_in_bytes"],
        Version::V2 => &["memory.max"],
    };
    let setting = Setting {
        controller: Controller::Memory,
        key: "mem_limit",
        files: file,
        value: ((64 << 20) + 1).to_string(),
        effect: None,
        optional: false,
    };
    let located = Located { dir: group.dir.clone(), setting };
    let failed = settings::write_all(&[located]).expect_err("not a whole page");
    assert_eq!(failed.errno, Errno::ERANGE);
    Ok(())
}

fn the_kernel_accepts_the_default_device_program() -> TestResult {
    let program = device_program::program(&devices::default_rules());
    shared::sys::bpf::load_device_program(&program).expect("the verifier's consent");
    Ok(())
}
