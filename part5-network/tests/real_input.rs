//! Real input: a Debian tree with nginx and Python, and a thousand requests.

mod e2e;
#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use e2e::http::{self, Client};
use e2e::{Project, assert_home_is_empty, cgroup_file, exit_code, net, part5, wait_until};
use harness::{Sandbox, TestResult, need, needs, test};

/// So many requests, half of them on connections that are kept.
const REQUESTS: usize = 1000;
/// So many on one connection.
const KEPT: usize = 50;
/// `mem_limit`.
const LIMIT: u64 = 64 << 20;

fn main() -> ExitCode {
    e2e::main(vec![test(
        "nginx_of_debian_serves_a_thousand_requests",
        needs![root, debian, bridge, overlay, cgroups],
        thousand_requests,
    )])
}

/// The web server's files: small, empty, larger than any buffer.
fn pages(project: &Project) -> Vec<(String, Vec<u8>)> {
    let site = project.dir().join("site");
    fs::create_dir(&site).expect("mkdir");
    let pages: Vec<(String, Vec<u8>)> = [0, 1, 700, 4096, 100_000, 1_000_000]
        .iter()
        .enumerate()
        .map(|(number, length)| {
            let body = (0..*length).map(|at| (at * 31 + number * 7) as u8).collect();
            (format!("/page-{number}"), body)
        })
        .collect();
    for (path, body) in &pages {
        fs::write(site.join(path.trim_start_matches('/')), body).expect("a page");
    }
    pages
}

const CONFIGURATION: &str = "
    worker_processes 2;
    error_log stderr;
    pid /run/nginx.pid;
    events { worker_connections 64; }
    http {
        access_log /dev/stdout;
        server { listen 80; root /srv/www; }
    }
";

fn project<'a>(sandbox: &'a Sandbox, port: u16) -> Project<'a> {
    let tree = need::debian_tree().expect("the test needs it");
    let project = Project::new(
        sandbox,
        "real",
        &format!(
            "
services:
  web:
    x-rootfs: {tree}
    command: [nginx, -g, daemon off;]
    ports: ['{port}:80']
    volumes: ['./site:/srv/www:ro', './nginx.conf:/etc/nginx/nginx.conf:ro']
    mem_limit: 64m
    pids_limit: 20
    cpus: 1.5
    stop_signal: SIGQUIT
  client:
    x-rootfs: {tree}
    depends_on: [web]
    volumes: ['./client.py:/client.py:ro']
    command: [python3, /client.py]
",
            tree = tree.display()
        ),
    );
    fs::write(project.dir().join("nginx.conf"), CONFIGURATION).expect("a configuration");
    fs::write(project.dir().join("client.py"), CLIENT).expect("a program");
    project
}

/// `python3-minimal` has sockets, but no `http.client`.
const CLIENT: &str = r#"
import socket, time
for attempt in range(100): # The server may not listen yet.
    try:
        socket.create_connection(("web", 80), timeout=10).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
for number in range(20):
    with socket.create_connection(("web", 80), timeout=10) as web:
        web.sendall(b"GET /page-2 HTTP/1.0\r\n\r\n")
        answer = b""
        while data := web.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    assert body == bytes((at * 31 + 14) % 256 for at in range(700)), len(body)
print("20 answers")
"#;

fn thousand_requests() -> TestResult {
    let sandbox = Sandbox::new()?;
    let port = net::free_port();
    let project = project(&sandbox, port);
    let pages = pages(&project);
    project.up();
    let inside = e2e::address(&sandbox, "real-web");
    wait_until("nginx answers", || http::answers(Ipv4Addr::LOCALHOST, port));

    let places = [(Ipv4Addr::LOCALHOST, port), (inside, 80)];
    let mut next = pages.iter().cycle();
    let check = |body: std::io::Result<Vec<u8>>, path: &str, expected: &[u8]| {
        let body = body.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(body == expected, "{path}: {} bytes, not {}", body.len(), expected.len());
    };
    for number in 0..REQUESTS / 2 {
        let (address, port) = places[number % places.len()];
        let (path, expected) = next.next().ok_or("a cycle")?;
        check(http::get(address, port, path), path, expected);
    }
    for number in 0..REQUESTS / 2 / KEPT {
        let (address, port) = places[number % places.len()];
        let mut client = Client::connect(address, port)?;
        for _ in 0..KEPT {
            let (path, expected) = next.next().ok_or("a cycle")?;
            check(client.get(path), path, expected);
        }
    }
    assert_limits_held(&sandbox);
    assert_neighbour_was_served(&sandbox);

    // All it served is in its log: it writes there through /dev/stdout.
    let log = part5(&sandbox, &["logs", "real-web"]).stdout;
    let served = log.lines().filter(|line| line.contains("\"GET /page-")).count();
    assert_eq!(served, REQUESTS + 20, "{log}");

    // SIGQUIT is nginx's word for: finish what you do, then end.
    part5(&sandbox, &["stop", "real-web"]).assert_code(0);
    assert_eq!(exit_code(&sandbox, "real-web"), Some(0));
    assert!(!http::answers(Ipv4Addr::LOCALHOST, port));
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn assert_limits_held(sandbox: &Sandbox) {
    let number = |names: &[&str]| {
        cgroup_file(sandbox, "real-web", names).and_then(|text| text.parse::<u64>().ok())
    };
    // The file of version 2 is there since Linux 6.5.
    match number(&["memory.max_usage_in_bytes", "memory.peak"]) {
        Some(peak) => assert!((1 << 20..LIMIT).contains(&peak), "a peak of {peak} bytes"),
        None => println!("this kernel remembers no peak of memory"),
    }
    assert_eq!(number(&["memory.limit_in_bytes", "memory.max"]), Some(LIMIT));
    assert_eq!(number(&["pids.max"]), Some(20));
    let killed = cgroup_file(sandbox, "real-web", &["memory.oom_control", "memory.events"]);
    assert!(killed.is_some_and(|text| text.contains("oom_kill 0")));
}

/// The second service finds the first by its name.
fn assert_neighbour_was_served(sandbox: &Sandbox) {
    wait_until("the client ends", || exit_code(sandbox, "real-client").is_some());
    let log = part5(sandbox, &["logs", "real-client"]);
    assert!(log.stdout.contains("20 answers"), "{log}");
    assert_eq!(exit_code(sandbox, "real-client"), Some(0), "{log}");
}
