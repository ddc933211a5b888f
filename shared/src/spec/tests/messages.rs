//! What is said when something is wrong, and where.

use super::*;

/// A message in full, with the name of the file made short.
fn message(text: &str) -> String {
    let message = read(text).expect_err(text).to_string();
    message.replace("/home/ann/My Shop/", "")
}

fn lines(expected: &[&str]) -> String {
    expected.join("\n")
}

#[test]
fn an_unknown_key() {
    let expected = lines(&[
        "`mem_limt` is not a key of a service",
        " --> service-specs.yml:4:5",
        "  |",
        "4 |     mem_limt: 64m",
        "  |     ^^^^^^^^ did you mean `mem_limit`?",
    ]);
    assert_eq!(message(&file_with("mem_limt: 64m")), expected);
}

#[test]
fn a_key_of_compose_we_do_not_have() {
    let expected = lines(&[
        "`build` of Compose is not supported here",
        " --> service-specs.yml:5:5",
        "  |",
        "5 |     build: .",
        "  |     ^^^^^ this key",
        "  try: build the image first, then name it with `image`",
    ]);
    assert_eq!(message(&file_with("init: true\nbuild: .")), expected);
}

#[test]
fn a_key_that_stands_twice() {
    let expected = lines(&[
        "the key `cpus` stands here twice",
        " --> service-specs.yml:7:5",
        "  |",
        "4 |     cpus: 1",
        "  |     ---- first here",
        "...",
        "7 |     cpus: 2",
        "  |     ^^^^ again; first in line 4",
        "  try: remove one of them",
    ]);
    assert_eq!(message(&file_with("cpus: 1\ninit: true\ntty: true\ncpus: 2")), expected);
}

#[test]
fn a_wrong_type_in_a_line_with_wide_letters() {
    let expected = lines(&[
        "a list was expected, found a number",
        " --> service-specs.yml:1:37",
        "  |",
        "1 | services: {a: {image: \"größe\", dns: [], ports: 80}}",
        "  |                                                ^^ a list",
    ]);
    let text = "services: {a: {image: \"größe\", dns: [], ports: 80}}";
    assert_eq!(message(text), expected.replace("1:37", "1:48"));
}

#[test]
fn an_address_given_twice() {
    let text = "services:\n  a: {image: host, networks: {n: {ipv4_address: 10.9.0.5}}}\n  \
                b: {image: host, networks: {n: {ipv4_address: 10.9.0.5}}}\n\
                networks: {n: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}\n";
    let expected = lines(&[
        "the address 10.9.0.5 is given twice",
        " --> service-specs.yml:3:50",
        "  |",
        "2 |   a: {image: host, networks: {n: {ipv4_address: 10.9.0.5}}}",
        "  |                                                 -------- first here",
        "3 |   b: {image: host, networks: {n: {ipv4_address: 10.9.0.5}}}",
        "  |                                                 ^^^^^^^^ again here",
    ]);
    assert_eq!(message(text), expected.replace("3:50", "3:49"));
}

#[test]
fn not_yaml() {
    let expected = lines(&[
        "this is not YAML",
        " --> service-specs.yml:1:5",
        "  |",
        "1 | a: b: c",
        "  |     ^ mapping values are not allowed in this context",
        "  try: look at the indentation (spaces, no tabs), colons and quotes here",
    ]);
    assert_eq!(message("a: b: c"), expected);
}

#[test]
fn a_file_as_a_whole() {
    for (text, title) in [
        ("", "the file is empty"),
        ("# nothing", "the file is empty"),
        ("- a", "a mapping was expected, found a list"),
        ("name: x", "`services` is missing"),
        ("services: {}", "there is no service"),
        ("services:", "a mapping was expected, found nothing"),
        ("services: {a: {image: h}}\n---\nb: c", "a second document begins here"),
        ("services: {a: {}}", "the service `a` has no image"),
        ("services: {a b: {image: h}}", "`a b` is no name for a service"),
        ("services: {a: {image: h}}\nimage: h", "`image` is not a key of the file"),
        ("services: {a: {image: h}}\nsecrets: {}", "`secrets` of Compose is not supported here"),
        ("services: {a: {image: !x h}}", "this value has a YAML tag"),
        ("services: {a: {image: \"\\0\"}}", "a NUL character cannot be used"),
        ("services: {a: {image: h, [b]: c}}", "a key must be a text"),
        ("services: {a: {image: h, depends_on: [b]}}", "there is no service `b`"),
        (
            "services: {a: {image: h, depends_on: [b]}, b: {image: h, depends_on: [a]}}",
            "services wait for each other in a circle",
        ),
        (
            "services: {a: {image: h, ports: ['80:1']}, b: {image: h, ports: ['1.2.3.4:80:1']}}",
            "the port 80 of the host is published twice",
        ),
        (
            "services: {a: {image: h, container_name: c}, b: {image: h, container_name: c}}",
            "two containers are called `c`",
        ),
        (
            "services: {a: {image: h}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.1/24}]}}}",
            "10.0.0.1/24 is an address, not a subnet",
        ),
        (
            "services: {a: {image: h}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/24, \
             gateway: 10.0.1.1}]}}}",
            "10.0.1.1 is outside the subnet 10.0.0.0/24",
        ),
        (
            "services: {a: {image: h}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/8}]}}, \
             m: {ipam: {config: [{subnet: 10.1.0.0/16}]}}}",
            "the subnet 10.1.0.0/16 overlaps that of `n`",
        ),
    ] {
        let message = message(text);
        assert_eq!(message.lines().next(), Some(title), "{message}");
    }
}

#[test]
fn every_wrong_value_is_shown_in_its_line() {
    for (value, title) in [
        ("image: h", "the key `image` stands here twice"),
        ("user: 1000", "a text was expected, found a number"),
        ("user: 'a:b:c'", "`a:b:c` is not a user"),
        ("init: maybe", "`true` or `false` was expected, found a text"),
        ("hostname: 'a b'", "`a b` is not a host name"),
        ("hostname: ''", "a text was expected, found an empty one"),
        ("working_dir: srv", "`srv` is not an absolute path in the container"),
        ("command: {a: b}", "a text or a list was expected, found a mapping"),
        ("command: \"'x\"", "this cannot be split into words"),
        ("environment: x", "a list or a mapping was expected, found a text"),
        ("environment:\n  - A=1\n  - =2", "`=2` is not KEY=VALUE"),
        ("environment:\n  - A=1\n  - B: 2", "a text was expected, found a mapping"),
        ("stop_signal: SIGTREM", "`SIGTREM` is not a signal"),
        ("stop_signal: '65'", "`65` is not a signal"),
        ("stop_grace_period: 10", "`10` is not a duration"),
        ("restart: sometimes", "`sometimes` is not a way to restart"),
        ("restart: 'on-failure:x'", "`on-failure:x` is not a way to restart"),
        ("cap_add: [NET_ADMN]", "`NET_ADMN` is not a capability"),
        ("cap_add: CHOWN", "a list was expected, found a text"),
        ("security_opt: ['apparmor:x']", "`apparmor:x` of Compose is not supported here"),
        ("sysctls: {vm.swappiness: 1}", "the sysctl `vm.swappiness` cannot be set"),
        ("sysctls: {kernel.hostname: x}", "the sysctl `kernel.hostname` cannot be set"),
        ("sysctls: {net.x/../../vm: 1}", "the sysctl `net.x/../../vm` cannot be set"),
        ("ulimits: {nofiles: 1}", "`nofiles` is not a ulimit"),
        ("ulimits: {nofile: {soft: 9, hard: 8}}", "`soft` is more than `hard`"),
        ("ulimits: {nofile: {soft: 9}}", "`hard` is missing"),
        ("devices: ['fuse']", "`fuse` is not a device of the host"),
        ("devices: ['/dev/fuse:/dev/fuse:x']", "`x` is not an access to a device"),
        ("device_cgroup_rules: ['c 1 r']", "`c 1 r` is not a rule for devices"),
        ("shm_size: lots", "`lots` is not a size"),
        ("tmpfs: run", "`run` is not an absolute path in the container"),
        ("tmpfs: ['/run:uid=3']", "`uid=3` is not an option of a tmpfs"),
        ("tmpfs: [/a]\nvolumes: ['data:/a']", "`/a` is mounted twice"),
        ("volumes: [data/x]", "`data/x` is not an absolute path in the container"),
        ("volumes: ['a/b:/x']", "`a/b` is neither a name nor a path"),
        ("volumes: ['data:/']", "nothing can be mounted on `/` of the container"),
        ("volumes: ['data:/a/../b']", "a path in the container may not contain `..`"),
        ("volumes: ['data:/a:rx']", "the mode `rx` is not supported"),
        ("volumes:\n  - data:/a\n  - dta:/b", "there is no volume `dta`"),
        ("volumes: [{type: npipe, target: /a}]", "`npipe` is not a type of volume"),
        (
            "volumes: [{type: tmpfs, target: /a, tmpfs: {mode: 1777}}]",
            "`1777` is not an octal mode",
        ),
        ("mem_limit: 5m", "`5m` is too small"),
        ("mem_limit: -1", "`-1` is not a size"),
        ("mem_limit: [1]", "a size like `64m` or a number of bytes was expected, found a list"),
        ("mem_limit: 64m\nmemswap_limit: 32m", "`memswap_limit` is less than `mem_limit`"),
        ("memswap_limit: 32m", "`memswap_limit` needs `mem_limit`"),
        ("mem_limit: 8m\nmem_reservation: 9m", "`mem_reservation` is more than `mem_limit`"),
        ("cpus: 0.001", "`0.001` is too small"),
        ("cpus: nan", "`nan` is not a number of CPUs"),
        ("cpus: 1e9", "`1e9` is not a number of CPUs"),
        ("cpu_shares: 1", "1 is too small"),
        ("cpu_shares: 262145", "262145 is too large"),
        ("cpuset: 3-1", "`3-1` is not a list of CPUs"),
        ("pids_limit: 0", "0 is too small"),
        ("pids_limit: 2.5", "`2.5` is not a whole number"),
        ("blkio_config: {weight: 9}", "9 is too small"),
        ("blkio_config: {weight: 70000}", "`70000` is out of range"),
        (
            "blkio_config: {device_read_bps: [{path: vda, rate: 1}]}",
            "`vda` is not a device of the host",
        ),
        ("oom_score_adj: 1001", "1001 is too large"),
        ("network_mode: bridges", "the network mode `bridges` is not supported"),
        (
            "network_mode: host\nports: ['80:80']",
            "`ports` cannot be published with `network_mode: host`",
        ),
        ("networks: [back]", "there is no network `back`"),
        (
            "networks: {front: {ipv4_address: 10.8.0.5}}",
            "10.8.0.5 is outside the subnet 10.9.0.0/24",
        ),
        ("networks: {front: {ipv4_address: 10.9.0.1}}", "10.9.0.1 is the gateway of the network"),
        ("networks: {front: {ipv4_address: 10.9.0.0}}", "10.9.0.0 is the network itself"),
        (
            "networks: {front: {ipv4_address: 10.9.0.255}}",
            "10.9.0.255 is the broadcast address of 10.9.0.0/24",
        ),
        (
            "networks: {default: {ipv4_address: 10.9.0.9}}",
            "`ipv4_address` needs a network with a subnet",
        ),
        ("networks: {front: {ipv4_address: 10.9.0}}", "`10.9.0` is not an IP address"),
        ("ports: 80", "a list was expected, found a number"),
        ("ports: ['70000:80']", "the port `70000` is out of range"),
        ("ports: ['0:80']", "the port `0` is out of range"),
        ("ports: ['8000-8002:80-81']", "the two ranges are not of the same length"),
        ("ports: ['85-80']", "the range `85-80` goes backwards"),
        ("ports: ['80/sctp']", "`sctp` is not a protocol of ports"),
        ("ports: ['x:80']", "`x` is not a port"),
        ("ports:\n  - 80:80\n  - 80:81", "the port 80 of the host is published twice"),
        ("extra_hosts: [a]", "`a` is not a host with its address"),
        ("dns: [one.one]", "`one.one` is not an IP address"),
        ("depends_on: [wbe]", "there is no service `wbe`"),
        ("depends_on: [web]", "services wait for each other in a circle"),
        ("command: $NO_SUCH", "the variable `NO_SUCH` is not set"),
        ("build: .", "`build` of Compose is not supported here"),
    ] {
        // A line before and after: the message must show the right one of three.
        let value =
            if value.starts_with("image") { value.into() } else { format!("tty: true\n{value}") };
        let line = match title {
            "`ports` cannot be published with `network_mode: host`" => 3,
            _ => value.lines().count(),
        };
        let (said, at) = complaint(&format!("{value}\nread_only: true"));
        assert_eq!((said.as_str(), at), (title, line), "{value}");
    }
}

#[test]
fn a_long_line_is_cut() {
    let service = format!("x-a: {0}, ports: 80, x-b: {0}", "y".repeat(300));
    let message = message(&format!("services: {{a: {{image: h, {service}}}}}"));
    assert!(message.contains("ports: 80"), "{message}");
    assert!(message.lines().all(|line| line.chars().count() <= 80), "{message}");
}
