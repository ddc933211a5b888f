//! File systems that containers mount.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::unistd::fchdir;

use super::Need;
use super::system_calls::new_file_system;
use crate::error::{Call, Failed};
use crate::lab::trial::{Tried, alone_in, alone_in_user_namespace};

const LOAD: &str = "as root: modprobe overlay; or use a distribution's own kernel";

pub(super) const NEEDS: &[Need] = &[
    Need::new("proc", "a /proc for the processes inside", proc)
        .remedy("use the machine itself or a virtual machine, not a container"),
    Need::new("overlay", "overlay mounts, by root", overlay)
        .kernel((5, 2), "CONFIG_OVERLAY_FS")
        .remedy(LOAD),
    Need::new("overlay-userns", "overlay mounts in a user namespace", overlay_userns)
        .kernel((5, 11), "CONFIG_OVERLAY_FS")
        .remedy(LOAD),
];

/// A container around us that covers parts of its own `/proc` keeps us from a new one, which
/// would show what is covered.
fn proc() -> Tried {
    alone_in(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS, || {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/", Some("proc"), flags, None::<&str>).call("mount(\"/\", proc)")?;
        Ok(())
    })
}

fn overlay() -> Tried {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failed::new("mount(overlay)", Errno::EPERM).into());
    }
    alone_in(CloneFlags::CLONE_NEWNS, || layers(""))
}

/// A user namespace may not write `trusted.` attributes: the option has it use others.
fn overlay_userns() -> Tried {
    alone_in_user_namespace(CloneFlags::CLONE_NEWNS, || layers(",userxattr"))
}

/// Two layers: what is written to the file must go to the upper one and leave the lower one.
fn layers(option: &str) -> Tried {
    let tmpfs = new_file_system("tmpfs")?;
    fchdir(&tmpfs).call("fchdir(tmpfs)")?;
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(name).call(format!("mkdir({name:?})"))?;
    }
    fs::write("lower/file", "image").call("write(lower/file)")?;
    let options = format!("lowerdir=lower,upperdir=upper,workdir=work{option}");
    mount(Some("overlay"), "merged", Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .call(format!("mount(overlay, {options})"))?;
    fs::write("merged/file", "container").call("write(merged/file)")?;
    let read = |path: &str| fs::read_to_string(path).call(format!("read({path})"));
    if read("upper/file")? == "container" && read("lower/file")? == "image" {
        return Ok(());
    }
    Err(Failed::new("the overlay had no effect", Errno::EIO).into())
}
