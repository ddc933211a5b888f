//! What a network of containers is made of, tried in a network namespace.

use std::fs;
use std::process::{Command, Stdio};

use nix::sched::CloneFlags;
use nix::unistd::getpid;

use super::{Need, find_program};
use crate::error::Call;
use crate::lab::trial::{Tried, Trouble, alone_in};
use crate::netlink::{Netlink, Veth};

pub(super) const NEEDS: &[Need] = &[
    Need::new("veth", "a cable between two network namespaces", veth)
        .kernel((2, 6), "CONFIG_VETH")
        .remedy("as root: modprobe veth; or use a distribution's own kernel"),
    Need::new("bridge", "a switch that containers are plugged into", bridge)
        .kernel((2, 6), "CONFIG_BRIDGE")
        .remedy("as root: modprobe bridge; or use a distribution's own kernel"),
    Need::new("forwarding", "passing packets on between interfaces", forwarding)
        .remedy("mount /proc/sys writable (docker run --privileged)"),
    Need::new("nft", "the firewall's rules, and `nft` that writes them", nft),
];

/// A made-up address of the kind that nobody else has: locally administered.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn veth() -> Tried {
    alone_in(CloneFlags::CLONE_NEWNET, || {
        let pair = Veth {
            host_end: "veth0".into(),
            bridge: None,
            inner_end: "eth0".into(),
            inner_mac: MAC,
            inside: getpid(),
        };
        Ok(Netlink::open()?.add_veth(&pair)?)
    })
}

fn bridge() -> Tried {
    alone_in(CloneFlags::CLONE_NEWNET, || Ok(Netlink::open()?.add_bridge("bridge0", MAC, 1500)?))
}

/// The setting is one of the network namespace, not of the machine.
fn forwarding() -> Tried {
    alone_in(CloneFlags::CLONE_NEWNET, || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").call("write(net.ipv4.ip_forward)")?;
        Ok(())
    })
}

fn nft() -> Tried {
    let Some(program) = find_program("nft") else {
        return Err(Trouble::known("nft is not installed", "as root: apt install nftables"));
    };
    alone_in(CloneFlags::CLONE_NEWNET, || {
        let output = Command::new(program)
            .args(["add", "table", "ip", "inside-docker"])
            .stdin(Stdio::null())
            .output()
            .call("execve(nft)")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        Err(Trouble::known(
            format!("`nft add table` says: {}", line.trim()),
            "as root: modprobe nf_tables; or use a distribution's own kernel",
        ))
    })
}
