//! Limits by effect, from the service file to the kernel: on cgroup v1 and v2 alike.

mod e2e;
#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use e2e::{
    Project, assert_home_is_empty, assert_refused, container, exec, exit_code, part5, wait_until,
};
use harness::{Need, Output, Sandbox, TestResult, need, test};
use serde_json::Value;

fn main() -> ExitCode {
    e2e::main(vec![
        test("out_of_memory_is_said", limited("memory"), out_of_memory),
        test("out_of_memory_is_said_in_the_foreground", limited("memory"), in_the_foreground),
        test("a_fork_bomb_stops_at_its_limit", limited("pids"), fork_bomb),
        test("two_hogs_share_a_cpu_as_told", limited("cpuset"), shares),
        test("a_quarter_of_a_cpu_is_a_quarter", limited("cpu"), quarter),
        test("an_update_bites", limited("memory"), update),
        test("an_update_that_cannot_be_changes_nothing", limited("memory"), refused_update),
        test("without_a_cgroup_it_is_said", user(), unlimited),
    ])
}

fn limited(controller: &'static str) -> Vec<Need> {
    [vec![need::root(), need::cgroups(), need::controller(controller)], container()]
        .into_iter()
        .flatten()
        .collect()
}

fn user() -> Vec<Need> {
    [vec![need::not_root()], container()].into_iter().flatten().collect()
}

/// A project of one service, `hog`.
fn hog<'a>(sandbox: &'a Sandbox, command: &str, limits: &str) -> Project<'a> {
    let yaml = format!(
        "services:\n  hog: {{x-rootfs: ROOTFS, init: true, command: [{command}], {limits}}}\n"
    );
    Project::new(sandbox, "limit", &yaml)
}

fn ended(sandbox: &Sandbox) -> Option<i64> {
    wait_until("it ends", || exit_code(sandbox, "limit-hog").is_some());
    exit_code(sandbox, "limit-hog")
}

fn out_of_memory() -> TestResult {
    let sandbox = Sandbox::new()?;
    let mut victim = sandbox.victim();
    let project = hog(&sandbox, "probe, hog, memory, 200M", "mem_limit: 32m, memswap_limit: 32m");
    project.up();
    assert_eq!(ended(&sandbox), Some(137));
    assert_eq!(e2e::inspect(&sandbox, "limit-hog")["exit"]["out_of_memory"], true);
    project.run("ps", &["--all"]).assert_stdout("exited (out of memory)");
    // It came as far as the limit, and the machine outside is untouched.
    let log = part5(&sandbox, &["logs", "limit-hog"]).stdout;
    let last = log.lines().last().and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    assert!(last.is_some_and(|mib| (8..32).contains(&mib)), "{log}");
    victim.assert_alive();
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn in_the_foreground() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = hog(&sandbox, "probe, hog, memory, 200M", "mem_limit: 32m, memswap_limit: 32m");
    let output = project.run("run", &[]);
    output.assert_code(137).assert_stderr("out of memory").assert_stderr("32MiB");
    // One that stays below ends as it should.
    let project = hog(&sandbox, "probe, hog, memory, 8M", "mem_limit: 32m, memswap_limit: 32m");
    let output = project.run("run", &[]);
    output.assert_code(0).assert_stdout("8 MiB of 8 MiB");
    assert!(!output.stderr.contains("memory"), "{output}");
    Ok(())
}

fn fork_bomb() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = hog(&sandbox, "probe, forks, '100', --hold, '60'", "pids_limit: 12");
    project.up();
    // `forks` says how far it came, and why no further.
    let log = || part5(&sandbox, &["logs", "limit-hog"]).stdout;
    wait_until("it says so", || log().contains("started "));
    let started = log().split("started ").nth(1).map(|rest| rest.split(' ').next().map(str::parse));
    let started: u32 = started.flatten().ok_or("how many started")??;
    // The first process counts, too.
    assert!((1..12).contains(&started), "{}", log());
    if let Some(line) = stats(&sandbox) {
        assert_eq!(line["pids_limit"], 12);
        assert!(line["pids"].as_u64().is_some_and(|pids| pids <= 12), "{line}");
    }
    project.run("down", &["--time", "0"]).assert_code(0);
    assert_home_is_empty(&sandbox);
    Ok(())
}

/// What `stats --json` says of the one that runs.
fn stats(sandbox: &Sandbox) -> Option<Value> {
    let output = part5(sandbox, &["stats", "--no-stream", "--json"]);
    output.assert_code(0);
    serde_json::from_str(output.stdout.lines().next()?).ok()
}

/// The number that `hog cpu` ends with: how much it got done.
fn work(output: &Output) -> f64 {
    let last = output.stdout.lines().last().and_then(|line| line.split(' ').next());
    last.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{output}"))
}

fn shares() -> TestResult {
    let sandbox = Sandbox::new()?;
    // A third container keeps the cgroups above it from being empty between the two.
    let service = |shares: u32| {
        format!(
            "{{x-rootfs: ROOTFS, cpuset: '0', cpu_shares: {shares}, \
             command: [probe, hog, cpu, '2']}}"
        )
    };
    let yaml = format!("services:\n  more: {}\n  less: {}\n", service(2048), service(1024));
    let project = Project::new(&sandbox, "share", &yaml);
    let both = ["more", "less"].map(|name| project.spawn("run", &[name]));
    let [more, less] = both.map(|one| work(one.wait(e2e::PATIENCE).assert_code(0)));
    let ratio = more / less;
    assert!((1.5..2.7).contains(&ratio), "{more} to {less} is {ratio}, not 2");
    Ok(())
}

fn quarter() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = hog(&sandbox, "probe, hog, cpu, '60'", "cpus: 0.25");
    project.up();
    sleep(Duration::from_millis(300));
    let line = stats(&sandbox).ok_or("it runs")?;
    let percent = line["cpu_percent"].as_f64().ok_or("CPU time is counted")?;
    assert!((15.0..35.0).contains(&percent), "{line}");
    assert!(line["throttled_periods"].as_u64().is_some_and(|count| count >= 5), "{line}");

    // Three times as much from now on, also seen by who it is told to.
    let update = part5(&sandbox, &["update", "limit-hog", "--cpus", "0.75"]);
    update.assert_code(0).assert_stdout("cpus");
    let line = stats(&sandbox).ok_or("it runs")?;
    assert!(line["cpu_percent"].as_f64().is_some_and(|cpu| cpu > 40.0), "{line}");
    assert_eq!(e2e::inspect(&sandbox, "limit-hog")["service"]["cpus"], 0.75);
    project.run("down", &["--time", "0"]).assert_code(0);
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn update() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = hog(&sandbox, "probe, sleep, '3600'", "mem_limit: 64m, memswap_limit: 64m");
    project.up();
    exec(&sandbox, "limit-hog", &["probe", "hog", "memory", "40M"]);
    let smaller = ["update", "limit-hog", "--memory", "24m", "--memory-swap", "24m"];
    part5(&sandbox, &smaller).assert_code(0).assert_stdout("mem_limit");
    // What `exec` starts is in the same cgroup.
    part5(&sandbox, &["exec", "limit-hog", "probe", "hog", "memory", "40M"]).assert_code(137);
    assert_eq!(stats(&sandbox).ok_or("it runs")?["memory_limit_bytes"], 24 << 20);
    assert!(stats(&sandbox).is_some_and(|line| line["oom_kills"].as_u64() >= Some(1)));
    let larger = ["update", "limit-hog", "--memory", "96m", "--memory-swap", "96m"];
    part5(&sandbox, &larger).assert_code(0);
    exec(&sandbox, "limit-hog", &["probe", "hog", "memory", "40M"]);
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn refused_update() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project =
        hog(&sandbox, "probe, hog, memory, 30M, --hold, '3600'", "mem_limit: 64m, cpus: 0.5");
    project.up();
    let log = || part5(&sandbox, &["logs", "limit-hog"]).stdout;
    wait_until("it has its memory", || log().contains("30 MiB of 30 MiB"));
    // Less than it uses would have it killed.
    let update = |words: &[&str]| part5(&sandbox, &[&["update", "limit-hog"], words].concat());
    assert_refused(&update(&["--memory", "16m"]), &["it uses", "would be killed"]);
    assert_refused(&update(&["--memory", "1k"]), &["mem_limit"]);
    assert_refused(&update(&["--cpuset", "4000"]), &["cpuset"]);
    assert_refused(&update(&["--cpu-shares", "1"]), &["cpu_shares"]);
    assert_eq!(stats(&sandbox).ok_or("it runs")?["memory_limit_bytes"], 64 << 20);
    assert!(part5(&sandbox, &["update", "nobody", "--cpus", "1"]).code() == 125);
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn unlimited() -> TestResult {
    let sandbox = Sandbox::new()?;
    let project = hog(&sandbox, "probe, sleep, '3600'", "mem_limit: 32m, pids_limit: 20");
    let up = project.up();
    if up.stderr.contains("limits are not enforced") {
        up.assert_stderr("mem_limit").assert_stderr("pids_limit");
        assert!(!up.stdout.contains("at most"), "{up}");
        let update = part5(&sandbox, &["update", "limit-hog", "--memory", "64m"]);
        assert_refused(&update, &["no cgroup"]);
    } else {
        // A cgroup was delegated to this user: then the limit holds.
        let output = part5(&sandbox, &["exec", "limit-hog", "probe", "hog", "memory", "200M"]);
        output.assert_code(137);
    }
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}
