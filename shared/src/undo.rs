//! Taking one change to the host back. Every function here may be called twice.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::journal::Undo;
use crate::netlink::nft::{self, Element};
use crate::part::User;
use crate::{identity, process, shared_resource};

/// How long a killed process or an emptied cgroup may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes one change back. A change that is not there (any more) is no error.
///
/// # Errors
/// The change is there and cannot be taken back.
pub fn apply(undo: &Undo) -> Result<()> {
    match undo {
        Undo::Kill { pid, start_time } => kill(Pid::from_raw(*pid), *start_time),
        Undo::Unmount { target } => unmount(target),
        Undo::RemoveFile { path } => gone(path, fs::remove_file(path)),
        Undo::RemoveDir { path } => gone(path, fs::remove_dir(path)),
        Undo::RemoveTree { path } => gone(path, remove_tree(path)),
        Undo::RemoveCgroup { path } => remove_cgroup(path),
        Undo::WriteFile { path, content } => gone(path, fs::write(path, content)),
        Undo::DeleteLink { name } => delete_link(name),
        Undo::RemoveElements(elements) => remove_elements(elements),
        Undo::Run { argv, stdin } => run(argv, stdin),
        Undo::Leave { resource, user } => shared_resource::leave(resource, user),
    }
}

/// `NotFound` is what we wanted.
fn gone(path: &Path, result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(Error::new(format!("cannot clean up {}", path.display())).because(e))
        }
        _ => Ok(()),
    }
}

/// A container's other users are not us: what they made, only root of their user namespace may
/// remove.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied && !User::current().is_root() => {
            identity::as_root_inside(User::current(), || fs::remove_dir_all(path))
                .map_err(|failed| failed.errno.into())
        }
        result => result,
    }
}

fn kill(pid: Pid, start_time: u64) -> Result<()> {
    let Some(process) = process::Process::find(pid, start_time) else { return Ok(()) };
    process.kill(PATIENCE)
}

fn unmount(target: &Path) -> Result<()> {
    use nix::errno::Errno::{EINVAL, ENOENT};
    match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // Nothing is mounted there, or nothing is there.
        Ok(()) | Err(EINVAL | ENOENT) => Ok(()),
        Err(e) => Err(Error::new(format!("cannot unmount {}", target.display())).because(e.desc())),
    }
}

/// A cgroup can be removed once its last process has been reaped: a matter of milliseconds.
fn remove_cgroup(path: &Path) -> Result<()> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(path) {
            Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) && Instant::now() < give_up => {
                kill_members(path);
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return gone(path, result),
        }
    }
}

fn kill_members(cgroup: &Path) {
    // cgroup v2 kills all at once, so that nothing can fork away from under us.
    if fs::write(cgroup.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()) {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

fn delete_link(name: &str) -> Result<()> {
    crate::netlink::Netlink::open()
        .and_then(|mut netlink| netlink.delete_link(name))
        .map_err(|e| Error::new(format!("cannot delete the interface {name}")).because(e))
}

fn remove_elements(elements: &[Element]) -> Result<()> {
    nft::remove(elements)
        .map_err(|e| Error::new("cannot remove what the firewall knows of a container").because(e))
}

/// The command may fail: the change may not be there.
fn run(argv: &[String], stdin: &str) -> Result<()> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| Error::new(format!("cannot run {program}")).because(e))?;
    if let Some(mut pipe) = child.stdin.take() {
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let _ = child.wait();
    Ok(())
}
