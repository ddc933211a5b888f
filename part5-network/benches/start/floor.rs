//! The least that a container can cost: one `clone3`, pivot_root, /proc, execve.
//!
//! No limits, no `/dev`, no filter, no undo. The bench runs itself as a process of its own for
//! this, so that the start of a program is counted as it is for all others.

use std::ffi::CString;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{chdir, execve, pivot_root};
use shared::sys::{self, Cloned};
use shared::{Call, Error, Failed, Result};

use crate::measure::Side;

/// Tells this binary that it is the floor.
pub const FLAG: &str = "--floor";
/// The name of this side.
pub const NAME: &str = "floor";

/// This binary as a side of the bench.
pub fn side(rootfs: &Path) -> Result<Side> {
    let this = std::env::current_exe()
        .map_err(|e| Error::new("cannot find our own program").because(e))?;
    Ok(Side::new(NAME, this).args([FLAG.as_ref(), rootfs.as_os_str()]))
}

/// Starts `/bin/true` of `rootfs`, waits, and exits with its status.
pub fn run(rootfs: &Path) -> Result<()> {
    let namespaces = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP;
    match sys::clone3(namespaces, None).call("clone3")? {
        Cloned::Child => {
            let failed = child(rootfs).err().unwrap_or(Failed::new("execve", Errno::ENOEXEC));
            eprintln!("{failed}");
            sys::exit_now(shared::error::EXIT_OURS)
        }
        Cloned::Parent { pid, .. } => match waitpid(pid, None).call("waitpid")? {
            WaitStatus::Exited(_, code) => sys::exit_now(code as u8),
            other => Err(Error::new(format!("the container ended with {other:?}"))),
        },
    }
}

fn child(rootfs: &Path) -> Result<(), Failed> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).call("private")?;
    mount(Some(rootfs), rootfs, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).call("bind")?;
    chdir(rootfs).call("chdir")?;
    pivot_root(".", ".").call("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).call("umount2")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NONE).call("mount(proc)")?;
    let no_environment: [CString; 0] = [];
    execve(c"/bin/true", &[c"true"], &no_environment).call("execve").map(drop)
}
