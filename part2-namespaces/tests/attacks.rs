//! Part 2 by attack: what a process may do, and the ways out that have worked on real runtimes.
//!
//! Each attack is also made where the wall is not, and succeeds there: else it would prove
//! nothing.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Output, Pty, Sandbox, TestResult, needs, test};
use nix::unistd::geteuid;
use part2_namespaces::CapabilitySet;
use rustix::fs::{CWD, RenameFlags, StatVfsMountFlags, renameat_with, statvfs};

const PART1: &str = "part1-chroot";
const PART2: &str = "part2-namespaces";

fn main() -> ExitCode {
    harness::run(vec![
        test("capabilities_are_dockers_and_none_is_inherited", needs![userns], capabilities),
        test("inheritable_capabilities_do_not_come_along", needs![root], inheritable),
        test("a_capability_can_be_added_and_dropped", needs![userns], add_and_drop),
        test("set_user_id_gains_nothing", needs![userns, subuid], set_user_id),
        test("the_filter_refuses_user_namespaces", needs![userns], user_namespaces),
        test("limits_are_as_asked", needs![userns], limits),
        test("a_user_is_looked_up_inside", needs![userns, subuid], user),
        test("no_open_file_comes_along", needs![userns], no_open_file),
        test("a_working_directory_outside_is_refused", needs![userns], working_dir_outside),
        test("the_runtime_itself_is_no_program", needs![userns], own_binary),
        test("exec_shows_nobody_the_runtime", needs![userns], exec_shows_nothing),
        test("exec_runs_from_a_copy", needs![userns], exec_copy),
        test("a_runtime_without_a_copy_is_overwritten", needs![root, program("nsenter")], no_copy),
        test("exec_of_another_binary_is_not_overwritten", needs![userns], overwrite),
        test("the_terminal_outside_is_out_of_reach", needs![userns], terminal),
        test("kernel_file_systems_go_where_they_belong", needs![userns], symlinked_targets),
        test("a_tmpfs_cannot_be_led_outside", needs![userns], tmpfs_outside),
        test("release_agent_cannot_be_reached", needs![userns], release_agent),
        test("etc_passwd_is_read_inside", needs![userns], passwd_outside),
        test("a_chroot_inside_leads_nowhere", needs![userns], chroot_inside),
    ])
}

/// Runs a script behind the walls of part 2.
fn inside(sandbox: &Sandbox, keys: &[&str], script: &str) -> Output {
    sandbox.run_service(PART2, keys, script)
}

/// The `x-rootfs` key of a tree that the test made.
fn rootfs_key(rootfs: &Path) -> String {
    format!("x-rootfs: {}", rootfs.display())
}

/// A set of `/proc/self/status` in the output.
fn set_of(output: &Output, name: &str) -> u64 {
    let line = output.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let hex = line.unwrap_or_else(|| panic!("no {name}: {output}"));
    u64::from_str_radix(hex, 16).expect("a set is a number")
}

/// What part 2 gives without being asked. (The machine's root may lack some of it.)
fn default_set() -> TestSet {
    match geteuid().is_root() {
        true => CapabilitySet::DEFAULT.and(CapabilitySet::own().expect("capget")).bits(),
        false => CapabilitySet::DEFAULT.bits(),
    }
}

type TestSet = u64;

fn capabilities() -> TestResult {
    let output = inside(&Sandbox::new()?, &[], "cat /proc/self/status");
    for (name, expected) in [
        ("CapInh", 0),
        ("CapPrm", default_set()),
        ("CapEff", default_set()),
        ("CapBnd", default_set()),
        ("CapAmb", 0),
    ] {
        assert_eq!(set_of(&output, name), expected, "{name}");
    }
    output.assert_stdout("NoNewPrivs:\t1").assert_stdout("Seccomp:\t2");
    Ok(())
}

/// CVE-2022-24769.
fn inheritable() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.service(&[], "cat /proc/self/status");
    let with = |command: &[&str]| {
        let prefix: &[&str] =
            &["setpriv", "--inh-caps", "+net_raw,+chown", "--ambient-caps", "+chown"];
        sandbox.run(&[prefix, command].concat())
    };
    assert_ne!(set_of(&with(&["cat", "/proc/self/status"]), "CapInh"), 0);
    let binary = harness::sandbox::binary(PART2);
    let output = with(&[binary.to_str().ok_or("our paths are text")?, "run", &spec]);
    assert_eq!((set_of(&output, "CapInh"), set_of(&output, "CapAmb")), (0, 0));
    Ok(())
}

fn add_and_drop() -> TestResult {
    let sandbox = Sandbox::new()?;
    let changes_link = "ip link set lo mtu 1000";
    inside(&sandbox, &[], changes_link).assert_code(2).assert_stderr("Operation not permitted");
    inside(&sandbox, &["cap_add: [NET_ADMIN]"], changes_link).assert_code(0);
    inside(&sandbox, &[], "chroot / true").assert_code(0);
    let output = inside(&sandbox, &["cap_drop: [SYS_CHROOT]"], "chroot / true");
    output.assert_code(125).assert_stderr("Operation not permitted");
    let none = inside(&sandbox, &["cap_drop: [ALL]"], "cat /proc/self/status");
    assert_eq!((set_of(&none, "CapEff"), set_of(&none, "CapBnd")), (0, 0));
    let keys = ["cap_drop: [ALL]", "cap_add: [CHOWN]"];
    let one = inside(&sandbox, &keys, "cat /proc/self/status");
    assert_eq!(set_of(&one, "CapEff"), CapabilitySet::of(&["CHOWN"]).bits());
    Ok(())
}

fn set_user_id() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    let program = rootfs.join("usr/bin/as-root");
    fs::copy(rootfs.join("usr/bin/id"), &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    let rootfs = rootfs_key(&rootfs);
    let mut keys = vec![&*rootfs, "user: '1000:1000'"];
    assert_eq!(inside(&sandbox, &keys, "as-root -u").assert_code(0).stdout, "1000\n");
    keys.push("security_opt: ['no-new-privileges:false']");
    assert_eq!(inside(&sandbox, &keys, "as-root -u").assert_code(0).stdout, "0\n");
    Ok(())
}

/// The filter's other calls: `privileges.rs`.
fn user_namespaces() -> TestResult {
    let sandbox = Sandbox::new()?;
    let attack = "unshare --user true && echo made";
    let output = inside(&sandbox, &[], attack);
    output.assert_code(1).assert_stderr("Operation not permitted");
    inside(&sandbox, &["security_opt: ['seccomp=unconfined']"], attack).assert_stdout("made");
    inside(&sandbox, &["cap_add: [SYS_ADMIN]"], attack).assert_stdout("made");
    Ok(())
}

fn limits() -> TestResult {
    let sandbox = Sandbox::new()?;
    let keys = ["ulimits: {nofile: {soft: 40, hard: 50}, core: 0}"];
    let output = inside(&sandbox, &keys, "ulimit -n; ulimit -Hn; ulimit -c; ulimit -n 60");
    assert_eq!(output.stdout, "40\n50\n0\n", "{output}");
    output.assert_stderr("ulimit");
    Ok(())
}

fn user() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    let group = fs::read_to_string(rootfs.join("etc/group"))?;
    fs::write(rootfs.join("etc/group"), group.replace("adm:x:4:", "adm:x:4:www-data"))?;
    let rootfs = rootfs_key(&rootfs);
    let script = "id -u; id -g; id -G; echo $HOME; echo >/etc/passwd || echo not root";
    let output = inside(&sandbox, &[&rootfs, "user: www-data"], script);
    let lines: Vec<_> = output.stdout.lines().collect();
    assert_eq!(lines, ["33", "33", "33 4", "/srv/www", "not root"], "{output}");
    let output = inside(&sandbox, &[&rootfs, "user: 'www-data:users'"], "id -G");
    assert_eq!(output.assert_code(0).stdout, "100\n");
    let output = inside(&sandbox, &[&rootfs, "user: nobody-knows"], "true");
    output.assert_code(125).assert_stderr("no user called \"nobody-knows\"");
    Ok(())
}

/// Runs the runtime from a shell that holds a directory of the host open as file 7.
fn with_open_directory(sandbox: &Sandbox, command: &str) -> Output {
    sandbox.file("secret/file", "of the host");
    let script = format!("exec 7<secret; exec {command}");
    sandbox.run(&["sh", "-c", &script])
}

/// CVE-2016-9962.
fn no_open_file() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = with_open_directory(&sandbox, "cat /proc/self/fd/7/file");
    output.assert_code(0).assert_stdout("of the host");
    let script = "ls -l /proc/self/fd | grep -vE ' [012] ->| 3 -> /proc/[0-9]+/fd|^total'; \
                  cat /proc/self/fd/7/file";
    let binary = harness::sandbox::binary(PART2);
    let run = format!("{} run {}", binary.display(), sandbox.service(&["init: true"], script));
    let output = with_open_directory(&sandbox, &run);
    assert!(output.code() != 0 && output.stdout.is_empty(), "{output}");
    Ok(())
}

/// CVE-2024-21626.
fn working_dir_outside() -> TestResult {
    let sandbox = Sandbox::new()?;
    let binary = harness::sandbox::binary(PART2);
    for number in 3..16 {
        let key = format!("working_dir: /proc/self/fd/{number}");
        let spec = sandbox.service(&[&key], "pwd; cat file; ls ..");
        let run = format!("{} run {spec}", binary.display());
        let output = with_open_directory(&sandbox, &run);
        output.assert_code(125).assert_stderr("working directory");
        if number == 7 {
            output.assert_stderr("leads outside");
        }
    }
    // A link that leads inside is none of our business.
    inside(&sandbox, &["working_dir: /proc/self/root"], "pwd -P").assert_stdout("/\n");
    Ok(())
}

fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(path).expect("a binary of ours").hash(&mut hasher);
    hasher.finish()
}

fn write_script(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// CVE-2019-5736: a program that is the runtime's own binary could be overwritten once it runs.
fn own_binary() -> TestResult {
    let sandbox = Sandbox::new()?;
    let binary = harness::sandbox::binary(PART2);
    let before = hash(&binary);
    let rootfs = sandbox.own_rootfs();
    symlink("/proc/self/exe", rootfs.join("usr/bin/self"))?;
    for (name, text) in [
        ("script", "#!/proc/self/exe\n"),
        ("indirect", "#!/usr/bin/self\n"),
        ("nested", "#!/usr/bin/script\n"),
        ("nul", "#!/proc/self/exe\0 ps\n"),
    ] {
        write_script(&rootfs.join("usr/bin").join(name), text)?;
    }
    let path = rootfs.to_str().ok_or("our paths are text")?;
    let programs = ["/proc/self/exe", "self", "script", "indirect", "nested", "nul", "/proc/1/exe"];
    for program in programs {
        let output = sandbox.run(&[PART2, "run", "--rootfs", path, "--", program, "--version"]);
        output.assert_code(126).assert_stderr("runtime's own binary");
    }
    assert_eq!(hash(&binary), before);
    Ok(())
}

/// The other half of it: whoever joins must not be looked into, nor be written to.
fn exec_shows_nothing() -> TestResult {
    let sandbox = Sandbox::new()?;
    let binary = harness::sandbox::binary(PART2);
    let before = hash(&binary);
    // Follows every link to a program and tries to open it for writing; the shell's own is busy.
    let watch = "echo ready; while true; do for p in /proc/[0-9]*; do \
                   case $(readlink $p/exe) in */part2-namespaces|/|*memfd*) echo seen $p; \
                   (true >>$p/exe) && echo written;; esac; \
                 done; done 2>/dev/null";
    let spec = sandbox.service(&["container_name: one"], watch);
    sandbox.run(&[PART2, "run", "-d", &spec]).assert_code(0);
    for _ in 0..10 {
        sandbox.run(&[PART2, "exec", "one", "true"]).assert_code(0);
        let output = sandbox.run(&[PART2, "exec", "one", "/proc/self/exe", "--version"]);
        output.assert_code(126);
    }
    let log = sandbox.run(&[PART2, "logs", "one"]);
    sandbox.run(&[PART2, "rm", "--force", "one"]).assert_code(0);
    assert_eq!(log.stdout, "ready\n");
    assert_eq!(hash(&binary), before);
    Ok(())
}

/// Even who gets hold of the program that joins finds nothing to write to.
fn exec_copy() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.service(&["container_name: one"], "sleep 60");
    sandbox.run(&[PART2, "run", "-d", &spec]).assert_code(0);
    let running = sandbox.spawn(&[PART2, "exec", "one", "sh", "-c", "sleep 60"]);
    let process = PathBuf::from(format!("/proc/{}", running.pid()));
    let end = Instant::now() + Duration::from_secs(20);
    // As soon as it has a child, it is past what is tested here.
    let children = process.join(format!("task/{}/children", running.pid()));
    while fs::read_to_string(&children)?.is_empty() {
        assert!(Instant::now() < end, "exec made no process");
        thread::sleep(Duration::from_millis(5));
    }
    // Its name is ours all the same.
    assert_eq!(fs::read_to_string(process.join("comm"))?, "part2-namespace\n");
    if geteuid().is_root() {
        // Others may not look at it: it is not dumpable.
        let mount = statvfs(process.join("exe"))?;
        assert!(mount.f_flag.contains(StatVfsMountFlags::RDONLY));
    }
    drop(running);
    sandbox.run(&[PART2, "rm", "--force", "one"]).assert_code(0);
    Ok(())
}

/// What a container runs that waits for a runtime to become one of its processes: it opens the
/// binary of all that is no shell, and writes there as soon as nobody executes it any more.
const ATTACKER: &str = "echo ready; while true; do for p in /proc/[0-9]*; do \
    case $p in /proc/1|/proc/$$) continue;; esac; \
    [ $p/exe -ef /proc/$$/exe ] && continue; \
    ( exec 3<$p/exe; [ /proc/self/fd/3 -ef /proc/$$/exe ] && exit; echo held; n=0; while [ $n -lt 2000 ]; do n=$((n + 1)); \
        e=$( (echo overwritten >/proc/self/fd/3) 2>&1) && echo written && break; \
        case $e in *busy*) ;; *) echo refused; break;; esac; \
      done ); \
  done; done 2>/dev/null";

/// A container with [`ATTACKER`] in it, and in its root file system scripts that lead to the
/// runtime. Answers that root file system.
fn start_attacker(sandbox: &Sandbox) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let rootfs = sandbox.own_rootfs();
    write_script(&rootfs.join("x.sh"), "#!/y.sh\n")?;
    write_script(&rootfs.join("y.sh"), "#!/proc/self/exe ps\n")?;
    write_script(&rootfs.join("nul.sh"), "#!/proc/self/exe\0 ps\n")?;
    // So it sees also processes that have more capabilities than Docker gives, or hide.
    let keys = ["container_name: one", "cap_add: [SYS_PTRACE]", &rootfs_key(&rootfs)];
    let spec = sandbox.service(&keys, ATTACKER);
    sandbox.run(&[PART2, "run", "-d", &spec]).assert_code(0);
    Ok(rootfs)
}

/// The attack on a runtime without this wall: `nsenter`.
fn no_copy() -> TestResult {
    let sandbox = Sandbox::new()?;
    start_attacker(&sandbox)?;
    let victim = sandbox.dir().join("runtime");
    fs::copy("/usr/bin/nsenter", &victim)?;
    let before = hash(&victim);
    let record = sandbox.run(&[PART2, "inspect", "one"]);
    let pid = record.stdout.split_once("\"pid\": ").ok_or("inspect says no pid")?.1;
    let pid: String = pid.chars().take_while(char::is_ascii_digit).collect();
    let end = Instant::now() + Duration::from_secs(20);
    while hash(&victim) == before {
        assert!(Instant::now() < end, "{}", sandbox.run(&[PART2, "logs", "one"]));
        let path = victim.to_str().ok_or("our paths are text")?;
        // It may be overwritten before it is started once more.
        let _ = sandbox.command(path).args(["-t", &pid, "-m", "-p", "/x.sh"]).output();
        thread::sleep(Duration::from_millis(20));
    }
    sandbox.run(&[PART2, "rm", "--force", "one"]).assert_code(0);
    assert_eq!(fs::read_to_string(&victim)?, "overwritten\n");
    Ok(())
}

/// The attack on `exec` of another binary than the supervisor's, which nobody executes after it.
fn overwrite() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = start_attacker(&sandbox)?;
    let victim = sandbox.dir().join("runtime");
    fs::copy(harness::sandbox::binary(PART2), &victim)?;
    let before = hash(&victim);
    let path = victim.to_str().ok_or("our paths are text")?;
    for script in ["/x.sh", "/y.sh", "/nul.sh"] {
        let output = sandbox.run(&[path, "exec", "one", script]);
        output.assert_code(126).assert_stderr("runtime's own binary");
    }
    // A script that changes passes the check now and then.
    write_script(&rootfs.join("swap.sh"), "#!/bin/sh\n")?;
    let (script, other) = (rootfs.join("swap.sh"), rootfs.join("y.sh"));
    let done = AtomicBool::new(false);
    let log = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &script, CWD, &other, RenameFlags::EXCHANGE);
            }
        });
        // An ordinary user has only the race, and may lose it each time.
        let patience = if geteuid().is_root() { 20 } else { 3 };
        let end = Instant::now() + Duration::from_secs(patience);
        let mut log = String::new();
        while Instant::now() < end && !log.contains("refused") && !log.contains("written") {
            let _ = sandbox.command(path).args(["exec", "one", "/swap.sh"]).output();
            log = sandbox.run(&[PART2, "logs", "one"]).stdout;
        }
        done.store(true, Ordering::Relaxed);
        log
    });
    sandbox.run(&[PART2, "rm", "--force", "one"]).assert_code(0);
    assert!(!log.contains("written"), "{log}");
    assert!(log.contains("refused") || !geteuid().is_root(), "{log}");
    assert_eq!(hash(&victim), before, "{log}");
    Ok(())
}

/// CVE-2017-5226: who has our terminal as its own can type for us.
fn terminal() -> TestResult {
    let patience = Duration::from_secs(20);
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    let path = rootfs.to_str().ok_or("our paths are text")?;
    let attempt = |part, script: &str| -> Result<String, Box<dyn std::error::Error>> {
        let binary = harness::sandbox::binary(part);
        let binary = binary.to_str().ok_or("our paths are text")?;
        let command = [binary, "run", "-i", "--rootfs", path, "--", "sh", "-c", script];
        let mut terminal = Pty::spawn(&sandbox, &command)?;
        terminal.wait(patience)?;
        Ok(terminal.seen.clone())
    };
    let seen = attempt(PART2, "test -t 0 && (echo typed >/dev/tty) || echo refused")?;
    assert!(seen.contains("refused") && !seen.contains("typed"), "{seen}");
    if geteuid().is_root() && harness::sandbox::binary(PART1).is_file() {
        let script = "rm -f /tty; mknod /tty c 5 0; (echo typed >/tty) || echo refused; rm /tty";
        let seen = attempt(PART1, script)?;
        assert!(seen.contains("typed") && !seen.contains("refused"), "{seen}");
    }
    Ok(())
}

/// A tree whose directory `name` is a link to a directory of the host.
fn linked_rootfs(sandbox: &Sandbox, name: &str) -> Result<(PathBuf, PathBuf), std::io::Error> {
    let rootfs = sandbox.dir().join("rootfs");
    if !rootfs.exists() {
        sandbox.own_rootfs();
    }
    let outside = sandbox.dir().join("outside");
    fs::create_dir_all(&outside)?;
    let link = rootfs.join(name);
    let _ = fs::remove_dir_all(&link);
    symlink("../outside", &link)?;
    Ok((rootfs, outside))
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// CVE-2019-16884 and four later ones.
fn symlinked_targets() -> TestResult {
    let sandbox = Sandbox::new()?;
    for name in ["proc", "sys", "dev"] {
        let (rootfs, outside) = linked_rootfs(&sandbox, name)?;
        let output = inside(&sandbox, &[&rootfs_key(&rootfs)], "echo started");
        output.assert_code(125).assert_stderr(&format!("its /{name} is a symbolic link"));
        assert!(output.stdout.is_empty() && is_empty(&outside), "{output}");
        fs::remove_file(rootfs.join(name))?;
        // One that is missing is made.
        inside(&sandbox, &[&rootfs_key(&rootfs)], "ls /proc/self/exe").assert_code(0);
    }
    Ok(())
}

/// CVE-2021-30465 and its kind: the target's parent is a link that leads out, if it is followed.
fn tmpfs_outside() -> TestResult {
    let sandbox = Sandbox::new()?;
    let (rootfs, outside) = linked_rootfs(&sandbox, "a")?;
    for link in ["../outside", "../../../../..", outside.to_str().ok_or("our paths are text")?] {
        fs::remove_file(rootfs.join("a"))?;
        symlink(link, rootfs.join("a"))?;
        // It is refused, or made inside: `..` of the root is the root.
        let keys = [&*rootfs_key(&rootfs), "tmpfs: [/a/made-by-mount/c]"];
        let output = inside(&sandbox, &keys, "echo started");
        assert!([0, 125].contains(&output.code()), "{output}");
        assert!(is_empty(&outside), "{link}: {output}");
        assert!(!Path::new("/made-by-mount").exists(), "{link}");
    }
    Ok(())
}

/// CVE-2022-0492: whoever may mount a cgroup hierarchy has the kernel run a program outside.
fn release_agent() -> TestResult {
    let sandbox = Sandbox::new()?;
    let attacks = [
        "mount -t cgroup -o none,name=attack none /mnt && echo mounted",
        "unshare -UrmC mount -t cgroup -o none,name=attack none /mnt && echo mounted",
        "unshare -Urm mount -t tmpfs none /mnt && echo mounted",
        "mount -t tmpfs none /mnt && echo mounted",
    ];
    for attack in attacks {
        let output = inside(&sandbox, &[], attack);
        assert!(output.code() != 0 && output.stdout.is_empty(), "{output}");
    }
    inside(&sandbox, &["cap_add: [SYS_ADMIN]"], attacks[3]).assert_stdout("mounted");
    let find = "find /sys -name release_agent -writable 2>/dev/null";
    assert_eq!(inside(&sandbox, &[], find).stdout, "");
    Ok(())
}

/// CVE-2024-9676.
fn passwd_outside() -> TestResult {
    let sandbox = Sandbox::new()?;
    let outside = sandbox.file("outside/passwd", "evil:x:0:0::/:/bin/sh\n");
    let rootfs = sandbox.own_rootfs();
    let run = |sandbox: &Sandbox| inside(sandbox, &[&rootfs_key(&rootfs), "user: evil"], "id -u");
    for link in [outside.as_path(), Path::new("../../outside/passwd")] {
        fs::remove_file(rootfs.join("etc/passwd"))?;
        symlink(link, rootfs.join("etc/passwd"))?;
        run(&sandbox).assert_code(125).assert_stderr("no user called \"evil\"");
    }
    // A link that stays inside is followed.
    fs::remove_file(rootfs.join("etc/passwd"))?;
    symlink("/etc/accounts", rootfs.join("etc/passwd"))?;
    fs::write(rootfs.join("etc/accounts"), "evil:x:0:0::/:/bin/sh\n")?;
    assert_eq!(run(&sandbox).assert_code(0).stdout, "0\n");
    Ok(())
}

/// The way out of part 1; that it works there, the tests of part 1 show.
fn chroot_inside() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = inside(&sandbox, &[], "probe escape chroot cat /proc/1/comm");
    output.assert_code(1).assert_stderr("still inside");
    Ok(())
}
