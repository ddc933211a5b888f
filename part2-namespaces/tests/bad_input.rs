//! What is wrong is said in one message, with exit status 125, and nothing is left or lost.
//!
//! What a program can be (126, 127): `lifecycle.rs`. Links in place of directories: `attacks.rs`.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{Output, Sandbox, TestResult, needs, test};
use nix::unistd::geteuid;

const PART1: &str = "part1-chroot";
const PART2: &str = "part2-namespaces";
const PART4: &str = "part4-overlay";

fn main() -> ExitCode {
    harness::run(vec![
        test("a_root_file_system_that_is_none", needs![], no_rootfs),
        test("a_root_file_system_without_programs", needs![userns], no_programs),
        test("an_image_that_is_not_there", needs![], no_image),
        test("keys_and_values_of_the_file", needs![], keys_and_values),
        test("a_file_that_is_none", needs![], no_file),
        test("a_file_that_is_a_bomb", needs![], bombs),
        test("a_service_that_is_not_there", needs![], no_service),
        test("users_capabilities_and_settings", needs![userns], privileges),
        test("names", needs![userns], names),
        test("words_of_the_command_line", needs![], command_line),
        test("a_home_that_cannot_be_written", needs![userns], no_home),
        test("a_home_that_others_could_have_written", needs![], foreign_home),
        test("what_is_kept_is_closed_to_others", needs![userns], closed_home),
        test("a_home_named_from_here", needs![userns], relative_home),
        test("a_disk_that_is_full", needs![root], full_disk),
        test("a_disk_that_becomes_full", needs![root], disk_becomes_full),
        test("no_user_namespaces", needs![not_root, userns], no_user_namespaces),
        test("no_more_namespaces", needs![userns], no_more_namespaces),
    ])
}

/// The parts among these that were built.
fn built() -> impl Iterator<Item = &'static str> {
    let parts = [PART1, PART2, PART4];
    parts.into_iter().filter(|part| harness::sandbox::binary(part).is_file())
}

/// Panics unless this is one clear message of ours about `about`, and nothing is left.
fn refused<'a>(sandbox: &Sandbox, output: &'a Output, about: &str) -> &'a Output {
    output.assert_code(125).assert_stderr(about);
    let messages = output.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert!(messages == 1 && output.stdout.is_empty(), "{output}");
    assert!(!output.stderr.contains("panicked"), "{output}");
    for directory in ["run/containers", "data/containers"] {
        let left: Vec<_> =
            fs::read_dir(sandbox.home().join(directory)).into_iter().flatten().collect();
        assert!(left.is_empty(), "{left:?} is left: {output}");
    }
    output
}

/// A journal is played as us: it must not be somebody else's.
fn foreign_home() -> TestResult {
    let sandbox = Sandbox::new()?;
    let planted = sandbox.dir().join("planted");
    let run = r#"{"due":"stop","undo":{"run":{"argv":["touch","PLANTED"],"stdin":""}}}"#;
    let journal = run.replace("PLANTED", &planted.display().to_string());
    sandbox.file("home/run/containers/x/lock", "");
    sandbox.file("home/run/containers/x/journal", format!("{journal}\n"));
    let run = sandbox.home().join("run");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o777))?;
    let output = sandbox.run(&[PART2, "ps"]);
    output.assert_code(125).assert_stderr("is not ours alone");
    assert!(!planted.exists());
    // It is what is played when the directory is ours.
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700))?;
    sandbox.run(&[PART2, "ps"]).assert_code(0);
    assert!(planted.exists());
    Ok(())
}

fn closed_home() -> TestResult {
    let sandbox = Sandbox::new()?;
    let run = "umask 000; $0 run -d --name open -- sleep 60";
    let program = harness::sandbox::binary(PART2).display().to_string();
    sandbox.run(&["sh", "-c", run, &program]).assert_code(0);
    for directory in ["run", "data"] {
        let mode = fs::metadata(sandbox.home().join(directory))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{directory}");
    }
    sandbox.run(&[PART2, "rm", "--force", "open"]).assert_code(0);
    Ok(())
}

/// A supervisor stands elsewhere.
fn relative_home() -> TestResult {
    let sandbox = Sandbox::new()?;
    let program = harness::sandbox::binary(PART2).display().to_string();
    let run = "export INSIDE_DOCKER_HOME=home; $0 run -d --name far -- sleep 60; \
               mkdir elsewhere; cd elsewhere; INSIDE_DOCKER_HOME=../home $0 ps; \
               INSIDE_DOCKER_HOME=../home $0 rm --force far";
    let output = sandbox.run(&["sh", "-c", run, &program]);
    output.assert_code(0);
    assert!(output.stdout.contains("far"), "{output}");
    assert!(!sandbox.dir().join("elsewhere/home").exists());
    Ok(())
}

fn no_rootfs() -> TestResult {
    let sandbox = Sandbox::new()?;
    fs::create_dir(sandbox.dir().join("empty"))?;
    sandbox.file("file", "no directory");
    sandbox.file("odd/proc", "a file");
    for part in built() {
        for (rootfs, about) in [
            ("missing", "No such file or directory"),
            ("empty", "it is empty"),
            ("file", "Not a directory"),
            ("odd", "its /proc is no directory"),
        ] {
            let output = sandbox.run(&[part, "run", "--rootfs", rootfs, "--", "true"]);
            refused(&sandbox, &output, about).assert_stderr("is no root file system");
            output.assert_stderr("try: ");
        }
    }
    assert_eq!(fs::read_to_string(sandbox.dir().join("odd/proc"))?, "a file");
    Ok(())
}

/// Not our failure: the program is not there.
fn no_programs() -> TestResult {
    let sandbox = Sandbox::new()?;
    sandbox.file("tree/etc/hostname", "nothing else");
    let output = sandbox.run(&[PART2, "run", "--rootfs", "tree", "--", "sh"]);
    output.assert_code(127).assert_stderr("rootfs show");
    Ok(())
}

fn no_image() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.spec("services:\n  one:\n    image: nginx\n");
    for part in built() {
        let output = sandbox.run(&[part, "run", spec.to_str().ok_or("text")?]);
        refused(&sandbox, &output, "no image called \"nginx\"").assert_stderr("image: host");
    }
    Ok(())
}

/// The message shows the file, the line and the nearest key.
fn keys_and_values() -> TestResult {
    let sandbox = Sandbox::new()?;
    for (line, about) in [
        ("hostnme: web", "hostname"),
        ("cap_add: yes", "cap_add"),
        ("init: perhaps", "init"),
        ("mem_limit: 1k", "mem_limit"),
        ("mem_limit: lots", "mem_limit"),
        ("cpus: -1", "cpus"),
        ("pids_limit: 0", "pids_limit"),
        ("cpu_shares: 1", "cpu_shares"),
        ("ports: ['99999:80']", "99999"),
        ("ports: ['80:80', '80:81']", "80"),
        ("stop_signal: SIGNOPE", "stop_signal"),
        ("working_dir: here", "working_dir"),
        ("tmpfs: [tmp]", "tmpfs"),
        ("ulimits: {nofile: {soft: 9, hard: 3}}", "nofile"),
        ("sysctls: {kernel.panic: 1}", "kernel.panic"),
        ("environment: {A: [1]}", "environment"),
        ("restart: sometimes", "restart"),
        ("build: {wrong: 1}", "build"),
        ("command: [echo, \"a\\0b\"]", "NUL"),
        ("command: $NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
        ("image: again", "image"),
        ("  indented: wrong", "service-specs.yml"),
        ("privileged: true", "privileged"),
    ] {
        let spec = sandbox.spec(&format!("services:\n  one:\n    image: host\n    {line}\n"));
        let spec = spec.to_str().ok_or("text")?;
        for part in built() {
            let output = sandbox.run(&[part, "run", spec]);
            let output = refused(&sandbox, &output, about);
            if !line.contains("\\0") {
                output.assert_stderr("service-specs.yml:4");
            }
        }
    }
    Ok(())
}

fn no_file() -> TestResult {
    let sandbox = Sandbox::new()?;
    sandbox.file("empty.yml", "");
    sandbox.file("list.yml", "- a\n- b\n");
    sandbox.file("binary.yml", [0xff, 0xfe, 0, 1, 2]);
    sandbox.file("none.yml", "services: {}\n");
    sandbox.file("unclosed.yml", "services: {one: [\n");
    sandbox.file("no-root.yml", "services: {one: {command: ls}}\n");
    fs::create_dir(sandbox.dir().join("directory"))?;
    for (file, about) in [
        ("missing.yml", "No such file or directory"),
        ("empty.yml", "services"),
        ("list.yml", "list.yml"),
        ("binary.yml", "binary.yml"),
        ("none.yml", "services"),
        ("unclosed.yml", "unclosed.yml"),
        ("no-root.yml", "image"),
        ("directory", "No such file or directory"),
        ("/dev/null", "services"),
    ] {
        refused(&sandbox, &sandbox.run(&[PART2, "run", file]), about);
    }
    Ok(())
}

/// Each of them within a second. (The bound leaves room for an emulated kernel.)
fn bombs() -> TestResult {
    let sandbox = Sandbox::new()?;
    let laughs: String = (1..30)
        .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", ")))
        .collect();
    for (text, about) in [
        (format!("services: {}\n", "[".repeat(60_000)), "service-specs.yml"),
        (format!("a0: &a0 lol\n{laughs}services: {{one: {{image: host}}}}\n"), "service-specs.yml"),
        (format!("services:\n  one:\n    image: host # {}\n", "x".repeat(1 << 16)), "64 KiB"),
        (format!("services: {}\n", "{a: ".repeat(10_000)), "service-specs.yml"),
        ("services: &a\n  one: *a\n".to_string(), "service-specs.yml"),
    ] {
        let spec = sandbox.spec(&text);
        let begin = Instant::now();
        let output = sandbox.run(&[PART2, "run", spec.to_str().ok_or("text")?]);
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        refused(&sandbox, &output, about);
        assert!(output.stderr.len() < 4000, "a message that nobody reads: {}", output.stderr.len());
    }
    Ok(())
}

fn no_service() -> TestResult {
    let sandbox = Sandbox::new()?;
    let two = "services: {one: {image: host}, two: {image: host}}\n";
    let spec = sandbox.spec(two);
    let spec = spec.to_str().ok_or("text")?;
    let output = sandbox.run(&[PART2, "run", spec]);
    refused(&sandbox, &output, "several services").assert_stderr("one, two");
    let output = sandbox.run(&[PART2, "run", spec, "three"]);
    refused(&sandbox, &output, "no service called \"three\"").assert_stderr("one, two");
    Ok(())
}

fn privileges() -> TestResult {
    let sandbox = Sandbox::new()?;
    let lacks = geteuid().is_root(); // A user namespace's root lacks nothing there.
    for (key, about) in [
        ("user: nobody-knows", "no user called \"nobody-knows\""),
        ("user: 'root:nobody-knows'", "no group called \"nobody-knows\""),
        ("cap_add: [FLY]", "FLY"),
        ("cap_drop: [CAP_NET]", "NET"),
        ("sysctls: {net.ipv4.no_such: 1}", "sysctls"),
        ("sysctls: {net.ipv4.ip_default_ttl: 4711}", "EINVAL (Invalid argument)"),
        ("devices: [/dev/no-such-device]", "/dev/no-such-device"),
        ("ulimits: {no_such: 1}", "no_such"),
        ("working_dir: /etc/hostname/deep", "ENOTDIR (Not a directory)"),
        (if lacks { "user: '4294967295'" } else { "user: '4000000'" }, "user"),
        ("tmpfs: ['/tmp:size=wrong']", "size"),
    ] {
        let output = sandbox.run_service(PART2, &[key], "echo started");
        refused(&sandbox, &output, about);
    }
    Ok(())
}

fn names() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs();
    let rootfs = rootfs.to_str().ok_or("text")?;
    let long = "x".repeat(64);
    for name in ["../escape", "a/b", "", ".hidden", "-x", "a b", "é", &long] {
        let name = format!("--name={name}");
        let output = sandbox.run(&[PART2, "run", &name, "--rootfs", rootfs, "--", "true"]);
        refused(&sandbox, &output, "cannot be a container's name");
    }
    Ok(())
}

/// What clap refuses has the exit status that it has in any tool: 2.
fn command_line() -> TestResult {
    let sandbox = Sandbox::new()?;
    for words in [&["fly"][..], &["run", "--no-such-option"], &["run", "-d", "--explain"], &[]] {
        for part in built() {
            let output = sandbox.run(&[&[part], words].concat());
            output.assert_code(2).assert_stderr("Usage:");
        }
    }
    Ok(())
}

fn no_home() -> TestResult {
    let sandbox = Sandbox::new()?;
    let file = sandbox.file("file", "no directory");
    let rootfs = sandbox.rootfs();
    for part in built().filter(|part| *part != PART1) {
        for home in [file.as_path(), Path::new("/proc/no/such")] {
            let mut command = sandbox.command(part);
            command.args(["run", "--rootfs"]).arg(&rootfs).args(["--", "true"]);
            command.env("INSIDE_DOCKER_HOME", home);
            let output = harness::Running::start(command).wait(Duration::from_secs(30));
            refused(&sandbox, &output, home.to_str().ok_or("text")?);
        }
    }
    assert_eq!(fs::read_to_string(file)?, "no directory");
    Ok(())
}

/// Runs a shell script in a mount namespace with a disk of 64 KiB at `disk`: `$RUN` starts a
/// container whose home is there, `fill` leaves no room.
fn on_small_disk(sandbox: &Sandbox, part: &str, script: &str) -> Output {
    let binary = harness::sandbox::binary(part);
    let script = format!(
        "mkdir -p disk; mount -t tmpfs -o size=64k,mode=777 none disk
         export INSIDE_DOCKER_HOME=$PWD/disk/home
         BIN={0}; RUN=\"{0} run --rootfs {1}\"
         fill() {{ dd if=/dev/zero of=disk/filler bs=1k 2>/dev/null || true; }}
         {script}",
        binary.display(),
        sandbox.rootfs().display()
    );
    sandbox.run(&["unshare", "--mount", "sh", "-euc", &script])
}

fn full_disk() -> TestResult {
    let sandbox = Sandbox::new()?;
    for part in built().filter(|part| *part != PART1) {
        for options in ["", "-d --name one"] {
            let script = format!(
                "fill; $RUN {options} -- echo started && exit 9 || status=$?; rm disk/filler
                 find disk -type f >&2; find disk -path '*containers/*' >&2
                 $RUN -- echo works >&2; exit $status"
            );
            let output = on_small_disk(&sandbox, part, &script);
            refused(&sandbox, &output, "No space left on device").assert_stderr("works\n");
            let left = output.stderr.lines().find(|line| line.starts_with("disk/"));
            assert!(left.is_none(), "{output}");
        }
    }
    Ok(())
}

/// While it runs: it ends as always, and as soon as there is room nothing is left of it.
fn disk_becomes_full() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "$RUN -d --name one -- sleep 60; fill
         $BIN kill one; sleep 0.3; $BIN ps >/dev/null || true
         rm disk/filler
         $BIN ps -a; $BIN rm -f one; find disk -path '*containers/*'; $RUN -- echo works";
    let output = on_small_disk(&sandbox, PART2, script);
    output.assert_code(0).assert_stdout("exited (137)").assert_stdout("\none\nworks\n");
    Ok(())
}

/// As on a machine where they are switched off.
fn no_user_namespaces() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces; exec {} run --rootfs {} -- echo started",
        harness::sandbox::binary(PART2).display(),
        sandbox.rootfs().display()
    );
    let unshare = ["unshare", "--user", "--map-current-user", "--keep-caps"];
    let output = sandbox.run(&[&unshare[..], &["sh", "-ec", &script]].concat());
    refused(&sandbox, &output, "clone3(").assert_stderr("user.max_user_namespaces");
    Ok(())
}

fn no_more_namespaces() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = format!(
        "echo 0 >/proc/sys/user/max_pid_namespaces; exec {} run --rootfs {} -- echo started",
        harness::sandbox::binary(PART2).display(),
        sandbox.rootfs().display()
    );
    let unshare = ["unshare", "--user", "--map-root-user", "sh", "-ec", &script];
    refused(&sandbox, &sandbox.run(&unshare), "ENOSPC").assert_stderr("part 2, step");
    Ok(())
}
