//! Interfaces: bridges, veth pairs, up, gone.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::Netlink;
use crate::error::Failed;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The loopback interface has this index in every network namespace.
const LOOPBACK: u32 = 1;

/// A pair of interfaces joined like a pipe (`veth(4)`): one end here, the other in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veth {
    /// The end that stays here; at most 15 bytes.
    pub host_end: String,
    /// The index of the bridge it is plugged into; None: into none.
    pub bridge: Option<u32>,
    /// The end inside: `eth0`.
    pub inner_end: String,
    /// The inner end's Ethernet address.
    pub inner_mac: Mac,
    /// A process in the network namespace that gets the inner end.
    pub inside: Pid,
}

impl Netlink {
    /// Sets the loopback interface up: before, a program cannot reach even itself.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn loopback_up(&mut self) -> Result<(), Failed> {
        self.request(RouteNetlinkMessage::SetLink(up(LOOPBACK)), 0, || {
            "netlink RTM_NEWLINK(lo, up)".into()
        })
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// `ENODEV`, `EPERM`.
    pub fn set_up(&mut self, index: u32) -> Result<(), Failed> {
        self.request(RouteNetlinkMessage::SetLink(up(index)), 0, || {
            format!("netlink RTM_NEWLINK(interface {index}, up)")
        })
    }

    /// Makes a bridge, a switch in software, and sets it up.
    ///
    /// Its `mac` is fixed: a bridge without one takes over the lowest of its ports', and each time
    /// that changes its neighbours talk to nobody until their ARP entries have timed out.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM`, `EOPNOTSUPP` (the kernel has no bridges).
    pub fn add_bridge(&mut self, name: &str, mac: Mac, mtu: u32) -> Result<(), Failed> {
        let mut link = named(name);
        link.attributes.push(LinkAttribute::Address(mac.to_vec()));
        link.attributes.push(LinkAttribute::Mtu(mtu));
        link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.create(link, || format!("netlink RTM_NEWLINK({name}, bridge)"))
    }

    /// Makes a veth pair in one request: our end up and plugged into its bridge, the other end
    /// named and already in the other network namespace. (The kernel cannot set that one up
    /// yet: at that moment it has no peer.)
    ///
    /// There is no undo: the pair ends with the namespace of its inner end.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM`, `ESRCH` (the process is gone).
    pub fn add_veth(&mut self, veth: &Veth) -> Result<(), Failed> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(veth.inner_end.clone()));
        peer.attributes.push(LinkAttribute::Address(veth.inner_mac.to_vec()));
        peer.attributes.push(LinkAttribute::NetNsPid(veth.inside.as_raw() as u32));
        let mut link = named(&veth.host_end);
        link.attributes.extend(veth.bridge.map(LinkAttribute::Controller));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.create(link, || format!("netlink RTM_NEWLINK({}, veth)", veth.host_end))
    }

    /// Lets the bridge send a packet back through the port it came from: a container that uses
    /// its own published port. (The bridge leads such packets back itself where `br_netfilter`
    /// shows it the firewall; without that the host does.)
    ///
    /// # Errors
    /// `ENODEV`, `EPERM`.
    pub fn set_hairpin(&mut self, bridge_port: &str) -> Result<(), Failed> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(bridge_port.into()));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]));
        self.request(RouteNetlinkMessage::NewLink(link), 0, || {
            format!("netlink RTM_NEWLINK({bridge_port}, hairpin)")
        })
    }

    fn create(&mut self, link: LinkMessage, call: impl FnOnce() -> String) -> Result<(), Failed> {
        self.request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL, call)
    }

    /// Deletes an interface. One that is not there is no error.
    ///
    /// # Errors
    /// `EPERM`, `EOPNOTSUPP` (a real card).
    pub fn delete_link(&mut self, name: &str) -> Result<(), Failed> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.into()));
        let call = || format!("netlink RTM_DELLINK({name})");
        match self.request(RouteNetlinkMessage::DelLink(link), 0, call) {
            Err(failed) if failed.errno == Errno::ENODEV => Ok(()),
            other => other,
        }
    }
}

/// An interface of this name that is up.
fn named(name: &str) -> LinkMessage {
    let mut link = up(0);
    link.attributes.push(LinkAttribute::IfName(name.into()));
    link
}

fn up(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}
