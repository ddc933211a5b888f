//! The harness itself: whatever a test leaves on the machine, the harness must see.
//!
//! Each test below runs this same program a second time with one test that misbehaves, and
//! looks at what the second harness says of it.

mod harness;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use harness::{Output, Pty, Running, Sandbox, Test, TestResult, need, needs, test};

/// Names the misbehaviour that the second harness is to run, and the place for it.
const MISBEHAVIOUR: &str = "INSIDE_DOCKER_SELFTEST";
const PLACE: &str = "INSIDE_DOCKER_SELFTEST_PLACE";

fn main() -> ExitCode {
    match env::var(MISBEHAVIOUR) {
        Ok(name) => harness::run(vec![misbehaviour(&name)]),
        Err(_) => harness::run(tests()),
    }
}

fn tests() -> Vec<Test> {
    vec![
        test("a_test_that_leaves_nothing_passes", needs![], || {
            let output = run_inner("nothing", &Sandbox::new()?, &[], &[]);
            output.assert_code(0).assert_stdout("1 passed");
            Ok(())
        }),
        test("a_process_is_found_and_killed", needs![], process_is_found),
        test("a_file_is_found", needs![], file_is_found),
        test("a_mount_is_found", needs![root], mount_is_found),
        test(
            "a_mount_in_a_sandbox_is_found_and_not_descended",
            needs![root],
            sandbox_mount_is_found,
        ),
        test("a_cgroup_is_found", needs![root, cgroups], cgroup_is_found),
        test("a_link_is_found", needs![root, veth], || {
            is_found_in_netns("link", "link left: veth0")
        }),
        test("a_rule_is_found", needs![root, nft], || {
            is_found_in_netns("rule", "rule left: table ip inside_docker_selftest")
        }),
        test("an_iptables_rule_is_found", needs![root, iptables], || {
            is_found_in_netns("iptables", "rule left: -A POSTROUTING -j MASQUERADE")
        }),
        test("a_setting_is_found", needs![root], || {
            is_found_in_netns("setting", "setting left: net/ipv4/ip_forward = ")
        }),
        test("a_failure_is_a_failure", needs![], failure_is_a_failure),
        test("a_need_that_is_not_met_skips_and_says_why", needs![], unmet_need_skips),
        test("a_need_that_must_be_met_fails", needs![], unmet_need_fails_when_it_must_be_met),
        test("the_list_of_musts_can_be_inverted", needs![], list_of_musts),
        test("a_command_that_hangs_is_killed", needs![], hanging_command_is_killed),
        test("output_held_open_is_found", needs![], output_held_open_is_found),
        test("a_terminal_can_be_typed_at", needs![], terminal_can_be_typed_at),
        test("a_killed_victim_is_noticed", needs![], killed_victim_is_noticed),
        test(
            "a_root_file_system_is_made_once",
            needs![binary("part1-chroot")],
            rootfs_is_made_once,
        ),
    ]
}

/// The one test of the second harness.
fn misbehaviour(name: &str) -> Test {
    let place = PathBuf::from(env::var_os(PLACE).unwrap_or_default());
    match name {
        "nothing" => test(name, needs![], || Ok(())),
        "process" => test(name, needs![], || sh("setsid --fork sleep 3600")),
        "file" => test(name, needs![], || {
            Ok(fs::write(format!("/tmp/inside-docker-selftest-{}", std::process::id()), "")?)
        }),
        "mount" => test(name, needs![], move || mount_tmpfs(&place)),
        "sandbox mount" => test(name, needs![], move || {
            let sandbox = Sandbox::new()?;
            let point = sandbox.dir().join("mnt");
            fs::create_dir(&point)?;
            sh(&format!("mount --bind {} {}", place.display(), point.display()))
        }),
        "cgroup" => test(name, needs![], move || Ok(fs::create_dir(&place)?)),
        "link" => test(name, needs![], || sh("ip link add veth0 type veth peer name veth1")),
        "rule" => test(name, needs![], || sh("nft add table ip inside_docker_selftest")),
        "iptables" => {
            test(name, needs![], || sh("iptables-legacy -w -t nat -A POSTROUTING -j MASQUERADE"))
        }
        "setting" => test(name, needs![], || {
            // A new network namespace may have it from the machine's: another value than that.
            let file = "/proc/sys/net/ipv4/ip_forward";
            let other = if fs::read_to_string(file)?.trim() == "0" { "1" } else { "0" };
            Ok(fs::write(file, other)?)
        }),
        "error" => test(name, needs![], || Err("this is the reason".into())),
        "panic" => test(name, needs![], || panic!("this is the reason")),
        "skip" => {
            let need = need::custom("a_unicorn", || Err("there are none".into()));
            test(name, vec![need], || Ok(()))
        }
        other => panic!("no such misbehaviour: {other}"),
    }
}

/// Runs this program as a second harness: `prefix`, the program, with `variables` set.
fn run_inner(name: &str, sandbox: &Sandbox, prefix: &[&str], variables: &[(&str, &str)]) -> Output {
    let this = env::current_exe().expect("/proc/self/exe is readable");
    let mut words: Vec<_> = prefix.iter().map(|word| (*word).into()).collect();
    words.push(this.into_os_string());
    let mut command = sandbox.command(words[0].to_str().expect("our paths are text"));
    command
        .args(&words[1..])
        .env(MISBEHAVIOUR, name)
        .env(harness::LOCK_IS_HELD, "1")
        .env_remove("INSIDE_DOCKER_NO_SKIP");
    for (name, value) in variables {
        command.env(name, value);
    }
    Running::start(command).wait(Duration::from_secs(60))
}

fn process_is_found() -> TestResult {
    let output = run_inner("process", &Sandbox::new()?, &[], &[]);
    output.assert_code(101).assert_stdout("process left: ").assert_stdout(" sleep (started");
    // That it was killed is seen by the harness that runs this test.
    Ok(())
}

fn file_is_found() -> TestResult {
    let output = run_inner("file", &Sandbox::new()?, &[], &[]);
    output.assert_code(101).assert_stdout("file left: /tmp/inside-docker-selftest-");
    let path = output.stdout.lines().find_map(|line| line.trim().strip_prefix("file left: "));
    fs::remove_file(path.ok_or("the file is named")?)?;
    Ok(())
}

fn mount_is_found() -> TestResult {
    let sandbox = Sandbox::new()?;
    let place = sandbox.dir().join("mnt");
    fs::create_dir(&place)?;
    let place = place.to_str().ok_or("our paths are text")?;
    let output = run_inner("mount", &sandbox, &[], &[(PLACE, place)]);
    sh(&format!("umount {place}"))?;
    output.assert_code(101).assert_stdout("mount left: ").assert_stdout(place);
    Ok(())
}

fn sandbox_mount_is_found() -> TestResult {
    let sandbox = Sandbox::new()?;
    let precious = sandbox.file("precious/file", "still here");
    let place = sandbox.dir().join("precious");
    let place = place.to_str().ok_or("our paths are text")?;
    let output = run_inner("sandbox mount", &sandbox, &[], &[(PLACE, place)]);
    output.assert_code(101).assert_stdout("mount left in the sandbox: ");
    assert_eq!(fs::read_to_string(precious)?, "still here");
    Ok(())
}

fn cgroup_is_found() -> TestResult {
    let mut tried = Vec::new();
    for (root, kind) in harness::footprint::cgroup_hierarchies() {
        if tried.contains(&kind) {
            continue; // One of each version is enough.
        }
        let place = root.join(format!("selftest-{}", std::process::id()));
        if fs::create_dir(&place).and_then(|()| fs::remove_dir(&place)).is_err() {
            continue; // This hierarchy takes none.
        }
        tried.push(kind);
        let text = place.to_str().ok_or("our paths are text")?;
        let output = run_inner("cgroup", &Sandbox::new()?, &[], &[(PLACE, text)]);
        fs::remove_dir(&place)?;
        output.assert_code(101).assert_stdout(&format!("cgroup left: {text}"));
    }
    Ok(())
}

/// For what would touch the machine's network: the second harness has one of its own.
fn is_found_in_netns(misbehaviour: &str, message: &str) -> TestResult {
    let output = run_inner(misbehaviour, &Sandbox::new()?, &["unshare", "--net"], &[]);
    output.assert_code(101).assert_stdout(message);
    Ok(())
}

fn failure_is_a_failure() -> TestResult {
    for name in ["error", "panic"] {
        let output = run_inner(name, &Sandbox::new()?, &[], &[]);
        output.assert_code(101).assert_stdout("this is the reason").assert_stdout("1 failed");
        assert!(!output.stdout.contains("left"), "{output}");
    }
    Ok(())
}

fn unmet_need_skips() -> TestResult {
    let output = run_inner("skip", &Sandbox::new()?, &[], &[]);
    output.assert_code(0).assert_stdout("SKIPPED 1: needs a_unicorn: there are none");
    output.assert_stdout("0 passed; 0 failed; 1 ignored");
    Ok(())
}

fn unmet_need_fails_when_it_must_be_met() -> TestResult {
    let must = [("INSIDE_DOCKER_NO_SKIP", "root,a_unicorn")];
    let output = run_inner("skip", &Sandbox::new()?, &[], &must);
    output.assert_code(101).assert_stdout("needs a_unicorn: there are none");
    Ok(())
}

fn list_of_musts() -> TestResult {
    assert!(!need::must_be_met("root", ""));
    assert!(need::must_be_met("nft", "root,nft"));
    assert!(!need::must_be_met("nf", "root,nft"));
    assert!(need::must_be_met("root", "all-but:nft,overlay"));
    assert!(!need::must_be_met("overlay", "all-but:nft,overlay"));
    Ok(())
}

fn hanging_command_is_killed() -> TestResult {
    let sandbox = Sandbox::new()?;
    let hang = || sandbox.run_for(Duration::from_millis(200), &["sh", "-c", "sleep 3600 | cat"]);
    let panic = quiet_panic(hang).ok_or("a command that hangs was waited for")?;
    assert!(panic.contains("did not end within 200ms"), "{panic}");
    // That nothing of the group is left is seen by the harness that runs this test.
    Ok(())
}

fn output_held_open_is_found() -> TestResult {
    let sandbox = Sandbox::new()?;
    let hold = || sandbox.run(&["sh", "-c", "sleep 4 & echo started"]);
    let panic = quiet_panic(hold).ok_or("output held open was not noticed")?;
    assert!(panic.contains("holds its output open"), "{panic}");
    std::thread::sleep(Duration::from_secs(2)); // The sleep ends by itself.
    Ok(())
}

fn terminal_can_be_typed_at() -> TestResult {
    let patience = Duration::from_secs(10);
    let sandbox = Sandbox::new()?;
    let mut terminal = Pty::spawn(&sandbox, &["sh", "-c", "stty size; read x; stty size; exit 7"])?;
    terminal.expect("24 80", patience)?;
    terminal.resize(40, 100)?;
    terminal.send("go on\r")?;
    terminal.expect("40 100", patience)?;
    assert_eq!(terminal.wait(patience)?.code(), Some(7));
    Ok(())
}

fn killed_victim_is_noticed() -> TestResult {
    let mut victim = Sandbox::new()?.victim();
    victim.assert_alive();
    nix::sys::signal::kill(victim.pid(), nix::sys::signal::Signal::SIGKILL)?;
    std::thread::sleep(Duration::from_millis(100));
    quiet_panic(|| victim.assert_alive()).ok_or("a victim was ended and nobody noticed")?;
    Ok(())
}

fn rootfs_is_made_once() -> TestResult {
    let (one, other) = (Sandbox::new()?.rootfs(), Sandbox::new()?.rootfs());
    assert_eq!(one, other);
    assert!(one.join("bin/sh").exists(), "{} has no shell", one.display());
    Ok(())
}

/// The message of the panic that `action` ends in; None: it does not.
fn quiet_panic<T>(action: impl FnOnce() -> T) -> Option<String> {
    std::panic::set_hook(Box::new(|_| {})); // It is expected: nobody need read of it.
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action));
    drop(std::panic::take_hook());
    let panic = answer.err()?;
    panic.downcast::<String>().ok().map(|message| *message)
}

fn mount_tmpfs(place: &Path) -> TestResult {
    sh(&format!("mount -t tmpfs none {}", place.display()))
}

fn sh(script: &str) -> TestResult {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let status =
        Command::new("sh").args(["-ec", script]).env("PATH", path).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{script}: {status}").into()) }
}
