//! Who reaches whom: networks, names, published ports, other hosts.

mod e2e;
#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::net::Ipv4Addr;
use std::process::ExitCode;

use e2e::net::{HOST, OTHER, OtherHost, ask_udp, free_port, in_network_of, our_links};
use e2e::{
    Project, address, assert_home_is_empty, container, exec, http, network, part5, pid, wait_until,
};
use harness::{Need, Sandbox, TestResult, need, test};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn main() -> ExitCode {
    let firewall = || -> Vec<Need> { network().into_iter().chain([need::nft()]).collect() };
    e2e::main(vec![
        test("one_network_is_reached_and_another_is_not", network(), isolation),
        test("a_service_has_the_names_of_its_networks", network(), names),
        test("a_published_port_is_reached_from_everywhere", network(), published),
        test("a_port_of_127_0_0_1_is_not_for_other_hosts", network(), published_here),
        test("a_udp_port_is_published", network(), udp),
        test("a_port_that_is_chosen_is_said", container(), chosen_port),
        test("the_world_is_reached_unless_internal", firewall(), way_out),
        test("without_root_a_tcp_and_a_udp_port_are_published", user(), without_root),
    ])
}

fn user() -> Vec<Need> {
    container().into_iter().chain([need::not_root()]).collect()
}

/// A service that serves its page on port 80.
fn web(more: &str) -> String {
    format!("{{x-rootfs: ROOTFS, init: true, command: [probe, serve], {more}}}")
}

/// Whether `from` gets the page of `to`, asked by a program inside.
fn reaches(sandbox: &Sandbox, from: &str, to: &str) -> bool {
    let ask = ["exec", from, "probe", "connect", to, "--send", r"GET / HTTP/1.0\r\n\r\n"];
    part5(sandbox, &ask).stdout.contains("Hello from inside")
}

/// Whether `from` gets an answer from an address; what must not answer is not waited for long.
fn gets(sandbox: &Sandbox, from: &str, to: Ipv4Addr) -> bool {
    in_network_of(pid(sandbox, from), || http::answers(to, 80))
}

fn isolation() -> TestResult {
    let sandbox = Sandbox::new()?;
    let services = format!(
        "services:\n  web: {}\n  near: {}\n  far: {}\nnetworks: {{front: , back: }}\n",
        web("networks: [front]"),
        web("networks: [front, back]"),
        web("networks: [back]")
    );
    let (one, two) =
        (Project::new(&sandbox, "one", &services), Project::new(&sandbox, "two", &services));
    one.up();
    two.up();
    let of = |name: &str| address(&sandbox, name);

    for name in ["one-web", "one-far", "two-web"] {
        wait_until("all serve", || http::answers(of(name), 80));
    }

    // In one network they reach each other, by name and by address.
    assert!(reaches(&sandbox, "one-near", "web:80"));
    assert!(gets(&sandbox, "one-near", of("one-web")));
    assert!(reaches(&sandbox, "one-near", "far:80"));
    // Another network of the same project, and the same network of another project.
    assert!(!gets(&sandbox, "one-far", of("one-web")));
    assert!(!gets(&sandbox, "one-web", of("one-far")));
    for (from, to) in [("one-web", "two-web"), ("two-near", "one-near"), ("two-far", "one-far")] {
        assert!(!gets(&sandbox, from, of(to)), "{from} reaches {to}");
    }
    // Each name leads to the one of its own project.
    let hosts = exec(&sandbox, "two-near", &["cat", "/etc/hosts"]);
    assert!(hosts.contains(&of("two-web").to_string()), "{hosts}");
    assert!(!hosts.contains(&of("one-web").to_string()), "{hosts}");
    // The host reaches all.
    assert!(http::answers(of("one-web"), 80) && http::answers(of("two-far"), 80));

    // Two cables for `near`, one for each other; two bridges for each project.
    assert_eq!(our_links().len(), 2 * (4 + 2));
    one.down();
    wait_until("the links of one project go", || our_links().len() == 4 + 2);
    assert!(gets(&sandbox, "two-near", of("two-web")), "the other project is untouched");
    two.down();
    wait_until("all links go", || our_links().is_empty());
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn names() -> TestResult {
    let sandbox = Sandbox::new()?;
    let services = format!(
        "services:\n  web: {}\n  client: {}\n\
         networks: {{shop: {{ipam: {{config: [{{subnet: 10.211.0.0/24}}]}}}}}}\n",
        web("hostname: shop-host, \
             networks: {shop: {ipv4_address: 10.211.0.77, aliases: [www, store.example]}}"),
        web("networks: [shop], extra_hosts: ['printer=192.0.2.9']"),
    );
    let project = Project::new(&sandbox, "names", &services);
    project.up();
    let fixed = Ipv4Addr::new(10, 211, 0, 77);
    assert_eq!(address(&sandbox, "names-web"), fixed);
    wait_until("it serves", || http::answers(fixed, 80));
    for name in ["web", "names-web", "shop-host", "www", "store.example", "10.211.0.77"] {
        assert!(reaches(&sandbox, "names-client", &format!("{name}:80")), "{name}");
    }
    let hosts = exec(&sandbox, "names-client", &["cat", "/etc/hosts"]);
    assert!(hosts.contains("192.0.2.9\tprinter"), "{hosts}");
    // One that comes back has its name again, and its fixed address.
    part5(&sandbox, &["rm", "--force", "names-web"]).assert_code(0);
    project.up();
    wait_until("it serves again", || http::answers(address(&sandbox, "names-web"), 80));
    assert!(reaches(&sandbox, "names-client", "web:80"));
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn published() -> TestResult {
    let sandbox = Sandbox::new()?;
    let other = OtherHost::new();
    let port = free_port();
    let services = format!(
        "services:\n  web: {}\n  near: {}\n",
        web(&format!("ports: ['{port}:80']")),
        web("")
    );
    let project = Project::new(&sandbox, "pub", &services);
    project.up().assert_stdout(&format!("0.0.0.0:{port}->80/tcp"));
    wait_until("it serves", || http::answers(address(&sandbox, "pub-web"), 80));
    assert!(http::text(LOCALHOST, port, "/")?.contains("Hello from inside"));
    assert!(http::answers(HOST, port), "the host itself, by its address");
    assert!(other.inside(|| http::answers(HOST, port)), "another host");
    for from in ["pub-near", "pub-web"] {
        let asked = in_network_of(pid(&sandbox, from), || http::answers(HOST, port));
        assert!(asked, "{from}, through the host's address");
    }
    // Only what is published: neither the container's own address nor another port.
    let inside = address(&sandbox, "pub-web");
    assert!(!other.inside(|| http::answers(inside, 80)));
    assert!(!other.inside(|| http::answers(HOST, 80)));
    project.run("ps", &[]).assert_stdout(&format!("{port}->80"));

    // After a restart of the service the port leads to the new container.
    part5(&sandbox, &["stop", "pub-web"]).assert_code(0);
    assert!(!http::answers(LOCALHOST, port) && !other.inside(|| http::answers(HOST, port)));
    project.up();
    wait_until("it serves again", || http::answers(LOCALHOST, port));
    assert!(other.inside(|| http::answers(HOST, port)));
    project.down();
    assert!(!other.inside(|| http::answers(HOST, port)));
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn published_here() -> TestResult {
    let sandbox = Sandbox::new()?;
    let other = OtherHost::new();
    let port = free_port();
    let services =
        format!("services:\n  web: {}\n", web(&format!("ports: ['127.0.0.1:{port}:80']")));
    let project = Project::new(&sandbox, "here", &services);
    project.up();
    wait_until("it serves", || http::answers(LOCALHOST, port));
    assert!(!http::answers(HOST, port));
    assert!(!other.inside(|| http::answers(HOST, port)));
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn echo(port: u16) -> String {
    format!(
        "services:\n  echo:\n    x-rootfs: ROOTFS\n    init: true\n    \
         command: [probe, udp-echo, '53']\n    ports: ['{port}:53/udp']\n"
    )
}

fn udp() -> TestResult {
    let sandbox = Sandbox::new()?;
    let other = OtherHost::new();
    let port = free_port();
    let project = Project::new(&sandbox, "udp", &echo(port));
    project.up().assert_stdout(&format!("0.0.0.0:{port}->53/udp"));
    wait_until("it answers", || ask_udp(LOCALHOST, port, "hello").as_deref() == Some("hello"));
    assert_eq!(other.inside(|| ask_udp(HOST, port, "from far")).as_deref(), Some("from far"));
    // It has no TCP port, and nobody claims that curl would be of use.
    assert!(!http::answers(LOCALHOST, port));
    assert!(!project.up().stdout.contains("curl"));
    project.down();
    assert_eq!(ask_udp(LOCALHOST, port, "hello"), None);
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn chosen_port() -> TestResult {
    let sandbox = Sandbox::new()?;
    let services = format!("services:\n  web: {}\n", web("ports: ['127.0.0.1::8080']"));
    let services = services.replace("[probe, serve]", "[probe, serve, --port, '8080']");
    let project = Project::new(&sandbox, "chosen", &services);
    let up = project.up();
    let url = up.stdout.lines().find_map(|line| line.split_once("http://127.0.0.1:"));
    let (_, port) = url.ok_or("a URL")?;
    let port = port.trim_end_matches('/').parse()?;
    wait_until("it serves", || http::answers(LOCALHOST, port));
    project.run("ps", &[]).assert_stdout(&format!("127.0.0.1:{port}->8080"));
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn way_out() -> TestResult {
    let sandbox = Sandbox::new()?;
    let other = OtherHost::new();
    let services = format!(
        "services:\n  out: {}\n  shut: {}\n\
         networks: {{open: , closed: {{internal: true}}}}\n",
        web("networks: [open]"),
        web("networks: [closed]"),
    );
    let project = Project::new(&sandbox, "way", &services);
    project.up();
    let (sender, asked) = std::sync::mpsc::channel();
    let server = other.inside(|| std::net::UdpSocket::bind((OTHER, 7)))?;
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 100];
        server.set_read_timeout(Some(e2e::PATIENCE)).expect("a timeout");
        let (length, from) = server.recv_from(&mut buffer).expect("one asks");
        server.send_to(&buffer[..length], from).expect("it is answered");
        sender.send(from.ip()).expect("the test waits");
    });
    let ask = |from: &str| in_network_of(pid(&sandbox, from), || ask_udp(OTHER, 7, "out"));
    assert_eq!(ask("way-shut"), None);
    assert_eq!(ask("way-out").as_deref(), Some("out"));
    // The other host sees our host's address: that is NAT.
    assert_eq!(asked.recv()?, std::net::IpAddr::V4(HOST));
    answering.join().map_err(|_| "the server panicked")?;
    project.down();
    assert_home_is_empty(&sandbox);
    Ok(())
}

fn without_root() -> TestResult {
    let sandbox = Sandbox::new()?;
    let (port, udp_port) = (free_port(), free_port());
    let services = format!("{}  web: {}\n", echo(udp_port), web(&format!("ports: ['{port}:80']")));
    let project = Project::new(&sandbox, "user", &services);
    let up = project.up();
    up.assert_stderr("without root there is no bridge")
        .assert_stderr("a small forwarder (no root)");
    wait_until("it serves", || http::answers(LOCALHOST, port));
    let answer = || ask_udp(LOCALHOST, udp_port, "hello");
    wait_until("it echoes", || answer().as_deref() == Some("hello"));
    project.down();
    assert!(!http::answers(LOCALHOST, port) && answer().is_none());
    assert_home_is_empty(&sandbox);
    Ok(())
}
