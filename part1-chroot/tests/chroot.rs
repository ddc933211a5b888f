//! Part 1 by effect: what another root directory changes, and all that it does not.
//!
//! What is still possible here must fail in part 2: each attack is made against both.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use harness::{Need, Output, Sandbox, TestResult, need, needs, test};

const PART1: &str = "part1-chroot";
const PART2: &str = "part2-namespaces";

fn main() -> ExitCode {
    harness::run(vec![
        test("another_directory_is_the_root", needs![root], another_root),
        test("exit_statuses_are_the_programs", needs![root], exit_statuses),
        test("a_tarball_is_a_root_file_system", needs![root], from_tarball),
        test("its_arguments_and_environment_are_what_was_asked", needs![root], program),
        test("no_open_file_comes_along", needs![root], no_open_file),
        test("a_working_directory_outside_is_refused", needs![root], working_dir_outside),
        test("later_walls_are_named_and_left_out", needs![root], later_walls),
        test("other_processes_are_seen_and_killed", needs![root, binary(PART2)], kills_others),
        test("there_is_a_way_out", needs![root, binary(PART2)], escape),
        test("a_disk_can_be_opened", vec![need::root(), disk_is_there()], opens_disk),
        test("it_is_never_left_alone", needs![], never_detached),
        test("without_root_it_says_what_does", needs![not_root], not_root),
    ])
}

/// Runs a script in the root file system that all tests share.
fn inside(sandbox: &Sandbox, part: &str, script: &str) -> Output {
    let rootfs = sandbox.rootfs();
    let rootfs = rootfs.to_str().expect("our paths are text");
    sandbox.run(&[part, "run", "--rootfs", rootfs, "--", "sh", "-c", script])
}

fn another_root() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    fs::write(rootfs.join("marker"), "of the tree\n")?;
    let outside = sandbox.file("outside", "of the host");
    let script = format!("cat /marker; ls {} || ls /../../marker; pwd", outside.display());
    let path = rootfs.to_str().ok_or("our paths are text")?;
    let output = sandbox.run(&[PART1, "run", "--rootfs", path, "--", "sh", "-c", &script]);
    output.assert_code(0);
    assert_eq!(output.stdout, "of the tree\n/../../marker\n/\n", "{output}");
    Ok(())
}

fn exit_statuses() -> TestResult {
    let sandbox = Sandbox::new()?;
    for (script, code) in [("true", 0), ("exit 3", 3), ("kill -TERM $$", 143)] {
        inside(&sandbox, PART1, script).assert_code(code);
    }
    let rootfs = sandbox.rootfs();
    let rootfs = rootfs.to_str().ok_or("our paths are text")?;
    let run = |program| sandbox.run(&[PART1, "run", "--rootfs", rootfs, "--", program]);
    run("no-such-program").assert_code(127).assert_stderr("execve");
    run("/etc/passwd").assert_code(126).assert_stderr("EACCES (Permission denied)");
    Ok(())
}

fn from_tarball() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs();
    let archive = sandbox.dir().join("tree.tar");
    let [tree, file] = [&rootfs, &archive].map(|path| path.to_str().expect("our paths are text"));
    sandbox.run(&["tar", "-cf", file, "-C", tree, "."]).assert_code(0);
    sandbox.run(&[PART1, "rootfs", "create", "tree", "--from", file]).assert_code(0);
    let output = sandbox.run(&[PART1, "run", "--rootfs", "tree", "--", "sh", "-c", "echo $0"]);
    output.assert_code(0).assert_stdout("sh\n");
    Ok(())
}

fn program() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = format!(
        "services:\n  one:\n    x-rootfs: {}\n    image: host\n    entrypoint: [sh, -c]\n    \
         command: ['echo \"$$GREETING, $$0\" in $$PWD', \"two  words\"]\n    \
         environment: {{GREETING: 'it''s me'}}\n    working_dir: /made/here\n",
        sandbox.own_rootfs().display()
    );
    let spec = sandbox.spec(&spec);
    let output = sandbox.run(&[PART1, "run", spec.to_str().ok_or("our paths are text")?]);
    output.assert_code(0).assert_stdout("it's me, two  words in /made/here\n");
    Ok(())
}

fn no_open_file() -> TestResult {
    let sandbox = Sandbox::new()?;
    sandbox.file("secret/file", "of the host");
    let open = |command: &str| {
        let script = format!("exec 7<secret; exec {command}");
        sandbox.run(&["sh", "-c", &script])
    };
    // The file is open in the shell that becomes the runtime …
    open("cat /proc/self/fd/7/file").assert_code(0).assert_stdout("of the host");
    // … and not any more in the program.
    let binary = harness::sandbox::binary(PART1);
    let command = format!(
        "{} run --rootfs {} -- sh -c ': <&7'",
        binary.display(),
        sandbox.rootfs().display()
    );
    let output = open(&command);
    output.assert_stderr("7");
    assert_ne!(output.code(), 0, "{output}");
    Ok(())
}

/// The tree's owner can make a link to whatever is open while the container starts.
fn working_dir_outside() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    let spec = |dir: &str| {
        format!(
            "services:\n  one:\n    x-rootfs: {}\n    command: [pwd]\n    working_dir: {dir}\n",
            rootfs.display()
        )
    };
    let file = sandbox.spec(&spec("/proc/self/fd/7"));
    let binary = harness::sandbox::binary(PART1);
    // Part 1 has no /proc of its own; in a mount namespace of the test's it gets the host's.
    let script = format!(
        "mount --bind /proc {}/proc; exec 7</; exec {} run {}",
        rootfs.display(),
        binary.display(),
        file.display()
    );
    let output = sandbox.run(&["unshare", "--mount", "sh", "-ec", &script]);
    output.assert_code(125).assert_stderr("leads outside");
    assert!(output.stdout.is_empty(), "{output}");
    Ok(())
}

fn later_walls() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.spec(&format!(
        "services:\n  web:\n    x-rootfs: {}\n    image: host\n    command: [echo, it ran]\n    \
         hostname: web\n    mem_limit: 64m\n    ports: ['8080:80']\n",
        sandbox.rootfs().display()
    ));
    let output = sandbox.run(&[PART1, "run", spec.to_str().ok_or("our paths are text")?]);
    output.assert_code(0).assert_stdout("it ran");
    for note in
        ["hostname: raised in part 2", "mem_limit: raised in part 3", "ports: raised in part 5"]
    {
        output.assert_stderr(note);
    }
    Ok(())
}

/// Part 1 sees every process of the machine, and root may end each of them. The `/proc` to see
/// them by is mounted in a mount namespace of the test's own.
fn kills_others() -> TestResult {
    let sandbox = Sandbox::new()?;
    let attack = |part: &str, pid: i32| {
        let binary = harness::sandbox::binary(part);
        let script = format!(
            "[ -e /proc/self ] || mount -t proc proc /proc; ps -e -o pid= | grep -w {pid}; \
             kill -9 {pid}"
        );
        sandbox.run(&[
            "unshare",
            "--mount",
            binary.to_str().expect("our paths are text"),
            "run",
            "--rootfs",
            sandbox.rootfs().to_str().expect("our paths are text"),
            "--",
            "sh",
            "-c",
            &script,
        ])
    };

    let mut protected = sandbox.victim();
    let output = attack(PART2, protected.pid().as_raw());
    assert!(output.code() != 0 && output.stdout.is_empty(), "{output}");
    protected.assert_alive();

    let victim = sandbox.spawn(&["sleep", "3600"]);
    let pid = victim.pid().to_string();
    attack(PART1, victim.pid().as_raw()).assert_code(0).assert_stdout(&pid);
    victim.wait(Duration::from_secs(10)).assert_code(128 + 9);
    Ok(())
}

/// The classic one: see `probe escape`.
fn escape() -> TestResult {
    let sandbox = Sandbox::new()?;
    let outside = sandbox.file("outside", "of the host");
    let attack = format!("probe escape chroot cat {}", outside.display());
    let output = inside(&sandbox, PART1, &attack);
    output.assert_code(0).assert_stdout("escaped").assert_stdout("of the host");
    let output = inside(&sandbox, PART2, &attack);
    output.assert_code(1).assert_stderr("still inside");
    assert!(output.stdout.is_empty(), "{output}");
    Ok(())
}

/// Root makes a name for a disk, anywhere, and reads past all permissions of its files. (Part 2
/// leaves this to the capability MKNOD; part 3 allows only harmless devices.)
fn opens_disk() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    let number = fs::metadata(disk()?)?.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let attack = format!("mknod /tmp/disk b {major} {minor} && : </tmp/disk && echo opened");
    let run = |part: &str, cap_drop: &str| {
        let _ = fs::remove_file(rootfs.join("tmp/disk"));
        let spec = sandbox.spec(&format!(
            "services:\n  one:\n    x-rootfs: {}\n    command: [sh, -c, '{attack}']\n{cap_drop}",
            rootfs.display()
        ));
        sandbox.run(&[part, "run", spec.to_str().expect("our paths are text")])
    };
    run(PART1, "").assert_code(0).assert_stdout("opened");
    let output = run(PART2, "    cap_drop: [MKNOD]\n");
    output.assert_code(1).assert_stderr("Operation not permitted");
    Ok(())
}

/// A disk that this machine lets root open.
fn disk() -> Result<PathBuf, String> {
    let devices = fs::read_dir("/dev").map_err(|error| error.to_string())?;
    let is_disk = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
            && fs::File::open(path).is_ok()
    };
    let found = devices.flatten().map(|entry| entry.path()).find(is_disk);
    found.ok_or("no block device in /dev can be opened".into())
}

fn disk_is_there() -> Need {
    need::custom("disk", || disk().map(drop))
}

fn never_detached() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = sandbox.run(&[PART1, "run", "-d", "--rootfs", "nowhere", "--", "true"]);
    output.assert_code(125).assert_stderr("part 2 and later can");
    Ok(())
}

fn not_root() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = inside(&sandbox, PART1, "echo inside");
    output.assert_code(125).assert_stderr("chroot(\".\") → EPERM").assert_stderr("part 2");
    assert!(output.stdout.is_empty(), "{output}");
    let mode = fs::metadata(sandbox.rootfs())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    Ok(())
}
