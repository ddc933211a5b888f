//! One service: each key to its reader.

use super::keys;
use super::limits;
use super::mounts;
use super::network;
use super::node::{Map, Node, Value};
use super::ports;
use super::problem::{Found, Shown, Span};
use super::security;
use super::shapes::{Outside, container_path, host_name, name, pairs, size, texts};
use super::units::parse_duration;
use super::words;
use super::{NetworkMode, Restart, Service};

/// Reads the service `key`, which stands at `at`.
pub(super) fn read(key: &str, at: Span, node: &Node, outside: &Outside) -> Found<Service> {
    name(key, at, "service")?;
    let map = node.map()?;
    keys::SERVICE.check(map)?;
    let mut service = Service { name: key.to_owned(), ..Service::default() };
    for (key, entry) in map {
        service.lines.insert(key.clone(), entry.key.line);
        set(&mut service, key, &entry.value, outside)?;
    }
    if service.image.is_empty() && service.rootfs.is_none() {
        let title = format!("the service {} has no image", Shown(&service.name));
        return Err(at.problem(title, "of this service").hint("write `image: host` below it"));
    }
    limits::check_memory(&service, map)?;
    check_network_mode(&service, map)?;
    Ok(service)
}

/// Sets what one key says. The keys stand in the order of [`Service`].
fn set(service: &mut Service, key: &str, node: &Node, outside: &Outside) -> Found<()> {
    let s = service;
    match key {
        "container_name" => s.container_name = Some(container_name(node)?),
        "image" => s.image = node.text()?.to_owned(),
        "x-rootfs" => s.rootfs = Some(outside.host_path(node.text()?, node)?),
        "entrypoint" => s.entrypoint = command(node)?,
        "command" => s.command = command(node)?,
        "environment" => s.environment = environment(node, outside)?,
        "working_dir" => s.working_dir = Some(working_dir(node)?),
        "user" => s.user = Some(user(node)?),
        "hostname" => s.hostname = Some(host_name(node.text()?, node)?),
        "domainname" => s.domainname = Some(host_name(node.text()?, node)?),
        "init" => s.init = node.flag()?,
        "tty" => s.tty = node.flag()?,
        "stdin_open" => s.stdin_open = node.flag()?,
        "read_only" => s.read_only = node.flag()?,
        "stop_signal" => s.stop_signal = Some(security::signal(node)?),
        "stop_grace_period" => s.stop_grace_period = Some(duration(node)?),
        "restart" => s.restart = restart(node)?,
        "depends_on" => s.depends_on = depends_on(node)?,
        "labels" => s.labels = labels(node)?,

        "cap_add" => s.cap_add = security::capabilities(node)?,
        "cap_drop" => s.cap_drop = security::capabilities(node)?,
        "security_opt" => s.security = security::options(node)?,
        "sysctls" => s.sysctls = security::sysctls(node)?,
        "ulimits" => s.ulimits = limits::ulimits(node)?,
        "devices" => s.devices = node.each(security::device)?,
        "device_cgroup_rules" => s.device_cgroup_rules = node.each(security::device_rule)?,
        "shm_size" => s.shm_size = Some(size(node, 1)?),
        "tmpfs" => mounts::all_tmpfs(node, s)?,
        "volumes" => mounts::volumes(node, outside, s)?,

        "mem_limit" => s.mem_limit = Some(size(node, limits::LEAST_MEMORY)?),
        "mem_reservation" => s.mem_reservation = Some(size(node, limits::LEAST_MEMORY)?),
        "memswap_limit" => s.memswap_limit = Some(limits::memswap(node)?),
        "cpus" => s.cpus = Some(limits::cpus(node)?),
        "cpu_shares" => s.cpu_shares = Some(node.number(2, 262_144)?),
        "cpuset" => s.cpuset = Some(limits::cpuset(node)?),
        "pids_limit" => s.pids_limit = Some(limits::pids(node)?),
        "blkio_config" => s.blkio = limits::blkio(node)?,
        "oom_score_adj" => s.oom_score_adj = Some(node.number(-1000, 1000)?),

        "network_mode" => s.network_mode = network::mode(node)?,
        "networks" => s.networks = network::attachments(node)?,
        "ports" => s.ports = ports::ports(node)?.into_iter().map(|(port, _)| port).collect(),
        "extra_hosts" => s.extra_hosts = network::extra_hosts(node)?,
        "dns" => s.dns = network::dns(node)?,
        _ => {} // `x-…`
    }
    Ok(())
}

fn container_name(node: &Node) -> Found<String> {
    let text = node.text()?;
    name(text, node.span, "container")?;
    Ok(text.to_owned())
}

/// `command`, `entrypoint`: a list of words, or a line to be split; nothing is the default.
fn command(node: &Node) -> Found<Vec<String>> {
    if node.is_nothing() {
        return Ok(Vec::new());
    }
    match &node.value {
        Value::List(nodes) => {
            nodes.iter().map(|item| item.text_or_empty().map(str::to_owned)).collect()
        }
        Value::Map(_) => Err(node.expected("a text or a list")),
        Value::Scalar { .. } => words::split(node.text_or_empty()?)
            .map_err(|what| node.problem("this cannot be split into words", what)),
    }
}

/// `environment`: `KEY` alone is taken from our environment, and left out if it is not there.
fn environment(node: &Node, outside: &Outside) -> Found<Vec<(String, String)>> {
    let mut environment = Vec::new();
    for pair in pairs(node)? {
        let value = match pair.value {
            Some(value) => Some(value.to_owned()),
            None => (outside.variable)(pair.key),
        };
        environment.extend(value.map(|value| (pair.key.to_owned(), value)));
    }
    Ok(environment)
}

fn working_dir(node: &Node) -> Found<std::path::PathBuf> {
    match node.text()? {
        "/" => Ok("/".into()),
        text => container_path(text, node),
    }
}

fn user(node: &Node) -> Found<String> {
    let text = node.text()?;
    let parts: Vec<&str> = text.split(':').collect();
    let is_name = |part: &&str| !part.is_empty() && !part.contains(char::is_whitespace);
    if parts.len() > 2 || !parts.iter().all(is_name) {
        let title = format!("{} is not a user", Shown(text));
        return Err(node.problem(title, "`uid`, `name`, `uid:gid` or `name:group`"));
    }
    Ok(text.to_owned())
}

fn duration(node: &Node) -> Found<std::time::Duration> {
    let text = node.scalar("a duration like `10s`")?;
    parse_duration(text).ok_or_else(|| {
        let title = format!("{} is not a duration", Shown(text));
        node.problem(title, "a duration like `10s` or `1m30s`, at most 24h")
    })
}

fn restart(node: &Node) -> Found<Restart> {
    let text = node.text()?;
    let times = text.strip_prefix("on-failure:").map(str::parse);
    match (text, times) {
        ("no", _) => Ok(Restart::No),
        ("always", _) => Ok(Restart::Always),
        ("unless-stopped", _) => Ok(Restart::UnlessStopped),
        ("on-failure", _) => Ok(Restart::OnFailure(None)),
        (_, Some(Ok(times))) => Ok(Restart::OnFailure(Some(times))),
        _ => Err(node
            .problem(format!("{} is not a way to restart", Shown(text)), "here")
            .hint("`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:5`")),
    }
}

/// `depends_on`: a list of services, or a mapping with a condition each.
fn depends_on(node: &Node) -> Found<Vec<String>> {
    let Value::Map(map) = &node.value else { return texts(node) };
    for entry in map.values() {
        let options = entry.value.map()?;
        keys::DEPENDENCY.check(options)?;
        if let Some(condition) = options.get("condition")
            && condition.value.text()? != "service_started"
        {
            return Err(condition
                .value
                .problem("this condition is not supported", "only `service_started`")
                .hint("let the program wait until the other one answers"));
        }
    }
    Ok(map.keys().cloned().collect())
}

fn labels(node: &Node) -> Found<indexmap::IndexMap<String, String>> {
    let label = |(key, value): (&str, Option<&str>)| (key.to_owned(), value.unwrap_or("").into());
    Ok(pairs(node)?.iter().map(|pair| label((pair.key, pair.value))).collect())
}

/// What cannot be had without a network of one's own.
fn check_network_mode(service: &Service, map: &Map) -> Found<()> {
    let Some(mode) = map.get("network_mode") else { return Ok(()) };
    let other = |key: &str| map.get(key).map(|entry| entry.key);
    let word = match service.network_mode {
        NetworkMode::Bridge => "bridge",
        NetworkMode::None => "none",
        NetworkMode::Host => "host",
    };
    if let Some(at) = other("networks") {
        return Err(at
            .problem("`networks` and `network_mode` exclude each other", "this")
            .also(mode.key, "and this")
            .hint("remove one of them"));
    }
    if service.network_mode == NetworkMode::Bridge {
        return Ok(());
    }
    if let Some(at) = other("ports").filter(|_| !service.ports.is_empty()) {
        let title = format!("`ports` cannot be published with `network_mode: {word}`");
        return Err(at.problem(title, "this").also(mode.key, "and this"));
    }
    let of_host = service.network_mode == NetworkMode::Host
        && service.sysctls.keys().any(|key| key.starts_with("net."));
    if let Some(at) = other("sysctls").filter(|_| of_host) {
        let title = "`net.…` would be set for the whole machine with `network_mode: host`";
        return Err(at.problem(title, "this").also(mode.key, "and this"));
    }
    Ok(())
}
