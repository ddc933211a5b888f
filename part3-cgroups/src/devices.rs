//! Which devices a container may use, and how the kernel is told.
//!
//! A device file is only a name for a pair of numbers: whoever may make one (`mknod`) could open
//! the host's disk. So the cgroup keeps a list: what is not on it cannot be opened, by whatever
//! name. Without root no wall is needed here: in a user namespace nobody can make a device file
//! that works, and part 2's `/dev` holds harmless ones only.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use shared::error::Call;
use shared::recipe::Outcome;
use shared::spec::{Device, DeviceRule, Service};
use shared::sys::bpf;
use shared::{Error, Result};

use crate::device_program;

/// Docker's list. Any device file may be made (`m`): it cannot be opened.
const DEFAULT: [(char, Option<u32>, Option<u32>, &str); 11] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"), // null
    ('c', Some(1), Some(5), "rwm"), // zero
    ('c', Some(1), Some(7), "rwm"), // full
    ('c', Some(1), Some(8), "rwm"), // random
    ('c', Some(1), Some(9), "rwm"), // urandom
    ('c', Some(5), Some(0), "rwm"), // tty
    ('c', Some(5), Some(1), "rwm"), // console
    ('c', Some(5), Some(2), "rwm"), // ptmx
    ('c', Some(136), None, "rwm"),  // pts/*
];

/// What every container may use.
pub fn default_rules() -> Vec<DeviceRule> {
    DEFAULT
        .iter()
        .map(|&(kind, major, minor, access)| DeviceRule {
            kind,
            major,
            minor,
            access: access.to_owned(),
        })
        .collect()
}

/// What this service may use: the default, its `devices`, its `device_cgroup_rules`.
///
/// # Errors
/// One of its `devices` is not there or is no device.
pub fn rules(service: &Service) -> Result<Vec<DeviceRule>> {
    let mut rules = default_rules();
    for device in &service.devices {
        rules.push(rule_of(device)?);
    }
    rules.extend(service.device_cgroup_rules.iter().cloned());
    Ok(rules)
}

fn rule_of(device: &Device) -> Result<DeviceRule> {
    let path = device.source.display();
    let failed = || Error::new(format!("devices: cannot give {path} to the container"));
    let about = std::fs::metadata(&device.source).map_err(|e| failed().because(e))?;
    let kind = match about.file_type() {
        t if t.is_char_device() => 'c',
        t if t.is_block_device() => 'b',
        _ => {
            return Err(failed()
                .because("it is not a device")
                .hint("give a file or a directory as one of `volumes`"));
        }
    };
    Ok(DeviceRule {
        kind,
        major: Some(nix::sys::stat::major(about.rdev()) as u32),
        minor: Some(nix::sys::stat::minor(about.rdev()) as u32),
        access: device.access.clone(),
    })
}

/// The rules as `devices.allow` of cgroup v1 takes them: `c 1:3 rwm`.
///
/// A rule for both kinds becomes two: the kernel would read `a 1:3 r` as "everything".
pub fn lines(rules: &[DeviceRule]) -> Vec<String> {
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let line = |rule: &DeviceRule, kind: char| {
        format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), rule.access)
    };
    rules
        .iter()
        .flat_map(|rule| match rule.kind {
            'a' => vec![line(rule, 'b'), line(rule, 'c')],
            kind => vec![line(rule, kind)],
        })
        .collect()
}

/// cgroup v1: forbids all devices to the cgroup in `dir`, then allows the `lines`.
///
/// # Errors
/// `EPERM` when the cgroup above does not allow one of them itself.
pub fn restrict_v1(dir: &Path, lines: &[String]) -> Outcome {
    let open = |name: &str| {
        let path = dir.join(name);
        File::options().write(true).open(&path).call(format!("open(\"{}\")", path.display()))
    };
    open("devices.deny")?.write_all(b"a").call("write(devices.deny, \"a\")")?;
    let mut allow = open("devices.allow")?;
    for line in lines {
        // The file takes one rule for each write.
        allow.write_all(line.as_bytes()).call(format!("write(devices.allow, \"{line}\")"))?;
    }
    Ok(())
}

/// cgroup v2: has the cgroup in `dir` ask the program of these rules.
///
/// # Errors
/// What `bpf(2)` answered.
pub fn restrict_v2(dir: &Path, program: &[bpf::Instruction]) -> Outcome {
    let cgroup = File::open(dir).call(format!("open(\"{}\")", dir.display()))?;
    let program = bpf::load_device_program(program).call("bpf(BPF_PROG_LOAD)")?;
    bpf::attach_device_program(program.as_fd(), cgroup.as_fd()).call("bpf(BPF_PROG_ATTACH)")
}

/// Whether this kernel and this user can restrict devices on cgroup v2. Changes nothing.
pub fn v2_can_restrict() -> bool {
    bpf::load_device_program(&device_program::program(&[])).is_ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_default_list_has_dockers_devices() {
        assert_eq!(
            lines(&default_rules()).join(", "),
            "c *:* m, b *:* m, c 1:3 rwm, c 1:5 rwm, c 1:7 rwm, c 1:8 rwm, c 1:9 rwm, c 5:0 rwm, \
             c 5:1 rwm, c 5:2 rwm, c 136:* rwm"
        );
    }

    #[test]
    fn a_rule_for_both_kinds_is_not_a_rule_for_everything() {
        let both = DeviceRule { kind: 'a', major: Some(1), minor: None, access: "r".into() };
        assert_eq!(lines(&[both]), ["b 1:* r", "c 1:* r"]);
    }

    #[test]
    fn a_device_is_known_by_its_numbers() {
        let device = |path: &str| Device {
            source: PathBuf::from(path),
            target: PathBuf::from(path),
            access: "rw".into(),
        };
        let mut service = Service { devices: vec![device("/dev/null")], ..Service::default() };
        let rules = rules(&service).expect("rules");
        assert_eq!(lines(&rules).last().map(String::as_str), Some("c 1:3 rw"));

        service.devices = vec![device("/etc/passwd")];
        let error = super::rules(&service).expect_err("a file is no device");
        assert!(error.to_string().contains("it is not a device"), "{error}");
    }
}
