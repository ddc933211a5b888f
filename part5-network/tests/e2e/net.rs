//! The host that the tests run on, other hosts, and how one gets into their networks.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, geteuid};
use shared::netlink::{Netlink, Veth, index_of, loopback_up};

use super::wait_until;

/// The host's address on the cable to the other host.
pub const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The other host's.
pub const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// As root, enters a network namespace of our own. To be called before any thread is made.
pub fn become_a_host() -> Result<(), String> {
    if !geteuid().is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("unshare(CLONE_NEWNET): {e}"))?;
    loopback_up().map_err(|e| e.to_string())
}

/// Another host, joined to ours by a cable. It ends with the value.
pub struct OtherHost {
    process: Child,
}

impl OtherHost {
    /// Makes it.
    pub fn new() -> Self {
        let process = Command::new("unshare").args(["--net", "sleep", "3600"]).spawn();
        let host = Self { process: process.expect("unshare can be run") };
        let ours = namespace_of("self");
        wait_until("the other host's network", || {
            namespace_of(&host.pid().to_string()).is_some_and(|theirs| Some(theirs) != ours)
        });
        let cable = Veth {
            host_end: "cable".into(),
            bridge: None,
            inner_end: "up0".into(),
            inner_mac: [2, 0, 0, 0, 0, 2],
            inside: host.pid(),
        };
        let mut netlink = Netlink::open().expect("netlink");
        netlink.add_veth(&cable).expect("a cable");
        let end = index_of("cable").expect("its end");
        netlink.add_address(end, format!("{HOST}/24").parse().expect("net")).expect("address");
        host.inside(|| {
            let mut netlink = Netlink::open().expect("netlink");
            let end = index_of("up0").expect("its end");
            netlink.add_address(end, format!("{OTHER}/24").parse().expect("net")).expect("address");
            netlink.set_up(end).expect("up");
        });
        host
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// Runs `what` on it.
    pub fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        in_network_of(self.pid().as_raw(), what)
    }
}

impl Drop for OtherHost {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn namespace_of(pid: &str) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino())
}

/// Runs `what` in the network of another process: a thread can be in another one than the rest.
pub fn in_network_of<T: Send>(pid: i32, what: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("it runs");
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns(CLONE_NEWNET)");
            what()
        });
        thread.join().expect("it does not panic")
    })
}

/// A TCP port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// One UDP exchange; None: no answer.
pub fn ask_udp(address: Ipv4Addr, port: u16, text: &str) -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    socket.send_to(text.as_bytes(), (address, port)).ok()?;
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The interfaces of ours (bridges and cables) in this network.
pub fn our_links() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    names.filter(|name| name.starts_with("id-")).collect()
}
