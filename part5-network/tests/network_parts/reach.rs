//! Who reaches whom.

use std::net::Ipv4Addr;

use shared::spec::{Attachment, Network};

use crate::harness::{Test, needs};
use crate::lab::{HOST, Lab, WORLD, ask, ask_udp, inside, project, service, world};
use crate::{test, test_with};

pub fn tests() -> Vec<Test> {
    vec![
        test("neighbours_reach_each_other_by_address_and_name", neighbours),
        test_with("the_world_is_reached_with_the_hosts_address", needs![nft], the_world),
        test("another_network_is_not_reached", another_network),
        test("an_internal_network_has_no_way_out", internal),
        test_with("a_container_on_two_networks_reaches_both", needs![nft], two_networks),
        test("the_world_does_not_reach_a_container_unasked", unasked),
        test("addresses_are_checked_before_anything_starts", addresses),
        test("a_plan_changes_nothing", plan),
    ]
}

fn neighbours() {
    let lab = Lab::new();
    let spec = project(&[]);
    let a = lab.start(&spec, &service("a", "default"));
    let b = lab.start(&spec, &service("b", "default"));
    assert_ne!(a.address(), b.address());
    let answer = inside(a.pid(), || ask(b.address(), 80));
    assert_eq!(answer, format!("b {}", a.address()));
    let answer = inside(b.pid(), || ask_udp(a.address(), 53));
    assert_eq!(answer, format!("a {} hello", b.address()));
    // The one that came first knows the one that came later.
    let line = format!("{}\tb test-b\n", b.address());
    assert!(a.read("/etc/hosts").contains(&line), "{}", a.read("/etc/hosts"));
    assert!(b.read("/etc/hosts").contains(&format!("{}\ta test-a\n", a.address())));
    assert_eq!(b.read("/etc/hostname"), "test-b\n");
}

fn the_world() {
    let lab = Lab::new();
    let spec = project(&[]);
    let a = lab.start(&spec, &service("a", "default"));
    assert_eq!(inside(a.pid(), || ask(WORLD, 80)), format!("world {HOST}"));
    assert_eq!(inside(a.pid(), || ask_udp(WORLD, 53)), format!("world {HOST} hello"));
}

fn another_network() {
    let lab = Lab::new();
    let spec = project(&[("front", Network::default()), ("back", Network::default())]);
    let a = lab.start(&spec, &service("a", "front"));
    let b = lab.start(&spec, &service("b", "back"));
    let c = lab.start(&spec, &service("c", "back"));
    assert!(inside(a.pid(), || ask(b.address(), 80)).starts_with("error"));
    assert!(inside(b.pid(), || ask(a.address(), 80)).starts_with("error"));
    // The same question has an answer where there is a way.
    assert!(inside(c.pid(), || ask(b.address(), 80)).starts_with("b "));
    assert!(!a.read("/etc/hosts").contains("test-b"));
}

fn internal() {
    let lab = Lab::new();
    let spec = project(&[("inner", Network { internal: true, ..Network::default() })]);
    let a = lab.start(&spec, &service("a", "inner"));
    let b = lab.start(&spec, &service("b", "inner"));
    assert!(inside(a.pid(), || ask(b.address(), 80)).starts_with("b "));
    assert!(inside(a.pid(), || ask(WORLD, 80)).starts_with("error"));
}

fn two_networks() {
    let lab = Lab::new();
    let inner = Network { internal: true, ..Network::default() };
    let spec = project(&[("inner", inner), ("front", Network::default())]);
    let mut both = service("both", "inner");
    both.networks.insert("front".into(), Attachment::default());
    let both = lab.start(&spec, &both);
    let back = lab.start(&spec, &service("back", "inner"));
    assert!(inside(both.pid(), || ask(back.address(), 80)).starts_with("back "));
    assert_eq!(inside(both.pid(), || ask(WORLD, 80)), format!("world {HOST}"));
}

fn unasked() {
    let lab = Lab::new();
    let spec = project(&[]);
    let a = lab.start(&spec, &service("a", "default"));
    // The world knows a way to our addresses: through the host.
    inside(world(), || {
        shared::netlink::Netlink::open().unwrap().add_default_route(HOST).unwrap();
        ""
    });
    let answer = inside(world(), || ask(a.address(), 80));
    remove_default_route();
    assert!(answer.starts_with("error"), "{answer}");
}

/// The tests after this one start without it.
fn remove_default_route() {
    let status = inside(world(), || {
        std::process::Command::new("ip").args(["route", "del", "default"]).status().unwrap()
    });
    assert!(status.contains('0'), "{status}");
}

fn addresses() {
    let lab = Lab::new();
    let shape = Network { subnet: Some("10.20.0.0/28".parse().unwrap()), ..Network::default() };
    let spec = project(&[("fixed", shape)]);
    let with_address = |name: &str, address: [u8; 4]| {
        let mut service = service(name, "fixed");
        service.networks["fixed"].ipv4_address = Some(Ipv4Addr::from(address));
        service
    };
    let refused = |name: &str, address: [u8; 4]| {
        let service = with_address(name, address);
        let request = lab.request(&spec, &service, "rootfs");
        part5_network::recipe(&request).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(refused("a", [10, 21, 0, 7]).contains("is not in the network 10.20.0.0/28"));
    assert!(refused("a", [10, 20, 0, 1]).contains("is the network's gateway"));
    let a = lab.start(&spec, &with_address("a", [10, 20, 0, 7]));
    assert_eq!(a.address(), Ipv4Addr::new(10, 20, 0, 7));
    let text = refused("b", [10, 20, 0, 7]);
    assert!(text.contains("is taken") && text.contains("test-a"), "{text}");
    // The subnet is in use: another network cannot have a part of it.
    let shape = Network { subnet: Some("10.20.0.0/16".parse().unwrap()), ..Network::default() };
    let other = project(&[("other", shape)]);
    let error = lab.try_start(&other, &service("c", "other")).err().unwrap().to_string();
    assert!(error.contains("this machine uses 10.20.0."), "{error}");
}

fn plan() {
    let lab = Lab::new();
    let spec = project(&[]);
    let mut service = service("a", "default");
    service.ports.push(crate::lab::port(None, Some(8080), 80));
    let recipe = part5_network::recipe(&lab.request(&spec, &service, "rootfs")).unwrap();
    let names: Vec<_> = recipe.steps.iter().map(|step| &*step.name).collect();
    for name in ["ports", "names", "network", "veth", "publish", "eth0", "name files"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    // What is clean afterwards was never made: the recipe did not run.
    assert!(!lab.home.networks().exists());
}
