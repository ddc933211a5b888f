//! Privileges: capabilities, `security_opt`, sysctls, devices, signals.

use std::path::Path;

use indexmap::IndexMap;

use super::keys::{self, nearest};
use super::node::{Node, Value};
use super::problem::{Found, Shown};
use super::shapes::{container_path, pairs, required};
use super::{Device, DeviceRule, Security};

/// All of `capabilities(7)`, by number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Signals by their number on x86-64 and arm64, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first real-time signal that programs may use (the C library keeps 32 and 33).
const RTMIN: i32 = 34;

/// `cap_add`, `cap_drop`.
pub(super) fn capabilities(node: &Node) -> Found<Vec<String>> {
    node.each(|item| {
        let text = item.text()?;
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" || CAPABILITIES.contains(&name) {
            return Ok(name.to_owned());
        }
        let title = format!("{} is not a capability", Shown(text));
        match nearest(name, CAPABILITIES.into_iter()) {
            Some(near) => Err(item.problem(title, format!("did you mean `{near}`?"))),
            None => Err(item.problem(title, "unknown").hint("see `man 7 capabilities`")),
        }
    })
}

/// `security_opt`.
pub(super) fn options(node: &Node) -> Found<Security> {
    let mut security = Security::default();
    for item in node.list()? {
        let text = item.text()?;
        match text.replacen(':', "=", 1).as_str() {
            "no-new-privileges" | "no-new-privileges=true" => {
                security.allow_new_privileges = false;
            }
            "no-new-privileges=false" => security.allow_new_privileges = true,
            "seccomp=unconfined" => security.seccomp_unconfined = true,
            other => {
                let hint = match other.split('=').next() {
                    Some("seccomp") => "only `seccomp=unconfined`, or remove it for the filter",
                    Some("apparmor" | "label" | "systempaths") => "remove it",
                    _ => "`no-new-privileges:false` or `seccomp=unconfined`",
                };
                let title = format!("{} of Compose is not supported here", Shown(text));
                return Err(item.problem(title, "this option").hint(hint));
            }
        }
    }
    Ok(security)
}

/// `sysctls`: only those that a namespace keeps for itself; the others are the host's.
pub(super) fn sysctls(node: &Node) -> Found<IndexMap<String, String>> {
    let mut sysctls = IndexMap::new();
    for pair in pairs(node)? {
        let Some(value) = pair.value.filter(|value| !value.is_empty()) else {
            return Err(pair.at.problem(format!("{} has no value", Shown(pair.key)), "here"));
        };
        if let Err((label, hint)) = sysctl_is_ours(pair.key) {
            let title = format!("the sysctl {} cannot be set", Shown(pair.key));
            return Err(pair.key_at.problem(title, label).hint(hint));
        }
        sysctls.insert(pair.key.to_owned(), value.to_owned());
    }
    Ok(sysctls)
}

fn sysctl_is_ours(key: &str) -> Result<(), (&'static str, &'static str)> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    // It becomes a path below /proc/sys: no empty parts, no slashes.
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    if !key.split('.').all(is_part) {
        return Err(("not a name of a sysctl", "write it as `net.ipv4.ip_forward`"));
    }
    match key.split_once('.') {
        Some(("net", _)) => Ok(()),
        Some(("fs", rest)) if rest.starts_with("mqueue.") => Ok(()),
        Some(("kernel", rest)) if IPC.contains(&rest) => Ok(()),
        Some(("kernel", "hostname")) => Err(("it has a key of its own", "use `hostname`")),
        Some(("kernel", "domainname")) => Err(("it has a key of its own", "use `domainname`")),
        _ => Err(("it belongs to the whole machine", "set it on the host, if you must")),
    }
}

/// One of `devices`: `SOURCE[:TARGET[:rwm]]` or a mapping.
pub(super) fn device(node: &Node) -> Found<Device> {
    let (source, target, access) = match &node.value {
        Value::Map(map) => {
            keys::DEVICE.check(map)?;
            let source = required(map, "source", node)?.text()?;
            let target = map.get("target").map(|entry| entry.value.text()).transpose()?;
            let access = map.get("permissions").map(|entry| entry.value.text()).transpose()?;
            (source, target, access)
        }
        _ => {
            let mut parts = node.text()?.splitn(3, ':');
            (parts.next().unwrap_or_default(), parts.next(), parts.next())
        }
    };
    if !Path::new(source).is_absolute() || source.contains("..") {
        let title = format!("{} is not a device of the host", Shown(source));
        return Err(node.problem(title, "a path like /dev/fuse"));
    }
    let (target, access) = match (target, access) {
        // Docker also reads `/dev/fuse:r`.
        (Some(access), None) if is_access(access) => (source, access),
        (target, access) => (target.unwrap_or(source), access.unwrap_or("rwm")),
    };
    if !is_access(access) {
        return Err(node.problem(
            format!("{} is not an access to a device", Shown(access)),
            "one or more of `r`, `w`, `m`",
        ));
    }
    let (source, access) = (source.into(), access.to_owned());
    Ok(Device { source, target: container_path(target, node)?, access })
}

fn is_access(text: &str) -> bool {
    let once = |c: char| text.matches(c).count() <= 1;
    !text.is_empty() && text.chars().all(|c| "rwm".contains(c) && once(c))
}

/// One of `device_cgroup_rules`.
pub(super) fn device_rule(node: &Node) -> Found<DeviceRule> {
    let text = node.text()?;
    parse_rule(text).ok_or_else(|| {
        let title = format!("{} is not a rule for devices", Shown(text));
        node.problem(title, "type, numbers, access").hint("`c 1:3 mr` or `b 8:* rwm`")
    })
}

fn parse_rule(text: &str) -> Option<DeviceRule> {
    let mut words = text.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let kind = kind.parse().ok().filter(|kind| "abc".contains(*kind))?;
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        _ => text.parse::<u32>().ok().map(Some),
    };
    let rest_is_fine = is_access(access) && words.next().is_none();
    rest_is_fine.then_some(())?;
    Some(DeviceRule { kind, major: number(major)?, minor: number(minor)?, access: access.into() })
}

/// `stop_signal`: `SIGTERM`, `TERM`, `SIGRTMIN+3` or a number.
pub(super) fn signal(node: &Node) -> Found<i32> {
    let text = node.text()?;
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = signal_number(name) {
        return Ok(number);
    }
    let title = format!("{} is not a signal", Shown(text));
    match nearest(name, SIGNALS.into_iter()) {
        Some(near) => Err(node.problem(title, format!("did you mean `SIG{near}`?"))),
        None => Err(node.problem(title, "a name like `SIGTERM`, or 1 to 64")),
    }
}

fn signal_number(name: &str) -> Option<i32> {
    let known = SIGNALS.iter().zip(1..).find(|(known, _)| **known == name);
    let number = match (known, name.strip_prefix("RTMIN")) {
        (Some((_, number)), _) => number,
        (None, Some("")) => RTMIN,
        (None, Some(rest)) => RTMIN + rest.strip_prefix('+')?.parse::<u8>().map(i32::from).ok()?,
        (None, None) => name.parse().ok()?,
    };
    (1..=64).contains(&number).then_some(number)
}
