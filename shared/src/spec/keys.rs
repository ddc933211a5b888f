//! Which keys there are, which of Compose's we do not have, and what to do instead.

use super::node::Map;
use super::problem::{Found, Problem, Shown, Span};

/// The keys one kind of mapping may have.
pub(super) struct Keys {
    /// Whose keys: "a service".
    of: &'static str,
    known: &'static [&'static str],
    /// Keys of Compose that we do not have, with what to do instead.
    instead: &'static [(&'static str, &'static str)],
}

/// At the top of the file.
pub(super) const TOP: Keys = Keys {
    of: "the file",
    known: &["name", "services", "networks", "volumes", "version"],
    instead: &[
        ("configs", "mount the file with `volumes`"),
        ("secrets", "mount the file read-only with `volumes`"),
        ("include", "write the services into this file"),
        ("models", "run the model as a service"),
    ],
};

/// Of a service.
pub(super) const SERVICE: Keys = Keys {
    of: "a service",
    known: &[
        "image",
        "container_name",
        "entrypoint",
        "command",
        "environment",
        "working_dir",
        "user",
        "hostname",
        "domainname",
        "init",
        "tty",
        "stdin_open",
        "read_only",
        "stop_signal",
        "stop_grace_period",
        "restart",
        "depends_on",
        "labels",
        "cap_add",
        "cap_drop",
        "security_opt",
        "sysctls",
        "ulimits",
        "devices",
        "device_cgroup_rules",
        "shm_size",
        "tmpfs",
        "volumes",
        "mem_limit",
        "mem_reservation",
        "memswap_limit",
        "cpus",
        "cpu_shares",
        "cpuset",
        "pids_limit",
        "blkio_config",
        "oom_score_adj",
        "network_mode",
        "networks",
        "ports",
        "extra_hosts",
        "dns",
        "x-rootfs",
    ],
    instead: &[
        ("annotations", "use `labels`"),
        ("attach", "choose at the command line: `up` or `up -d`"),
        ("build", "build the image first, then name it with `image`"),
        ("cgroup", "remove it: each container has its own cgroup namespace"),
        ("cgroup_parent", "remove it: the cgroup is chosen for you"),
        ("configs", "mount the file with `volumes`"),
        ("cpu_count", "use `cpus`"),
        ("cpu_percent", "use `cpus`: 50 percent of one is `cpus: 0.5`"),
        ("cpu_period", "use `cpus`: the quota divided by the period"),
        ("cpu_quota", "use `cpus`: the quota divided by the period"),
        ("cpu_rt_period", "use `cpus` or `cpu_shares`"),
        ("cpu_rt_runtime", "use `cpus` or `cpu_shares`"),
        ("credential_spec", "remove it: it is for Windows"),
        ("deploy", "use `mem_limit`, `cpus`, `pids_limit` and `restart`"),
        ("develop", "mount the sources with `volumes`"),
        ("dns_opt", "mount a `resolv.conf` with `volumes`"),
        ("dns_search", "mount a `resolv.conf` with `volumes`"),
        ("env_file", "write the variables under `environment`"),
        ("expose", "remove it: services of a network reach every port"),
        ("extends", "share keys with a YAML anchor: `<<: *common`"),
        ("external_links", "put both services on one network"),
        ("gpus", "give the device files with `devices`"),
        ("group_add", "give the main group with `user: \"uid:gid\"`"),
        ("healthcheck", "start the check yourself with `exec`"),
        ("ipc", "remove it: each container has its own IPC namespace"),
        ("isolation", "remove it: it is for Windows"),
        ("label_file", "write the labels under `labels`"),
        ("links", "remove it: services of a network find each other by name"),
        ("logging", "remove it: the output goes to a file, `logs` shows it"),
        ("mac_address", "remove it: the kernel chooses one"),
        ("mem_swappiness", "use `memswap_limit`; without swap: equal to `mem_limit`"),
        ("models", "run the model as a service"),
        ("oom_kill_disable", "raise `mem_limit`, or lower `oom_score_adj`"),
        ("pid", "remove it: each container has its own pid namespace"),
        ("platform", "remove it: images are of this machine's architecture"),
        ("post_start", "put it into `command`"),
        ("pre_stop", "handle `stop_signal` in the program"),
        ("privileged", "name what it needs: `cap_add`, `devices`"),
        ("profiles", "name the services to start: `up service-specs.yml web db`"),
        ("provider", "run it as a service"),
        ("pull_policy", "remove it: nothing is pulled"),
        ("runtime", "remove it: this is the runtime"),
        ("scale", "write one service for each container"),
        ("secrets", "mount the file read-only with `volumes`"),
        ("storage_opt", "limit a directory with `tmpfs: /path:size=64m`"),
        ("use_api_socket", "remove it: there is no daemon"),
        ("userns_mode", "remove it: who starts the container decides"),
        ("uts", "remove it: each container has its own host name"),
        ("volumes_from", "name the same volume under `volumes` of both"),
    ],
};

/// Of an entry of the top-level `networks:`.
pub(super) const NETWORK: Keys = Keys {
    of: "a network",
    known: &["driver", "internal", "ipam"],
    instead: &[
        ("attachable", "remove it: it is for swarms"),
        ("driver_opts", "remove it: the bridge has no options"),
        ("enable_ipv4", "remove it: networks are IPv4"),
        ("enable_ipv6", "remove it: networks are IPv4"),
        ("external", "remove it: networks are made for this file"),
        ("labels", "remove it: only services have labels"),
        ("name", "remove it: the name is made from project and key"),
    ],
};

/// Of `ipam`.
pub(super) const IPAM: Keys = Keys {
    of: "`ipam`",
    known: &["config", "driver"],
    instead: &[("options", "remove it: there are none")],
};

/// Of an item of `ipam.config`.
pub(super) const IPAM_CONFIG: Keys = Keys {
    of: "`ipam.config`",
    known: &["subnet", "gateway"],
    instead: &[
        ("ip_range", "choose a smaller `subnet`"),
        ("aux_addresses", "give addresses with `ipv4_address`"),
    ],
};

/// Of an entry of the top-level `volumes:`.
pub(super) const VOLUME: Keys = Keys {
    of: "a volume",
    known: &["driver"],
    instead: &[
        ("driver_opts", "mount a host directory: `./data:/path`"),
        ("external", "mount a host directory: `./data:/path`"),
        ("labels", "remove it: only services have labels"),
        ("name", "remove it: the name is made from project and key"),
    ],
};

/// Of a service's entry under `networks`.
pub(super) const ATTACHMENT: Keys = Keys {
    of: "a service's network",
    known: &["aliases", "ipv4_address"],
    instead: &[
        ("driver_opts", "remove it: the bridge has no options"),
        ("gw_priority", "write the network of the gateway first"),
        ("interface_name", "remove it: they are eth0, eth1, … in order"),
        ("ipv6_address", "use `ipv4_address`: networks are IPv4"),
        ("link_local_ips", "use `ipv4_address`"),
        ("mac_address", "remove it: the kernel chooses one"),
        ("priority", "write the networks in the order you want"),
    ],
};

/// Of an entry of `depends_on` written as a mapping.
pub(super) const DEPENDENCY: Keys = Keys {
    of: "`depends_on`",
    known: &["condition"],
    instead: &[
        ("required", "remove it: every service it names is required"),
        ("restart", "remove it: services restart on their own"),
    ],
};

/// Of an item of `volumes` in the long syntax.
pub(super) const MOUNT: Keys = Keys {
    of: "a volume of a service",
    known: &["type", "source", "target", "read_only", "tmpfs"],
    instead: &[
        ("bind", "remove it: binds have no options"),
        ("volume", "remove it: volumes have no options"),
        ("image", "make it a directory, and bind that"),
        ("consistency", "remove it: it does nothing on Linux"),
    ],
};

/// Of `tmpfs` in the long syntax of a volume.
pub(super) const TMPFS: Keys = Keys { of: "`tmpfs`", known: &["size", "mode"], instead: &[] };

/// Of an item of `ports` in the long syntax.
pub(super) const PORT: Keys = Keys {
    of: "a port",
    known: &["target", "published", "host_ip", "protocol", "mode"],
    instead: &[
        ("app_protocol", "remove it: it is only a note"),
        ("name", "write it as a comment: `# …`"),
    ],
};

/// Of an item of `devices` in the long syntax.
pub(super) const DEVICE: Keys =
    Keys { of: "a device", known: &["source", "target", "permissions"], instead: &[] };

/// Of a limit under `ulimits`.
pub(super) const ULIMIT: Keys = Keys { of: "a ulimit", known: &["soft", "hard"], instead: &[] };

/// Of `blkio_config`.
pub(super) const BLKIO: Keys = Keys {
    of: "`blkio_config`",
    known: &[
        "weight",
        "weight_device",
        "device_read_bps",
        "device_write_bps",
        "device_read_iops",
        "device_write_iops",
    ],
    instead: &[],
};

/// Of an item of `weight_device`.
pub(super) const WEIGHT_DEVICE: Keys =
    Keys { of: "`weight_device`", known: &["path", "weight"], instead: &[] };

/// Of an item of `device_read_bps` and its like.
pub(super) const RATE_DEVICE: Keys =
    Keys { of: "a rate of a device", known: &["path", "rate"], instead: &[] };

impl Keys {
    /// Refuses the keys a mapping may not have. `x-…` is free for everybody's use.
    pub fn check(&self, map: &Map) -> Found<()> {
        let wrong = |key: &&String| !key.starts_with("x-") && !self.known.contains(&key.as_str());
        match map.keys().find(wrong) {
            Some(key) => Err(self.problem(key, map[key].key)),
            None => Ok(()),
        }
    }

    /// All that are understood.
    #[cfg(test)]
    pub fn known(&self) -> &'static [&'static str] {
        self.known
    }

    fn problem(&self, key: &str, at: Span) -> Box<Problem> {
        if let Some((_, instead)) = self.instead.iter().find(|(name, _)| *name == key) {
            let title = format!("`{key}` of Compose is not supported here");
            return at.problem(title, "this key").hint(*instead);
        }
        let problem = |label: String| {
            at.problem(format!("{} is not a key of {}", Shown(key), self.of), label)
        };
        if !SERVICE.known.contains(&key)
            && !TOP.known.contains(&key)
            && let Some(near) = nearest(key, self.known.iter().copied())
        {
            return problem(format!("did you mean `{near}`?"));
        }
        if SERVICE.known.contains(&key) {
            return problem("it is a key of a service".into())
                .hint("write it below `services:` and the name of the service");
        }
        if TOP.known.contains(&key) {
            return problem("it is a key of the file".into())
                .hint("write it at the beginning of a line");
        }
        let known = self.known.iter().take(6).map(|key| format!("`{key}`")).collect::<Vec<_>>();
        let more = if self.known.len() > 6 { ", …" } else { "" };
        problem("unknown".into()).hint(format!("one of {}{more}", known.join(", ")))
    }
}

/// The one of `known` that was probably meant.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > 40 {
        return None; // not a slip of the finger, and comparing would take long
    }
    let word = word.to_lowercase().replace('-', "_");
    let distance = |known: &str| {
        let known = known.to_lowercase().replace('-', "_");
        strsim::osa_distance(&word, &known)
    };
    let (distance, near) = known.map(|known| (distance(known), known)).min_by_key(|pair| pair.0)?;
    (distance <= 1 + near.len() / 6).then_some(near)
}
