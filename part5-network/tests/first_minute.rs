//! The first minute: what `up` prints of the README's example can be typed, and is true.

mod e2e;
#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;

use e2e::{Project, assert_home_is_empty, http, net, wait_until};
use harness::{Output, Sandbox, TestResult, needs, test};

fn main() -> ExitCode {
    let container = || needs![userns, binary("probe"), program("curl"), program("ps")];
    let root = || needs![root, bridge, overlay];
    let user = || needs![not_root, overlay_userns];
    let both = |more: Vec<_>| more.into_iter().chain(container()).collect();
    e2e::main(vec![
        test("as_root_what_is_printed_is_true", both(root()), || first_minute(as_root)),
        test("as_a_user_what_is_printed_is_true", both(user()), || first_minute(as_user)),
        test("in_the_foreground_ctrl_c_stops_it", both(root()), in_the_foreground),
    ])
}

/// The example of the README, in a directory of the test's own, on a port that is free.
fn example(sandbox: &Sandbox) -> (Project<'_>, u16) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/first-minute");
    let port = net::free_port();
    let text = fs::read_to_string(example.join("service-specs.yml")).expect("the example");
    let changed = text.replace("\"8080:80\"", &format!("\"{port}:80\""));
    assert!(changed != text, "the example publishes another port now");
    let project = Project::new(sandbox, "first-minute", "");
    fs::write(&project.file, changed).expect("the sandbox can be written");
    for entry in fs::read_dir(example.join("site")).expect("its pages").flatten() {
        let page = fs::read(entry.path()).expect("a page");
        let name = format!("first-minute/site/{}", entry.file_name().display());
        sandbox.file(&name, page);
    }
    (project, port)
}

fn first_minute(of_this_user: fn(&Output, u16)) -> TestResult {
    let sandbox = Sandbox::new()?;
    let (project, port) = example(&sandbox);
    let up = project.up();
    of_this_user(&up, port);
    wait_until("it serves", || http::answers(Ipv4Addr::LOCALHOST, port));

    let asked = typed(&sandbox, &command(&up, "ask"));
    assert!(asked.contains("Hello from inside"), "{asked}");

    // Inside it sees itself and its init alone; outside the same program has another number.
    let inside = typed(&sandbox, &command(&up, "inside"));
    assert!(inside.lines().any(|line| line.trim() == "2 probe serve --port 80"), "{inside}");
    assert_eq!(inside.lines().count(), 4, "a heading, init, probe and ps: {inside}");
    let outside = typed(&sandbox, &command(&up, "outside"));
    let number = command(&up, "outside").rsplit(' ').next().map(str::to_owned);
    let number = number.ok_or("a number")?;
    assert!(outside.contains(&format!("{number} probe serve --port 80")), "{outside}");
    up.assert_stdout("it is process 2").assert_stdout(&format!("here it is {number}"));
    assert_eq!(namespaced(&number)?, "2");

    assert!(typed(&sandbox, &command(&up, "list")).contains("first-minute-web"));
    let plan = typed(&sandbox, &command(&up, "explain"));
    assert!(plan.contains("pivot_root"), "{plan}");
    // `logs -f` goes on until it stops.
    let mut reading = sandbox.command("sh");
    reading.args(["-c", &command(&up, "read")]);
    let reading = harness::Running::start(reading);
    let again = project.up();
    again.assert_stdout("is up already").assert_stdout(&format!("curl http://127.0.0.1:{port}/"));

    let stopped = typed(&sandbox, &command(&up, "stop"));
    assert!(stopped.contains("first-minute-web is gone"), "{stopped}");
    let log = reading.wait(e2e::PATIENCE);
    log.assert_code(0).assert_stdout("GET \"/\" 200");
    assert!(!http::answers(Ipv4Addr::LOCALHOST, port));
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn as_root(up: &Output, port: u16) {
    up.assert_stdout("first-minute-web is up  10.");
    up.assert_stdout(&format!("0.0.0.0:{port}->80/tcp"));
    up.assert_stdout("(read-only)");
    assert_short(up);
}

/// Without root it says what is missing, and claims nothing that is not so.
fn as_user(up: &Output, port: u16) {
    up.assert_stderr("without root there is no bridge");
    up.assert_stderr("published by a small forwarder (no root)");
    up.assert_stdout(&format!("0.0.0.0:{port}->80/tcp"));
    if up.stderr.contains("limits are not enforced") {
        assert!(!up.stdout.contains("at most"), "{up}");
    }
    assert_short(up);
}

/// Lines fit a terminal, but for the paths of this test.
fn assert_short(up: &Output) {
    let long: Vec<_> = up
        .stdout
        .lines()
        .filter(|line| line.chars().count() > 80 && !line.contains("/tmp/"))
        .filter(|line| !line.contains("target/"))
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

/// The command that is printed behind a word.
fn command(up: &Output, word: &str) -> String {
    let start = format!("{word:<8}");
    let line = up.stdout.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("{up} (no {word:?})")).to_owned()
}

/// Types a command into a shell; it must succeed.
fn typed(sandbox: &Sandbox, command: &str) -> String {
    let output = sandbox.run(&["sh", "-c", command]);
    output.assert_code(0);
    output.stdout
}

/// The pid that a process of the host has in its innermost pid namespace: `proc(5)`.
fn namespaced(pid: &str) -> Result<String, Box<dyn std::error::Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    Ok(pids.and_then(|pids| pids.split_whitespace().last()).ok_or("NSpid")?.to_owned())
}

fn in_the_foreground() -> TestResult {
    let sandbox = Sandbox::new()?;
    let (project, port) = example(&sandbox);
    let file = project.file.to_str().ok_or("a path")?;
    let mut terminal = harness::Pty::spawn(&sandbox, &["part5-network", "up", file])?;
    terminal.expect("Ctrl-C", e2e::PATIENCE)?;
    terminal.expect("serving /srv/www", e2e::PATIENCE)?;
    assert!(http::text(Ipv4Addr::LOCALHOST, port, "/")?.contains("Hello from inside"));
    terminal.expect("GET \"/\" 200", e2e::PATIENCE)?;
    terminal.send("\x03")?;
    terminal.expect("stopped", e2e::PATIENCE)?;
    assert_eq!(terminal.wait(e2e::PATIENCE)?.code(), Some(0));
    assert!(!http::answers(Ipv4Addr::LOCALHOST, port));
    assert_eq!(net::our_links(), Vec::<String>::new());
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}
