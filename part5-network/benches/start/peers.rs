//! Other runtimes, where they are installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde_json::{Value, json};
use shared::{Call, Error, Result};

use crate::measure::Side;

/// The sides of those that are installed; says which are not.
pub fn sides(dir: &Path, rootfs: &Path) -> Result<Vec<Side>> {
    let mut sides = Vec::new();
    for (name, side) in [
        ("unshare", with_unshare as fn(_, &Path, &Path) -> _),
        ("bwrap", with_bwrap),
        ("crun", with_crun),
        ("runc", with_runc),
    ] {
        match find(name) {
            Some(program) => sides.push(side(program, dir, rootfs)?),
            None => println!("SKIPPED {name}: not installed"),
        }
    }
    Ok(sides)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(usual);
    places.find_map(|place| Some(place.join(program)).filter(|file| file.is_file()))
}

/// Namespaces, chroot and /proc; nothing else.
fn with_unshare(program: PathBuf, _: &Path, rootfs: &Path) -> Result<Side> {
    Ok(Side::new("unshare", program)
        .args(["--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"])
        .args(["--mount-proc".as_ref(), "--root".as_ref(), rootfs.as_os_str()])
        .args(["/bin/true"]))
}

/// Namespaces, pivot_root, /proc, loopback; no /dev, no filter, no limits.
fn with_bwrap(program: PathBuf, _: &Path, rootfs: &Path) -> Result<Side> {
    Ok(Side::new("bwrap --unshare-all", program)
        .args(["--unshare-all".as_ref(), "--bind".as_ref(), rootfs.as_os_str()])
        .args(["/", "--proc", "/proc", "/bin/true"]))
}

/// The bundle of `crun spec`, without a cgroup: crun refuses a machine with both versions, as
/// this may be.
fn with_crun(program: PathBuf, dir: &Path, rootfs: &Path) -> Result<Side> {
    let bundle = bundle(&program, &dir.join("crun"), rootfs, |config| {
        if let Some(mounts) = config["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["type"] != "cgroup");
        }
    })?;
    let side = Side::new("crun, no cgroup", program)
        .args(["--root".as_ref(), dir.join("crun/state").as_os_str()])
        .args(["--cgroup-manager=disabled", "run", "--bundle"])
        .args([bundle.as_os_str(), "bench".as_ref()]);
    match statfs("/sys/fs/cgroup") {
        Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => Ok(side),
        _ => Ok(side.in_view(view_with_cgroup2()?)),
    }
}

/// The bundle of `runc spec` as it is, with its cgroup.
fn with_runc(program: PathBuf, dir: &Path, rootfs: &Path) -> Result<Side> {
    let bundle = bundle(&program, &dir.join("runc"), rootfs, |_| ())?;
    Ok(Side::new("runc", program)
        .args(["--root".as_ref(), dir.join("runc/state").as_os_str()])
        .args(["run".as_ref(), "--bundle".as_ref(), bundle.as_os_str()])
        .args([format!("bench-{}", std::process::id())]))
}

/// An OCI bundle made by the runtime itself, changed to run `/bin/true` in `rootfs`.
fn bundle(
    program: &Path,
    dir: &Path,
    rootfs: &Path,
    change: impl Fn(&mut Value),
) -> Result<PathBuf> {
    let wanted = || Error::new(format!("cannot make a bundle with {}", program.display()));
    fs::create_dir_all(dir).map_err(|e| wanted().because(e))?;
    let made = Command::new(program).arg("spec").current_dir(dir).status();
    made.map_err(|e| wanted().because(e))?;
    let file = dir.join("config.json");
    let text = fs::read_to_string(&file).map_err(|e| wanted().because(e))?;
    let mut config: Value = serde_json::from_str(&text).map_err(|e| wanted().because(e))?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    config["root"]["path"] = json!(rootfs);
    change(&mut config);
    fs::write(&file, config.to_string()).map_err(|e| wanted().because(e))?;
    Ok(dir.to_owned())
}

/// A mount namespace like ours but with cgroup v2 where programs look for it. Nothing changes
/// outside, and it ends with us.
fn view_with_cgroup2() -> Result<File> {
    const NONE: Option<&str> = None;
    const HERE: &str = "/proc/self/ns/mnt";
    let ours = File::open(HERE).call("open(\"/proc/self/ns/mnt\")")?;
    unshare(CloneFlags::CLONE_NEWNS).call("unshare(CLONE_NEWNS)")?;
    let made = mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .call("mount(MS_PRIVATE)")
        .and_then(|()| {
            mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), NONE)
                .call("mount(cgroup2)")
        })
        .and_then(|()| File::open(HERE).call("open(\"/proc/self/ns/mnt\")"));
    setns(&ours, CloneFlags::CLONE_NEWNS).call("setns")?;
    Ok(made?)
}
