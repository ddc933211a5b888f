//! `up`, `ps`, `logs`, `exec`, `down`, volumes and restarts: a project from begin to end.

mod e2e;
#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use e2e::{
    PATIENCE, Project, assert_home_is_empty, container, exec, exit_code, inspect, is_alive, part5,
    pid, wait_until,
};
use harness::{Need, Sandbox, TestResult, need, test};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn main() -> ExitCode {
    e2e::main(vec![
        test("three_services_from_up_to_down", container(), three_services),
        test("in_the_foreground_an_interrupt_stops_all", container(), in_the_foreground),
        test("some_services_and_what_they_depend_on", container(), some_services),
        test("up_twice_starts_only_what_is_missing", container(), up_twice),
        test("a_named_volume_stays_until_it_is_removed", container(), named_volume),
        test("a_named_volume_begins_with_what_the_image_has", container(), seeded_volume),
        test("a_volume_with_files_of_other_users_is_removed", users(), volume_of_others),
        test("a_bind_volume_is_the_hosts", container(), bind_volume),
        test("a_read_only_volume_refuses_writes", container(), read_only_volume),
        test("an_anonymous_volume_ends_with_its_container", container(), anonymous_volume),
        test("restart_on_failure_ends_at_its_limit", container(), restart_on_failure),
        test("restart_always_goes_on_until_stopped", container(), restart_always),
        test("a_restart_that_fails_is_tried_again", container(), restart_fails),
    ])
}

/// Written against the order in which they must start.
const THREE: &str = "
services:
  web:
    x-rootfs: ROOTFS
    depends_on: [store]
    hostname: web-inside
    init: true
    command: [probe, serve, --port, '8080']
  store:
    x-rootfs: ROOTFS
    depends_on: [base]
    init: true
    command: [probe, serve, --port, '8081']
  base:
    x-rootfs: ROOTFS
    init: true
    command: [probe, serve, --port, '8082']
";

fn three_services() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = Project::new(&sandbox, "three", THREE);
    let up = project.up();
    assert_in_order(&up.stdout, &["three-base is up", "three-store is up", "three-web is up"]);

    let ps = project.run("ps", &[]);
    ps.assert_code(0);
    assert_eq!(ps.stdout.lines().count(), 4, "{ps}");
    for name in ["three-web", "three-store", "three-base"] {
        assert!(ps.stdout.lines().any(|l| l.starts_with(name) && l.contains(" up ")), "{ps}");
    }
    // Another project's containers are not of this file.
    let other = Project::new(&sandbox, "other", THREE);
    assert_eq!(other.run("ps", &[]).stdout.lines().count(), 1);
    assert_eq!(other.run("down", &[]).assert_code(0).stdout, "");
    assert_eq!(project.run("ps", &["--quiet"]).stdout.lines().count(), 3);

    assert_eq!(exec(&sandbox, "three-web", &["hostname"]), "web-inside\n");
    assert_eq!(part5(&sandbox, &["exec", "three-web", "sh", "-c", "exit 7"]).code(), 7);

    let file = project.file.to_str().ok_or("a path")?;
    let following = sandbox.spawn(&["part5-network", "logs", "-f", "-s", file]);
    wait_until("all serve", || {
        part5(&sandbox, &["logs", "-s", file]).stdout.matches("| serving").count() == 3
    });
    let down = project.down();
    assert_in_order(&down.stdout, &["three-web is gone", "three-store is gone", "three-base is"]);
    // Followed logs end with their containers.
    let logs = following.wait(PATIENCE);
    logs.assert_code(0);
    for line in ["three-web   | serving", "three-store | serving", "three-base  | serving"] {
        logs.assert_stdout(line);
    }
    assert_eq!(project.run("ps", &["--all"]).stdout.lines().count(), 1);
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn assert_in_order(text: &str, parts: &[&str]) {
    let places: Vec<_> = parts.iter().map(|part| text.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{parts:?} in {text}");
}

fn in_the_foreground() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = Project::new(&sandbox, "front", THREE);
    let up = project.spawn("up", &[]);
    wait_until("all are up", || project.run("ps", &["--quiet"]).stdout.lines().count() == 3);
    let pids = ["web", "store", "base"].map(|name| pid(&sandbox, &format!("front-{name}")));
    wait_until("all serve", || {
        let file = project.file.to_str().unwrap_or_default();
        part5(&sandbox, &["logs", "-s", file]).stdout.matches("| serving").count() == 3
    });
    up.signal(Signal::SIGINT);
    let up = up.wait(PATIENCE);
    up.assert_code(0).assert_stdout("front-web   | serving").assert_stderr("stopped");
    assert!(!pids.into_iter().any(is_alive));
    // They are stopped, not gone: what they wrote can be looked at.
    assert_eq!(project.run("ps", &["--all", "--quiet"]).stdout.lines().count(), 3);
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn some_services() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = Project::new(&sandbox, "some", THREE);
    project.run("up", &["-d", "store"]).assert_code(0);
    assert_eq!(project.run("ps", &["--quiet"]).stdout, "some-base\nsome-store\n");
    e2e::assert_refused(&project.run("up", &["-d", "shop"]), &["shop", "web, store, base"]);
    project.down();
    Ok(())
}

fn up_twice() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = Project::new(&sandbox, "twice", THREE);
    project.up();
    let all = ["twice-base", "twice-store", "twice-web"];
    let before = all.map(|name| pid(&sandbox, name));
    let again = project.up();
    for name in all {
        again.assert_stdout(&format!("{name} is up already"));
    }
    assert_eq!(all.map(|name| pid(&sandbox, name)), before);

    part5(&sandbox, &["stop", "twice-store"]).assert_code(0);
    project.up().assert_stdout("twice-store is up");
    let after = all.map(|name| pid(&sandbox, name));
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert!(after[1] != before[1] && is_alive(after[1]));
    project.down();
    project.run("down", &[]).assert_code(0).assert_stderr("no container of twice");
    assert_home_is_empty(&sandbox);
    Ok(())
}

/// One that writes and ends.
fn writer(volumes: &str, script: &str) -> String {
    format!(
        "
services:
  writer:
    x-rootfs: ROOTFS
    init: true
    command: [sh, -c, '{script}']
    volumes: [{volumes}]
volumes: {{pages: }}
"
    )
}

fn run_to_end(sandbox: &Sandbox, project: &Project, name: &str) -> Option<i64> {
    project.up();
    wait_until("it ends", || exit_code(sandbox, name).is_some());
    exit_code(sandbox, name)
}

fn named_volume() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "echo once more >> /pages/file; cat /pages/file";
    let project = Project::new(&sandbox, "vol", &writer("'pages:/pages'", script));
    for count in 1..=2 {
        assert_eq!(run_to_end(&sandbox, &project, "vol-writer"), Some(0));
        let log = part5(&sandbox, &["logs", "vol-writer"]).stdout;
        assert_eq!(log, "once more\n".repeat(count));
        project.down();
        assert!(sandbox.home().join("data/volumes/vol_pages/file").exists());
    }
    project.run("down", &["--volumes"]).assert_code(0);
    assert_home_is_empty(&sandbox);
    // Another time is no error.
    project.run("down", &["--volumes"]).assert_code(0);
    Ok(())
}

fn users() -> Vec<Need> {
    [container(), vec![need::subuid()]].into_iter().flatten().collect()
}

fn volume_of_others() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "mkdir /pages/closed; touch /pages/closed/file; \
                  chown -R 1000:1000 /pages/closed; chmod 700 /pages/closed";
    let project = Project::new(&sandbox, "others", &writer("'pages:/pages'", script));
    assert_eq!(run_to_end(&sandbox, &project, "others-writer"), Some(0));
    project.run("down", &["--volumes"]).assert_code(0);
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn seeded_volume() -> TestResult {
    let sandbox = Sandbox::new()?;
    let image = sandbox.own_rootfs();
    fs::create_dir_all(image.join("srv/seed"))?;
    fs::write(image.join("srv/seed/file"), "of the image")?;
    let yaml = writer("'pages:/srv/seed'", "cat /srv/seed/file; echo changed > /srv/seed/file");
    let yaml = yaml.replace("ROOTFS", image.to_str().ok_or("a path")?);
    let project = Project::new(&sandbox, "seed", &yaml);
    for expected in ["of the image", "changed\n"] {
        assert_eq!(run_to_end(&sandbox, &project, "seed-writer"), Some(0));
        assert_eq!(part5(&sandbox, &["logs", "seed-writer"]).stdout, expected);
        project.down();
    }
    assert_eq!(fs::read_to_string(image.join("srv/seed/file"))?, "of the image");
    project.run("down", &["--volumes"]).assert_code(0);
    Ok(())
}

fn bind_volume() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "cat /data/in; echo from inside > /data/out; sleep 3600";
    let project = Project::new(&sandbox, "bind", &writer("'./data:/data'", script));
    let data = project.dir().join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("in"), "from the host\n")?;
    project.up();
    wait_until("it wrote", || fs::read(data.join("out")).is_ok_and(|text| !text.is_empty()));
    assert_eq!(fs::read_to_string(data.join("out"))?, "from inside\n");
    assert_eq!(part5(&sandbox, &["logs", "bind-writer"]).stdout, "from the host\n");
    fs::write(data.join("later"), "later\n")?;
    assert_eq!(exec(&sandbox, "bind-writer", &["cat", "/data/later"]), "later\n");
    project.down();
    // What is the host's stays.
    assert_eq!(fs::read_to_string(data.join("out"))?, "from inside\n");
    Ok(())
}

fn read_only_volume() -> TestResult {
    let sandbox = Sandbox::new()?;
    let volumes = "'./data:/data:ro', './data:/writable', 'pages:/pages:ro'";
    let project = Project::new(&sandbox, "ro", &writer(volumes, "sleep 3600"));
    let data = project.dir().join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("file"), "as it was")?;
    project.up();
    for write in [
        "echo x > /data/file",
        "rm /data/file",
        "touch /data/new",
        "touch /pages/new",
        "mount -o remount,rw /data",
        "mount -o remount,bind,rw /data",
    ] {
        let output = part5(&sandbox, &["exec", "ro-writer", "sh", "-c", write]);
        assert!(output.code() != 0, "{write:?} was allowed: {output}");
    }
    let output = part5(&sandbox, &["exec", "ro-writer", "touch", "/data/new"]);
    output.assert_stderr("Read-only file system");
    assert_eq!(fs::read_to_string(data.join("file"))?, "as it was");
    assert!(!data.join("new").exists());
    // The same directory without `:ro` can be written: it was the flag that refused.
    exec(&sandbox, "ro-writer", &["touch", "/writable/new"]);
    assert!(data.join("new").exists());
    project.run("down", &["--time", "0", "--volumes"]).assert_code(0);
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn anonymous_volume() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = Project::new(&sandbox, "anon", &writer("/data", "echo x > /data/file"));
    assert_eq!(run_to_end(&sandbox, &project, "anon-writer"), Some(0));
    assert_eq!(fs::read_dir(sandbox.home().join("data/volumes"))?.count(), 1);
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn restarting(policy: &str, script: &str) -> String {
    format!(
        "
services:
  again:
    x-rootfs: ROOTFS
    command: [sh, -c, '{script}']
    restart: {policy}
    volumes: ['./data:/data']
"
    )
}

fn restart_on_failure() -> TestResult {
    let sandbox = Sandbox::new()?;
    let yaml = restarting("on-failure:2", "echo start >> /data/starts; exit 3");
    let project = Project::new(&sandbox, "fail", &yaml);
    let data = project.dir().join("data");
    fs::create_dir(&data)?;
    project.up();
    let starts = || fs::read_to_string(data.join("starts")).unwrap_or_default().lines().count();
    wait_until("three starts", || starts() == 3);
    wait_until("its supervisor ends", || {
        part5(&sandbox, &["rm", "fail-again"]).code() == 0 // refused while it is looked after
    });
    assert_eq!(starts(), 3, "the first and two more");

    // One that ends as it should is not started again.
    let yaml = restarting("on-failure", "echo start >> /data/starts");
    let project = Project::new(&sandbox, "good", &yaml);
    let data = project.dir().join("data");
    fs::create_dir(&data)?;
    assert_eq!(run_to_end(&sandbox, &project, "good-again"), Some(0));
    sleep(Duration::from_millis(400));
    assert_eq!(fs::read_to_string(data.join("starts"))?, "start\n");
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn restart_fails() -> TestResult {
    let sandbox = Sandbox::new()?;
    let yaml = restarting("always", "while :; do sleep 0.1; done");
    let project = Project::new(&sandbox, "fails", &yaml);
    let [data, away] = ["data", "away"].map(|name| project.dir().join(name));
    fs::create_dir(&data)?;
    project.up();
    fs::rename(&data, &away)?;
    kill(Pid::from_raw(pid(&sandbox, "fails-again")), Signal::SIGKILL)?;
    let record = || inspect(&sandbox, "fails-again");
    wait_until("the second try", || record()["restarts"].as_i64() >= Some(2));
    let error = record()["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("data") && record()["status"] == "restarting", "{}", record());
    part5(&sandbox, &["ps"]).assert_stdout("restarting (125)");
    part5(&sandbox, &["logs", "fails-again"]).assert_stdout(&format!("error: {error}"));
    part5(&sandbox, &["rm", "fails-again"]).assert_code(125).assert_stderr("is running");
    // What stood in its way is gone.
    fs::rename(&away, &data)?;
    wait_until("it runs again", || record()["status"] == "running");
    assert!(record()["error"].is_null());
    // During the pause, too, it can be stopped.
    fs::rename(&data, &away)?;
    kill(Pid::from_raw(pid(&sandbox, "fails-again")), Signal::SIGKILL)?;
    wait_until("the next pause", || record()["status"] == "restarting");
    part5(&sandbox, &["stop", "fails-again"]).assert_code(0);
    assert_eq!(record()["status"], "stopped");
    part5(&sandbox, &["rm", "fails-again"]).assert_code(0);
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn restart_always() -> TestResult {
    let sandbox = Sandbox::new()?;
    let yaml = restarting("always", "trap \"exit 0\" TERM; while :; do sleep 0.1; done");
    let project = Project::new(&sandbox, "always", &yaml);
    fs::create_dir(project.dir().join("data"))?;
    project.up();
    let first = pid(&sandbox, "always-again");
    kill(Pid::from_raw(first), Signal::SIGKILL)?;
    let running = || {
        let record = inspect(&sandbox, "always-again");
        (record["status"] == "running").then(|| record["pid"].as_i64()).flatten()
    };
    wait_until("it runs again", || running().is_some_and(|pid| pid != i64::from(first)));
    exec(&sandbox, "always-again", &["true"]);
    part5(&sandbox, &["stop", "always-again"]).assert_code(0);
    assert_eq!(running(), None);
    sleep(Duration::from_millis(400));
    assert_eq!(running(), None, "what was stopped is not started again");
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}
