//! What a test needs of the machine, found out by trying it.
//!
//! Each need is tried once, when the first test asks for it. `INSIDE_DOCKER_NO_SKIP` names needs
//! that must be there: a test that would be skipped for one of them fails instead. It is
//! `name,name…`, or `all-but:name,name…`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::unistd::geteuid;

use super::footprint;
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

/// A need of the test's own: `name` as `INSIDE_DOCKER_NO_SKIP` may say it.
pub fn custom(name: &str, try_it: impl Fn() -> Result<(), String> + Send + 'static) -> Need {
    Need::new(name, try_it)
}

/// Effective uid 0.
pub fn root() -> Need {
    Need::new("root", || geteuid().is_root().then_some(()).ok_or("we are not root".into()))
}

/// Any other uid.
pub fn not_root() -> Need {
    Need::new("not_root", || (!geteuid().is_root()).then_some(()).ok_or("we are root".into()))
}

/// A user namespace can be made, and a mount made in it.
pub fn userns() -> Need {
    Need::new("userns", || sh("unshare --user --map-root-user --mount mount -t tmpfs none /mnt"))
}

/// A range of uids of our own (`/etc/subuid`, `newuidmap`) can be mapped.
pub fn subuid() -> Need {
    Need::new("subuid", || {
        if geteuid().is_root() {
            return Ok(()); // Root maps what it likes.
        }
        sh("command -v newuidmap >/dev/null || { echo 'newuidmap is not installed' >&2; exit 1; }
            unshare --user --map-root-user --map-auto true")
    })
}

/// We may make a cgroup in the unified hierarchy that has the memory and pids controllers.
pub fn cgroup_v2() -> Need {
    Need::new("cgroup_v2", || {
        ["memory", "pids"].iter().try_for_each(|name| controller_in("cgroup2", name))
    })
}

/// We may make a cgroup in the v1 hierarchies of memory and pids.
pub fn cgroup_v1() -> Need {
    Need::new("cgroup_v1", || {
        ["memory", "pids"].iter().try_for_each(|name| controller_in("cgroup", name))
    })
}

/// Limits can be set, by v2 or v1.
pub fn cgroups() -> Need {
    Need::new("cgroups", || ["memory", "pids"].iter().try_for_each(|name| controller_in("", name)))
}

/// A cgroup of ours has this controller (`cpuset`, `blkio` or `io`, …), v2 or v1.
pub fn controller(name: &'static str) -> Need {
    Need::new(format!("controller_{name}"), move || controller_in("", name))
}

/// Makes a cgroup in each hierarchy of `kind` (all: "") until one has files of `controller`.
fn controller_in(kind: &str, controller: &str) -> Result<(), String> {
    let mut why = format!("no {kind} hierarchy with the controller {controller}");
    for (root, found) in footprint::cgroup_hierarchies() {
        if !kind.is_empty() && kind != found {
            continue;
        }
        for parent in [own_cgroup_below(&root, &found), Some(root.clone())].into_iter().flatten() {
            let cgroup = parent.join(format!("inside-docker-need-{}", std::process::id()));
            if let Err(error) = fs::create_dir(&cgroup) {
                why = format!("cannot make {}: {error}", cgroup.display());
                continue;
            }
            let files: Vec<_> = fs::read_dir(&cgroup)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect();
            let _ = fs::remove_dir(&cgroup);
            if files.iter().any(|file| file.starts_with(&format!("{controller}."))) {
                return Ok(());
            }
        }
    }
    Err(why)
}

/// Our own cgroup in the v2 hierarchy: where an ordinary user may have been given a subtree.
fn own_cgroup_below(root: &Path, kind: &str) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (kind == "cgroup2" && !path.is_empty()).then(|| root.join(path))
}

/// `nft` can make a table (tried in a network namespace of its own).
pub fn nft() -> Need {
    Need::new("nft", || in_netns("nft add table ip inside_docker_need"))
}

/// `iptables-legacy` can translate addresses (tried in a network namespace of its own).
pub fn iptables() -> Need {
    Need::new("iptables", || in_netns("iptables-legacy -w -t nat -A POSTROUTING -j MASQUERADE"))
}

/// A bridge and a veth pair can be made (tried in a network namespace of its own).
pub fn bridge() -> Need {
    Need::new("bridge", || {
        in_netns("ip link add bridge0 type bridge && ip link add veth0 type veth peer name veth1")
    })
}

/// Same as [`bridge`]: the kernel has both or neither.
pub fn veth() -> Need {
    bridge()
}

/// Overlay mounts, by root.
pub fn overlay() -> Need {
    Need::new("overlay", || overlay_in("unshare --mount", ""))
}

/// Overlay mounts in a user namespace (Linux 5.11).
pub fn overlay_userns() -> Need {
    Need::new("overlay_userns", || {
        overlay_in("unshare --user --map-root-user --mount", "userxattr,")
    })
}

fn overlay_in(unshare: &str, option: &str) -> Result<(), String> {
    sh(&format!(
        "exec {unshare} sh -ec 'mount -t tmpfs none /mnt; cd /mnt; mkdir lower upper work merged
            mount -t overlay none -o {option}lowerdir=lower,upperdir=upper,workdir=work merged'"
    ))
}

/// A loop device can be made, for a real block device or a disk that fills up.
pub fn loop_device() -> Need {
    Need::new("loop_device", || {
        sh("file=$(mktemp -t inside-docker-XXXXXX); trap 'rm -f \"$file\"' EXIT
            truncate -s 1M \"$file\"; loop=$(losetup --find --show \"$file\")
            losetup --detach \"$loop\"")
    })
}

/// A program of the machine's, found in `PATH`.
pub fn program(name: &'static str) -> Need {
    Need::new(name, move || find_program(name).map(drop))
}

fn find_program(name: &str) -> Result<PathBuf, String> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .ok_or(format!("{name} is not installed"))
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
    Need::new("debootstrap", || {
        find_program("debootstrap")?;
        geteuid().is_root().then_some(()).ok_or("debootstrap wants root".into())
    })
}

/// The mirror of Debian that this machine's apt uses answers.
pub fn network_to_debian() -> Need {
    Need::new("network_to_debian", || {
        let (host, path) = debian_mirror().ok_or("apt has no mirror of Debian")?;
        answers(&host, &path).map_err(|error| format!("{host}: {error}"))
    })
}

/// Host and path of the first `http://HOST/…debian` in apt's sources.
fn debian_mirror() -> Option<(String, String)> {
    let more = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let files = more.map(|entry| entry.path()).chain(["/etc/apt/sources.list".into()]);
    let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    let urls = text.split_whitespace().filter_map(|word| word.strip_prefix("http://"));
    let (host, path) = urls
        .filter_map(|url| url.split_once('/'))
        .find(|(_, path)| path.trim_end_matches('/') == "debian")?;
    Some((host.to_string(), format!("/{}", path.trim_end_matches('/'))))
}

fn answers(host: &str, path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let patience = Duration::from_secs(5);
    let address = (host, 80).to_socket_addrs()?.next().ok_or("no address")?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "HEAD {path}/dists/stable/Release HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut status = [0; 15];
    stream.read_exact(&mut status)?;
    let status = String::from_utf8_lossy(&status).into_owned();
    if status.contains(" 200 ") { Ok(()) } else { Err(format!("it says {status}").into()) }
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
