//! Part 2 by effect: what a process sees. (What it may do: `attacks.rs`.)
//!
//! A wall that is claimed here is also looked at from where it is not: on the host, in part 1, or
//! with the key of the service that lowers it.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, ExitCode};

use harness::{Footprint, Output, Pty, Sandbox, TestResult, needs, test};
use nix::unistd::{getegid, geteuid, gethostname};

const PART1: &str = "part1-chroot";
const PART2: &str = "part2-namespaces";

fn main() -> ExitCode {
    harness::run(vec![
        test("every_namespace_is_its_own", needs![userns], namespaces),
        test("part_1_has_none_of_its_own", needs![root, binary(PART1)], part1_namespaces),
        test("the_hosts_mount_table_is_unchanged", needs![userns], mount_table),
        test("nor_by_a_host_that_shares_its_mounts", needs![root], shared_mounts),
        test("nobody_outside_can_be_killed", needs![userns], kill_all),
        test("its_host_name_is_its_own", needs![userns], host_name),
        test("it_sees_its_own_processes_only", needs![userns], processes),
        test("kernel_settings_cannot_be_written", needs![userns], kernel_settings),
        test("kernel_settings_of_its_namespaces_can_be_asked_for", needs![userns], sysctls),
        test("masked_paths_are_empty", needs![userns], masked),
        test("it_has_few_devices", needs![userns], devices),
        test("its_terminals_are_its_own", needs![userns], terminals),
        test("system_v_memory_is_its_own", needs![userns, program("ipcmk")], system_v),
        test("message_queues_are_its_own", needs![userns], message_queues),
        test("shared_memory_is_its_own", needs![userns], shared_memory),
        test("its_network_is_its_own", needs![userns], network),
        test("or_the_hosts_when_that_is_asked_for", needs![userns], host_network),
        test("a_read_only_root_is_read_only", needs![userns], read_only),
        test("a_tmpfs_is_as_asked", needs![userns], tmpfs),
        test("ids_are_mapped_for_an_ordinary_user", needs![not_root, userns], id_map),
    ])
}

/// Runs a script behind the walls of part 2.
fn inside(sandbox: &Sandbox, keys: &[&str], script: &str) -> Output {
    sandbox.run_service(PART2, keys, script)
}

const KINDS: [&str; 6] = ["pid", "mnt", "uts", "ipc", "net", "cgroup"];

/// The namespaces of these kinds, one a line.
fn our_namespaces(kinds: &[&str]) -> String {
    let link = |kind: &&str| fs::read_link(format!("/proc/self/ns/{kind}")).expect("/proc");
    kinds.iter().map(|kind| format!("{}\n", link(kind).display())).collect()
}

fn read_namespaces(kinds: &[&str]) -> String {
    format!("for kind in {}; do readlink /proc/self/ns/$kind; done", kinds.join(" "))
}

fn namespaces() -> TestResult {
    let sandbox = Sandbox::new()?;
    let mut kinds = KINDS.to_vec();
    if !geteuid().is_root() {
        kinds.push("user"); // Root needs none: it keeps what it may do as its own.
    }
    let output = inside(&sandbox, &[], &read_namespaces(&kinds));
    output.assert_code(0);
    let ours = our_namespaces(&kinds);
    assert_eq!(output.stdout.lines().count(), kinds.len(), "{output}");
    for (inside, outside) in output.stdout.lines().zip(ours.lines()) {
        assert_ne!(inside, outside, "{output}");
    }
    Ok(())
}

fn part1_namespaces() -> TestResult {
    let kinds: Vec<_> = KINDS.into_iter().filter(|kind| *kind != "mnt").collect();
    let output = Sandbox::new()?.run_in_part1(&read_namespaces(&kinds));
    assert_eq!(output.assert_code(0).stdout, our_namespaces(&kinds));
    Ok(())
}

/// Looked at while the container is there, with a mount that it made itself.
fn mount_table() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs();
    let before = Footprint::take();
    let spec = sandbox.service(
        &["cap_add: [SYS_ADMIN]", "container_name: one"],
        "mount -t tmpfs none /mnt && touch /mnt/own && echo mounted; sleep 100",
    );
    sandbox.run(&[PART2, "run", "-d", &spec]).assert_code(0);
    let running = || {
        let log = sandbox.run(&[PART2, "logs", "one"]);
        log.stdout == "mounted\n" || !log.stderr.is_empty()
    };
    while !running() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let during = before.differences(std::time::Duration::ZERO);
    let from_outside = rootfs.join("mnt/own").exists();
    let output = sandbox.run(&[PART2, "rm", "--force", "one"]);
    output.assert_code(0);
    assert!(!during.iter().any(|line| line.starts_with("mount")), "{during:?}");
    assert!(!from_outside);
    Ok(())
}

/// systemd makes the mounts of the machine shared; `unshare` makes us such a machine.
fn shared_mounts() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.service(&["cap_add: [SYS_ADMIN]"], "mount -t tmpfs none /mnt && echo done");
    let run = format!("{} run {spec}", harness::sandbox::binary(PART2).display());
    let script = format!(
        "mount --make-rshared /; cat /proc/self/mountinfo >before; {run}
         cat /proc/self/mountinfo >after; cmp before after"
    );
    let output = sandbox.run(&["unshare", "--mount", "sh", "-ec", &script]);
    output.assert_code(0).assert_stdout("done");
    Ok(())
}

fn kill_all() -> TestResult {
    let sandbox = Sandbox::new()?;
    let mut victim = sandbox.victim();
    victim.assert_alive();
    let script = format!("sleep 9 & kill -9 -1; kill -9 {} || echo survived", victim.pid());
    inside(&sandbox, &[], &script).assert_code(0).assert_stdout("survived");
    victim.assert_alive();
    Ok(())
}

fn host_name() -> TestResult {
    let sandbox = Sandbox::new()?;
    let before = gethostname()?;
    let keys = ["hostname: little", "domainname: house", "cap_add: [SYS_ADMIN]"];
    let script = "hostname; cat /proc/sys/kernel/domainname; hostname other && hostname";
    let output = inside(&sandbox, &keys, script);
    assert_eq!(output.assert_code(0).stdout, "little\nhouse\nother\n");
    assert_eq!(gethostname()?, before);
    let output = inside(&sandbox, &keys[..2], "hostname other || hostname");
    assert_eq!(output.stdout, "little\n", "{output}");
    Ok(())
}

fn processes() -> TestResult {
    let sandbox = Sandbox::new()?;
    let victim = sandbox.victim();
    let output = inside(&sandbox, &[], "echo $$; ps -e -o pid=,comm=");
    output.assert_code(0);
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["1", "1", "sh", "2", "ps"], "{output}");
    // Nor by its number.
    let pid = victim.pid();
    inside(&sandbox, &[], &format!("ls /proc/{pid}/status")).assert_code(2);
    Ok(())
}

/// Looked at, not written: probe opens them for writing.
fn kernel_settings() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = inside(&sandbox, &[], "probe look --json");
    output.assert_code(0).assert_stdout(r#""proc_sys_writable": false"#);
    output.assert_stdout(r#""sys_writable": false"#);
    if geteuid().is_root() {
        let files = [
            "/proc/sys/vm/drop_caches",
            "/proc/sysrq-trigger",
            "/proc/irq/default_smp_affinity",
            "/sys/kernel/rcu_expedited",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ];
        for file in files.into_iter().filter(|file| Path::new(file).exists()) {
            let output = inside(&sandbox, &[], &format!("true >>{file}"));
            output.assert_code(2).assert_stderr("Read-only file system");
        }
    }
    if geteuid().is_root() && harness::sandbox::binary(PART1).is_file() {
        let output = sandbox.run_in_part1("probe look --json");
        output.assert_code(0).assert_stdout(r#""proc_sys_writable": true"#);
    }
    Ok(())
}

fn sysctls() -> TestResult {
    let sandbox = Sandbox::new()?;
    let file = "/proc/sys/net/ipv4/ip_default_ttl";
    let before = fs::read_to_string(file)?;
    let script = format!("cat {file} /proc/sys/kernel/msgmax");
    let keys = ["sysctls: {net.ipv4.ip_default_ttl: 33, kernel.msgmax: 4711}"];
    assert_eq!(inside(&sandbox, &keys, &script).assert_code(0).stdout, "33\n4711\n");
    assert_eq!(inside(&sandbox, &[], &script).assert_code(0).stdout, "64\n8192\n");
    assert_eq!(fs::read_to_string(file)?, before);
    Ok(())
}

fn masked() -> TestResult {
    let paths = [
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ];
    let holds_something = |path: &&&str| match fs::metadata(path) {
        Ok(found) if found.is_dir() => fs::read_dir(path).is_ok_and(|mut dir| dir.next().is_some()),
        Ok(_) => {
            Command::new("head").args(["-c1", path]).output().is_ok_and(|o| o.stdout.len() == 1)
        }
        Err(_) => false,
    };
    let telling: Vec<_> = paths.iter().filter(holds_something).copied().collect();
    assert!(telling.contains(&"/proc/interrupts"), "{telling:?}");
    let script = format!(
        "for p in {}; do if [ -d $p ]; then ls -A $p; else head -c1 $p; fi; done",
        telling.join(" ")
    );
    let output = inside(&Sandbox::new()?, &[], &script);
    assert_eq!((output.code(), &*output.stdout), (0, ""), "{output}");
    // Nor can the cover be taken off.
    let output = inside(&Sandbox::new()?, &[], "umount /proc/interrupts");
    assert_ne!(output.code(), 0, "{output}");
    Ok(())
}

fn devices() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = inside(&sandbox, &[], "echo /dev/*; find / -xdev -type b; find /dev -type b");
    let expected =
        "console fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let found = output.assert_code(0).stdout.trim().replace("/dev/", "");
    assert_eq!(found, expected);
    let script = "echo lost >/dev/null; head -c2 /dev/zero | od -An -tx1; head -c1 /dev/zero >/dev/full; \
                  head -c9 /dev/urandom | wc -c; stat -c '%t:%T %a' -L /dev/null /dev/ptmx";
    let output = inside(&sandbox, &[], script);
    output.assert_code(0).assert_stderr("No space left on device");
    assert_eq!(output.stdout, " 00 00\n9\n1:3 666\n5:2 666\n");
    Ok(())
}

fn terminals() -> TestResult {
    let sandbox = Sandbox::new()?;
    let mut outside = Pty::spawn(&sandbox, &["sh", "-c", "tty; exec sleep 100"])?;
    let ours = outside.expect("\n", std::time::Duration::from_secs(10))?;
    assert!(Path::new(ours.trim()).exists(), "{ours}");
    let output = inside(&sandbox, &[], "ls /dev/pts");
    assert_eq!(output.assert_code(0).stdout, "ptmx\n");
    Ok(())
}

fn system_v() -> TestResult {
    let sandbox = Sandbox::new()?;
    let made = sandbox.run(&["ipcmk", "-M", "4711"]);
    let id = made.assert_code(0).stdout.rsplit(' ').next().unwrap_or("").trim().to_owned();
    let script = "cat /proc/sysvipc/shm";
    let behind = inside(&sandbox, &[], script);
    let part1 = geteuid().is_root() && harness::sandbox::binary(PART1).is_file();
    let open = part1.then(|| sandbox.run_in_part1(script));
    sandbox.run(&["ipcrm", "-m", &id]).assert_code(0);
    assert_eq!(behind.assert_code(0).stdout.lines().count(), 1, "{behind}"); // the header
    if let Some(output) = open {
        output.assert_code(0).assert_stdout(" 4711 ");
    }
    Ok(())
}

/// A file made in `/dev/mqueue` is a queue.
fn message_queues() -> TestResult {
    let sandbox = Sandbox::new()?;
    let name = format!("inside-docker-{}", std::process::id());
    let script = format!("ls /dev/mqueue; touch /dev/mqueue/{name} && ls /dev/mqueue");
    let output = inside(&sandbox, &[], &script);
    assert_eq!(output.assert_code(0).stdout, format!("{name}\n"));
    let look = "mount -t mqueue none /mnt && ls /mnt";
    let unshare: &[&str] = match geteuid().is_root() {
        true => &["unshare", "--mount", "sh", "-ec", look],
        false => return Ok(()), // Only root may mount the queues of the host.
    };
    let outside = sandbox.run(unshare);
    assert!(!outside.assert_code(0).stdout.contains(&name), "{outside}");
    Ok(())
}

fn shared_memory() -> TestResult {
    let sandbox = Sandbox::new()?;
    let file = tempfile::Builder::new().prefix("of-the-host-").tempfile_in("/dev/shm")?;
    let script = "ls -A /dev/shm; touch /dev/shm/own && df -B1 --output=size /dev/shm | tail -1";
    let output = inside(&sandbox, &["shm_size: 1m"], script);
    assert_eq!(output.assert_code(0).stdout.trim(), "1048576");
    let output = inside(&sandbox, &[], script);
    assert_eq!(output.assert_code(0).stdout.trim(), (64 << 20).to_string());
    assert!(file.path().exists() && !Path::new("/dev/shm/own").exists());
    Ok(())
}

fn network() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = inside(&sandbox, &[], "ip -o link show up | cut -d: -f2; ip -o -4 addr");
    let lines: Vec<_> = output.assert_code(0).stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0] == " lo" && lines[1].contains("127.0.0.1/8"), "{output}");
    // A port that is open on the host is another one inside.
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let attack = format!("probe connect {}", listener.local_addr()?);
    inside(&sandbox, &[], &attack).assert_code(1).assert_stderr("refused");
    Ok(())
}

fn host_network() -> TestResult {
    let sandbox = Sandbox::new()?;
    let keys = ["network_mode: host"];
    let output = inside(&sandbox, &keys, "readlink /proc/self/ns/net; ls /sys/class/net");
    output.assert_code(0).assert_stdout(&our_namespaces(&["net"])).assert_stdout("lo\n");
    let output = inside(&sandbox, &keys, "probe look --json");
    output.assert_stdout(r#""sys_writable": false"#);
    Ok(())
}

fn read_only() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "touch /file /etc/file /tmp/file; touch /dev/shm/file && echo written";
    let output = inside(&sandbox, &["read_only: true", "tmpfs: [/tmp]"], script);
    output.assert_code(0).assert_stdout("written");
    assert_eq!(output.stderr.matches("Read-only file system").count(), 2, "{output}");
    let rootfs = sandbox.own_rootfs();
    let key = format!("x-rootfs: {}", rootfs.display());
    inside(&sandbox, &[&key], "touch /file").assert_code(0);
    assert!(rootfs.join("file").exists());
    Ok(())
}

fn tmpfs() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    let keys = [
        &*format!("x-rootfs: {}", rootfs.display()),
        "tmpfs: ['/var/cache/deep:size=1m,mode=700', /tmp]",
    ];
    let script = "stat -c '%a %n' /var/cache/deep /tmp; touch /tmp/file /var/cache/deep/file; \
                  df -B1 --output=size /var/cache/deep | tail -1; \
                  cp /bin/true /tmp; /tmp/true || echo no programs";
    let output = inside(&sandbox, &keys, script);
    let words: Vec<_> = output.assert_code(0).stdout.split_whitespace().collect();
    let expected = ["700", "/var/cache/deep", "1777", "/tmp", "1048576", "no", "programs"];
    assert_eq!(words, expected, "{output}");
    assert!(!rootfs.join("tmp/file").exists());
    // A link on the way is followed as it would be inside; not into /proc.
    symlink("/proc/self", rootfs.join("link"))?;
    let on = |target: &str| inside(&sandbox, &[keys[0], &format!("tmpfs: [{target}]")], "mount");
    on("/var/run/made").assert_code(0).assert_stdout(" /run/made type tmpfs ");
    on("/link/attr").assert_code(125).assert_stderr("leads into /proc");
    Ok(())
}

/// Root inside is us outside.
fn id_map() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    let key = format!("x-rootfs: {}", rootfs.display());
    let script = "id -u; head -1 /proc/self/uid_map; head -1 /proc/self/gid_map; touch /made";
    let output = inside(&sandbox, &[&key], script);
    let words: Vec<_> = output.assert_code(0).stdout.split_whitespace().collect();
    let (uid, gid) = (geteuid().to_string(), getegid().to_string());
    assert_eq!(words, ["0", "0", &uid, "1", "0", &gid, "1"], "{output}");
    let made = fs::metadata(rootfs.join("made"))?;
    assert_eq!((made.uid(), made.gid()), (geteuid().as_raw(), getegid().as_raw()));
    Ok(())
}
