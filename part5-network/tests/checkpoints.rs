//! `checkpoint`, by effect: what passes, fails and is skipped, what is reported, what is asked, and
//! that nothing of a session is left, whatever happened to it.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{Output, Pty, Sandbox, TestResult, needs, test};
use nix::sys::signal::Signal;
use serde_json::Value;

/// An emulated kernel is slow.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let root = || needs![root, loop_device];
    harness::run(vec![
        test("what_is_as_expected_passes", needs![], passes),
        test("what_is_not_fails_and_is_shown_beside_it", needs![], fails),
        test("what_cannot_run_is_skipped_with_its_reason", needs![], is_skipped),
        test("a_wrong_exit_status_fails", needs![], wrong_status),
        test("random_values_differ_from_run_to_run", needs![], random_values),
        test("a_command_that_hangs_is_ended", needs![], hangs),
        test("a_command_that_ends_the_shell_is_told", needs![], ends_the_shell),
        test("a_report_is_json_and_junit", needs![], report),
        test("another_program_takes_our_place", needs![binary("part2-namespaces")], substitute),
        test("progress_is_kept_listed_and_forgotten", needs![], progress),
        test("a_learner_predicts_and_runs_each_command", needs![program("setsid")], learner),
        test("a_learner_leaves", needs![program("setsid")], leaves),
        test("a_shell_in_the_lab", needs![userns, program("setsid")], shell),
        test("what_a_session_started_is_gone", needs![], processes_are_gone),
        test("what_a_session_mounted_is_gone", root(), mounts_are_gone),
        test(
            "containers_of_a_session_are_gone",
            needs![userns, binary("probe")],
            containers_are_gone,
        ),
        test("a_session_is_cleaned_up_after_kill_9", needs![userns], kill_9),
        test("the_next_one_cleans_up_after_a_killed_keeper", needs![userns], killed_keeper),
        test("a_session_sees_no_descriptor_of_ours", needs![], no_descriptor),
        test("a_wrong_page_is_named_with_its_line", needs![], wrong_page),
    ])
}

/// A book of one page.
fn book(sandbox: &Sandbox, checkpoints: &[(&str, &str, &str)]) -> PathBuf {
    let mut page = String::from("# A page\n");
    for (id, more, session) in checkpoints {
        let session: String = session.lines().map(|line| format!("  {line}\n")).collect();
        page += &format!(
            "\n```yaml checkpoint\nid: {id}\ntitle: Number {id}\nminutes: 1\n{more}\nsession: |\n\
             {session}hint: try harder\nbecause: that is so\n```\n"
        );
    }
    let page = sandbox.file("book/page.md", page);
    page.parent().expect("it has one").to_owned()
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let all = ["part5-network", "checkpoint"].iter().chain(arguments);
    sandbox.run(&all.chain(&["--book", "book"]).copied().collect::<Vec<_>>())
}

/// Runs a book of one checkpoint.
fn run_one(more: &str, session: &str) -> Result<Output, Box<dyn std::error::Error>> {
    let sandbox = Sandbox::new()?;
    book(&sandbox, &[("1.1", more, session)]);
    Ok(run(&sandbox, &["1.1"]))
}

fn passes() -> TestResult {
    let session = "$ cd /; x=5\n$ echo $x; pwd >&2\n5\n/\n$ cat <<E\n> a\n> b\n> E\n...\nb\n\
                   $ false\n? 1\n$ yes | head -n 9999 | tail -n 1\ny\n";
    let output = run_one("", session)?;
    output.assert_code(0);
    assert!(output.stdout.contains("✓ as expected"), "{}", output.stdout);
    assert!(output.stdout.contains("that is so"), "{}", output.stdout);
    assert!(output.stdout.contains("1 of 1 passed"), "{}", output.stdout);
    Ok(())
}

fn fails() -> TestResult {
    let output = run_one("", "$ echo one; echo two\none\nthree\n$ echo never\nnever\n")?;
    output.assert_code(1);
    let text = &output.stdout;
    assert!(text.contains("printed something else") && text.contains("try harder"), "{text}");
    assert!(text.lines().any(|line| line.contains("three") && line.contains("two")), "{text}");
    assert!(!text.contains("that is so") && !text.contains("$ echo never"), "{text}");
    assert!(text.contains("0 of 1 passed"), "{text}");
    Ok(())
}

fn is_skipped() -> TestResult {
    let output = run_one("needs: [\"program:no-such-program\"]", "$ false\n")?;
    output.assert_code(3);
    let text = &output.stdout;
    assert!(text.contains("the program no-such-program is not installed"), "{text}");
    assert!(!text.contains("$ false"), "{text}");
    Ok(())
}

fn wrong_status() -> TestResult {
    for (session, complaint) in [
        ("$ (exit 3)\n", "ended with 3, not with 0"),
        ("$ true\n? 4\n", "ended with 0, not with 4"),
    ] {
        let output = run_one("", session)?;
        output.assert_code(1);
        assert!(output.stdout.contains(complaint), "{}", output.stdout);
    }
    Ok(())
}

fn random_values() -> TestResult {
    let more = "vars: {W: word, N: 1..9, P: port, C: [red, green]}";
    let seen = |line: &str| line.starts_with("seen:");
    let mut answers = Vec::new();
    for _ in 0..3 {
        let output = run_one(more, "$ echo seen: $W $N $P $C\nseen: [W] [N] [P] [C]\n")?;
        output.assert_code(0);
        answers.push(output.stdout.lines().find(|line| seen(line)).map(str::to_owned));
    }
    assert!(answers[0] != answers[1] || answers[1] != answers[2], "{answers:?}");
    let words: Vec<_> = answers[0].as_deref().unwrap_or_default().split(' ').collect();
    assert!(words[1].len() == 6 && ["red", "green"].contains(&words[4]), "{words:?}");
    Ok(())
}

fn hangs() -> TestResult {
    let sandbox = Sandbox::new()?;
    book(&sandbox, &[("1.1", "", "$ echo before; sleep 4711\nbefore\n")]);
    let started = Instant::now();
    let output = run(&sandbox, &["1.1", "--timeout", "1"]);
    output.assert_code(1);
    assert!(output.stdout.contains("did not end within 1 s"), "{}", output.stdout);
    assert!(started.elapsed() < Duration::from_secs(20));
    Ok(())
}

fn ends_the_shell() -> TestResult {
    for session in ["$ exit 0\n", "$ exec true\n", "$ kill -KILL $$\n", "$ sleep 99 & exit\n"] {
        let output = run_one("", session)?;
        output.assert_code(1);
        assert!(output.stdout.contains("ended the lab's shell"), "{session}: {}", output.stdout);
    }
    Ok(())
}

fn report() -> TestResult {
    let sandbox = Sandbox::new()?;
    let predict = "predict: {question: q, choices: [a, b], answer: 2}";
    book(
        &sandbox,
        &[
            ("1.1", predict, "$ echo a\na\n"),
            ("1.2", "", "$ echo '<b>'\nc\n"),
            ("2.1", "needs: [\"program:no-such-program\"]", "$ true\n"),
        ],
    );
    let output = run(&sandbox, &["--all", "--report", "report.json"]);
    output.assert_code(1);
    assert!(output.stdout.contains("1 passed, 1 failed, 1 skipped"), "{}", output.stdout);
    let json: Value = serde_json::from_slice(&fs::read(sandbox.dir().join("report.json"))?)?;
    assert_eq!((&json["format"], &json["failed"]), (&1.into(), &1.into()), "{json:#}");
    let rows = &json["checkpoints"];
    assert_eq!((&rows[0]["id"], &rows[0]["result"]), (&"1.1".into(), &"passed".into()));
    assert_eq!(rows[0]["prediction"]["answer"], 2);
    assert_eq!(rows[1]["commands"][0]["seen"], "<b>\n");
    assert!(rows[2]["reason"].as_str().is_some_and(|why| why.contains("no-such-program")));
    let xml = fs::read_to_string(sandbox.dir().join("report.xml"))?;
    assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{xml}");
    assert!(xml.contains("&lt;b&gt;"), "{xml}");

    let only_skipped = run(&sandbox, &["1.1", "2.1", "--report", "report.json"]);
    only_skipped.assert_code(3);
    let refused = run(&sandbox, &["1.1", "--report", "report.xml"]);
    refused.assert_code(125);
    Ok(())
}

fn substitute() -> TestResult {
    let sandbox = Sandbox::new()?;
    book(&sandbox, &[("2.1", "", "$ part2-namespaces say it\nmine: say it\n")]);
    run(&sandbox, &["2.1"]).assert_code(1);
    let mine = sandbox.file("mine", "#!/bin/sh\necho mine: $*\n");
    fs::set_permissions(&mine, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    run(&sandbox, &["2.1", "--as", "part2-namespaces=./mine"]).assert_code(0);
    for wrong in ["part2-namespaces=./not-there", "part9-nothing=./mine", "./mine"] {
        let output = run(&sandbox, &["2.1", "--as", wrong]);
        assert!(!output.status.success() && output.stderr.contains("--as"), "{}", output.stderr);
    }
    Ok(())
}

fn progress() -> TestResult {
    let sandbox = Sandbox::new()?;
    let session = "$ true\n";
    book(&sandbox, &[("1.1", "", session), ("1.2", "", "$ false\n"), ("2.1", "", session)]);
    let list = |wanted: &str| {
        let output = run(&sandbox, &["list"]);
        output.assert_code(0);
        assert!(output.stdout.contains(wanted), "{wanted} is not in\n{}", output.stdout);
    };
    list("0 of 3 passed");
    // Without a number: the next one.
    assert!(run(&sandbox, &[]).stdout.contains("1.1 Number 1.1"));
    list("✓   1.1");
    assert!(run(&sandbox, &[]).stdout.contains("1.2 Number 1.2"));
    list("✗   1.2");
    assert!(run(&sandbox, &["hint"]).stdout.contains("try harder"));
    run(&sandbox, &["2.1"]).assert_code(0);
    list("2 of 3 passed");
    let json: Value = serde_json::from_str(&run(&sandbox, &["list", "--json"]).stdout)?;
    assert_eq!(json[2]["last"]["result"], "passed");
    run(&sandbox, &["1.3"]).assert_code(125);
    run(&sandbox, &["reset"]).assert_code(125);
    run(&sandbox, &["reset", "2.1", "--yes"]).assert_code(0);
    list("1 of 3 passed");
    run(&sandbox, &["reset", "--yes"]).assert_code(0);
    list("0 of 3 passed");
    Ok(())
}

fn learner() -> TestResult {
    let sandbox = Sandbox::new()?;
    let predict = "predict: {question: What is it?, choices: [a hat, a snake], answer: 2}";
    book(&sandbox, &[("1.1", predict, "$ echo drawn\ndrawn\n$ echo seen\nseen\n")]);
    let mut pty = Pty::spawn(&sandbox, &["part5-network", "checkpoint", "--book", "book"])?;
    pty.expect("a snake", PATIENCE)?;
    assert!(!pty.seen.contains("drawn"));
    pty.send("\r")?;
    pty.expect("echo drawn", PATIENCE)?;
    pty.expect("q leaves", PATIENCE)?;
    pty.send("\r")?;
    pty.expect("echo seen", PATIENCE)?;
    pty.expect("q leaves", PATIENCE)?;
    pty.send("\r")?;
    pty.expect("You said:", PATIENCE)?;
    pty.expect("a hat", PATIENCE)?;
    pty.expect("a snake", PATIENCE)?;
    pty.expect("that is so", PATIENCE)?;
    assert!(pty.wait(PATIENCE)?.success());
    let list = run(&sandbox, &["list", "--json"]).stdout;
    let json: Value = serde_json::from_str(&list)?;
    assert_eq!(json[0]["last"]["predicted"], false, "{json:#}");
    Ok(())
}

fn leaves() -> TestResult {
    let sandbox = Sandbox::new()?;
    book(&sandbox, &[("1.1", "", "$ sleep 4711 &\n$ echo two\ntwo\n")]);
    let mut pty = Pty::spawn(&sandbox, &["part5-network", "checkpoint", "--book", "book"])?;
    pty.expect("q leaves", PATIENCE)?;
    pty.send("\r")?;
    pty.expect("echo two", PATIENCE)?;
    pty.expect("q leaves", PATIENCE)?;
    pty.send("q\r")?;
    pty.expect("it was left", PATIENCE)?;
    assert_eq!(pty.wait(PATIENCE)?.code(), Some(3));
    Ok(())
}

fn shell() -> TestResult {
    let sandbox = Sandbox::new()?;
    let more = "needs: [any-root]\nunshare: [uts]\nvars: {NAME: word}";
    book(&sandbox, &[("1.1", more, "$ true\n")]);
    let command = ["part5-network", "checkpoint", "shell", "1.1", "--book", "book"];
    let mut pty = Pty::spawn(&sandbox, &command)?;
    pty.expect("NAME=", PATIENCE)?;
    pty.expect("lab lab", PATIENCE)?;
    pty.send("hostname $NAME; [ $(hostname) = $NAME ] && echo renamed-$(id -u)\r")?;
    pty.expect("renamed-0", PATIENCE)?;
    pty.send("sleep 4711 & mount -t tmpfs none . && echo $((40+2)) mounted\r")?;
    pty.expect("42 mounted", PATIENCE)?;
    pty.send("exit\r")?;
    assert!(pty.wait(PATIENCE)?.success(), "{}", pty.seen);
    Ok(())
}

/// The harness finds what is left; here the shell is the session's own, and so are its children.
fn processes_are_gone() -> TestResult {
    let session = "$ sleep 4711 & setsid sleep 4712 &\n$ (setsid sh -c 'sleep 4713 & sleep 4714' &)\n\
                   $ sh -c 'trap \"\" TERM HUP INT; env -i sleep 4715 & wait' &\n$ echo done\ndone\n";
    run_one("", session)?.assert_code(0);
    Ok(())
}

fn mounts_are_gone() -> TestResult {
    let session = "$ mkdir m && mount -t tmpfs none m && mount -t proc proc m\n\
                   $ truncate -s 1M disk && losetup --find --show disk\n/dev/loop[..]\n\
                   $ cd /sys/fs/cgroup; [ ! -d pids ] || cd pids; mkdir -p $CGROUP/a\n\
                   $ sleep 4711 & echo $! >$CGROUP/a/cgroup.procs; cd $LAB\n\
                   $ chattr +i nothing 2>/dev/null; mkdir -m 000 closed\n";
    run_one("needs: [root]", session)?.assert_code(0);
    Ok(())
}

fn containers_are_gone() -> TestResult {
    let session = "$ part2-namespaces run -d --name lab-test -- sleep 4711\n...\n\
                   $ part2-namespaces ps | grep -c lab-test\n1\n";
    run_one("", session)?.assert_code(0);
    Ok(())
}

fn kill_9() -> TestResult {
    let sandbox = Sandbox::new()?;
    let session = "$ sleep 4711 & mount -t tmpfs none .\n$ echo $((40+2)); sleep 4712\n42\n";
    book(
        &sandbox,
        &[("1.1", "needs: [any-root]", "$ true\n"), ("1.2", "needs: [any-root]", session)],
    );
    run(&sandbox, &["1.1"]).assert_code(0);
    let mut command = sandbox.command("part5-network");
    command.args(["checkpoint", "1.2", "--book", "book"]);
    let (running, mut lines) = harness::Running::start_to_read(command);
    while lines.next_line() != "42" {}
    running.signal(Signal::SIGKILL);
    drop(running);
    let lab = || fs::read_dir(sandbox.dir().join("tmp")).map_or(0, Iterator::count);
    let end = Instant::now() + Duration::from_secs(20);
    while lab() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(lab(), 0, "the keeper removes the lab");
    // What was done before is still known.
    assert!(run(&sandbox, &["list"]).stdout.contains("1 of 2 passed"));
    Ok(())
}

fn killed_keeper() -> TestResult {
    let sandbox = Sandbox::new()?;
    let session =
        "$ sleep 4711 & ps -o ppid= -p $$ >keeper; kill -KILL $(cat keeper); sleep 4712\n";
    book(&sandbox, &[("1.1", "needs: [any-root]", session), ("1.2", "", "$ true\n")]);
    let output = run(&sandbox, &["1.1", "--timeout", "2"]);
    output.assert_code(1);
    assert!(output.stdout.contains("the keeper of the lab was killed"), "{}", output.stdout);
    run(&sandbox, &["1.2"]).assert_code(0);
    assert_eq!(fs::read_dir(sandbox.dir().join("tmp"))?.count(), 0, "it is swept");
    Ok(())
}

fn no_descriptor() -> TestResult {
    // Its input, which waits while a command runs, and its output.
    let session = "$ find /proc/$$/fd -type l -printf '%l\\n' >fds\n\
                   $ sort -u fds | sed 's/pipe:.*/a pipe/'\n/dev/null\na pipe\na pipe\n";
    run_one("", session)?.assert_code(0);
    Ok(())
}

fn wrong_page() -> TestResult {
    let sandbox = Sandbox::new()?;
    book(&sandbox, &[("1.1", "needs: [nonsense]", "$ true\n")]);
    let output = run(&sandbox, &["list"]);
    output.assert_code(125);
    assert!(output.stderr.contains("page.md:"), "{}", output.stderr);
    assert!(output.stderr.contains("nonsense"), "{}", output.stderr);
    book(&sandbox, &[("1.1", "", "$ true\n"), ("1.1", "", "$ true\n")]);
    assert!(run(&sandbox, &["list"]).stderr.contains("two checkpoints have the number 1.1"));
    Ok(())
}
