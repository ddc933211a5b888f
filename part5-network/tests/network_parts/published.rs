//! Published ports.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use shared::netlink::nft::{self, Element};
use shared::netlink::{Netlink, index_of};

use crate::harness::{Test, needs};
use crate::lab::{HOST, Lab, WORLD, ask, ask_udp, inside, port, project, service, world};
use crate::{test, test_with};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub fn tests() -> Vec<Test> {
    vec![
        test_with("a_port_is_reached_from_everywhere", needs![nft], everywhere),
        test("a_port_on_127_0_0_1_is_the_hosts_alone", on_localhost),
        test("a_free_port_is_chosen", chosen),
        test("a_taken_port_is_named_before_anything_starts", taken),
        test("a_restarted_container_gets_its_port_again", again),
        test_with("an_undo_does_not_touch_what_others_have_by_now", needs![nft], undo_of_others),
        test_with("a_flushed_firewall_comes_back_with_the_next_network", needs![nft], flushed),
        test("without_nft_a_forwarder_takes_over", forwarder),
    ]
}

#[track_caller]
fn assert_starts(text: &str, start: &str) {
    assert!(text.starts_with(start), "{text:?} does not start with {start:?}");
}

fn everywhere() {
    let lab = Lab::new();
    let spec = project(&[]);
    let mut web = service("web", "default");
    web.ports = vec![port(None, Some(8080), 80), port(None, Some(5353), 53)];
    let web = lab.start(&spec, &web);
    let other = lab.start(&spec, &service("other", "default"));
    // The host's own sockets hold the ports; the firewall leads past them.
    assert_eq!(inside(world(), || ask(HOST, 8080)), format!("web {WORLD}"));
    assert_eq!(inside(world(), || ask_udp(HOST, 5353)), format!("web {WORLD} hello"));
    assert_starts(&ask(LOCALHOST, 8080), "web ");
    assert_starts(&ask_udp(LOCALHOST, 5353), "web ");
    assert_starts(&ask(HOST, 8080), "web ");
    // A neighbour, and itself, through the host.
    assert_starts(&inside(other.pid(), || ask(HOST, 8080)), "web ");
    assert_starts(&inside(web.pid(), || ask(HOST, 8080)), "web ");
    assert_starts(&inside(web.pid(), || ask_udp(HOST, 5353)), "web ");
    drop(web);
    assert_starts(&inside(world(), || ask(HOST, 8080)), "error ConnectionRefused");
}

fn on_localhost() {
    let lab = Lab::new();
    let spec = project(&[]);
    let mut web = service("web", "default");
    web.ports = vec![port(Some(LOCALHOST), Some(8081), 80)];
    let web = lab.start(&spec, &web);
    assert_starts(&ask(LOCALHOST, 8081), "web ");
    assert!(inside(world(), || ask(HOST, 8081)).starts_with("error"));
    // A neighbour of the host sends to 127.0.0.1 through the cable (CVE-2020-8558).
    let forged = inside(world(), || {
        fs::write("/proc/sys/net/ipv4/conf/up0/route_localnet", "1").unwrap();
        Netlink::open().unwrap().add_default_route(HOST).unwrap();
        let answer = ask(LOCALHOST, 8081);
        Command::new("ip").args(["route", "del", "default"]).status().unwrap();
        answer
    });
    assert!(forged.starts_with("error"), "{forged}");
    // So does a container: its gateway routes 127.0.0.0/8 for the host.
    let forged = inside(web.pid(), || {
        fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
        Command::new("ip").args(["address", "del", "127.0.0.1/8", "dev", "lo"]).status().unwrap();
        ask(LOCALHOST, 8081)
    });
    assert!(forged.starts_with("error"), "{forged}");
}

fn chosen() {
    let lab = Lab::new();
    let spec = project(&[]);
    let mut web = service("web", "default");
    web.ports = vec![port(None, None, 80)];
    let _web = lab.start(&spec, &web);
    let shown = part5_network::publish::remembered(&lab.home.containers().join("test-web"));
    let number = shown[0].strip_prefix("0.0.0.0:").unwrap().strip_suffix("->80/tcp").unwrap();
    assert!(ask(LOCALHOST, number.parse().unwrap()).starts_with("web "), "{shown:?}");
}

fn taken() {
    let lab = Lab::new();
    let spec = project(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = listener.local_addr().unwrap().port();
    for ip in [None, Some(LOCALHOST)] {
        let mut web = service("web", "default");
        web.ports = vec![port(ip, Some(number), 80)];
        let error = lab.try_start(&spec, &web).err().unwrap();
        assert_eq!(error.code(), 125);
        assert!(error.to_string().contains("EADDRINUSE"), "{error}");
        assert!(!lab.home.networks().exists(), "the network was made before the port was checked");
    }
    // On another address of the host it is free.
    let mut web = service("web", "default");
    web.ports = vec![port(Some(HOST), Some(number), 80)];
    let _web = lab.start(&spec, &web);
    assert_starts(&inside(world(), || ask(HOST, number)), "web ");
    let mut second = service("second", "default");
    second.ports = vec![port(None, Some(number), 80)];
    assert!(lab.try_start(&spec, &second).is_err());
}

fn again() {
    let lab = Lab::new();
    let spec = project(&[]);
    let mut web = service("web", "default");
    web.ports = vec![port(None, Some(8080), 80)];
    for _ in 0..3 {
        let _web = lab.start(&spec, &web);
        assert_starts(&inside(world(), || ask(HOST, 8080)), "web ");
    }
}

fn undo_of_others() {
    let lab = Lab::new();
    let spec = project(&[]);
    let mut web = service("web", "default");
    web.ports = vec![port(None, Some(8080), 80)];
    let web_port = web.ports[0].clone();
    let web = lab.start(&spec, &web);
    let of = |address| part5_network::firewall::element_of_port(&web_port, 8080, address);
    let (mine, others) = (of(web.address()), of(Ipv4Addr::new(10, 0, 0, 1)));
    assert!(nft::is_there(&mine).unwrap());
    assert!(!nft::is_there(&others).unwrap());
    assert_eq!(
        nft::add(std::slice::from_ref(&others)).unwrap_err().errno,
        nix::errno::Errno::EEXIST
    );
    nft::remove(std::slice::from_ref(&others)).unwrap();
    assert!(nft::is_there(&mine).unwrap(), "the wrong element was removed");
    nft::remove(std::slice::from_ref(&mine)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!nft::is_there(&mine).unwrap());
    // Twice is no error; nor is a set that does not exist.
    nft::remove(std::slice::from_ref(&mine)).unwrap();
    nft::remove(&[Element { set: "nothing".into(), ..mine }]).unwrap();
}

fn flushed() {
    let lab = Lab::new();
    let networks = [("one", Default::default()), ("two", Default::default())];
    let spec = project(&networks);
    let _one = lab.start(&spec, &service("one", "one"));
    assert!(Command::new("nft").args(["flush", "ruleset"]).status().unwrap().success());
    let two = lab.start(&spec, &service("two", "two"));
    assert_eq!(inside(two.pid(), || ask(WORLD, 80)), format!("world {HOST}"));
}

fn forwarder() {
    let path = std::env::var_os("PATH").unwrap();
    let lab = Lab::new();
    let spec = project(&[]);
    let mut web = service("web", "default");
    web.ports = vec![port(None, Some(8080), 80), port(None, Some(5353), 53)];
    hide_nft();
    let started = lab.try_start(&spec, &web);
    show_nft();
    let web = started.unwrap_or_else(|e| panic!("{e}"));
    assert!(web.recipe.notes.iter().any(|note| note.contains("forwarder")));
    assert!(index_of("lo").is_some() && !nft::has_table());
    // The container sees its own address: the forwarder is inside.
    let own = web.address();
    assert_eq!(inside(world(), || ask(HOST, 8080)), format!("web {own}"));
    assert_eq!(ask(LOCALHOST, 8080), format!("web {own}"));
    assert_eq!(ask_udp(LOCALHOST, 5353), format!("web {own} hello"));
    assert_eq!(inside(world(), || ask_udp(HOST, 5353)), format!("web {own} hello"));
    drop(web);
    assert_starts(&ask(LOCALHOST, 8080), "error ConnectionRefused");
    assert_eq!(std::env::var_os("PATH").unwrap(), path);
}

/// In this mount namespace nobody finds `nft` any more.
fn hide_nft() {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    for nft in all_nft() {
        mount(Some("/dev/null"), &nft, none, MsFlags::MS_BIND, none).unwrap();
    }
}

fn show_nft() {
    for nft in all_nft() {
        nix::mount::umount(&nft).unwrap();
    }
}

fn all_nft() -> Vec<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let mut all: Vec<_> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .filter_map(|dir| fs::canonicalize(dir.join("nft")).ok())
        .collect();
    all.sort();
    all.dedup();
    all
}
