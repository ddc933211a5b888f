//! What services say of each other and of the rest of the file: does it fit together?

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use super::keys::nearest;
use super::network::outside;
use super::node::{Map, Node, Value};
use super::ports::ports;
use super::problem::{Found, Problem, Shown, Span};
use super::{Network, Protocol, Source, Spec};

/// Checks a whole spec; `services` is the tree it was read from, for the places.
pub(super) fn check(spec: &Spec, services: &Map) -> Found<()> {
    container_names(spec, services)?;
    dependencies(spec, services)?;
    cycles(spec, services)?;
    volumes(spec, services)?;
    networks(spec, services)?;
    addresses(spec, services)?;
    published(services)
}

/// The value of a key of a service.
fn value<'n>(services: &'n Map, service: &str, key: &str) -> Option<&'n Node> {
    let Value::Map(map) = &services.get(service)?.value.value else { return None };
    map.get(key).map(|entry| &entry.value)
}

/// Where a name stands that a service lists under `key`, in a list or as a key.
fn place(services: &Map, service: &str, key: &str, name: &str) -> Span {
    let at = value(services, service, key);
    let found = at.and_then(|node| match &node.value {
        Value::Map(map) => map.get(name).map(|entry| entry.key),
        Value::List(nodes) => nodes.iter().find(|node| names(node, name)).map(|node| node.span),
        Value::Scalar { .. } => None,
    });
    found.unwrap_or_else(|| at.map_or(services[service].key, |node| node.span))
}

/// Whether an item of a list names `name`: alone, before a `:`, or as its `source`.
fn names(node: &Node, name: &str) -> bool {
    match &node.value {
        Value::Scalar { text, .. } => text.split(':').next() == Some(name),
        Value::Map(map) => map.get("source").is_some_and(|entry| names(&entry.value, name)),
        Value::List(_) => false,
    }
}

/// Something is named that the file does not have.
fn unknown<'k>(
    what: &str,
    name: &str,
    at: Span,
    known: impl Iterator<Item = &'k str>,
) -> Box<Problem> {
    let title = format!("there is no {what} {}", Shown(name));
    match nearest(name, known) {
        Some(near) => at.problem(title, format!("did you mean `{near}`?")),
        None => at.problem(title, "not in this file"),
    }
}

fn container_names(spec: &Spec, services: &Map) -> Found<()> {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for service in spec.services.values() {
        let Some(name) = &service.container_name else { continue };
        if let Some(other) = seen.insert(name, &service.name) {
            let at = |service| place(services, service, "container_name", "");
            let title = format!("two containers are called {}", Shown(name));
            let problem = at(&service.name).problem(title, "again here");
            return Err(problem.also(at(other), "first here"));
        }
    }
    Ok(())
}

fn dependencies(spec: &Spec, services: &Map) -> Found<()> {
    for service in spec.services.values() {
        for name in &service.depends_on {
            if !spec.services.contains_key(name) {
                let at = place(services, &service.name, "depends_on", name);
                return Err(unknown("service", name, at, services.keys().map(String::as_str)));
            }
        }
    }
    Ok(())
}

/// Takes away services that wait for nobody until none is left; the rest wait for each other.
fn cycles(spec: &Spec, services: &Map) -> Found<()> {
    let mut waits: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut waiters: HashMap<&str, Vec<&str>> = HashMap::new();
    for service in spec.services.values() {
        let name = service.name.as_str();
        waits.insert(name, service.depends_on.iter().map(String::as_str).collect());
        for other in &waits[name] {
            waiters.entry(*other).or_default().push(name);
        }
    }
    let mut ready: Vec<&str> =
        waits.keys().copied().filter(|name| waits[name].is_empty()).collect();
    while let Some(name) = ready.pop() {
        waits.remove(name);
        for waiter in waiters.remove(name).unwrap_or_default() {
            if let Some(left) = waits.get_mut(waiter) {
                left.remove(name);
                if left.is_empty() {
                    ready.push(waiter);
                }
            }
        }
    }
    let left = spec.services.keys().find(|name| waits.contains_key(name.as_str()));
    let Some(first) = left else { return Ok(()) };
    let mut path = vec![first.as_str()];
    loop {
        let last = path[path.len() - 1];
        let next = spec.services[last].depends_on.iter().find(|name| waits.contains_key(&***name));
        let Some(next) = next else { return Ok(()) };
        let begin = path.iter().position(|name| name == next);
        path.push(next);
        if let Some(begin) = begin {
            let circle = &path[begin..];
            let at = place(services, circle[0], "depends_on", circle[1]);
            let names = circle.iter().take(5).copied().collect::<Vec<_>>().join(" → ");
            let label = if circle.len() > 5 { format!("{names} → …") } else { names };
            return Err(at
                .problem("services wait for each other in a circle", label)
                .hint("remove one `depends_on` of the circle"));
        }
    }
}

fn volumes(spec: &Spec, services: &Map) -> Found<()> {
    let known: HashSet<&str> = spec.volumes.iter().map(String::as_str).collect();
    for service in spec.services.values() {
        for mount in &service.volumes {
            let Source::Volume(name) = &mount.source else { continue };
            if !known.contains(name.as_str()) {
                let at = place(services, &service.name, "volumes", name);
                let names = spec.volumes.iter().map(String::as_str);
                return Err(unknown("volume", name, at, names).hint(format!(
                    "declare it at the end: `volumes: {{{name}: }}`; a directory: `./{name}`"
                )));
            }
        }
    }
    Ok(())
}

fn networks(spec: &Spec, services: &Map) -> Found<()> {
    for service in spec.services.values() {
        for name in service.networks.keys() {
            if name != "default" && !spec.networks.contains_key(name) {
                let at = place(services, &service.name, "networks", name);
                let names = spec.networks.keys().map(String::as_str);
                return Err(unknown("network", name, at, names)
                    .hint(format!("declare it at the end: `networks: {{{name}: }}`")));
            }
        }
    }
    Ok(())
}

fn addresses(spec: &Spec, services: &Map) -> Found<()> {
    let mut seen: HashMap<(&str, Ipv4Addr), Span> = HashMap::new();
    for service in spec.services.values() {
        for (name, attachment) in &service.networks {
            let Some(ip) = attachment.ipv4_address else { continue };
            let at = address_place(services, &service.name, name);
            check_address(ip, spec.networks.get(name), at)?;
            if let Some(first) = seen.insert((name, ip), at) {
                return Err(at
                    .problem(format!("the address {ip} is given twice"), "again here")
                    .also(first, "first here"));
            }
        }
    }
    Ok(())
}

fn address_place(services: &Map, service: &str, network: &str) -> Span {
    let Some(Value::Map(map)) = value(services, service, "networks").map(|node| &node.value) else {
        return services[service].key;
    };
    let entry = &map[network];
    match &entry.value.value {
        Value::Map(map) => map.get("ipv4_address").map_or(entry.key, |entry| entry.value.span),
        _ => entry.key,
    }
}

fn check_address(ip: Ipv4Addr, network: Option<&Network>, at: Span) -> Found<()> {
    let Some(subnet) = network.and_then(|network| network.subnet) else {
        return Err(at
            .problem("`ipv4_address` needs a network with a subnet", "this one has none")
            .hint("under `networks:` write `ipam: {config: [{subnet: 10.9.0.0/24}]}`"));
    };
    if let Some(problem) = outside(ip, subnet, at) {
        return Err(problem);
    }
    let gateway = network.and_then(|network| network.gateway).or_else(|| subnet.hosts().next());
    if gateway == Some(ip) {
        return Err(at.problem(format!("{ip} is the gateway of the network"), "take another"));
    }
    Ok(())
}

/// An address of the host (None: all) on which a port is taken, and where that stands.
type Taken = (Option<Ipv4Addr>, Span);

/// No port of the host twice; one published on all addresses excludes every other.
fn published(services: &Map) -> Found<()> {
    let mut seen: HashMap<(Protocol, u16), Vec<Taken>> = HashMap::new();
    for name in services.keys() {
        let Some(node) = value(services, name, "ports") else { continue };
        for (port, item) in ports(node)? {
            let Some(number) = port.published else { continue };
            let others = seen.entry((port.protocol, number)).or_default();
            let clash =
                |ip: Option<Ipv4Addr>| ip.is_none() || port.host_ip.is_none() || ip == port.host_ip;
            if let Some((_, first)) = others.iter().find(|(ip, _)| clash(*ip)) {
                let title = format!("the port {number} of the host is published twice");
                let label = format!("again; first in line {}", first.line);
                let problem = item.span.problem(title, label).also(*first, "first here");
                return Err(problem.hint("give one of them another port of the host"));
            }
            others.push((port.host_ip, item.span));
        }
    }
    Ok(())
}
