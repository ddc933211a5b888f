//! Addresses and routes.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use crate::error::Failed;

/// What this network namespace already uses or reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// The networks of its interfaces' addresses and of its routes, without the default route.
    pub networks: Vec<Ipv4Net>,
    /// Its own addresses.
    pub addresses: Vec<Ipv4Addr>,
}

impl Netlink {
    /// Gives an interface an address; the kernel adds the route to its network.
    ///
    /// # Errors
    /// `EEXIST`, `ENODEV`, `EPERM`.
    pub fn add_address(&mut self, index: u32, address: Ipv4Net) -> Result<(), Failed> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = address.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address.addr())));
        message.attributes.push(AddressAttribute::Address(IpAddr::V4(address.addr())));
        message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
        self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("netlink RTM_NEWADDR({address})")
        })
    }

    /// Sends everything that has no better route through `gateway`.
    ///
    /// # Errors
    /// `ENETUNREACH` (the gateway is in no network of ours), `EEXIST`, `EPERM`.
    pub fn add_default_route(&mut self, gateway: Ipv4Addr) -> Result<(), Failed> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        self.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("netlink RTM_NEWROUTE(default via {gateway})")
        })
    }

    /// What is in use here: for choosing a network that is not.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn host_addresses(&mut self) -> Result<HostAddresses, Failed> {
        let mut host = HostAddresses::default();
        let mut ask = AddressMessage::default();
        ask.header.family = AddressFamily::Inet;
        for answer in self.dump(RouteNetlinkMessage::GetAddress(ask), "netlink RTM_GETADDR")? {
            if let RouteNetlinkMessage::NewAddress(message) = answer {
                host.note_address(&message);
            }
        }
        let mut ask = RouteMessage::default();
        ask.header.address_family = AddressFamily::Inet;
        for answer in self.dump(RouteNetlinkMessage::GetRoute(ask), "netlink RTM_GETROUTE")? {
            if let RouteNetlinkMessage::NewRoute(message) = answer {
                host.note_route(&message);
            }
        }
        Ok(host)
    }
}

impl HostAddresses {
    fn note_address(&mut self, message: &AddressMessage) {
        for attribute in &message.attributes {
            if let AddressAttribute::Local(IpAddr::V4(address)) = attribute {
                self.addresses.push(*address);
                self.networks.extend(Ipv4Net::new(*address, message.header.prefix_len));
            }
        }
    }

    fn note_route(&mut self, message: &RouteMessage) {
        for attribute in &message.attributes {
            if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
                let prefix = message.header.destination_prefix_length;
                self.networks.extend(Ipv4Net::new(*address, prefix));
            }
        }
    }
}
