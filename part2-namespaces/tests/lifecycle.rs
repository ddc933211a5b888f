//! The life of a container that is waited for: its streams, signals, terminal and end.
//!
//! After every test the harness looks for what was left. (Containers left alone: `detached.rs`.)

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Lines, Output, Pty, Running, Sandbox, TestResult, needs, test};
use nix::sys::signal::Signal;

const PART2: &str = "part2-namespaces";
const PART4: &str = "part4-overlay";

/// An emulated kernel is slow.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    harness::run(vec![
        test("exit_statuses_are_the_programs", needs![userns], exit_statuses),
        test("a_program_that_cannot_start_is_126_or_127", needs![userns], no_program),
        test("streams_are_passed_through", needs![userns], streams),
        test("without_i_it_reads_nothing", needs![userns], no_input),
        test("signals_reach_the_program", needs![userns], signals),
        test("a_third_interrupt_kills", needs![userns], interrupts),
        test("init_forwards_signals_and_its_status", needs![userns], init),
        test("init_reaps_orphans", needs![userns], init_reaps),
        test("the_end_of_pid_1_is_the_end_of_all", needs![userns], end_of_all),
        test("a_terminal_is_one", needs![userns], terminal),
        test("a_terminal_is_resized", needs![userns], terminal_resizes),
        test("control_c_interrupts", needs![userns], terminal_interrupts),
        test("a_terminal_is_as_before_afterwards", needs![userns], terminal_restored),
        test("a_terminal_that_hangs_up_costs_nothing", needs![userns], terminal_hangs_up),
        test("a_terminal_needs_one", needs![userns], no_terminal),
        test("a_supervisor_that_is_killed_takes_it_along", needs![userns], supervisor_killed),
        test("a_name_is_taken_once", needs![userns], name_taken),
        test("a_hundred_in_a_row_leave_nothing", needs![userns], a_hundred),
        test("eight_at_a_time_do_not_mix", needs![userns], eight_at_a_time),
    ])
}

fn inside(sandbox: &Sandbox, keys: &[&str], script: &str) -> Output {
    sandbox.run_service(PART2, keys, script)
}

/// Starts a container that is called `one`, and reads what it writes.
fn start(sandbox: &Sandbox, keys: &[&str], script: &str) -> (Running, Lines) {
    let spec = sandbox.service(&[&["container_name: one"], keys].concat(), script);
    let mut command = sandbox.command(PART2);
    command.args(["run", &spec]);
    Running::start_to_read(command)
}

fn exit_statuses() -> TestResult {
    let sandbox = Sandbox::new()?;
    for (script, code) in [("true", 0), ("exit 3", 3), ("exit 255", 255), ("exit 125", 125)] {
        inside(&sandbox, &[], script).assert_code(code);
        inside(&sandbox, &["init: true"], script).assert_code(code);
    }
    // Pid 1 is not ended by its own signals: a child of it is, and the shell says so.
    inside(&sandbox, &[], "sh -c 'kill -9 $$'").assert_code(137);
    inside(&sandbox, &["init: true"], "kill -9 $$").assert_code(137);
    inside(&sandbox, &["init: true"], "kill -TERM $$").assert_code(143);
    Ok(())
}

fn no_program() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    fs::write(rootfs.join("script"), "#!/no/such/interpreter\n")?;
    fs::write(rootfs.join("text"), "just text")?;
    for file in ["script", "text"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(rootfs.join(file), mode)?;
    }
    let rootfs = rootfs.to_str().ok_or("our paths are text")?;
    let run = |program| sandbox.run(&[PART2, "run", "--rootfs", rootfs, "--", program]);
    run("no-such-program").assert_code(127).assert_stderr("ENOENT (No such file or directory)");
    run("/no/such/program").assert_code(127);
    run("/etc/passwd/program").assert_code(127);
    run("").assert_code(127);
    run("/script").assert_code(127).assert_stderr("its interpreter or loader is missing");
    run("/text").assert_code(126).assert_stderr("ENOEXEC");
    run("/etc").assert_code(126).assert_stderr("EACCES (Permission denied)");
    run("/etc/passwd").assert_code(126).assert_stderr("chmod +x");
    Ok(())
}

fn streams() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = inside(&sandbox, &[], "echo out; echo err >&2");
    // (Before it stand the notes of what this user cannot have.)
    assert!(output.stdout == "out\n" && output.stderr.ends_with("err\n"), "{output}");
    // A megabyte, through the program and back: nothing is cut or mixed up.
    let input: String = (0..150_000).map(|number| format!("{number}\n")).collect();
    let mut command = sandbox.command(PART2);
    command.args(["run", "-i", "--rootfs"]).arg(sandbox.rootfs()).args(["--", "cat"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut pipe = running.child.stdin.take().ok_or("it is piped")?;
    let sent = input.clone();
    let writer = thread::spawn(move || pipe.write_all(sent.as_bytes()));
    let output = running.wait(PATIENCE);
    writer.join().expect("it does not panic")?;
    assert!(output.assert_code(0).stdout == input);
    // A reader that goes away ends the program by SIGPIPE, as it ends any other.
    let run = format!(
        "{} run --rootfs {} -- yes | head -1",
        harness::sandbox::binary(PART2).display(),
        sandbox.rootfs().display()
    );
    let output = sandbox.run(&["sh", "-c", &run]);
    assert_eq!(output.assert_code(0).stdout, "y\n");
    Ok(())
}

fn no_input() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.service(&[], "cat; echo end; readlink /proc/self/fd/0");
    let mut command = sandbox.command(PART2);
    command.args(["run", &spec]).stdin(Stdio::piped());
    let output = Running::start(command).wait(PATIENCE);
    assert_eq!(output.assert_code(0).stdout, "end\n/dev/null\n");
    Ok(())
}

fn signals() -> TestResult {
    let sandbox = Sandbox::new()?;
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1] {
        let name = signal.as_str().trim_start_matches("SIG");
        // Not `wait`: a signal just before it sleeps would be noticed only a minute later.
        let script = format!(
            "trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
        );
        let (running, mut lines) = start(&sandbox, &[], &script);
        assert_eq!(lines.next_line(), "ready");
        running.signal(signal);
        assert_eq!(lines.next_line(), format!("got {name}"));
        running.wait(PATIENCE).assert_code(7);
    }
    Ok(())
}

fn interrupts() -> TestResult {
    let sandbox = Sandbox::new()?;
    let (running, mut lines) = start(&sandbox, &[], "trap '' INT; echo ready; exec sleep 60");
    assert_eq!(lines.next_line(), "ready");
    for _ in 0..3 {
        running.signal(Signal::SIGINT);
        thread::sleep(Duration::from_millis(50));
    }
    running.wait(PATIENCE).assert_code(137).assert_stderr("interrupted 3 times");
    Ok(())
}

fn init() -> TestResult {
    let sandbox = Sandbox::new()?;
    let keys = ["init: true"];
    let (running, mut lines) = start(&sandbox, &keys, "echo $$ $PPID; exec sleep 60");
    assert_eq!(lines.next_line(), "2 1");
    running.signal(Signal::SIGTERM);
    running.wait(PATIENCE).assert_code(143);
    // Pid 1 is our own binary, and nobody may look into it.
    let script = "cat /proc/1/comm; cat /proc/1/environ; \
                  for link in exe cwd root fd/0; do readlink /proc/1/$link; done; \
                  tr '\\0' ' ' </proc/1/cmdline | wc -w";
    let output = inside(&sandbox, &keys, script);
    output.assert_code(0).assert_stderr("Permission denied");
    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0] == "init" && ["0", "1"].contains(&lines[1]), "{output}");
    Ok(())
}

fn init_reaps() -> TestResult {
    let sandbox = Sandbox::new()?;
    // The grandchildren lose their parent and end.
    let script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit'; done; sleep 0.6; \
                  ps -e -o stat= | grep -c Z";
    inside(&sandbox, &["init: true"], script).assert_code(1).assert_stdout("0\n");
    // A sleep as pid 1 reaps nobody; the zombies are seen from another process.
    let spec = sandbox.service(
        &["container_name: one"],
        "for i in 1 2 3 4 5; do sh -c 'sleep 2 & exit'; done; exec sleep 60",
    );
    sandbox.run(&[PART2, "run", "-d", &spec]).assert_code(0);
    let count = [PART2, "exec", "one", "sh", "-c", "ps -e -o stat= | grep -c Z"];
    let end = Instant::now() + PATIENCE;
    while sandbox.run(&count).stdout != "5\n" {
        assert!(Instant::now() < end, "the orphans were reaped");
    }
    sandbox.run(&[PART2, "rm", "-f", "one"]).assert_code(0);
    Ok(())
}

/// The harness sees whether a process is left.
fn end_of_all() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "setsid sleep 60 & nohup sleep 60 >/dev/null 2>&1 & trap '' TERM; exit 4";
    inside(&sandbox, &[], script).assert_code(4);
    inside(&sandbox, &["init: true"], script).assert_code(4);
    Ok(())
}

/// Runs a command on a terminal of 24 rows and 80 columns.
fn on_terminal(sandbox: &Sandbox, command: &[&str]) -> Result<Pty, Box<dyn std::error::Error>> {
    let rootfs = sandbox.rootfs();
    let binary = harness::sandbox::binary(PART2);
    let [binary, rootfs] = [&binary, &rootfs].map(|path| path.to_str().expect("text"));
    let run = [binary, "run", "-it", "--rootfs", rootfs, "--name", "one", "--"];
    Pty::spawn(sandbox, &[&run, command].concat())
}

fn terminal() -> TestResult {
    let sandbox = Sandbox::new()?;
    let mut pty = on_terminal(&sandbox, &["sh", "-i"])?;
    pty.expect("# ", PATIENCE)?;
    pty.send("tty; stty size; ls /dev/pts; echo $TERM:$$\r")?;
    pty.expect("/dev/pts/0\r\n24 80\r\n0  ptmx\r\nxterm:1\r\n", PATIENCE)?;
    // Its terminal works as /dev/tty and /dev/console do, and job control is on.
    pty.send("echo a-$((1 + 1)) >/dev/tty; echo b-$((2 + 2)) >/dev/console\r")?;
    pty.expect("a-2\r\nb-4\r\n", PATIENCE)?;
    pty.send("exit 5\r")?;
    assert_eq!(pty.wait(PATIENCE)?.code(), Some(5));
    assert!(!pty.seen.contains("job control"), "{}", pty.seen);
    Ok(())
}

fn terminal_resizes() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "trap 'stty size' WINCH; echo ready; while true; do sleep 0.05; done";
    let mut pty = on_terminal(&sandbox, &["sh", "-c", script])?;
    pty.expect("ready", PATIENCE)?;
    pty.resize(40, 100)?;
    pty.expect("40 100", PATIENCE)?;
    sandbox.run(&[PART2, "kill", "one"]).assert_code(0);
    assert_eq!(pty.wait(PATIENCE)?.code(), Some(137));
    Ok(())
}

fn terminal_interrupts() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let mut pty = on_terminal(&sandbox, &["sh", "-c", script])?;
    pty.expect("ready", PATIENCE)?;
    thread::sleep(Duration::from_millis(100)); // Until the shell has started its child.
    pty.send("\x03")?;
    pty.expect("caught", PATIENCE)?;
    assert_eq!(pty.wait(PATIENCE)?.code(), Some(7));
    // With an init, too, the keys go to the program and not to the init.
    let keys = ["init: true", "tty: true", "stdin_open: true"];
    let spec = sandbox.service(&keys, "echo ready; exec sleep 60");
    let binary = harness::sandbox::binary(PART2);
    let mut pty = Pty::spawn(&sandbox, &[binary.to_str().ok_or("text")?, "run", &spec])?;
    pty.expect("ready", PATIENCE)?;
    pty.send("\x03")?;
    assert_eq!(pty.wait(PATIENCE)?.code(), Some(130));
    Ok(())
}

/// Ours is raw while the container has one; a shell would show nothing that is typed.
fn terminal_restored() -> TestResult {
    let sandbox = Sandbox::new()?;
    let run = format!(
        "{} run -it --rootfs {} -- sh -c 'stty raw; exit 3'",
        harness::sandbox::binary(PART2).display(),
        sandbox.rootfs().display()
    );
    let script = format!("before=$(stty -g); {run}; echo status $?; [ $before = $(stty -g) ]");
    let mut pty = Pty::spawn(&sandbox, &["sh", "-c", &script])?;
    assert_eq!(pty.wait(PATIENCE)?.code(), Some(0), "{}", pty.seen);
    assert!(pty.seen.contains("status 3"), "{}", pty.seen);
    Ok(())
}

/// What waits for a program that ignores the end of its terminal must not spin meanwhile.
fn terminal_hangs_up() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "trap '' HUP; echo ready; while :; do sleep 1; done";
    let mut pty = on_terminal(&sandbox, &["sh", "-c", script])?;
    pty.expect("ready", PATIENCE)?;
    let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat"));
    let fields = |stat: &str| -> Vec<String> {
        let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
        rest.split(' ').map(str::to_owned).collect()
    };
    let supervisor = fields(&stat(&inspect(&sandbox, "one")["pid"].to_string())?)[1].clone();
    // User and system time, 100 ticks a second.
    let ticks = || -> Result<u64, Box<dyn std::error::Error>> {
        let fields = fields(&stat(&supervisor)?);
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    };
    pty.hang_up()?;
    thread::sleep(Duration::from_millis(200));
    let before = ticks()?;
    thread::sleep(Duration::from_secs(1));
    let used = ticks()? - before;
    sandbox.run(&[PART2, "kill", "one"]).assert_code(0);
    assert_eq!(pty.wait(PATIENCE)?.code(), Some(137));
    // It sleeps; a machine with much to do gives even one that spins but a few.
    assert!(used < 3, "{used} ticks in a second");
    Ok(())
}

fn no_terminal() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = inside(&sandbox, &["tty: true", "stdin_open: true"], "echo started");
    output.assert_code(125).assert_stderr("not a terminal").assert_stderr("leave out -t");
    Ok(())
}

/// `kill -9` leaves nobody to clean up: the next command of any part does.
fn supervisor_killed() -> TestResult {
    let sandbox = Sandbox::new()?;
    let part = if harness::sandbox::binary(PART4).is_file() { PART4 } else { PART2 };
    let keys = ["init: true", "tmpfs: [/tmp]"];
    let (running, mut lines) = start(&sandbox, &keys, "echo ready; sleep 60");
    assert_eq!(lines.next_line(), "ready");
    let record = inspect(&sandbox, "one");
    let first = record["pid"].as_i64().ok_or("it has a pid")?;
    running.signal(Signal::SIGKILL);
    running.wait(PATIENCE).assert_code(137);
    // The kernel ends the container with its supervisor; no command is needed for that.
    let end = Instant::now() + PATIENCE;
    while Path::new(&format!("/proc/{first}")).exists() {
        assert!(Instant::now() < end, "process {first} outlived its supervisor");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(sandbox.home().join("run/containers/one").exists());
    let output = sandbox.run(&[part, "ps", "--all", "--quiet"]);
    assert_eq!(output.assert_code(0).stdout, "");
    assert!(!sandbox.home().join("run/containers/one").exists());
    Ok(())
}

/// What is known of a container that runs. (Its first words may come before its record.)
fn inspect(sandbox: &Sandbox, name: &str) -> serde_json::Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let output = sandbox.run(&[PART2, "inspect", name]);
        match serde_json::from_str::<serde_json::Value>(&output.stdout) {
            Ok(all) => return all[0].clone(),
            Err(_) => assert!(Instant::now() < end, "{output}"),
        }
    }
}

fn name_taken() -> TestResult {
    let sandbox = Sandbox::new()?;
    let (running, mut lines) =
        start(&sandbox, &[], "echo ready; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    assert_eq!(lines.next_line(), "ready");
    let output = inside(&sandbox, &["container_name: one"], "echo second");
    output.assert_code(125).assert_stderr("already called \"one\"").assert_stderr("it is running");
    assert_eq!(output.stdout, "");
    // The first one did not notice.
    assert_eq!(inspect(&sandbox, "one")["status"], "running");
    running.signal(Signal::SIGTERM);
    running.wait(PATIENCE).assert_code(0);
    inside(&sandbox, &["container_name: one"], "echo second").assert_code(0);
    Ok(())
}

fn a_hundred() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.service(&["container_name: one", "init: true"], "exit 9");
    for _ in 0..100 {
        sandbox.run(&[PART2, "run", &spec]).assert_code(9);
    }
    let left = fs::read_dir(sandbox.home().join("run/containers"))?.count();
    assert_eq!(left, 0);
    Ok(())
}

fn eight_at_a_time() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs();
    let rootfs = rootfs.to_str().ok_or("our paths are text")?;
    for round in 0..5 {
        let started: Vec<_> = (0..8)
            .map(|number| {
                let script = format!("echo {round} {number} $(hostname); exit {number}");
                let name = format!("c{number}");
                let run = [PART2, "run", "--rootfs", rootfs, "--name", &name];
                sandbox.spawn(&[&run[..], &["--", "sh", "-c", &script]].concat())
            })
            .collect();
        for (number, running) in started.into_iter().enumerate() {
            let output = running.wait(PATIENCE);
            output.assert_code(number as i32);
            assert_eq!(output.stdout, format!("{round} {number} c{number}\n"), "{output}");
        }
    }
    Ok(())
}
