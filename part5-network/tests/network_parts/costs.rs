//! What it costs, in microseconds: `cargo test -p part5-network --test network_parts -- costs`.

use std::time::Instant;

use part5_network::network::{self, Wish};
use shared::journal::{Due, Journal, Undo};
use shared::netlink::{Netlink, nft};

use crate::harness::Test;
use crate::lab::{Lab, inside, port, world};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![test("costs", costs)]
}

const ROUNDS: usize = 200;

fn costs() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.dir.path().join("c")).unwrap();
    let wish = |container: String| Wish {
        dir: lab.home.networks().join("test_default"),
        network: "default".into(),
        shape: Default::default(),
        container,
        address: None,
        names: vec!["a".into()],
        hosts: lab.dir.path().join("hosts"),
    };
    std::fs::write(lab.dir.path().join("hosts"), "").unwrap();

    let mut made = Vec::new();
    let mut gone = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        network::join(&wish("first".into())).unwrap();
        made.push(start.elapsed().as_micros());
        let start = Instant::now();
        leave(&wish("first".into()));
        gone.push(start.elapsed().as_micros());
    }
    report("network made (bridge, table, forwarding)", &mut made);
    report("network gone", &mut gone);
    parts_of_a_network();

    let (network, _) = network::join(&wish("keeper".into())).unwrap();
    let (mut lease, mut cable, mut configured) = (Vec::new(), Vec::new(), Vec::new());
    let (mut add, mut remove, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let other = crate::lab::namespace();
        let start = Instant::now();
        let (_, own) = network::join(&wish(format!("c{round}"))).unwrap();
        lease.push(start.elapsed().as_micros());
        let start = Instant::now();
        network::plug_in(&network, own.address, "eth0", other).unwrap();
        cable.push(start.elapsed().as_micros());
        let text = inside(other, || {
            let start = Instant::now();
            let address = network.interface_address(own.address);
            network::configure("eth0", address, Some(network.gateway)).unwrap();
            start.elapsed().as_micros()
        });
        configured.push(text.parse().unwrap());

        let published = port(None, Some(8080), 80);
        let element = part5_network::firewall::element_of_port(&published, 8080, own.address);
        let start = Instant::now();
        nft::add(std::slice::from_ref(&element)).unwrap();
        add.push(start.elapsed().as_micros());
        let start = Instant::now();
        nft::remove(std::slice::from_ref(&element)).unwrap();
        remove.push(start.elapsed().as_micros());
        crate::lab::end(other);
        // The next one is not to wait for the end of this one's network.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let start = Instant::now();
        leave(&wish(format!("c{round}")));
        left.push(start.elapsed().as_micros());
    }
    report("lease", &mut lease);
    report("veth", &mut cable);
    report("address and route", &mut configured);
    report("port added", &mut add);
    report("port removed", &mut remove);
    report("lease given back", &mut left);
    leave(&wish("keeper".into()));
    let _ = world();
}

/// Where the time of a network goes.
fn parts_of_a_network() {
    let mac = [2, 0, 0, 0, 0, 9];
    let nft = part5_network::firewall::nft().unwrap();
    let mut netlink = Netlink::open().unwrap();
    let (mut table, mut no_table) = (Vec::new(), Vec::new());
    let (mut bridge, mut no_bridge) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let start = Instant::now();
        netlink.add_bridge("id-costs", mac, 1500).unwrap();
        bridge.push(start.elapsed().as_micros());
        let start = Instant::now();
        netlink.delete_link("id-costs").unwrap();
        no_bridge.push(start.elapsed().as_micros());
        let start = Instant::now();
        part5_network::firewall::load(&nft, "").unwrap();
        table.push(start.elapsed().as_micros());
        let start = Instant::now();
        let mut child = std::process::Command::new(&nft)
            .args(["delete", "table", "ip", "inside-docker"])
            .spawn()
            .unwrap();
        child.wait().unwrap();
        no_table.push(start.elapsed().as_micros());
    }
    report("  bridge made", &mut bridge);
    report("  bridge deleted", &mut no_bridge);
    report("  table loaded", &mut table);
    report("  table deleted", &mut no_table);
}

fn leave(wish: &Wish) {
    // As a container's journal does it.
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let undo: Undo = network::undo_join(wish);
    journal.record(Due::Stop, &undo).unwrap();
    journal.play_back(Due::Stop).unwrap();
}

fn report(what: &str, times: &mut [u128]) {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    println!("{what:45} median {:6} µs  p95 {:6} µs", at(50), at(95));
}
