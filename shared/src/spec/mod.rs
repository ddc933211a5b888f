//! `service-specs.yml`: the container as its user describes it.
//!
//! Names and shapes are those of the [Compose Specification](https://compose-spec.io), so a file
//! written for us is valid there. [`Spec::load`] reads a file; [`Service`] is one container.
//!
//! A file goes through these files in turn: `events` (YAML to a tree whose nodes know their
//! place), `interpolate` (`${VARIABLE}`), `parse` and `service` (each key to its reader), `links`
//! (do the services fit together?). What is wrong on the way is a `problem`, drawn with its line.
//!
//! Where we are stricter than Compose: a variable that is not set is an error, not a warning, and
//! so is every key that we would have to ignore. All that is understood:
#![doc = concat!("```yaml\n", include_str!("example.yml"), "```")]

mod events;
mod interpolate;
mod keys;
mod limits;
mod links;
mod mounts;
mod network;
mod node;
mod parse;
mod ports;
mod problem;
mod security;
mod service;
mod shapes;
pub mod units;
mod words;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// A whole `service-specs.yml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The file it was read from (absolute); relative paths in it start from its directory.
    pub file: PathBuf,
    /// The project: `name:`, else the name of the file's directory. Lower case letters,
    /// digits, `-` and `_`.
    pub project: String,
    /// The services in the order of the file; at least one.
    pub services: IndexMap<String, Service>,
    /// The networks of `networks:`. `default` need not be named.
    pub networks: IndexMap<String, Network>,
    /// The named volumes of `volumes:`.
    pub volumes: Vec<String>,
}

/// One service: what is to run, behind which walls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its key under `services:`.
    pub name: String,
    /// `container_name`, else None: the part makes one from project and service.
    pub container_name: Option<String>,
    /// `image`: `host` is the embedded default. Empty only where `x-rootfs` stands alone.
    pub image: String,
    /// `x-rootfs`: a directory used as root file system instead of an image (absolute).
    pub rootfs: Option<PathBuf>,
    /// `entrypoint`: put before the command.
    pub entrypoint: Vec<String>,
    /// `command`: program and arguments; empty: a shell. A string is split as a shell would.
    pub command: Vec<String>,
    /// `environment`, in order, later ones win; `KEY` alone is taken from our own environment.
    pub environment: Vec<(String, String)>,
    /// `working_dir`, absolute inside the container.
    pub working_dir: Option<PathBuf>,
    /// `user`: `uid`, `name`, `uid:gid` or `name:group`; looked up inside the root file system.
    pub user: Option<String>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `domainname` (NIS).
    pub domainname: Option<String>,
    /// `init`: run a small pid 1 that reaps and forwards signals.
    pub init: bool,
    /// `tty`: give it a terminal.
    pub tty: bool,
    /// `stdin_open`: keep its standard input open.
    pub stdin_open: bool,
    /// `read_only`: its root file system cannot be written.
    pub read_only: bool,
    /// `stop_signal`, a number 1–64 (`SIGTERM` unless told).
    pub stop_signal: Option<i32>,
    /// `stop_grace_period` (10 s unless told).
    pub stop_grace_period: Option<Duration>,
    /// `restart`.
    pub restart: Restart,
    /// `depends_on`: services started before, in order of the file.
    pub depends_on: Vec<String>,
    /// `labels`.
    pub labels: IndexMap<String, String>,

    /// `cap_add`: `CAP_SYS_TIME` or `SYS_TIME` or `ALL`; upper case, without `CAP_`.
    pub cap_add: Vec<String>,
    /// `cap_drop`, as `cap_add`.
    pub cap_drop: Vec<String>,
    /// `security_opt`.
    pub security: Security,
    /// `sysctls` of the container's own namespaces (`net.…`, `kernel.msg…`, `kernel.sem`, …).
    pub sysctls: IndexMap<String, String>,
    /// `ulimits`.
    pub ulimits: IndexMap<String, Ulimit>,
    /// `devices`: `/dev/fuse:/dev/fuse:rwm`.
    pub devices: Vec<Device>,
    /// `device_cgroup_rules`: `c 1:3 mr`.
    pub device_cgroup_rules: Vec<DeviceRule>,
    /// `shm_size` in bytes (64 MiB unless told).
    pub shm_size: Option<u64>,
    /// `tmpfs`.
    pub tmpfs: Vec<Tmpfs>,
    /// `volumes`.
    pub volumes: Vec<Mount>,

    /// `mem_limit` in bytes, at least 6 MiB (Docker's minimum).
    pub mem_limit: Option<u64>,
    /// `mem_reservation` in bytes.
    pub mem_reservation: Option<u64>,
    /// `memswap_limit`: memory and swap together, in bytes; -1 unlimited.
    pub memswap_limit: Option<i64>,
    /// `cpus`: how many CPUs' time, 0.01 or more.
    pub cpus: Option<f64>,
    /// `cpu_shares`: relative weight, 2–262144, 1024 unless told.
    pub cpu_shares: Option<u64>,
    /// `cpuset`: CPUs it may use: `0-2,4`.
    pub cpuset: Option<String>,
    /// `pids_limit`: 1 or more; -1 unlimited.
    pub pids_limit: Option<i64>,
    /// `blkio_config`.
    pub blkio: Blkio,
    /// `oom_score_adj`, -1000–1000.
    pub oom_score_adj: Option<i32>,

    /// `network_mode`: `bridge` (the default), `none`, `host`.
    pub network_mode: NetworkMode,
    /// `networks`, in order; empty: `default`.
    pub networks: IndexMap<String, Attachment>,
    /// `ports`: published on the host.
    pub ports: Vec<Port>,
    /// `extra_hosts`: lines of its `/etc/hosts`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// `dns`: servers of its `/etc/resolv.conf`.
    pub dns: Vec<IpAddr>,

    /// Where each key stands, for messages that come later ("line 12").
    pub lines: IndexMap<String, usize>,
}

/// `restart`: what the supervisor does when the process ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    #[default]
    No,
    /// Starts it again unless it was stopped by a command.
    Always,
    /// The same; we have no daemon that could tell the two apart.
    UnlessStopped,
    /// Starts it again when it failed, at most so many times (unlimited: None).
    OnFailure(Option<u32>),
}

/// `security_opt`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// `seccomp=unconfined` (or `seccomp:unconfined`): no system call filter.
    pub seccomp_unconfined: bool,
    /// `no-new-privileges:false` allows set-user-id programs to gain privileges.
    pub allow_new_privileges: bool,
}

/// One of `ulimits`: see `setrlimit(2)`. -1 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// What counts now.
    pub soft: i64,
    /// How far the process itself may raise it.
    pub hard: i64,
}

/// One of `devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// `r`, `w`, `m` (mknod).
    pub access: String,
}

/// One of `device_cgroup_rules`: see the kernel's `cgroup-v1/devices.rst`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// `a`ll, `b`lock or `c`haracter.
    pub kind: char,
    /// None is `*`.
    pub major: Option<u32>,
    /// None is `*`.
    pub minor: Option<u32>,
    /// `r`, `w`, `m`.
    pub access: String,
}

/// One of `tmpfs`: an empty file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where in the container; absolute.
    pub target: PathBuf,
    /// Bytes; None: the kernel's default (half the memory).
    pub size: Option<u64>,
    /// Permission bits (1777 octal unless told).
    pub mode: Option<u32>,
}

/// One of `volumes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// Where in the container; absolute.
    pub target: PathBuf,
    /// `:ro`.
    pub read_only: bool,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A path of the host (absolute).
    Bind(PathBuf),
    /// A named volume, declared under `volumes:`.
    Volume(String),
    /// A volume without a name: it ends with its container.
    Anonymous,
}

/// `blkio_config`. Devices are paths (`/dev/vda`); rates are bytes or operations per second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blkio {
    /// Relative weight, 10–1000.
    pub weight: Option<u16>,
    /// `weight_device`.
    pub weight_device: Vec<(PathBuf, u64)>,
    /// `device_read_bps`.
    pub read_bps: Vec<(PathBuf, u64)>,
    /// `device_write_bps`.
    pub write_bps: Vec<(PathBuf, u64)>,
    /// `device_read_iops`.
    pub read_iops: Vec<(PathBuf, u64)>,
    /// `device_write_iops`.
    pub write_iops: Vec<(PathBuf, u64)>,
}

/// `network_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// An interface on each of the service's networks.
    #[default]
    Bridge,
    /// Loopback only.
    None,
    /// The host's own network: no wall.
    Host,
}

/// How a service is on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `ipv4_address`; None: the next free one.
    pub ipv4_address: Option<Ipv4Addr>,
    /// `aliases`: other names for it there.
    pub aliases: Vec<String>,
}

/// One of the top-level `networks:`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// `ipam.config[0].subnet`; None: one that is free.
    pub subnet: Option<Ipv4Net>,
    /// `ipam.config[0].gateway`; None: the first address.
    pub gateway: Option<Ipv4Addr>,
    /// `internal`: no way out to the world.
    pub internal: bool,
}

/// One published port (ranges are already taken apart).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The address of the host it is published on; None: all.
    pub host_ip: Option<Ipv4Addr>,
    /// The host's port, 1–65535; None: a free one is chosen.
    pub published: Option<u16>,
    /// The container's port, 1–65535.
    pub target: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// The protocol of a published port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Unless told.
    #[default]
    Tcp,
    /// `/udp`.
    Udp,
}

impl Spec {
    /// Reads and checks a file. `path` may be a directory that holds a `service-specs.yml`.
    ///
    /// # Errors
    /// The file cannot be read, is larger than 64 KiB, is not YAML, or says something we do not
    /// understand: the message shows file, line, excerpt and the nearest key.
    pub fn load(path: &Path) -> crate::Result<Self> {
        parse::load(path)
    }

    /// Checks a text as [`Spec::load`] would, as if it stood in `file`.
    ///
    /// # Errors
    /// As [`Spec::load`].
    pub fn parse(text: &str, file: &Path) -> crate::Result<Self> {
        parse::parse(text, file)
    }
}

impl Spec {
    /// The name of a service's container: `container_name`, else project and service.
    pub fn container_name(&self, service: &Service) -> String {
        let made = || format!("{}-{}", self.project, service.name);
        service.container_name.clone().unwrap_or_else(made)
    }
}
