//! Containers that are left alone: `run -d` and the commands that look after them.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Output, Running, Sandbox, TestResult, needs, test};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const PART2: &str = "part2-namespaces";
const PART4: &str = "part4-overlay";

/// An emulated kernel is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says that it is there, and sleeps until it is told to end.
const WAITS: &str = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";

fn main() -> ExitCode {
    harness::run(vec![
        test("it_is_listed_while_it_runs_and_after", needs![userns], listed),
        test("inspect_tells_everything", needs![userns], inspected),
        test("its_log_can_be_read_and_followed", needs![userns], logs),
        test("a_start_that_fails_says_so_and_leaves_nothing", needs![userns], fails_to_start),
        test("stop_asks_and_then_kills", needs![userns], stops),
        test("kill_sends_any_signal", needs![userns], kills),
        test("rm_removes_what_has_stopped", needs![userns], removes),
        test("names_that_are_not_there_are_named", needs![userns], unknown_names),
        test("a_terminal_is_logged", needs![userns], terminal_logged),
        test("restart_policies_are_kept", needs![userns], restarts),
        test("a_container_that_restarts_can_be_stopped", needs![userns], restart_stopped),
        test("another_part_cleans_up_after_a_killed_supervisor", needs![userns], supervisor_killed),
        test("undoing_twice_is_undoing_once", needs![userns], undone_twice),
        test("twenty_at_rest_are_all_there", needs![userns], twenty),
    ])
}

/// Starts the container `one`; when this returns, it has written its first line.
fn start(sandbox: &Sandbox, keys: &[&str], script: &str) {
    let spec = sandbox.service(&[&["container_name: one"], keys].concat(), script);
    sandbox.run(&[PART2, "run", "-d", &spec]).assert_code(0);
    wait_for("its first line", || !log(sandbox).is_empty());
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

fn log(sandbox: &Sandbox) -> String {
    sandbox.run(&[PART2, "logs", "one"]).assert_code(0).stdout.clone()
}

fn part2(sandbox: &Sandbox, words: &[&str]) -> Output {
    sandbox.run(&[&[PART2], words].concat())
}

/// Crashes the supervisor. Its container ends with it, after its files and its lock are closed.
fn kill_supervisor(sandbox: &Sandbox) -> TestResult {
    let first = inspect(sandbox)["pid"].clone();
    kill(supervisor(sandbox), Signal::SIGKILL)?;
    wait_for("the end of the container", || !Path::new(&format!("/proc/{first}")).exists());
    Ok(())
}

/// All that is known of the container `one`.
fn inspect(sandbox: &Sandbox) -> Value {
    let output = part2(sandbox, &["inspect", "one"]);
    let all: Value = serde_json::from_str(&output.assert_code(0).stdout).expect("JSON");
    all[0].clone()
}

fn remove(sandbox: &Sandbox) {
    part2(sandbox, &["rm", "--force", "one"]).assert_code(0);
}

/// The container's directory of state.
fn directory(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join("run/containers/one")
}

fn listed() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &[], WAITS);
    let table = part2(&sandbox, &["ps"]);
    let lines: Vec<_> = table.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("NAME"), "{table}");
    assert!(lines[1].starts_with("one ") && lines[1].contains("up "), "{table}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{table}");
    let json = part2(&sandbox, &["ps", "--json"]);
    let list: Value = serde_json::from_str(&json.stdout)?;
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!((&list[0]["name"], &list[0]["status"]), (&"one".into(), &"running".into()));
    // The pid is a process of the host, in a namespace where it is number 1.
    let status = fs::read_to_string(format!("/proc/{}/status", list[0]["pid"]))?;
    assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")));
    part2(&sandbox, &["stop", "one"]).assert_code(0);
    assert_eq!(part2(&sandbox, &["ps", "-q"]).stdout, "");
    assert_eq!(part2(&sandbox, &["ps", "-qa"]).stdout, "one\n");
    part2(&sandbox, &["ps", "-a"]).assert_stdout("exited (0)");
    remove(&sandbox);
    assert_eq!(part2(&sandbox, &["ps", "--all", "--json"]).stdout.trim(), "[]");
    Ok(())
}

fn inspected() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &["environment: {KEY: value}"], "echo ready; sleep 60; exit 9");
    let running = inspect(&sandbox);
    assert_eq!(running["part"], 2);
    assert_eq!(running["status"], "running");
    assert_eq!(running["rootfs"], sandbox.rootfs().to_str().ok_or("text")?);
    assert_eq!(running["service"]["command"][0], "sh");
    assert_eq!(running["service"]["environment"][0][1], "value");
    assert!(running["exit"].is_null() && running["pid"].as_i64() > Some(1));
    part2(&sandbox, &["kill", "one"]).assert_code(0);
    wait_for("its end", || inspect(&sandbox)["status"] == "stopped");
    let stopped = inspect(&sandbox);
    assert_eq!((&stopped["exit"]["code"], &stopped["exit"]["signal"]), (&137.into(), &9.into()));
    assert!(!stopped["finished"].is_null());
    remove(&sandbox);
    Ok(())
}

fn logs() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(
        &sandbox,
        &[],
        "echo one; echo two >&2; trap 'echo three; exit 0' TERM; while :; do sleep 0.05; done",
    );
    let mut command = sandbox.command(PART2);
    command.args(["logs", "--follow", "one"]);
    let (follower, mut lines) = Running::start_to_read(command);
    assert_eq!((lines.next_line(), lines.next_line()), ("one".into(), "two".into()));
    part2(&sandbox, &["stop", "one"]).assert_code(0);
    assert_eq!(lines.next_line(), "three");
    follower.wait(PATIENCE).assert_code(0);
    assert_eq!(log(&sandbox), "one\ntwo\nthree\n");
    assert_eq!(part2(&sandbox, &["logs", "-n", "2", "one"]).stdout, "two\nthree\n");
    assert_eq!(part2(&sandbox, &["logs", "-n", "0", "one"]).stdout, "");
    remove(&sandbox);
    Ok(())
}

fn fails_to_start() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs();
    let run = |program| {
        let rootfs = rootfs.to_str().expect("text");
        part2(&sandbox, &["run", "-d", "--name", "one", "--rootfs", rootfs, "--", program])
    };
    run("no-such-program").assert_code(127).assert_stderr("execve");
    run("/etc/passwd").assert_code(126);
    assert_eq!(part2(&sandbox, &["ps", "-qa"]).stdout, "");
    assert!(!directory(&sandbox).exists());
    Ok(())
}

fn stops() -> TestResult {
    let sandbox = Sandbox::new()?;
    let exit = |keys: &[&str], script: &str, words: &[&str]| {
        start(&sandbox, keys, script);
        let begin = Instant::now();
        part2(&sandbox, &[&["stop"], words, &["one"]].concat()).assert_code(0).assert_stdout("one");
        let took = begin.elapsed();
        let code = inspect(&sandbox)["exit"]["code"].clone();
        remove(&sandbox);
        (code, took)
    };
    let (code, took) = exit(&[], WAITS, &[]);
    assert!(code == 0 && took < Duration::from_secs(9), "{code} {took:?}");
    let deaf = "trap '' TERM; echo ready; while true; do sleep 1; done";
    let (code, took) = exit(&[], deaf, &["-t", "1"]);
    assert!(code == 137 && took >= Duration::from_secs(1), "{code} {took:?}");
    let (code, took) = exit(&["stop_grace_period: 300ms"], deaf, &[]);
    assert!(code == 137 && took >= Duration::from_millis(300), "{code} {took:?}");
    let usr1 = "trap 'exit 8' USR1; echo ready; while :; do sleep 0.05; done";
    assert_eq!(exit(&["stop_signal: SIGUSR1"], usr1, &[]).0, 8);
    Ok(())
}

fn kills() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &[], "trap 'echo usr1' USR1; echo ready; while true; do sleep 0.05; done");
    for signal in ["USR1", "sigusr1", "10"] {
        part2(&sandbox, &["kill", "--signal", signal, "one"]).assert_code(0);
        thread::sleep(Duration::from_millis(200));
    }
    wait_for("the third signal", || log(&sandbox).matches("usr1").count() == 3);
    part2(&sandbox, &["kill", "--signal", "NOPE", "one"]).assert_code(2);
    part2(&sandbox, &["kill", "one"]).assert_code(0);
    wait_for("its end", || inspect(&sandbox)["exit"]["code"] == 137);
    part2(&sandbox, &["kill", "one"]).assert_code(125).assert_stderr("is not running");
    part2(&sandbox, &["exec", "one", "true"]).assert_code(125).assert_stderr("is not running");
    remove(&sandbox);
    Ok(())
}

fn removes() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &[], WAITS);
    part2(&sandbox, &["rm", "one"]).assert_code(125).assert_stderr("rm --force one");
    assert_eq!(inspect(&sandbox)["status"], "running");
    part2(&sandbox, &["stop", "one"]).assert_code(0);
    part2(&sandbox, &["stop", "one"]).assert_code(0);
    // Its name is still taken; the others are removed although one cannot be.
    let spec = sandbox.service(&["container_name: one"], "true");
    part2(&sandbox, &["run", &spec]).assert_code(125).assert_stderr("it has stopped");
    let output = part2(&sandbox, &["rm", "nobody", "one"]);
    output.assert_code(125).assert_stdout("one").assert_stderr("no container called \"nobody\"");
    assert!(!directory(&sandbox).exists());
    // Also right after its end, while its supervisor cleans up.
    for _ in 0..10 {
        start(&sandbox, &[], "echo ready; exec sleep 60");
        part2(&sandbox, &["kill", "one"]).assert_code(0);
        wait_for("its end", || inspect(&sandbox)["status"] == "stopped");
        part2(&sandbox, &["rm", "one"]).assert_code(0);
    }
    Ok(())
}

fn unknown_names() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &[], WAITS);
    for words in
        [&["logs", "two"][..], &["exec", "two", "true"], &["stop", "two"], &["kill", "two"]]
    {
        let output = part2(&sandbox, words);
        output.assert_code(125).assert_stderr("no container called \"two\"");
        output.assert_stderr("one of: one");
    }
    part2(&sandbox, &["inspect", "../one"]).assert_code(125);
    remove(&sandbox);
    Ok(())
}

fn terminal_logged() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &["tty: true"], "tty; echo to the terminal >/dev/tty");
    wait_for("its end", || inspect(&sandbox)["status"] == "stopped");
    assert_eq!(log(&sandbox), "/dev/pts/0\r\nto the terminal\r\n");
    remove(&sandbox);
    Ok(())
}

fn restarts() -> TestResult {
    let sandbox = Sandbox::new()?;
    for (policy, script, starts) in [
        ("'no'", "echo start; exit 1", 1),
        ("'on-failure:2'", "echo start; exit 1", 3),
        ("on-failure", "echo start; exit 0", 1),
    ] {
        start(&sandbox, &[&format!("restart: {policy}")], script);
        let supervised = || shared::ownership::is_supervised(&directory(&sandbox)).expect("a lock");
        wait_for("the end of its supervisor", || !supervised());
        assert_eq!(log(&sandbox).matches("start").count(), starts, "{policy}");
        remove(&sandbox);
    }
    Ok(())
}

fn restart_stopped() -> TestResult {
    let sandbox = Sandbox::new()?;
    for script in ["echo start; exit 1", "echo start; exec sleep 60"] {
        for end in [&["stop", "--time", "0", "one"][..], &["rm", "--force", "one"]] {
            start(&sandbox, &["restart: always"], script);
            // One of them ends by itself and waits longer and longer for its next start.
            thread::sleep(Duration::from_millis(250));
            part2(&sandbox, end).assert_code(0);
            if end[0] == "stop" {
                let starts = log(&sandbox);
                thread::sleep(Duration::from_millis(800));
                assert_eq!(log(&sandbox), starts);
                assert_eq!(inspect(&sandbox)["status"], "stopped");
                remove(&sandbox);
            }
        }
    }
    Ok(())
}

/// The supervisor of the container `one`: the parent of its first process.
fn supervisor(sandbox: &Sandbox) -> Pid {
    let status = fs::read_to_string(format!("/proc/{}/status", inspect(sandbox)["pid"]));
    let status = status.expect("it runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    Pid::from_raw(parent.and_then(|pid| pid.parse().ok()).expect("a pid"))
}

fn supervisor_killed() -> TestResult {
    let sandbox = Sandbox::new()?;
    let part = if harness::sandbox::binary(PART4).is_file() { PART4 } else { PART2 };
    for keys in [&[][..], &["init: true"], &["restart: always"]] {
        start(&sandbox, keys, "echo ready; sleep 60");
        kill_supervisor(&sandbox)?;
        let output = sandbox.run(&[part, "ps", "--all"]);
        output.assert_code(0).assert_stdout("exited (137)");
        assert_eq!(output.stderr, "");
        assert_eq!(inspect(&sandbox)["status"], "stopped");
        sandbox.run(&[part, "rm", "one"]).assert_code(0);
    }
    Ok(())
}

/// A crash can come at any moment: in the middle of a line, before or after an undo.
fn undone_twice() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &[], "echo ready; sleep 60");
    kill_supervisor(&sandbox)?;
    let journal = directory(&sandbox).join("journal");
    // A lock that nobody holds: the sign of a crash.
    let lock = directory(&sandbox).join("lock");
    let lines = fs::read_to_string(&journal)?;
    assert!(lines.contains("kill"), "{lines}");
    for text in [lines.clone(), lines.clone() + &lines, lines.clone() + "{\"due\":\"stop\",\"un"] {
        fs::write(&journal, text)?;
        fs::write(&lock, "")?;
        let output = part2(&sandbox, &["ps", "-a"]);
        assert_eq!((output.assert_stdout("exited (137)").code(), &*output.stderr), (0, ""));
    }
    fs::write(&lock, "")?;
    // A state that cannot be read is that of a container which was never whole.
    fs::write(directory(&sandbox).join("state.json"), "{\"name\":")?;
    assert_eq!(part2(&sandbox, &["ps", "-qa"]).assert_code(0).stdout, "");
    assert!(!directory(&sandbox).exists());
    Ok(())
}

fn twenty() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs();
    let rootfs = rootfs.to_str().ok_or("our paths are text")?;
    let names: Vec<_> = (0..20).map(|number| format!("c{number}")).collect();
    let started: Vec<_> = names
        .iter()
        .map(|name| {
            let run = [PART2, "run", "-d", "--rootfs", rootfs, "--name", name, "--", "sleep", "60"];
            sandbox.spawn(&run)
        })
        .collect();
    for running in started {
        running.wait(PATIENCE).assert_code(0);
    }
    assert_eq!(part2(&sandbox, &["ps", "-q"]).stdout.lines().count(), 20);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    part2(&sandbox, &[&["rm", "--force"], &names[..]].concat()).assert_code(0);
    assert_eq!(part2(&sandbox, &["ps", "-qa"]).stdout, "");
    Ok(())
}
