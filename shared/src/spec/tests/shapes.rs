//! What is understood: the whole of the example, and both syntaxes of every key that has two.

use std::path::PathBuf;

use super::super::{NetworkMode, Port, Protocol, Restart, Source, Ulimit, keys};
use super::*;

#[test]
fn the_example_uses_every_key() {
    let text = include_str!("../example.yml");
    let spec = read(text).unwrap_or_else(|error| panic!("{error}"));
    let used: Vec<&String> = spec.services.values().flat_map(|s| s.lines.keys()).collect();
    let missing: Vec<_> =
        keys::SERVICE.known().iter().filter(|key| !used.iter().any(|u| u == *key)).collect();
    assert!(missing.is_empty(), "not in example.yml: {missing:?}");

    let web = &spec.services["web"];
    for (key, line) in &web.lines {
        let there = text.lines().nth(line - 1).unwrap();
        assert!(there.trim_start().starts_with(key), "line {line} is {there}, not {key}");
    }
    assert_eq!(spec.project, "shop");
    assert_eq!(web.command, ["sh", "-c", "probe serve 80"]);
    assert_eq!(web.restart, Restart::OnFailure(Some(3)));
    assert_eq!(web.tmpfs.len(), 3);
    assert_eq!(web.stop_signal, Some(2));
    assert_eq!(spec.services["database"].rootfs, Some("/home/ann/My Shop/database-root".into()));
    assert_eq!(spec.services["database"].network_mode, NetworkMode::None);
}

#[test]
fn a_spec_survives_being_printed() {
    let spec = read(include_str!("../example.yml")).unwrap();
    let yaml = serde_yaml::to_string(&spec).unwrap();
    assert_eq!(serde_yaml::from_str::<Spec>(&yaml).unwrap(), spec);
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
}

#[test]
fn two_syntaxes_say_the_same() {
    for (short, long) in [
        ("command: sleep 5", "command: [sleep, '5']"),
        ("command:", "command: []"),
        ("entrypoint: tini --", "entrypoint: [tini, '--']"),
        ("environment: ['A=1', B=, C]", "environment: {A: 1, B: '', C: }"),
        ("labels: [a=b, c]", "labels: {a: b, c: ''}"),
        ("sysctls: [net.core.somaxconn=9]", "sysctls: {net.core.somaxconn: 9}"),
        ("networks: [front]", "networks: {front: }"),
        ("depends_on: []", "depends_on: {}"),
        ("tmpfs: /run", "tmpfs: [/run]"),
        ("dns: 9.9.9.9", "dns: [9.9.9.9]"),
        ("extra_hosts: ['a:1.2.3.4', 'b=::1']", "extra_hosts: {a: 1.2.3.4, b: '[::1]'}"),
        ("ulimits: {nofile: 9}", "ulimits: {nofile: {soft: 9, hard: 9}}"),
        ("ports: ['80']", "ports: [{target: 80}]"),
        (
            "ports: ['127.0.0.1:8080:80/udp']",
            "ports: [{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: udp}]",
        ),
        ("volumes: [/a]", "volumes: [{type: volume, target: /a}]"),
        (
            "volumes: ['data:/a:ro']",
            "volumes: [{type: volume, source: data, target: /a, read_only: true}]",
        ),
        ("volumes: ['./x:/a']", "volumes: [{type: bind, source: ./x, target: /a}]"),
        (
            "tmpfs: ['/a:size=1m,mode=700']",
            "volumes: [{type: tmpfs, target: /a, tmpfs: {size: 1m, mode: 0o700}}]",
        ),
        (
            "devices: [/dev/fuse]",
            "devices: [{source: /dev/fuse, target: /dev/fuse, permissions: rwm}]",
        ),
        ("cap_add: [cap_sys_time]", "cap_add: [SYS_TIME]"),
        ("mem_limit: 64m", "mem_limit: 67108864"),
        ("stop_signal: SIGRTMIN+3", "stop_signal: '37'"),
        ("init: 'true'", "init: true"),
        ("ports: ['${PORT}:80']", "ports: ['8080:80']"),
    ] {
        let without_lines = |lines: &str| Service { lines: Default::default(), ..service(lines) };
        assert_eq!(without_lines(short), without_lines(long), "{short}");
    }
}

#[test]
fn both_syntaxes_of_depends_on() {
    let file = |on: &str| {
        format!("services: {{a: {{image: host, depends_on: {on}}}, b: {{image: host}}}}")
    };
    for on in ["[b]", "{b: {condition: service_started}}"] {
        assert_eq!(read(&file(on)).unwrap().services["a"].depends_on, ["b"], "{on}");
    }
}

#[test]
fn values_are_what_they_mean() {
    let service = service(
        "environment: [A=x=y, HOME, ABSENT]\nuser: '7:8'\nrestart: no\nmemswap_limit: -1\n\
         volumes: ['~/files:/files', '..//up/:/up/']\nulimits: {core: -1}\npids_limit: -1\n\
         security_opt: ['no-new-privileges:false']\nx-note: [anything]",
    );
    let environment = [("A", "x=y"), ("HOME", "/home/ann")];
    assert_eq!(service.environment, environment.map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(service.volumes[0].source, Source::Bind("/home/ann/files".into()));
    assert_eq!(service.volumes[1].source, Source::Bind("/home/ann/My Shop/../up".into()));
    assert_eq!(service.volumes[1].target, PathBuf::from("/up"));
    assert_eq!(service.ulimits["core"], Ulimit { soft: -1, hard: -1 });
    assert!(service.security.allow_new_privileges && !service.security.seccomp_unconfined);
    assert_eq!((service.memswap_limit, service.pids_limit), (Some(-1), Some(-1)));
}

#[test]
fn ranges_of_ports_are_taken_apart() {
    let port =
        |host_ip, published, target| Port { host_ip, published, target, protocol: Protocol::Tcp };
    let ports = |text: &str| service(&format!("ports: ['{text}']")).ports;
    let local = Some("127.0.0.1".parse().unwrap());
    let pairs: Vec<_> = (0..6).map(|n| port(None, Some(8000 + n), 80 + n)).collect();
    assert_eq!(ports("8000-8005:80-85"), pairs);
    assert_eq!(ports("80"), [port(None, None, 80)]);
    assert_eq!(ports("80-81"), [port(None, None, 80), port(None, None, 81)]);
    assert_eq!(ports("127.0.0.1::80"), [port(local, None, 80)]);
    assert_eq!(ports("0.0.0.0:8080:80/tcp"), [port(None, Some(8080), 80)]);
    let udp = Port { protocol: Protocol::Udp, ..port(local, Some(8080), 80) };
    assert_eq!(ports("127.0.0.1:8080:80/udp"), [udp]);
    assert_eq!(
        service("ports: ['53:53', '53:53/udp', '10.0.0.1:80:80', '10.0.0.2:80:80']").ports.len(),
        4
    );
}

#[test]
fn anchors_aliases_and_merges() {
    let spec = read(
        "x-common: &common {image: host, cpus: 1, init: true}\n\
         services:\n  a: {<<: *common, cpus: 2}\n  b: *common\n  c: {<<: [{user: ann}, *common]}\n",
    )
    .unwrap();
    assert_eq!(spec.services["a"].cpus, Some(2.0));
    assert!(spec.services["a"].init && spec.services["b"].init);
    assert_eq!(spec.services["c"].user.as_deref(), Some("ann"));
}

#[test]
fn the_project_is_named_as_compose_does() {
    assert_eq!(read("services: {a: {image: host}}").unwrap().project, "myshop");
    assert_eq!(read("name: x_1-y\nservices: {a: {image: host}}").unwrap().project, "x_1-y");
    assert!(read("name: Shop\nservices: {a: {image: host}}").is_err());
}

#[test]
fn a_directory_stands_for_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("service-specs.yml");
    std::fs::write(&file, "name: x\nversion: '3'\nservices: {a: {image: host}}").unwrap();
    assert_eq!(Spec::load(directory.path()).unwrap(), Spec::load(&file).unwrap());

    std::fs::write(&file, "#".repeat((64 << 10) + 1)).unwrap();
    let error = Spec::load(&file).unwrap_err().to_string();
    assert!(error.contains("it is larger than 64 KiB"), "{error}");
    std::fs::write(&file, b"name: \xff").unwrap();
    let error = Spec::load(&file).unwrap_err().to_string();
    assert!(error.contains("byte 6 is not UTF-8"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = Spec::load(&file).unwrap_err().to_string();
    assert!(error.contains("No such file") && error.contains("try: name a"), "{error}");
}
