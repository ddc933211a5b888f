//! A network: a bridge with a subnet, made by the first container on it and gone with the last.
//!
//! It is a shared thing ([`shared::shared_resource`]) in `networks/`: its journal undoes the bridge,
//! each of its users is a container and remembers its [`Lease`].

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use shared::cli::output;
use shared::error::Failed;
use shared::journal::{Due, Journal, Undo};
use shared::netlink::nft::{self, Element};
use shared::netlink::{Netlink, Veth, index_of};
use shared::shared_resource::Resource;
use shared::spec;
use shared::{Error, Result};

use crate::host::{self, Host};
use crate::{address, firewall};

/// Largest packet, in bytes: Ethernet's.
const MTU: u32 = 1500;

/// A network as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name in the file: `default`.
    pub name: String,
    /// The interface on the host.
    pub bridge: String,
    /// Its addresses.
    pub subnet: Ipv4Net,
    /// The bridge's own address: the containers' way out.
    pub gateway: Ipv4Addr,
    /// Whether there is no way out.
    pub internal: bool,
    /// Why there is no firewall; None when there is one.
    pub no_firewall: Option<String>,
}

/// What a container asks of a network.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The network's directory.
    pub dir: PathBuf,
    /// Its name in the file: `default`.
    pub network: String,
    /// What the file says of the network.
    pub shape: spec::Network,
    /// The container's name: who the lease belongs to.
    pub container: String,
    /// The address it wants; None: the next free one.
    pub address: Option<Ipv4Addr>,
    /// Its names there.
    pub names: Vec<String>,
    /// Its `/etc/hosts` on the host, so that later ones can be written into it.
    pub hosts: PathBuf,
}

/// The place of a container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its names.
    pub names: Vec<String>,
    /// Its `/etc/hosts` on the host.
    pub hosts: PathBuf,
}

impl Network {
    /// The network in `dir`; None when nobody is on it.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join("network.json")).ok()?).ok()
    }

    /// Its address with the prefix: what `ip address` shows inside.
    pub fn interface_address(&self, address: Ipv4Addr) -> Ipv4Net {
        Ipv4Net::new_assert(address, self.subnet.prefix_len())
    }
}

/// Checks, without changing anything, that the wish can be granted as things are now.
///
/// # Errors
/// An address outside the network or taken; a subnet or gateway that cannot be.
pub fn check(wish: &Wish) -> Result<()> {
    let existing = Network::read(&wish.dir);
    let subnet = existing.as_ref().map(|n| n.subnet).or(wish.shape.subnet);
    let Some(subnet) = subnet else {
        return match wish.address {
            None => Ok(()),
            Some(address) => Err(Error::new(format!(
                "ipv4_address: {address} needs a network with a subnet of its own"
            ))
            .hint(format!("give {} an `ipam: config: - subnet:`", wish.network))),
        };
    };
    let gateway = gateway(subnet, &wish.shape, existing.as_ref())?;
    let Some(address) = wish.address else { return Ok(()) };
    address::check(subnet, gateway, address)?;
    not_taken(address, &leases_in(&wish.dir), &wish.container)
}

/// Joins the network, made if this is the first container on it: takes a lease.
///
/// The undo (`Undo::Leave`) is the caller's: it must be in the journal before.
///
/// # Errors
/// No address is free, the wanted one is taken, or the kernel refused.
pub fn join(wish: &Wish) -> Result<(Network, Lease)> {
    let resource = Resource::lock(&wish.dir)?;
    let network = match existing(wish) {
        Some(network) => network,
        None => create(&resource, wish)?,
    };
    let leases = leases_of(&resource);
    let address = match wish.address {
        Some(address) => {
            address::check(network.subnet, network.gateway, address)?;
            not_taken(address, &leases, &wish.container)?;
            address
        }
        None => {
            let taken: Vec<_> = leases.iter().map(|(_, lease)| lease.address).collect();
            address::next_free(network.subnet, network.gateway, &taken)?
        }
    };
    let lease = Lease { address, names: wish.names.clone(), hosts: wish.hosts.clone() };
    resource.join(&wish.container, &serde_json::to_string(&lease).unwrap_or_default())?;
    crate::names::introduce(&network, &wish.container, &lease, &leases)?;
    Ok((network, lease))
}

/// What [`join`] would answer as things are now, if no other network takes one of `used`.
///
/// # Errors
/// As [`join`].
pub fn foresee(wish: &Wish, used: &[Ipv4Net]) -> Result<(Network, Ipv4Addr)> {
    let existing = existing(wish);
    let subnet = match &existing {
        Some(network) => network.subnet,
        None => choose_subnet(wish, used)?,
    };
    let network = Network {
        name: wish.network.clone(),
        bridge: bridge_name(&wish.dir),
        subnet,
        gateway: gateway(subnet, &wish.shape, existing.as_ref())?,
        internal: wish.shape.internal,
        no_firewall: None,
    };
    let taken: Vec<_> = leases_in(&wish.dir).iter().map(|(_, lease)| lease.address).collect();
    let address = match wish.address {
        Some(address) => address,
        None => address::next_free(network.subnet, network.gateway, &taken)?,
    };
    Ok((network, address))
}

/// The network, if somebody is on it.
pub fn existing(wish: &Wish) -> Option<Network> {
    Network::read(&wish.dir).filter(|network| index_of(&network.bridge).is_some())
}

/// The undo of [`join`].
pub fn undo_join(wish: &Wish) -> Undo {
    Undo::Leave { resource: wish.dir.clone(), user: wish.container.clone() }
}

// ANCHOR: plug_in
/// Joins the container of process `inside` to the network's bridge, as its interface `inner_end`.
///
/// # Errors
/// What the kernel answered.
pub fn plug_in(
    network: &Network,
    address: Ipv4Addr,
    inner_end: &str,
    inside: Pid,
) -> Result<(), Failed> {
    let veth = Veth {
        host_end: host_end(inside, inner_end),
        bridge: index_of(&network.bridge),
        inner_end: inner_end.to_owned(),
        inner_mac: address::mac_of(address),
        inside,
    };
    Netlink::open()?.add_veth(&veth)
}
// ANCHOR_END: plug_in

/// Lets the container use its own published ports through the host's address.
///
/// # Errors
/// What the kernel answered.
pub fn allow_hairpin(inner_end: &str, inside: Pid) -> Result<(), Failed> {
    Netlink::open()?.set_hairpin(&host_end(inside, inner_end))
}

// ANCHOR: configure
/// Inside the container: the interface's address and, when told, the way out.
///
/// # Errors
/// What the kernel answered.
pub fn configure(
    interface: &str,
    address: Ipv4Net,
    default_route: Option<Ipv4Addr>,
) -> Result<(), Failed> {
    let missing = || Failed::new(format!("if_nametoindex({interface})"), nix::errno::Errno::ENODEV);
    let index = index_of(interface).ok_or_else(missing)?;
    let mut netlink = Netlink::open()?;
    netlink.add_address(index, address)?;
    netlink.set_up(index)?;
    match default_route {
        Some(gateway) => netlink.add_default_route(gateway),
        None => Ok(()),
    }
}
// ANCHOR_END: configure

/// `id-1f3a-0`: the pid tells one start from the next, also while the kernel still takes the
/// interface of the one before away.
fn host_end(inside: Pid, inner_end: &str) -> String {
    let number = inner_end.trim_start_matches("eth");
    format!("id-{:x}-{number}", inside.as_raw())
}

/// Makes the network. The lock of the host is held from choosing a subnet until it is visible to
/// others as the bridge's address.
fn create(resource: &Resource, wish: &Wish) -> Result<Network> {
    let mut journal = resource.journal()?;
    // Of one that was killed while it made the network.
    journal.play_back(Due::Stop)?;
    let bridge = bridge_name(&wish.dir);
    // Locking it makes it.
    journal.record(Due::Stop, &host::undo(&bridge)?)?;
    let host = Host::lock()?;
    let mut netlink = Netlink::open()?;
    let used = netlink.host_addresses()?.networks;
    let subnet = choose_subnet(wish, &used)?;
    let mut network = Network {
        name: wish.network.clone(),
        gateway: gateway(subnet, &wish.shape, None)?,
        bridge: bridge.clone(),
        subnet,
        internal: wish.shape.internal,
        no_firewall: None,
    };

    // Undone when the table may be gone with its last user: then there is nothing to do.
    let elements = firewall::elements_of_bridge(&bridge, subnet, network.internal);
    journal.record(Due::Stop, &Undo::RemoveElements(elements.clone()))?;
    journal.record(Due::Stop, &host::undo(&bridge)?)?;
    network.no_firewall = host.join(&bridge)?.err();
    make_bridge(&mut journal, &mut netlink, &network)?;
    match &network.no_firewall {
        None => guard(&network, &elements)?,
        Some(why) => {
            let (name, why) = (&network.name, why.lines().next().unwrap_or_default());
            let what = "it does not reach the world, and its ports get a small forwarder";
            output::note(&format!("network {name}: {what}: {why}"));
        }
    }
    let text = serde_json::to_vec(&network).unwrap_or_default();
    fs::write(resource.dir().join("network.json"), text)
        .map_err(|e| Error::new(format!("cannot write {}", resource.dir().display())).because(e))?;
    Ok(network)
}

// ANCHOR: make_bridge
fn make_bridge(journal: &mut Journal, netlink: &mut Netlink, network: &Network) -> Result<()> {
    let name = &network.bridge;
    journal.record(Due::Stop, &Undo::DeleteLink { name: name.clone() })?;
    // One that is left from a home that was deleted by hand.
    netlink.delete_link(name)?;
    netlink.add_bridge(name, address::mac_of(network.gateway), MTU)?;
    let missing = || Error::new(format!("the bridge {name} is gone again"));
    let index = index_of(name).ok_or_else(missing)?;
    netlink.add_address(index, network.interface_address(network.gateway))?;
    Ok(())
}
// ANCHOR_END: make_bridge

/// Tells the firewall of the bridge, and lets 127.0.0.1 be routed to it: see `table.nft`.
fn guard(network: &Network, elements: &[Element]) -> Result<()> {
    nft::add(elements)?;
    let setting = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", network.bridge);
    fs::write(&setting, "1").map_err(|e| Error::new(format!("cannot write {setting}")).because(e))
}

fn choose_subnet(wish: &Wish, used: &[Ipv4Net]) -> Result<Ipv4Net> {
    let Some(subnet) = wish.shape.subnet else {
        return address::free_subnet(used).ok_or_else(|| {
            Error::new("no subnet is free for the network")
                .hint("give it one: `networks: NAME: ipam: config: - subnet: …`")
        });
    };
    match used.iter().find(|other| address::overlap(**other, subnet)) {
        None => Ok(subnet),
        Some(other) => Err(Error::new(format!("the subnet {subnet} of {}", wish.network))
            .because(format!("this machine uses {other} already"))
            .hint("choose another, or leave `ipam` out")),
    }
}

fn gateway(subnet: Ipv4Net, shape: &spec::Network, existing: Option<&Network>) -> Result<Ipv4Addr> {
    match existing.map(|network| network.gateway).or(shape.gateway) {
        None => address::first_address(subnet),
        Some(gateway) => address::check_gateway(subnet, gateway).map(|()| gateway),
    }
}

fn not_taken(address: Ipv4Addr, leases: &[(String, Lease)], container: &str) -> Result<()> {
    let owner = leases.iter().find(|(user, lease)| lease.address == address && user != container);
    match owner {
        None => Ok(()),
        Some((owner, _)) => Err(Error::new(format!("ipv4_address: {address} is taken"))
            .because(format!("the container {owner:?} has it"))
            .hint("choose another, or leave it out")),
    }
}

/// At most 15 bytes, and its own for each network of each home.
fn bridge_name(dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    format!("id-{:08x}", hasher.finish() as u32)
}

/// The leases of a network, for looking only.
pub fn leases_in(dir: &Path) -> Vec<(String, Lease)> {
    let Ok(entries) = fs::read_dir(dir.join("users")) else { return Vec::new() };
    let text = |entry: &fs::DirEntry| fs::read(entry.path()).unwrap_or_default();
    entries
        .flatten()
        .filter_map(|entry| {
            let lease = serde_json::from_slice(&text(&entry)).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), lease))
        })
        .collect()
}

fn leases_of(resource: &Resource) -> Vec<(String, Lease)> {
    let parse = |(user, about): (String, String)| Some((user, serde_json::from_str(&about).ok()?));
    resource.users().into_iter().filter_map(parse).collect()
}
