//! What a test needs of the machine, found out by trying it.
//!
//! Each need is tried once, when the first test asks for it. `INSIDE_DOCKER_NO_SKIP` names needs
//! that must be there: a test that would be skipped for one of them fails instead. It is
//! `name,name…`, or `all-but:name,name…`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use nix::unistd::geteuid;
use shared::hierarchy::Version;
use shared::lab::checkpoint::Requirement;
use shared::lab::needs::{cgroups, find_program};

use super::sandbox;

/// Something a test needs: see the functions of this module.
pub struct Need {
    name: String,
    try_it: Box<dyn Fn() -> Result<(), String> + Send>,
}

/// Why it is not there. None: it is.
type Unmet = Option<String>;

/// The reason why the first of `needs` that is not met is not; None when all are.
///
/// # Errors
/// The need must be met here, `INSIDE_DOCKER_NO_SKIP` says.
pub fn first_unmet(needs: &[Need]) -> Result<Unmet, String> {
    for need in needs {
        if let Some(reason) = need.unmet() {
            let reason = format!("needs {}: {reason}", need.name);
            if must_be_met(&need.name, &env::var("INSIDE_DOCKER_NO_SKIP").unwrap_or_default()) {
                return Err(format!("{reason}\n(INSIDE_DOCKER_NO_SKIP says it is here)"));
            }
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// Whether `list` (the value of `INSIDE_DOCKER_NO_SKIP`) demands the need `name`.
pub fn must_be_met(name: &str, list: &str) -> bool {
    let has = |list: &str| list.split(',').any(|entry| entry.trim() == name);
    list.strip_prefix("all-but:").map_or_else(|| has(list), |but| !has(but))
}

impl Need {
    fn new(
        name: impl Into<String>,
        try_it: impl Fn() -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), try_it: Box::new(try_it) }
    }

    /// Tries it, once for all tests.
    fn unmet(&self) -> Unmet {
        static KNOWN: Mutex<BTreeMap<String, Unmet>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().expect("no attempt panics");
        known.entry(self.name.clone()).or_insert_with(|| (self.try_it)().err()).clone()
    }
}

/// What a checkpoint of the book needs: `cgroup2` is called `cgroup_v2` here, `mount-api`
/// `mount_api`, `program:strace` `strace`.
pub fn of_checkpoint(requirement: &Requirement) -> Need {
    let name = requirement.to_string().replace('-', "_").replace("cgroup1", "cgroup_v1");
    let name = name.replace("cgroup2", "cgroup_v2").replace("program:", "");
    let requirement = requirement.clone();
    Need::new(name, move || requirement.attempt().map_err(|unmet| unmet.why))
}

/// A need of the test's own: `name` as `INSIDE_DOCKER_NO_SKIP` may say it.
pub fn custom(name: &str, try_it: impl Fn() -> Result<(), String> + Send + 'static) -> Need {
    Need::new(name, try_it)
}

/// Effective uid 0.
pub fn root() -> Need {
    Need::new("root", || geteuid().is_root().then_some(()).ok_or("we are not root".into()))
}

/// What `doctor` can try, too.
fn shared_need(name: &str, of_doctor: &'static str) -> Need {
    Need::new(name, move || {
        let need = shared::lab::needs::find(of_doctor).ok_or("doctor does not know it")?;
        need.attempt().map_err(|unmet| unmet.why)
    })
}

/// Any other uid.
pub fn not_root() -> Need {
    Need::new("not_root", || (!geteuid().is_root()).then_some(()).ok_or("we are root".into()))
}

/// A user namespace can be made, and a mount made in it.
pub fn userns() -> Need {
    shared_need("userns", "userns")
}

/// A range of uids of our own (`/etc/subuid`, `newuidmap`) can be mapped.
pub fn subuid() -> Need {
    shared_need("subuid", "subuid")
}

/// We may make a cgroup in the unified hierarchy that has the memory and pids controllers.
pub fn cgroup_v2() -> Need {
    let v2 = Some(Version::V2);
    Need::new("cgroup_v2", move || {
        ["memory", "pids"].iter().try_for_each(|c| has_controller(c, v2))
    })
}

/// We may make a cgroup in the v1 hierarchies of memory and pids.
pub fn cgroup_v1() -> Need {
    let v1 = Some(Version::V1);
    Need::new("cgroup_v1", move || {
        ["memory", "pids"].iter().try_for_each(|c| has_controller(c, v1))
    })
}

/// Limits can be set, by v2 or v1.
pub fn cgroups() -> Need {
    Need::new("cgroups", || ["memory", "pids"].iter().try_for_each(|c| has_controller(c, None)))
}

/// A cgroup of ours has this controller (`cpuset`, `blkio` or `io`, …), v2 or v1.
pub fn controller(name: &'static str) -> Need {
    Need::new(format!("controller_{name}"), move || has_controller(name, None))
}

/// A cgroup of ours can be made in a tree that has it.
fn has_controller(name: &str, version: Option<Version>) -> Result<(), String> {
    cgroups::controller(name, version).map_err(|trouble| trouble.to_string())
}

/// `nft` can make a table (tried in a network namespace of its own).
pub fn nft() -> Need {
    shared_need("nft", "nft")
}

/// `iptables-legacy` can translate addresses (tried in a network namespace of its own).
pub fn iptables() -> Need {
    Need::new("iptables", || in_netns("iptables-legacy -w -t nat -A POSTROUTING -j MASQUERADE"))
}

/// A bridge can be made (tried in a network namespace of its own).
pub fn bridge() -> Need {
    shared_need("bridge", "bridge")
}

/// A veth pair can be made (tried in a network namespace of its own).
pub fn veth() -> Need {
    shared_need("veth", "veth")
}

/// Overlay mounts, by root.
pub fn overlay() -> Need {
    shared_need("overlay", "overlay")
}

/// Overlay mounts in a user namespace (Linux 5.11).
pub fn overlay_userns() -> Need {
    shared_need("overlay_userns", "overlay-userns")
}

/// A loop device can be made, for a real block device or a disk that fills up.
pub fn loop_device() -> Need {
    shared_need("loop_device", "loop-device")
}

/// A program of the machine's, found in `PATH`.
pub fn program(name: &'static str) -> Need {
    Need::new(name, move || {
        find_program(name).map(drop).ok_or_else(|| format!("{name} is not installed"))
    })
}

/// A binary of this workspace. `cargo test -p` builds only those of the crate under test.
pub fn binary(name: &'static str) -> Need {
    Need::new(name, move || {
        let path = sandbox::binary(name);
        path.is_file().then_some(()).ok_or(format!("cargo build --workspace makes {name}"))
    })
}

/// `debootstrap` is installed and we may run it.
pub fn debootstrap() -> Need {
    shared_need("debootstrap", "debootstrap")
}

/// The mirror of Debian that this machine uses answers.
pub fn mirror() -> Need {
    shared_need("mirror", "mirror")
}

/// A tree of Debian with `nginx-light` and `python3-minimal`: the directory that
/// `INSIDE_DOCKER_DEBIAN` names. Making one takes minutes; the message says how.
pub fn debian() -> Need {
    Need::new("debian", || debian_tree().map(drop))
}

/// The directory of [`debian`].
///
/// # Errors
/// There is none.
pub fn debian_tree() -> Result<PathBuf, String> {
    let tree = PathBuf::from(env::var_os("INSIDE_DOCKER_DEBIAN").ok_or(
        "INSIDE_DOCKER_DEBIAN=DIR names a tree made by `part1-chroot rootfs create DIR \
         --from debian:bookworm --include nginx-light,python3-minimal`",
    )?);
    let nginx = tree.join("usr/sbin/nginx");
    nginx.is_file().then_some(tree).ok_or(format!("{} is not there", nginx.display()))
}

/// Runs a script in a network namespace of its own, as root or as root of a user namespace.
fn in_netns(script: &str) -> Result<(), String> {
    let user = if geteuid().is_root() { "" } else { "--user --map-root-user" };
    sh(&format!("exec unshare --net {user} sh -ec '{script}'"))
}

/// Runs a script; its last line of standard error is the reason.
fn sh(script: &str) -> Result<(), String> {
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-ec", script])
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run a shell: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = stderr.lines().find(|line| !line.trim().is_empty());
    Err(line.map_or_else(|| output.status.to_string(), |line| line.trim().to_string()))
}
