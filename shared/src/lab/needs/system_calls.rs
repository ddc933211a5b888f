//! System calls that a start makes, and that an old kernel or a container around us may lack.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;
use nix::unistd::{getpid, getsid};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsmount, fsopen,
    move_mount,
};
use rustix::thread::set_no_new_privs;

use super::Need;
use crate::error::{Call, Failed};
use crate::lab::trial::{Tried, alone_in, ended_well, in_child};
use crate::sys::seccomp::{Instruction, set_filter};
use crate::sys::{self, Cloned, MountAttr};

pub(super) const NEEDS: &[Need] = &[
    Need::new("clone3", "making a process and a descriptor of it at once", clone3)
        .kernel((5, 3), "clone3(2)"),
    Need::new("mount-api", "fsopen, mount_setattr, openat2", mount_api)
        .kernel((5, 12), "fsopen(2), mount_setattr(2) or openat2(2)"),
    Need::new("seccomp", "refusing system calls", seccomp).kernel((3, 17), "CONFIG_SECCOMP_FILTER"),
];

fn clone3() -> Tried {
    in_child(|| match sys::clone3(CloneFlags::empty(), None).call("clone3()")? {
        Cloned::Child => sys::exit_now(0),
        Cloned::Parent { pid, .. } if ended_well(pid) => Ok(()),
        Cloned::Parent { .. } => Err(Failed::new("the new process", Errno::EIO).into()),
    })
}

/// Makes a file system and puts it on `/`; answers it. Nobody sees it who does not have it.
pub(super) fn new_file_system(kind: &str) -> Result<OwnedFd, Failed> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).call(format!("fsopen({kind:?})"))?;
    fsconfig_create(context.as_fd()).call(format!("fsconfig_create({kind:?})"))?;
    let none = MountAttrFlags::empty();
    let made = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, none)
        .call(format!("fsmount({kind:?})"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = open("/", flags, Mode::empty()).call("open(\"/\")")?;
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&made, "", &place, "", how).call("move_mount(\"/\")")?;
    Ok(made)
}

fn mount_api() -> Tried {
    alone_in(CloneFlags::CLONE_NEWNS, || {
        let made = new_file_system("tmpfs")?;
        let read_only = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        sys::mount_setattr(made.as_fd(), true, read_only).call("mount_setattr(read-only)")?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let in_root = ResolveFlags::IN_ROOT;
        match openat2(&made, "/file", flags, Mode::RUSR, in_root) {
            Err(rustix::io::Errno::ROFS) => Ok(()),
            Err(error) => Err(error).call("openat2(RESOLVE_IN_ROOT)")?,
            Ok(_) => Err(Failed::new("mount_setattr(read-only) had no effect", Errno::EIO).into()),
        }
    })
}

/// A filter that refuses `getsid(2)`, and only that.
fn seccomp() -> Tried {
    let instruction = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let filter = [
        instruction(0x20, 0, 0, 0), // load the number of the call
        instruction(0x15, 0, 1, libc::SYS_getsid as u32), // is it this one?
        instruction(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | Errno::EXDEV as u32),
        instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    in_child(move || {
        set_no_new_privs(true).call("prctl(PR_SET_NO_NEW_PRIVS)")?;
        set_filter(&filter).call("seccomp(SECCOMP_SET_MODE_FILTER)")?;
        let is_refused = getsid(None) == Err(Errno::EXDEV);
        if is_refused && getpid().as_raw() > 0 && File::open("/").is_ok() {
            return Ok(());
        }
        Err(Failed::new("the filter had no effect", Errno::EIO).into())
    })
}
