//! `doctor` by effect: it says yes where a thing can be done, and where we take it away it says
//! what is gone and what to do.

mod harness;

use std::fs;
use std::process::ExitCode;

use harness::need::{self, Need};
use harness::{Output, Sandbox, TestResult, needs, test};
use serde_json::Value;

const PART5: &str = "part5-network";

/// What each kernel that we support has, also the one of User Mode Linux.
const ANYWHERE: [&str; 20] = [
    "root",
    "clone3",
    "userns",
    "subuid",
    "pidns",
    "mountns",
    "utsns",
    "ipcns",
    "netns",
    "cgroupns",
    "proc",
    "mount-api",
    "seccomp",
    "delegation",
    "memory",
    "pids",
    "cpu",
    "overlay",
    "bridge",
    "veth",
];

fn main() -> ExitCode {
    harness::run(vec![
        test(
            "root_has_all_that_a_part_needs",
            root_and(needs![cgroups, overlay, bridge, veth]),
            root_has_all,
        ),
        test("root_has_the_programs", root_and(needs![nft, debootstrap]), || {
            let sandbox = Sandbox::new()?;
            let words = [PART5, "doctor", "nft", "debootstrap", "forwarding"];
            sandbox.run(&words).assert_code(0);
            Ok(())
        }),
        test("nobody_is_told_what_is_roots", root_and(needs![userns]), nobody_is_told),
        test("an_ordinary_user_is_told", needs![not_root, userns, binary(PART5)], user_is_told),
        test(
            "no_user_namespaces_allowed",
            needs![userns, binary(PART5)],
            no_user_namespaces_allowed,
        ),
        test("a_program_that_is_gone", root_and(needs![nft]), program_is_gone),
        test("root_without_its_capability", root_and(needs![]), root_without_capability),
        test("a_chroot_is_recognized", root_and(needs![userns]), chroot_is_recognized),
        test("a_kernel_that_hides_a_call", root_and(needs![]), hidden_call),
        test("every_line_fits", needs![binary(PART5)], every_line_fits),
        test("unknown_needs_are_errors", needs![binary(PART5)], unknown_need),
    ])
}

fn root_and(mut more: Vec<Need>) -> Vec<Need> {
    more.extend([need::root(), need::binary(PART5)]);
    more
}

fn root_has_all() -> TestResult {
    let sandbox = Sandbox::new()?;
    let report = json(&sandbox.run(&[PART5, "doctor", "--json"]))?;
    for name in ANYWHERE {
        assert_eq!(finding(&report, name)["met"], true, "{:#}", finding(&report, name));
    }
    assert_eq!(report["ready"], true);
    let text = sandbox.run(&[PART5, "doctor"]);
    text.assert_code(0).assert_stdout("part5-network can run here.");
    Ok(())
}

fn nobody_is_told() -> TestResult {
    let sandbox = Sandbox::new()?;
    // Nobody may look into our target directory.
    let program = copy_of_part5(&sandbox)?;
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let output = sandbox.run(&[&nobody[..], &[&program, "doctor", "--json"]].concat());
    check_ordinary_user(&output)?;
    let report = json(&output)?;
    assert_eq!(finding(&report, "subuid")["met"], false);
    assert!(text_of(&report, "subuid", "advice").contains("usermod --add-subuids"));
    Ok(())
}

fn user_is_told() -> TestResult {
    check_ordinary_user(&Sandbox::new()?.run(&[PART5, "doctor", "--json"]))
}

/// What is the same for every user who is not root, with or without a range of ids.
fn check_ordinary_user(output: &Output) -> TestResult {
    let report = json(output)?;
    for name in ["userns", "pidns", "mountns", "netns", "proc", "seccomp", "overlay-userns"] {
        assert_eq!(finding(&report, name)["met"], true, "{:#}", finding(&report, name));
    }
    assert_eq!(finding(&report, "root")["met"], false);
    assert_eq!(text_of(&report, "root", "advice"), "run it as root (sudo)");
    assert_eq!(text_of(&report, "root", "instead"), "from part 2 on, a user namespace");
    assert_eq!(finding(&report, "overlay")["met"], false);
    assert!(text_of(&report, "overlay", "why").contains("EPERM"));
    let memory = finding(&report, "memory");
    if memory["met"] == false {
        output.assert_code(1);
        assert_eq!(report["ready"], false);
        // Version 1 says that the cgroup is not ours, version 2 may say what is in its way.
        assert!(text_of(&report, "memory", "why").contains("cgroup"), "{memory:#}");
        assert!(!text_of(&report, "memory", "advice").is_empty(), "{memory:#}");
    }
    Ok(())
}

/// The sysctl belongs to the user namespace: in one of our own we may change it.
fn no_user_namespaces_allowed() -> TestResult {
    let sandbox = Sandbox::new()?;
    let program = copy_of_part5(&sandbox)?;
    let script = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces
         {program} doctor userns overlay-userns pidns"
    );
    let output = sandbox.run(&["unshare", "--user", "--map-root-user", "sh", "-c", &script]);
    output
        .assert_code(1)
        .assert_stdout("ENOSPC")
        .assert_stdout("user.max_user_namespaces = 0: none is allowed here")
        .assert_stdout("sysctl -w user.max_user_namespaces=15000")
        // What fails for the same reason points to it.
        .assert_stdout("why: it needs userns, see there")
        // Root of a user namespace is to us as any user: it needs one of its own.
        .assert_stdout("Not met: userns, pidns, overlay-userns.");
    Ok(())
}

fn program_is_gone() -> TestResult {
    let sandbox = Sandbox::new()?;
    let nft = shared::lab::needs::find_program("nft").ok_or("nft is there")?;
    let script = format!(
        "mount --bind /dev/null {}; exec {} doctor nft",
        fs::canonicalize(nft)?.display(),
        harness::sandbox::binary(PART5).display()
    );
    let output = sandbox.run(&["unshare", "--mount", "sh", "-c", &script]);
    output.assert_code(1).assert_stdout("nft is not installed").assert_stdout("apt install nft");
    Ok(())
}

fn root_without_capability() -> TestResult {
    let sandbox = Sandbox::new()?;
    let program = copy_of_part5(&sandbox)?;
    let less = ["setpriv", "--bounding-set", "-sys_admin"];
    let output = sandbox.run(&[&less[..], &[&program, "doctor", "mountns", "seccomp"]].concat());
    output.assert_code(1).assert_stdout("unshare(CLONE_NEWNS) → EPERM");
    output.assert_stdout("✓ yes  seccomp").assert_stdout("Not met: mountns.");
    Ok(())
}

/// The kernel refuses a user namespace to who cannot see the whole tree.
fn chroot_is_recognized() -> TestResult {
    let sandbox = Sandbox::new()?;
    let root = sandbox.dir().join("root");
    fs::create_dir_all(root.join("proc"))?;
    fs::copy(harness::sandbox::binary(PART5), root.join(PART5))?;
    let script =
        format!("mount -t proc proc {0}/proc; chroot {0} /{PART5} doctor userns", root.display());
    let output = sandbox.run(&["unshare", "--mount", "sh", "-c", &script]);
    output.assert_code(1).assert_stdout("EPERM").assert_stdout("leave the chroot");
    Ok(())
}

/// As a container's seccomp filter does it: a system call that the kernel has is not there.
fn hidden_call() -> TestResult {
    let sandbox = Sandbox::new()?;
    let program = copy_of_part5(&sandbox)?;
    let volume = format!("{program}:/part5:ro");
    let spec = sandbox.spec(&format!(
        "services:\n  web:\n    image: host\n    network_mode: none\n    volumes: [\"{volume}\"]\n"
    ));
    let spec = spec.to_str().ok_or("UTF-8")?;
    let words = [PART5, "run", spec, "--", "/part5", "doctor", "clone3", "userns", "mountns"];
    let output = sandbox.run(&words);
    output
        .assert_code(1)
        .assert_stdout("ENOSYS")
        .assert_stdout("around us hides this system call")
        .assert_stdout("EPERM")
        .assert_stdout("docker run --privileged");
    Ok(())
}

fn every_line_fits() -> TestResult {
    let sandbox = Sandbox::new()?;
    for words in [&[PART5, "doctor"][..], &[PART5, "doctor", "--help"]] {
        let output = sandbox.run(words);
        for line in output.stdout.lines() {
            // A path that is longer cannot be broken.
            let is_path = line.trim_start().starts_with('/');
            assert!(line.chars().count() <= 80 || is_path, "{line}");
        }
    }
    Ok(())
}

fn unknown_need() -> TestResult {
    let sandbox = Sandbox::new()?;
    let output = sandbox.run(&[PART5, "doctor", "usrns"]);
    output.assert_code(125).assert_stderr("\"usrns\" is no need").assert_stderr("doctor userns");
    Ok(())
}

/// A copy that every user can run.
fn copy_of_part5(sandbox: &Sandbox) -> Result<String, Box<dyn std::error::Error>> {
    let copy = sandbox.dir().join(PART5);
    fs::copy(harness::sandbox::binary(PART5), &copy)?;
    Ok(copy.to_str().ok_or("our paths are text")?.to_owned())
}

fn json(output: &Output) -> Result<Value, Box<dyn std::error::Error>> {
    serde_json::from_str(&output.stdout).map_err(|error| format!("{error}: {output}").into())
}

fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let needs = report["needs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = needs.iter().find(|need| need["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {report:#}"))
}

fn text_of<'a>(report: &'a Value, name: &str, key: &str) -> &'a str {
    finding(report, name)[key].as_str().unwrap_or_default()
}
