//! Programs and devices of the machine.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::unistd::geteuid;
use rustix::fs::{MemfdFlags, memfd_create};

use super::Need;
use crate::error::{Call, Failed};
use crate::lab::trial::{Tried, Trouble, in_child};
use crate::rootfs::debootstrap::mirror;
use crate::sys::loop_device;

pub(super) const NEEDS: &[Need] = &[
    Need::new("debootstrap", "a root file system from Debian's packages", debootstrap),
    Need::new("mirror", "a mirror of Debian's packages that answers", mirror),
    Need::new("block-device", "a disk whose first kilobyte can be read", block_device),
    Need::new("loop-device", "a file as a disk", loop_device)
        .kernel((5, 8), "CONFIG_BLK_DEV_LOOP")
        .remedy("as root: modprobe loop; in a container give it /dev/loop-control"),
];

/// The path of a program of the machine; an ordinary `PATH` may lack the administrator's.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir: PathBuf| dir.join(name))
        .find(|file| file.is_file())
}

fn debootstrap() -> Tried {
    let Some(program) = find_program("debootstrap") else {
        let advice = "as root: apt install debootstrap (Fedora: dnf install debootstrap)";
        return Err(Trouble::known("debootstrap is not installed", advice));
    };
    if !geteuid().is_root() {
        return Err(Trouble::known(
            "debootstrap needs root",
            "run it as root, or in a user namespace that has many ids: \
             unshare --map-root-user --map-auto COMMAND",
        ));
    }
    let status = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .call("execve(debootstrap)")?;
    let why = format!("`debootstrap --version` ends with {status}");
    if status.success() { Ok(()) } else { Err(Trouble::known(why, "install it anew")) }
}

/// Asks for the file that debootstrap asks for first.
fn mirror() -> Tried {
    let of_debootstrap = || mirror::of_debootstrap(&find_program("debootstrap")?);
    let mirror = mirror::of_this_machine("stable").or_else(of_debootstrap).ok_or_else(|| {
        Trouble::known("no mirror is known", "install debootstrap, which knows one")
    })?;
    let refused = |why: String| {
        let advice = "connect the machine, or set http_proxy; `rootfs create` needs no network";
        Trouble::known(format!("{mirror}: {why}"), advice)
    };
    let url = format!("{}/dists/stable/Release", mirror.trim_end_matches('/'));
    let program = find_program("wget").ok_or_else(|| {
        Trouble::known("wget is not installed, which debootstrap uses", "as root: apt install wget")
    })?;
    let answer = Command::new(program)
        .args(["--spider", "--tries=1", "--timeout=5", "--no-verbose", &url])
        .stdin(Stdio::null())
        .output()
        .call("execve(wget)")?;
    if answer.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    Err(refused(said.lines().next().unwrap_or("no answer").to_owned()))
}

fn block_device() -> Tried {
    let entries = fs::read_dir("/sys/block").call("opendir(\"/sys/block\")")?;
    let mut refused = None;
    for entry in entries.flatten() {
        match first_kilobyte(&Path::new("/dev").join(entry.file_name())) {
            Ok(true) => return Ok(()),
            Err(failed) if matches!(failed.errno, Errno::EACCES | Errno::EPERM) => {
                refused.get_or_insert(failed);
            }
            // Nothing in it, or no file for it here.
            Ok(false) | Err(_) => {}
        }
    }
    Err(refused.map_or_else(
        || Trouble::known("there is no disk in /sys/block and /dev", "as root: a `loop-device`"),
        Trouble::Call,
    ))
}

fn first_kilobyte(device: &Path) -> Result<bool, Failed> {
    let mut disk = File::open(device).call(format!("open({device:?})"))?;
    Ok(disk.read_exact(&mut [0; 1024]).is_ok())
}

/// The file is one in memory, and the device lets go of it when we close it.
fn loop_device() -> Tried {
    in_child(|| {
        let file = memfd_create("inside-docker", MemfdFlags::CLOEXEC).call("memfd_create()")?;
        let mut file = File::from(file);
        file.write_all(&[b'x'; 64 << 10]).call("write(memfd)")?;
        let mut disk = File::from(loop_device::over(file.as_fd())?);
        let mut first = [0; 1024];
        disk.read_exact(&mut first).call("read(loop device)")?;
        if first == [b'x'; 1024] {
            return Ok(());
        }
        Err(Failed::new("the loop device shows another file", Errno::EIO).into())
    })
}
