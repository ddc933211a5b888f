//! What is mounted into a container: `volumes` and `tmpfs`.

use std::path::Path;

use super::keys;
use super::node::{Kind, Map, Node, Value};
use super::problem::{Found, Shown};
use super::shapes::{Outside, container_path, name, required, size};
use super::units::parse_size;
use super::{Mount, Service, Source, Tmpfs};

/// The most mounts of one service.
const MOST: usize = 1000;

/// `volumes` of a service; an item of the type `tmpfs` goes to the others of `tmpfs`.
pub(super) fn volumes(node: &Node, outside: &Outside, service: &mut Service) -> Found<()> {
    for item in node.list()? {
        match &item.value {
            Value::Map(map) => long(map, item, outside, service)?,
            _ => {
                let mount = short(item, outside)?;
                is_free(service, &mount.target, item)?;
                service.volumes.push(mount);
            }
        }
    }
    Ok(())
}

/// `tmpfs`: a path or a list of them, each with options: `/run:size=64m,mode=755`.
pub(super) fn all_tmpfs(node: &Node, service: &mut Service) -> Found<()> {
    for item in node.list_or_one()? {
        let tmpfs = tmpfs(item)?;
        is_free(service, &tmpfs.target, item)?;
        service.tmpfs.push(tmpfs);
    }
    Ok(())
}

/// Refuses a second mount at the same place: one would hide the other.
fn is_free(service: &Service, target: &Path, node: &Node) -> Found<()> {
    if service.volumes.len() + service.tmpfs.len() >= MOST {
        return Err(node.problem(format!("more than {MOST} mounts"), "too many, from here"));
    }
    let mut taken = service.volumes.iter().map(|mount| &mount.target);
    let mut also = service.tmpfs.iter().map(|tmpfs| &tmpfs.target);
    if taken.any(|other| other == target) || also.any(|other| other == target) {
        let path = target.display().to_string();
        return Err(node.problem(format!("{} is mounted twice", Shown(&path)), "again here"));
    }
    Ok(())
}

/// `[SOURCE:]TARGET[:ro]`.
fn short(node: &Node, outside: &Outside) -> Found<Mount> {
    let text = node.text()?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => (None, *target, "rw"),
        [source, target] => (Some(*source), *target, "rw"),
        [source, target, mode] => (Some(*source), *target, *mode),
        _ => {
            let title = format!("{} is not a volume", Shown(text));
            return Err(node.problem(title, "SOURCE:TARGET or SOURCE:TARGET:ro"));
        }
    };
    let source = match source {
        Some(text) => source_of(text, node, outside)?,
        None => Source::Anonymous,
    };
    Ok(Mount { source, target: container_path(target, node)?, read_only: read_only(mode, node)? })
}

fn read_only(mode: &str, node: &Node) -> Found<bool> {
    match mode {
        "ro" => Ok(true),
        "rw" => Ok(false),
        _ => Err(node
            .problem(format!("the mode {} is not supported", Shown(mode)), "`ro` or `rw`")
            .hint("remove it, or write `ro`")),
    }
}

/// What begins like a path is one; the rest are names.
fn source_of(text: &str, node: &Node, outside: &Outside) -> Found<Source> {
    if text.starts_with(['/', '.', '~']) {
        return Ok(Source::Bind(outside.host_path(text, node)?));
    }
    if text.contains('/') {
        let title = format!("{} is neither a name nor a path", Shown(text));
        return Err(node.problem(title, "a relative path begins with `./`"));
    }
    name(text, node.span, "volume")?;
    Ok(Source::Volume(text.to_owned()))
}

/// `{type: bind, source: …, target: …}`.
fn long(map: &Map, node: &Node, outside: &Outside, service: &mut Service) -> Found<()> {
    keys::MOUNT.check(map)?;
    let target_node = required(map, "target", node)?;
    let target = container_path(target_node.text()?, target_node)?;
    is_free(service, &target, node)?;
    let kind = required(map, "type", node)?;
    let source = map.get("source").map(|entry| &entry.value);
    let source = match (kind.text()?, source) {
        ("bind", Some(source)) => Source::Bind(outside.host_path(source.text()?, source)?),
        ("bind", None) => return Err(node.problem("`source` is missing", "of this bind")),
        ("volume", None) => Source::Anonymous,
        ("volume", Some(source)) => {
            name(source.text()?, source.span, "volume")?;
            Source::Volume(source.text()?.to_owned())
        }
        ("tmpfs", source) => {
            if let Some(other) = source.or(map.get("read_only").map(|entry| &entry.value)) {
                return Err(other.problem("a tmpfs has neither source nor `read_only`", "here"));
            }
            let (size, mode) = tmpfs_options(map)?;
            service.tmpfs.push(Tmpfs { target, size, mode });
            return Ok(());
        }
        (other, _) => {
            let title = format!("{} is not a type of volume", Shown(other));
            return Err(kind.problem(title, "`bind`, `volume` or `tmpfs`"));
        }
    };
    if let Some(entry) = map.get("tmpfs") {
        return Err(entry.key.problem("options of a tmpfs at another type", "remove them"));
    }
    let read_only = map.get("read_only").map(|entry| entry.value.flag()).transpose()?;
    let read_only = read_only.unwrap_or(false);
    service.volumes.push(Mount { source, target, read_only });
    Ok(())
}

fn tmpfs_options(map: &Map) -> Found<(Option<u64>, Option<u32>)> {
    let Some(entry) = map.get("tmpfs") else { return Ok((None, None)) };
    let options = entry.value.map()?;
    keys::TMPFS.check(options)?;
    let bytes = options.get("size").map(|entry| size(&entry.value, 1)).transpose()?;
    let mode = options.get("mode").map(|entry| octal_mode(&entry.value)).transpose()?;
    Ok((bytes, mode))
}

/// A mode as YAML writes octal numbers. `1777` alone would be decimal to Compose, and is surely
/// not meant so.
fn octal_mode(node: &Node) -> Found<u32> {
    let text = node.scalar("a mode")?;
    let digits = text.strip_prefix("0o").or(text.strip_prefix('0'));
    digits.and_then(mode).ok_or_else(|| {
        let title = format!("{} is not an octal mode", Shown(text));
        node.problem(title, "write it as `0o1777`")
    })
}

fn mode(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// `TARGET[:OPTION,…]`.
fn tmpfs(node: &Node) -> Found<Tmpfs> {
    if node.kind() == Kind::Map {
        return Err(node.expected("a text").hint("the long syntax belongs under `volumes`"));
    }
    let text = node.text()?;
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut tmpfs = Tmpfs { target: container_path(target, node)?, size: None, mode: None };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let known = match option.split_once('=') {
            Some(("size", bytes)) => {
                tmpfs.size = parse_size(bytes).filter(|bytes| *bytes > 0);
                tmpfs.size.is_some()
            }
            Some(("mode", digits)) => {
                tmpfs.mode = mode(digits);
                tmpfs.mode.is_some()
            }
            // What a tmpfs of a container is anyway.
            _ => matches!(option, "rw" | "nosuid" | "nodev" | "noexec"),
        };
        if !known {
            let title = format!("{} is not an option of a tmpfs", Shown(option));
            return Err(node.problem(title, "`size=64m` or `mode=1777`"));
        }
    }
    Ok(tmpfs)
}
