//! Ends that nobody planned: a supervisor is killed, `up` is killed half-way, a service fails.
//! Afterwards nothing is left.

mod e2e;
#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::net::{free_port, our_links};
use e2e::{
    PATIENCE, Project, address, assert_home_is_empty, container, exit_code, http, inspect,
    is_alive, network, part5, pid, supervisor_of, wait_until,
};
use harness::{Need, Running, Sandbox, TestResult, need, sandbox, test};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let parts = || -> Vec<Need> {
        ["part2-namespaces", "part3-cgroups", "part4-overlay"].map(need::binary).into()
    };
    e2e::main(vec![
        test("a_killed_supervisor_is_cleaned_up_after", with(container(), parts()), supervisor),
        test("a_killed_container_is_released", container(), killed_container),
        test("a_killed_up_leaves_nothing", container(), killed_up),
        test("a_service_that_cannot_start_undoes_the_others", container(), failing_service),
        test("a_service_that_ends_at_once_is_told", container(), ending_service),
        test("many_start_and_end_at_the_same_time", network(), many_at_once),
    ])
}

fn with(mut needs: Vec<Need>, more: Vec<Need>) -> Vec<Need> {
    needs.extend(more);
    needs
}

fn sigkill(pid: i32) {
    // It may have ended meanwhile.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// A web server with a published port, a volume and a limit: something of everything.
fn one_of_all(port: u16) -> String {
    format!(
        "
services:
  web:
    x-rootfs: ROOTFS
    command: [probe, serve, --port, '8080']
    ports: ['{port}:8080']
    volumes: ['pages:/pages']
    pids_limit: 20
volumes: {{pages: }}
"
    )
}

/// Each part's next command undoes what part 5 did.
fn supervisor() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs().display().to_string();
    let commands: [&[&str]; 5] = [
        &["part1-chroot", "plan", "--rootfs", &rootfs, "--", "true"],
        &["part2-namespaces", "ps"],
        &["part3-cgroups", "ps"],
        &["part4-overlay", "ps"],
        &["part5-network", "ps"],
    ];
    let port = free_port();
    let project = Project::new(&sandbox, "crash", &one_of_all(port));
    for command in commands {
        project.up();
        wait_until("it serves", || http::answers(Ipv4Addr::LOCALHOST, port));
        let record = inspect(&sandbox, "crash-web");
        let inside = pid(&sandbox, "crash-web");
        sigkill(supervisor_of(inside));
        wait_until("the container ends with its supervisor", || !is_alive(inside));

        sandbox.run(command).assert_code(0);
        for group in record["cgroups"].as_array().ok_or("its cgroups")? {
            let group = Path::new(group.as_str().ok_or("a path")?);
            assert!(!group.exists(), "{} is left after {command:?}", group.display());
        }
        wait_until("the links go", || our_links().is_empty());
        assert!(fs::read_dir(sandbox.home().join("run/networks")).map_or(0, Iterator::count) == 0);
        drop(TcpListener::bind(("0.0.0.0", port))?); // The port is free again.
        assert_eq!(exit_code(&sandbox, "crash-web"), Some(137));
        project.run("ps", &["--all"]).assert_stdout("exited (137)");
    }
    project.up().assert_stdout("crash-web is up");
    wait_until("it serves", || http::answers(Ipv4Addr::LOCALHOST, port));
    project.run("down", &["--time", "0", "--volumes"]).assert_code(0);
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn killed_container() -> TestResult {
    let sandbox = Sandbox::new()?;
    let port = free_port();
    let project = Project::new(&sandbox, "killed", &one_of_all(port));
    project.up();
    sigkill(pid(&sandbox, "killed-web"));
    wait_until("its end is seen", || exit_code(&sandbox, "killed-web") == Some(137));
    wait_until("the links go", || our_links().is_empty());
    project.run("ps", &["--all"]).assert_stdout("exited (137)");
    project.run("down", &["--volumes"]).assert_code(0);
    assert_home_is_empty(&sandbox);
    Ok(())
}

/// All processes of ours that work in this sandbox, at whatever they are.
fn all_of_ours(sandbox: &Sandbox) -> Vec<i32> {
    let home = format!("INSIDE_DOCKER_HOME={}", sandbox.home().display());
    let program = sandbox::binary("part5-network");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program)
                && environment.split(|byte| *byte == 0).any(|entry| entry == home.as_bytes())
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// `up` is killed later each time: alone, and with all that it has started.
fn killed_up() -> TestResult {
    let sandbox = Sandbox::new()?;
    let port = free_port();
    let project = Project::new(&sandbox, "half", &one_of_all(port));
    let start = Instant::now();
    project.up();
    let whole = start.elapsed();
    project.run("down", &["--time", "0"]).assert_code(0);

    let steps = 12;
    for step in 1..=steps {
        for alone in [true, false] {
            let up = project.spawn("up", &["--detach"]);
            sleep(whole * step / steps);
            match alone {
                true => up.signal(Signal::SIGKILL),
                false => all_of_ours(&sandbox).into_iter().for_each(sigkill),
            }
            let _ = up.wait(PATIENCE);
            // Whom `up` has begun to start finishes that without it; and one that was killed holds
            // its lock until it has ended.
            wait_until(&format!("nothing is left of step {step}, {alone}"), || {
                project.run("down", &["--time", "0", "--volumes"]).assert_code(0);
                all_of_ours(&sandbox).is_empty() && our_links().is_empty()
            });
            assert_home_is_empty(&sandbox);
        }
    }
    Ok(())
}

fn failing_service() -> TestResult {
    let sandbox = Sandbox::new()?;
    let port = free_port();
    let failing = "  last:\n    x-rootfs: ROOTFS\n    depends_on: [web]\n    command: [/no/such]\n";
    let services = one_of_all(port).replace("volumes: {", &format!("{failing}volumes: {{"));
    let project = Project::new(&sandbox, "fail", &services);
    let up = project.run("up", &["--detach"]);
    up.assert_code(127).assert_stdout("fail-web is up");
    up.assert_stderr("error: fail-last: ").assert_stderr("/no/such").assert_stderr("ENOENT");
    up.assert_stderr("stopping what was started for it");
    assert_eq!(project.run("ps", &["--all", "--quiet"]).stdout, "");
    drop(TcpListener::bind(("0.0.0.0", port))?);
    // One that was up before stays up.
    project.run("up", &["--detach", "web"]).assert_code(0);
    project.run("up", &["--detach"]).assert_code(127).assert_stdout("fail-web is up already");
    assert_eq!(project.run("ps", &["--quiet"]).stdout, "fail-web\n");
    project.run("down", &["--time", "0", "--volumes"]).assert_code(0);
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn ending_service() -> TestResult {
    let sandbox = Sandbox::new()?;
    let yaml = "services:\n  short:\n    x-rootfs: ROOTFS\n    command: [sh, -c, 'exit 3']\n";
    let project = Project::new(&sandbox, "ends", yaml);
    project.up();
    wait_until("its end is seen", || exit_code(&sandbox, "ends-short") == Some(3));
    project.run("ps", &["--all"]).assert_stdout("exited (3)");
    // Nobody points to a process that has ended.
    assert_eq!(project.run("ps", &["--quiet"]).stdout, "");
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn many_at_once() -> TestResult {
    let sandbox = Sandbox::new()?;
    let yaml = "services:\n  web: {x-rootfs: ROOTFS, init: true, command: [probe, serve]}\n";
    let project = Project::new(&sandbox, "many", yaml);
    let names: Vec<_> = (0..10).map(|number| format!("many-{number}")).collect();
    let start = |name: &String| project.spawn("run", &["--detach", "--name", name]);
    wait_for_all(names.iter().map(start).collect());
    let addresses: BTreeSet<_> = names.iter().map(|name| address(&sandbox, name)).collect();
    assert_eq!(addresses.len(), names.len(), "{addresses:?}");
    for address in &addresses {
        wait_until("each serves", || http::answers(*address, 80));
    }
    let end = |name: &String| sandbox.spawn(&["part5-network", "rm", "--force", name]);
    wait_for_all(names.iter().map(end).collect());
    wait_until("all links go", || our_links().is_empty());

    // Two that want the same name: one gets it.
    let both = [project.spawn("up", &["--detach"]), project.spawn("up", &["--detach"])];
    let codes = both.map(|up| up.wait(PATIENCE).code());
    assert!(codes.contains(&0), "{codes:?}");
    assert_eq!(part5(&sandbox, &["ps", "--quiet"]).stdout, "many-web\n");
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn wait_for_all(running: Vec<Running>) {
    for one in running {
        one.wait(PATIENCE + Duration::from_secs(30)).assert_code(0);
    }
}
