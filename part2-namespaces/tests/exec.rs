//! `exec`: one more process in a container that runs.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Output, Pty, Running, Sandbox, TestResult, needs, test};
use nix::sys::signal::Signal;

const PART2: &str = "part2-namespaces";

/// An emulated kernel is slow.
const PATIENCE: Duration = Duration::from_secs(30);

const WAITS: &str = "echo ready; exec sleep 60";

fn main() -> ExitCode {
    harness::run(vec![
        test("it_is_behind_the_same_walls", needs![userns], exec_walls),
        test("it_takes_user_directory_and_environment", needs![userns, subuid], exec_options),
        test("it_has_a_terminal", needs![userns], exec_terminal),
        test("it_ends_with_the_container_and_with_who_asked_for_it", needs![userns], exec_ends),
        test("it_is_refused_where_nothing_runs", needs![userns], nothing_runs),
    ])
}

/// Starts the container `one`; when this returns, it has written its first line.
fn start(sandbox: &Sandbox, keys: &[&str], script: &str) {
    let spec = sandbox.service(&[&["container_name: one"], keys].concat(), script);
    part2(sandbox, &["run", "-d", &spec]).assert_code(0);
    wait_for("its first line", || !part2(sandbox, &["logs", "one"]).stdout.is_empty());
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

fn part2(sandbox: &Sandbox, words: &[&str]) -> Output {
    sandbox.run(&[&[PART2], words].concat())
}

fn remove(sandbox: &Sandbox) {
    part2(sandbox, &["rm", "--force", "one"]).assert_code(0);
}

fn exec_walls() -> TestResult {
    let sandbox = Sandbox::new()?;
    let look = "for kind in pid mnt uts ipc net cgroup user; do readlink /proc/self/ns/$kind; done; \
                grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; ls /proc/self/fd; hostname";
    let own = format!("({look}) >/own; echo ready; sleep 60");
    let rootfs = format!("x-rootfs: {}", sandbox.own_rootfs().display());
    start(&sandbox, &[&rootfs, "hostname: little", "cap_add: [SYS_TIME]"], &own);
    let output = part2(&sandbox, &["exec", "one", "sh", "-c", look]);
    let expected = part2(&sandbox, &["exec", "one", "cat", "/own"]);
    assert_eq!(output.assert_code(0).stdout, expected.stdout);
    assert!(output.stdout.contains("little") && output.stdout.contains("Seccomp:\t2"), "{output}");
    assert_eq!(part2(&sandbox, &["exec", "one", "sh", "-c", "exit 6"]).code(), 6);
    assert_eq!(part2(&sandbox, &["exec", "one", "sh", "-c", "kill -9 $$"]).code(), 137);
    part2(&sandbox, &["exec", "one", "no-such-program"]).assert_code(127);
    part2(&sandbox, &["exec", "one", "/etc/passwd"]).assert_code(126);
    remove(&sandbox);
    Ok(())
}

fn exec_options() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &["environment: {A: container, B: container}"], WAITS);
    let script = "id -u; pwd; echo $A $B; cat";
    let mut command = sandbox.command(PART2);
    command.args(["exec", "-i", "-u", "www-data", "-w", "/srv", "-e", "A=exec", "one"]);
    command.args(["sh", "-c", script]).stdin(Stdio::piped());
    let mut running = Running::start(command);
    let pipe = running.child.stdin.take();
    std::io::Write::write_all(&mut pipe.ok_or("it is piped")?, b"typed\n")?;
    let output = running.wait(PATIENCE);
    assert_eq!(output.assert_code(0).stdout, "33\n/srv\nexec container\ntyped\n");
    part2(&sandbox, &["exec", "-u", "nobody-knows", "one", "true"]).assert_code(125);
    part2(&sandbox, &["exec", "-w", "/proc/self/fd/3", "one", "true"]).assert_code(125);
    remove(&sandbox);
    Ok(())
}

fn exec_terminal() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &[], WAITS);
    let binary = harness::sandbox::binary(PART2);
    let binary = binary.to_str().ok_or("text")?;
    let mut pty = Pty::spawn(&sandbox, &[binary, "exec", "-it", "one", "sh", "-i"])?;
    pty.expect("# ", PATIENCE)?;
    pty.send("tty; stty size; ls /dev/pts\r")?;
    pty.expect("/dev/pts/0\r\n24 80\r\n0  ptmx\r\n", PATIENCE)?;
    pty.resize(30, 90)?;
    thread::sleep(Duration::from_millis(200));
    pty.send("stty size; exit 3\r")?;
    pty.expect("30 90", PATIENCE)?;
    assert_eq!(pty.wait(PATIENCE)?.code(), Some(3));
    remove(&sandbox);
    Ok(())
}

fn exec_ends() -> TestResult {
    let sandbox = Sandbox::new()?;
    start(&sandbox, &[], WAITS);
    let exec = || {
        let mut command = sandbox.command(PART2);
        command.args(["exec", "one", "sh", "-c", "echo ready; exec sleep 60"]);
        let (running, mut lines) = Running::start_to_read(command);
        assert_eq!(lines.next_line(), "ready");
        running
    };
    let others = || {
        let output = part2(&sandbox, &["exec", "one", "ps", "-e", "-o", "comm="]);
        output.assert_code(0).stdout.lines().filter(|name| *name == "sleep").count() - 1
    };
    // With who asked for it …
    let running = exec();
    assert_eq!(others(), 1);
    running.signal(Signal::SIGKILL);
    running.wait(PATIENCE).assert_code(137);
    wait_for("its end", || others() == 0);
    // … and with the container.
    let running = exec();
    remove(&sandbox);
    running.wait(PATIENCE).assert_code(137);
    Ok(())
}

/// A container of part 1 has no namespaces; and it is never left alone.
fn nothing_runs() -> TestResult {
    let sandbox = Sandbox::new()?;
    part2(&sandbox, &["exec", "one", "true"]).assert_code(125).assert_stderr("`run -d` starts one");
    start(&sandbox, &[], WAITS);
    part2(&sandbox, &["exec", "one"]).assert_code(2);
    part2(&sandbox, &["stop", "-t", "0", "one"]).assert_code(0);
    part2(&sandbox, &["exec", "one", "true"]).assert_code(125).assert_stderr("is not running");
    remove(&sandbox);
    Ok(())
}
