//! The recipe as data: `plan` prints it, `run --explain` narrates it, a failure names its step.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use harness::{Output, Sandbox, TestResult, needs, test};
use serde_json::Value;

const PART2: &str = "part2-namespaces";
const PARTS: [&str; 5] = ["part1-chroot", PART2, "part3-cgroups", "part4-overlay", "part5-network"];

fn main() -> ExitCode {
    harness::run(vec![
        test("a_plan_does_nothing", needs![], does_nothing),
        test("a_plan_needs_no_privileges", needs![root], without_privileges),
        test("every_step_says_what_why_and_where_it_is_taught", needs![], every_step),
        test("a_plan_to_read_has_the_same_steps", needs![], text),
        test("added_are_the_steps_of_this_part_only", needs![], added),
        test("the_plan_is_what_is_explained", needs![userns], explained),
        test("a_failing_step_is_named", needs![userns], failing_step),
        test("what_cannot_be_planned_is_refused_as_by_run", needs![], refused),
    ])
}

/// The steps of a plan.
fn steps(plan: &Output) -> Vec<Value> {
    let plan: Value = serde_json::from_str(&plan.assert_code(0).stdout).expect("JSON");
    plan["steps"].as_array().expect("a list").clone()
}

fn string<'a>(step: &'a Value, field: &str) -> &'a str {
    step[field].as_str().unwrap_or_else(|| panic!("no {field} in {step}"))
}

/// A file in which every wall has something to do.
fn spec(sandbox: &Sandbox) -> String {
    sandbox.service(
        &[
            "container_name: one",
            "init: true",
            "hostname: little",
            "tmpfs: [/tmp]",
            "read_only: true",
            "working_dir: /srv",
            "ulimits: {nofile: 100}",
            "sysctls: {kernel.msgmax: 4711}",
        ],
        "touch /tmp/marker; echo ran",
    )
}

fn does_nothing() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = spec(&sandbox);
    // Not even the embedded default is made, though it is what would be run.
    let default = sandbox.file("default.yml", "services:\n  one:\n    image: host\n");
    let default = default.to_str().ok_or("our paths are text")?;
    let is_empty =
        || fs::read_dir(sandbox.home()).is_ok_and(|mut entries| entries.next().is_none());
    fs::remove_dir_all(sandbox.home())?;
    fs::create_dir(sandbox.home())?;
    for part in built() {
        for words in
            [&[&*spec][..], &["--json", &spec], &["--added", default], &["--shell", default]]
        {
            sandbox.run(&[&[part, "plan"], words].concat()).assert_code(0);
            assert!(is_empty(), "{part} plan {words:?}");
        }
    }
    Ok(())
}

/// The binaries there are: cargo builds the others with `--workspace`.
fn built() -> impl Iterator<Item = &'static str> {
    PARTS.into_iter().filter(|part| harness::sandbox::binary(part).is_file())
}

/// Whoever reads a plan may be nobody. (The binary is copied to where he can reach it.)
fn without_privileges() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = spec(&sandbox);
    for part in built() {
        let copy = sandbox.dir().join(part);
        fs::copy(harness::sandbox::binary(part), &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        let nobody =
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"];
        let copy = copy.to_str().ok_or("our paths are text")?;
        for words in [&["plan", &*spec][..], &["plan", "--shell", &spec]] {
            let output = sandbox.run(&[&nobody[..], &["--no-new-privs", copy], words].concat());
            output.assert_code(0).assert_stdout("execve");
        }
        fs::remove_file(copy)?;
    }
    Ok(())
}

fn every_step() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = spec(&sandbox);
    for part in built() {
        let steps = steps(&sandbox.run(&[part, "plan", "--json", &spec]));
        let names: BTreeSet<_> = steps.iter().map(|step| string(step, "name")).collect();
        assert_eq!(names.len(), steps.len(), "{part}: two steps have one name");
        let last = steps.iter().rfind(|step| step["place"] == "child").ok_or("no steps")?;
        assert_eq!(string(last, "name"), "execve");
        for step in &steps {
            let (what, why) = (string(step, "what"), string(step, "why"));
            // Where no tool can do it, a comment in its place says so.
            let shell = string(step, "shell");
            assert!(!what.is_empty() && !why.is_empty() && !shell.is_empty(), "{step}");
            // "because …" must be a sentence.
            assert!(!["or ", "because ", "so "].iter().any(|word| why.starts_with(word)), "{why}");
            let own = format!("{}.", step["part"]);
            assert!(string(step, "section").starts_with(&own), "{step}");
            assert!(
                ["prepare", "clone", "attach", "child", "after"].contains(&string(step, "place"))
            );
        }
    }
    Ok(())
}

/// Number and name of each step in a text for people.
fn numbered(text: &str) -> Vec<(usize, String)> {
    let step = |line: &str| {
        let (number, rest) = line.trim_start().split_once(". ")?;
        let name = rest.split_once("  ")?.0;
        Some((number.parse().ok()?, name.to_string()))
    };
    text.lines().filter_map(step).collect()
}

/// As [`numbered`] has them, but of a plan in JSON.
fn expected(steps: &[Value]) -> Vec<(usize, String)> {
    (1..).zip(steps.iter().map(|step| string(step, "name").to_string())).collect()
}

fn text() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = spec(&sandbox);
    for part in built() {
        let json = steps(&sandbox.run(&[part, "plan", "--json", &spec]));
        let text = sandbox.run(&[part, "plan", &spec]);
        let mut found = numbered(&text.assert_code(0).stdout);
        found.sort();
        assert_eq!(found, expected(&json), "{text}");
        for step in &json {
            text.assert_stdout(string(step, "what")).assert_stdout(string(step, "why"));
        }
        assert!(!text.stdout.contains('\x1b'), "colour where nobody sees it: {text}");
    }
    Ok(())
}

fn added() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = spec(&sandbox);
    for (number, part) in (1..).zip(PARTS).filter(|(_, part)| built().any(|built| built == *part)) {
        let all = steps(&sandbox.run(&[part, "plan", "--json", &spec]));
        let added = steps(&sandbox.run(&[part, "plan", "--added", "--json", &spec]));
        let own: Vec<_> = all.into_iter().filter(|step| step["part"] == number).collect();
        assert_eq!(added, own, "{part}");
    }
    Ok(())
}

fn explained() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = spec(&sandbox);
    let steps = steps(&sandbox.run(&[PART2, "plan", "--json", &spec]));
    let output = sandbox.run(&[PART2, "run", "--explain", &spec]);
    output.assert_code(0).assert_stdout("ran\n");
    let told = numbered(&output.stderr);
    // What the host does and what the child does goes on side by side; each keeps its order.
    let of = |told: &[(usize, String)], child: bool| -> Vec<(usize, String)> {
        let is_child = |number: usize| string(&steps[number - 1], "place") == "child";
        told.iter().filter(|(number, _)| is_child(*number) == child).cloned().collect()
    };
    let expected = expected(&steps);
    assert_eq!(of(&told, true), of(&expected, true), "{output}");
    assert_eq!(of(&told, false), of(&expected, false), "{output}");
    assert_eq!(told.last().map(|(_, name)| &**name), Some("execve"), "{output}");
    for step in &steps {
        output.assert_stderr(string(step, "what")).assert_stderr(string(step, "why"));
        output.assert_stderr(string(step, "section"));
    }
    Ok(())
}

fn failing_step() -> TestResult {
    let sandbox = Sandbox::new()?;
    for (step, keys, call) in [
        ("working directory", "working_dir: /etc/passwd", "ENOTDIR (Not a directory)"),
        ("tmpfs /etc/passwd", "tmpfs: [/etc/passwd]", "ENOTDIR (Not a directory)"),
        ("sysctls", "sysctls: {net.ipv4.no_such_setting: 1}", "ENOENT (No such file or directory)"),
    ] {
        let spec = sandbox.service(&[keys], "echo started");
        let steps = steps(&sandbox.run(&[PART2, "plan", "--json", &spec]));
        let number = 1 + steps.iter().position(|s| s["name"] == step).ok_or(step)?;
        let output = sandbox.run(&[PART2, "run", &spec]);
        output.assert_code(125).assert_stderr(call);
        output.assert_stderr(&format!(", step {number}, {step}: "));
        assert_eq!(output.stdout, "");
    }
    Ok(())
}

fn refused() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs();
    let wrong = [
        format!("services:\n  one:\n    x-rootfs: {}\n    cap_ad: [CHOWN]\n", rootfs.display()),
        format!("services:\n  one:\n    x-rootfs: {}\n    cap_add: [FLY]\n", rootfs.display()),
        format!("services:\n  one:\n    x-rootfs: {}\n    user: nobody-knows\n", rootfs.display()),
        "services:\n  one:\n    image: no-such-image\n".to_string(),
    ];
    for text in wrong {
        let spec = sandbox.spec(&text);
        let spec = spec.to_str().ok_or("our paths are text")?;
        let [plan, run] = ["plan", "run"].map(|command| sandbox.run(&[PART2, command, spec]));
        plan.assert_code(125);
        run.assert_code(125);
        assert_eq!(plan.stderr, run.stderr);
        assert_eq!(plan.stdout, "");
    }
    Ok(())
}
