//! Networks: the top-level `networks:`, and what a service says of its own.

use std::net::IpAddr;

use indexmap::IndexMap;
use ipnet::Ipv4Net;

use super::keys;
use super::node::{Map, Node, Value};
use super::problem::{Found, Problem, Shown, Span};
use super::shapes::{address, address_v4, host_name, name};
use super::{Attachment, Network, NetworkMode};

/// The top-level `networks:`.
pub(super) fn networks(node: &Node) -> Found<IndexMap<String, Network>> {
    let mut networks: IndexMap<String, Network> = IndexMap::new();
    for (key, entry) in node.map()? {
        name(key, entry.key, "network")?;
        let (network, at) = network(&entry.value)?;
        if let Some(subnet) = network.subnet {
            for (other, also) in &networks {
                let overlap = |also: Ipv4Net| also.contains(&subnet) || subnet.contains(&also);
                if also.subnet.is_some_and(overlap) {
                    let title = format!("the subnet {subnet} overlaps that of {}", Shown(other));
                    return Err(at.problem(title, "choose another"));
                }
            }
        }
        networks.insert(key.clone(), network);
    }
    Ok(networks)
}

/// One network, and where its subnet stands.
fn network(node: &Node) -> Found<(Network, Span)> {
    let mut network = Network::default();
    if node.is_nothing() {
        return Ok((network, node.span));
    }
    let map = node.map()?;
    keys::NETWORK.check(map)?;
    if let Some(entry) = map.get("driver")
        && entry.value.text()? != "bridge"
    {
        return Err(entry.value.problem("networks are bridges here", "`bridge`, or remove it"));
    }
    if let Some(entry) = map.get("internal") {
        network.internal = entry.value.flag()?;
    }
    let at = match map.get("ipam") {
        Some(entry) => ipam(&entry.value, &mut network)?,
        None => node.span,
    };
    Ok((network, at))
}

fn ipam(node: &Node, network: &mut Network) -> Found<Span> {
    let map = node.map()?;
    keys::IPAM.check(map)?;
    if let Some(entry) = map.get("driver")
        && entry.value.text()? != "default"
    {
        return Err(entry.value.problem("addresses are given by us", "`default`, or remove it"));
    }
    let Some(config) = map.get("config") else { return Ok(node.span) };
    let config = match config.value.list()? {
        [] => return Ok(node.span),
        [config] => config,
        [_, second, ..] => {
            return Err(second.problem("a network has one subnet here", "a second one"));
        }
    };
    let map = config.map()?;
    keys::IPAM_CONFIG.check(map)?;
    let get = |key: &str| map.get(key).map(|entry| &entry.value);
    network.subnet = get("subnet").map(subnet).transpose()?;
    if let Some(node) = get("gateway") {
        let gateway = address_v4(node.text()?, node)?;
        let Some(subnet) = network.subnet else {
            return Err(node.problem("`gateway` needs `subnet`", "no subnet beside it"));
        };
        if let Some(problem) = outside(gateway, subnet, node.span) {
            return Err(problem);
        }
        network.gateway = Some(gateway);
    }
    Ok(get("subnet").unwrap_or(node).span)
}

fn subnet(node: &Node) -> Found<Ipv4Net> {
    let text = node.text()?;
    let subnet: Ipv4Net = text.parse().map_err(|_| {
        let title = format!("{} is not an IPv4 subnet", Shown(text));
        node.problem(title, "a subnet looks like 10.1.0.0/24")
    })?;
    if subnet.addr() != subnet.network() {
        let title = format!("{subnet} is an address, not a subnet");
        return Err(node.problem(title, format!("did you mean {}?", subnet.trunc())));
    }
    if !(8..=29).contains(&subnet.prefix_len()) {
        return Err(node.problem("the size of this subnet cannot be used", "/8 to /29"));
    }
    let first = subnet.network();
    if first.is_loopback() || first.is_multicast() || first.is_broadcast() || first.octets()[0] == 0
    {
        let title = format!("{subnet} is not for networks of containers");
        return Err(node.problem(title, "10.…, 172.16.… to 172.31.…, 192.168.…"));
    }
    Ok(subnet)
}

/// What is wrong with an address that should be one of a host in `subnet`.
pub(super) fn outside(ip: std::net::Ipv4Addr, subnet: Ipv4Net, at: Span) -> Option<Box<Problem>> {
    let title = if !subnet.contains(&ip) {
        format!("{ip} is outside the subnet {subnet}")
    } else if ip == subnet.network() {
        format!("{ip} is the network itself")
    } else if ip == subnet.broadcast() {
        format!("{ip} is the broadcast address of {subnet}")
    } else {
        return None;
    };
    let mut hosts = subnet.hosts();
    let (first, last) = (hosts.next()?, hosts.next_back()?);
    Some(at.problem(title, format!("{first} to {last}")))
}

/// The top-level `volumes:`, which only have names.
pub(super) fn volumes(node: &Node) -> Found<Vec<String>> {
    for (key, entry) in node.map()? {
        name(key, entry.key, "volume")?;
        if entry.value.is_nothing() {
            continue;
        }
        let map = entry.value.map()?;
        keys::VOLUME.check(map)?;
        if let Some(driver) = map.get("driver")
            && driver.value.text()? != "local"
        {
            return Err(driver.value.problem("volumes are local here", "`local`, or remove it"));
        }
    }
    Ok(node.map()?.keys().cloned().collect())
}

/// `network_mode`.
pub(super) fn mode(node: &Node) -> Found<NetworkMode> {
    match node.text()? {
        "bridge" => Ok(NetworkMode::Bridge),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => {
            let title = format!("the network mode {} is not supported", Shown(other));
            let problem = node.problem(title, "`bridge`, `none` or `host`");
            Err(if other.starts_with("service:") || other.starts_with("container:") {
                problem.hint("put both services on one network")
            } else {
                problem
            })
        }
    }
}

/// `networks` of a service: a list of names, or a mapping.
pub(super) fn attachments(node: &Node) -> Found<IndexMap<String, Attachment>> {
    let mut attachments = IndexMap::new();
    match &node.value {
        Value::List(nodes) => {
            for item in nodes {
                if attachments.insert(item.text()?.to_owned(), Attachment::default()).is_some() {
                    return Err(item.problem("this network is named twice", "again here"));
                }
            }
        }
        Value::Map(map) => {
            for (key, entry) in map {
                attachments.insert(key.clone(), attachment(&entry.value)?);
            }
        }
        Value::Scalar { .. } => {
            return Err(node.expected("a list or a mapping").hint("write `[name]`"));
        }
    }
    Ok(attachments)
}

fn attachment(node: &Node) -> Found<Attachment> {
    let mut attachment = Attachment::default();
    if node.is_nothing() {
        return Ok(attachment);
    }
    let map: &Map = node.map()?;
    keys::ATTACHMENT.check(map)?;
    if let Some(entry) = map.get("ipv4_address") {
        attachment.ipv4_address = Some(address_v4(entry.value.text()?, &entry.value)?);
    }
    if let Some(entry) = map.get("aliases") {
        attachment.aliases = entry.value.each(|item| host_name(item.text()?, item))?;
    }
    Ok(attachment)
}

/// `dns`: one address or a list.
pub(super) fn dns(node: &Node) -> Found<Vec<IpAddr>> {
    node.list_or_one()?.iter().map(|item| address(item.text()?, item)).collect()
}

/// `extra_hosts`: `name=address`, `name:address`, or a mapping.
pub(super) fn extra_hosts(node: &Node) -> Found<Vec<(String, IpAddr)>> {
    let mut hosts = Vec::new();
    if let Value::Map(map) = &node.value {
        for (host, entry) in map {
            for item in entry.value.list_or_one()? {
                hosts.push(extra_host(host, item.text()?, item)?);
            }
        }
        return Ok(hosts);
    }
    node.each(|item| {
        let text = item.text()?;
        let split = text.split_once('=').or_else(|| text.split_once(':'));
        let (host, ip) = split.ok_or_else(|| {
            let title = format!("{} is not a host with its address", Shown(text));
            item.problem(title, "write `name=10.0.0.1`")
        })?;
        extra_host(host, ip, item)
    })
}

fn extra_host(host: &str, ip: &str, node: &Node) -> Found<(String, IpAddr)> {
    if ip == "host-gateway" {
        return Err(node
            .problem("`host-gateway` is not supported", "an address")
            .hint("set the gateway in `networks`, and write it here"));
    }
    let host = host_name(host, node)?;
    if host.is_empty() {
        return Err(node.problem("a host has no name", "write `name=10.0.0.1`"));
    }
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    Ok((host, address(ip, node)?))
}
