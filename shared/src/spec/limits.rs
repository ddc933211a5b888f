//! What a service may use: memory, CPUs, processes, block devices, `setrlimit(2)`.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use indexmap::IndexMap;

use super::keys::{self, Keys, nearest};
use super::node::{Map, Node, Value};
use super::problem::{Found, Shown};
use super::shapes::{required, size};
use super::units::format_size;
use super::{Blkio, Service, Ulimit};

/// Docker's least memory: with less, starting the program already fails.
pub(super) const LEAST_MEMORY: u64 = 6 << 20;
/// The kernel's highest CPU number is below this (`CONFIG_NR_CPUS`).
const CPUS: u32 = 8192;
/// The kernel's PID_MAX_LIMIT.
const MOST_PIDS: i64 = 4_194_304;

/// `cpus`: 0.01 or more.
pub(super) fn cpus(node: &Node) -> Found<f64> {
    let what = "a number like `0.5`";
    let text = node.scalar(what)?;
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    match text.parse::<f64>() {
        Ok(cpus) if plain && cpus > f64::from(CPUS) => {
            Err(node.problem(format!("{} is too large", Shown(text)), format!("at most {CPUS}")))
        }
        Ok(cpus) if plain && cpus >= 0.01 => Ok(cpus),
        Ok(cpus) if cpus < 0.01 => {
            Err(node.problem(format!("{} is too small", Shown(text)), "at least 0.01"))
        }
        _ => Err(node.problem(format!("{} is not a number of CPUs", Shown(text)), what)),
    }
}

/// `cpuset`: `0-2,4`.
pub(super) fn cpuset(node: &Node) -> Found<String> {
    let text = node.text()?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        text.parse::<u32>().ok().filter(|cpu| digits && *cpu < CPUS)
    };
    let is_part = |part: &str| match part.split_once('-') {
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        }
        None => number(part).is_some(),
    };
    if text.split(',').all(is_part) {
        return Ok(text.to_owned());
    }
    Err(node.problem(format!("{} is not a list of CPUs", Shown(text)), "a list like `0-2,4`"))
}

/// `pids_limit`: 1 or more; -1 unlimited.
pub(super) fn pids(node: &Node) -> Found<i64> {
    or_unlimited(node, |node| node.number(1, MOST_PIDS))
}

/// `memswap_limit` in bytes; -1 unlimited.
pub(super) fn memswap(node: &Node) -> Found<i64> {
    or_unlimited(node, |node| Ok(i64::try_from(size(node, 0)?).unwrap_or(i64::MAX)))
}

fn or_unlimited(node: &Node, read: impl Fn(&Node) -> Found<i64>) -> Found<i64> {
    let unlimited = matches!(&node.value, Value::Scalar { text, .. } if text == "-1");
    if unlimited { Ok(-1) } else { read(node).map_err(|problem| problem.hint("-1 is unlimited")) }
}

/// How the memory limits of one service must stand to each other.
pub(super) fn check_memory(service: &Service, map: &Map) -> Found<()> {
    let wrong = |key: &str, title: &str, label: String| match map.get(key) {
        Some(entry) => Err(entry.value.problem(title, label)),
        None => Ok(()),
    };
    match (service.memswap_limit, service.mem_limit) {
        (Some(swap), None) if swap >= 0 => {
            wrong("memswap_limit", "`memswap_limit` needs `mem_limit`", "it is the sum".into())?;
        }
        (Some(swap), Some(memory)) if swap >= 0 && swap.unsigned_abs() < memory => {
            let label = format!("at least {}, or -1", format_size(memory));
            wrong("memswap_limit", "`memswap_limit` is less than `mem_limit`", label)?;
        }
        _ => {}
    }
    match (service.mem_reservation, service.mem_limit) {
        (Some(reserved), Some(limit)) if reserved > limit => {
            let label = format!("at most {}", format_size(limit));
            wrong("mem_reservation", "`mem_reservation` is more than `mem_limit`", label)
        }
        _ => Ok(()),
    }
}

/// `ulimits`: one number for both, or `soft` and `hard`.
pub(super) fn ulimits(node: &Node) -> Found<IndexMap<String, Ulimit>> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let mut ulimits = IndexMap::new();
    for (name, entry) in node.map()? {
        if !NAMES.contains(&name.as_str()) {
            let label = match nearest(name, NAMES.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "see `man 2 setrlimit`, without RLIMIT_".into(),
            };
            return Err(entry.key.problem(format!("{} is not a ulimit", Shown(name)), label));
        }
        ulimits.insert(name.clone(), ulimit(&entry.value)?);
    }
    Ok(ulimits)
}

fn ulimit(node: &Node) -> Found<Ulimit> {
    let limit = |node: &Node| node.number(-1, i64::MAX);
    let Value::Map(map) = &node.value else {
        let both = limit(node)?;
        return Ok(Ulimit { soft: both, hard: both });
    };
    keys::ULIMIT.check(map)?;
    let soft = limit(required(map, "soft", node)?)?;
    let hard = limit(required(map, "hard", node)?)?;
    if hard != -1 && (soft == -1 || soft > hard) {
        let at = required(map, "soft", node)?;
        return Err(at.problem("`soft` is more than `hard`", format!("at most {hard}")));
    }
    Ok(Ulimit { soft, hard })
}

/// `blkio_config`.
pub(super) fn blkio(node: &Node) -> Found<Blkio> {
    let map = node.map()?;
    keys::BLKIO.check(map)?;
    let weight = |node: &Node| node.number(10_u16, 1000);
    let mut blkio = Blkio::default();
    for (key, entry) in map {
        let node = &entry.value;
        match key.as_str() {
            "weight" => blkio.weight = Some(weight(node)?),
            "weight_device" => {
                let read = |node: &Node| weight(node).map(u64::from);
                blkio.weight_device = devices(node, &keys::WEIGHT_DEVICE, "weight", read)?;
            }
            "device_read_bps" => blkio.read_bps = rates(node, |node| size(node, 1))?,
            "device_write_bps" => blkio.write_bps = rates(node, |node| size(node, 1))?,
            "device_read_iops" => blkio.read_iops = rates(node, at_least_one)?,
            "device_write_iops" => blkio.write_iops = rates(node, at_least_one)?,
            _ => {} // `x-…`
        }
    }
    Ok(blkio)
}

fn at_least_one<T: FromStr + PartialOrd + Display + From<u32>>(node: &Node) -> Found<T> {
    node.number(T::from(1), T::from(u32::MAX))
}

fn rates(node: &Node, read: impl Fn(&Node) -> Found<u64>) -> Found<Vec<(PathBuf, u64)>> {
    devices(node, &keys::RATE_DEVICE, "rate", read)
}

/// A list of `{path: /dev/vda, VALUE: …}`.
fn devices(
    node: &Node,
    keys: &Keys,
    value: &str,
    read: impl Fn(&Node) -> Found<u64>,
) -> Found<Vec<(PathBuf, u64)>> {
    node.each(|item| {
        let map = item.map()?;
        keys.check(map)?;
        let path = required(map, "path", item)?;
        let text = path.text()?;
        if !text.starts_with('/') {
            let title = format!("{} is not a device of the host", Shown(text));
            return Err(path.problem(title, "a path like /dev/vda"));
        }
        Ok((text.into(), read(required(map, value, item)?)?))
    })
}
