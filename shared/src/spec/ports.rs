//! `ports`: the short syntax with its ranges, and the long one.

use std::ops::RangeInclusive;

use super::keys;
use super::node::{Map, Node, Value};
use super::problem::{Found, Problem, Shown};
use super::shapes::{address_v4, required};
use super::{Port, Protocol};

/// The most ports one file may publish: a range is taken apart into its ports.
pub(super) const MOST: usize = 65_535;

type Range = RangeInclusive<u16>;

/// The ports of a service, ranges taken apart, each with the item it comes from.
pub(super) fn ports(node: &Node) -> Found<Vec<(Port, &Node)>> {
    let mut all = Vec::new();
    for item in node.list()? {
        let ports = match &item.value {
            Value::Map(map) => vec![long(map, item)?],
            _ => short(item)?,
        };
        all.extend(ports.into_iter().map(|port| (port, item)));
        if all.len() > MOST {
            return Err(item.problem(format!("more than {MOST} ports"), "too many, from here"));
        }
    }
    Ok(all)
}

/// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`; HOST and CONTAINER may be ranges of one length.
fn short(node: &Node) -> Found<Vec<Port>> {
    let text = node.scalar("a port")?;
    if text.contains('[') {
        return Err(node.problem("ports are published on IPv4 only", "this is IPv6"));
    }
    let (numbers, name) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol(name, node)?;
    let parts: Vec<&str> = numbers.split(':').collect();
    let (ip, published, target) = match parts.as_slice() {
        [target] => (None, None, *target),
        [published, target] => (None, Some(*published), *target),
        [ip, "", target] => (Some(*ip), None, *target),
        [ip, published, target] => (Some(*ip), Some(*published), *target),
        _ => return Err(not_a_port(text, node)),
    };
    let host_ip = ip.map(|ip| address_v4(ip, node)).transpose()?.filter(|ip| !ip.is_unspecified());
    let targets = range(target, node)?;
    let Some(published) = published else {
        let port = |target| Port { host_ip, published: None, target, protocol };
        return Ok(targets.map(port).collect());
    };
    let published = range(published, node)?;
    if published.len() != targets.len() {
        return Err(node.problem(
            "the two ranges are not of the same length",
            format!("{} ports to {}", published.len(), targets.len()),
        ));
    }
    let port = |(published, target)| Port { host_ip, published: Some(published), target, protocol };
    Ok(published.zip(targets).map(port).collect())
}

/// `80` or `8000-8005`.
fn range(text: &str, node: &Node) -> Found<Range> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first, node)?, port(last, node)?);
    if first > last {
        let title = format!("the range {} goes backwards", Shown(text));
        return Err(node.problem(title, format!("write {last}-{first}")));
    }
    Ok(first..=last)
}

fn port(text: &str, node: &Node) -> Found<u16> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_digit()) {
        return Err(not_a_port(text, node));
    }
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(node.problem(format!("the port {} is out of range", Shown(text)), "1 to 65535")),
    }
}

fn not_a_port(text: &str, node: &Node) -> Box<Problem> {
    let title = format!("{} is not a port", Shown(text));
    node.problem(title, "[[IP:]HOST:]CONTAINER[/udp]").hint("for example \"8080:80\"")
}

fn protocol(text: &str, node: &Node) -> Found<Protocol> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => {
            Err(node
                .problem(format!("{} is not a protocol of ports", Shown(text)), "`tcp` or `udp`"))
        }
    }
}

/// `{target: 80, published: "8080", host_ip: 127.0.0.1, protocol: tcp}`.
fn long(map: &Map, node: &Node) -> Found<Port> {
    keys::PORT.check(map)?;
    let get = |key| map.get(key).map(|entry| &entry.value);
    if let Some(mode) = get("mode")
        && !matches!(mode.text()?, "host" | "ingress")
    {
        return Err(mode.problem("not a mode of a port", "`host` or `ingress`, both the same"));
    }
    let host_ip = get("host_ip").map(|node| address_v4(node.text()?, node)).transpose()?;
    let name = get("protocol").map(|node| protocol(node.text()?, node)).transpose()?;
    Ok(Port {
        host_ip: host_ip.filter(|ip| !ip.is_unspecified()),
        published: get("published").map(one).transpose()?,
        target: one(required(map, "target", node)?)?,
        protocol: name.unwrap_or_default(),
    })
}

/// One port: the long syntax has no ranges.
fn one(node: &Node) -> Found<u16> {
    let text = node.scalar("a port")?;
    if text.contains('-') {
        return Err(node
            .problem("a range of ports in the long syntax", "one port only")
            .hint("write it in the short syntax: \"8000-8005:80-85\""));
    }
    port(text, node)
}
