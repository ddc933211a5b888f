//! The only `unsafe`: system calls that `nix` and `rustix` lack or call unsafe.
//!
//! Each function is a few lines around one call and names its man page.
#![allow(unsafe_code)]

pub mod bpf;
pub mod loop_device;
pub mod seccomp;

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::{ForkResult, Pid};

/// A path as the kernel takes it.
///
/// # Errors
/// `EINVAL` when it holds a NUL byte.
pub fn c_path(path: &Path) -> Result<CString, Errno> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

/// What [`clone3`] answers.
pub enum Cloned {
    /// We are the new process.
    Child,
    /// We made it.
    Parent {
        /// Its pid as we see it.
        pid: Pid,
        /// A descriptor that stays its own even when the pid is used again.
        pidfd: OwnedFd,
    },
}

/// `CLONE_INTO_CGROUP`. (`libc`'s constant overflows to 0 on glibc.)
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a process as `fork(2)` does, in new namespaces and, when told, born in a cgroup:
/// `clone3(2)`.
///
/// The caller must have one thread: the child has a copy of that one only.
///
/// # Errors
/// What the kernel answered: `EPERM`, `ENOSPC` (too many namespaces), `EBUSY` (cgroup not
/// empty-able), `EAGAIN` (too many processes), …
pub fn clone3(namespaces: CloneFlags, cgroup: Option<BorrowedFd>) -> Result<Cloned, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data for which zero is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces.bits() as u32 as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and without a stack the call behaves as fork(2); `args` and
    // `pidfd` outlive it.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel has just opened this descriptor for us; nobody else has it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: Pid::from_raw(pid as i32), pidfd })
}

/// `fork(2)`. The caller must have one thread.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`.
pub fn fork() -> Result<ForkResult, Errno> {
    // SAFETY: our processes have one thread when they fork, so the child may do anything.
    unsafe { nix::unistd::fork() }
}

/// Marks every descriptor from `first` on to be closed by `execve`: `close_range(2)`.
///
/// # Errors
/// `ENOSYS` before Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: changes flags of descriptors only.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Closes every descriptor from `first` on: `close_range(2)`.
///
/// Only for a process that will touch no owned descriptor again (an init, a supervisor).
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: the caller keeps no owned descriptor from `first` on that it will use.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0u32) }).map(drop)
}

/// Sets what a signal does: `signal(2)`. Only for the default and for ignoring.
///
/// # Errors
/// `EINVAL` for `SIGKILL` and `SIGSTOP`.
pub fn set_signal(signal: Signal, ignore: bool) -> Result<(), Errno> {
    let handler = if ignore { SigHandler::SigIgn } else { SigHandler::SigDfl };
    // SAFETY: no code of ours runs as a handler.
    unsafe { nix::sys::signal::signal(signal, handler) }.map(drop)
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct MountAttr {
    /// `MOUNT_ATTR_…` to set.
    pub set: u64,
    /// `MOUNT_ATTR_…` to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, … or 0.
    pub propagation: u64,
    /// The user namespace of an idmapped mount.
    pub userns_fd: u64,
}

/// Changes the attributes of the mount that `fd` is (`recursive`: and of all below):
/// `mount_setattr(2)`.
///
/// # Errors
/// `EINVAL` when it is no mount, `EPERM` when the user namespace locks the attribute,
/// `ENOSYS` before Linux 5.12.
pub fn mount_setattr(fd: BorrowedFd, recursive: bool, attr: MountAttr) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a NUL-terminated empty string, `attr` outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Gives the calling process a controlling terminal: `TIOCSCTTY` of `ioctl_tty(2)`.
///
/// # Errors
/// `EPERM` when it is no session leader or the terminal has another session.
pub fn set_controlling_terminal(terminal: BorrowedFd) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Executes the program that `fd` is open on: `execveat(2)` with `AT_EMPTY_PATH`.
///
/// # Errors
/// Answers only when it failed.
pub fn execveat(fd: BorrowedFd, argv: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            CStr::as_ptr(c""),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// Ends the process at once, running nothing of ours: `_exit(2)`.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: always sound.
    unsafe { libc::_exit(code.into()) }
}

/// Takes over a descriptor received from elsewhere (`SCM_RIGHTS`, an inherited number).
///
/// # Errors
/// `EBADF` when it is not open.
pub fn own_fd(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: asking for the flags of any number is sound.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    // SAFETY: it is open, and the caller says that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Overwrites this process's arguments by `name`, and its environment by nothing: others can read
/// them in `/proc/PID/cmdline` and `environ`, and they tell of the host.
///
/// # Errors
/// `/proc/self/stat` cannot be read.
pub fn rename_process(name: &str) -> Result<(), Errno> {
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|_| Errno::ENOENT)?;
    // Fields 48 to 51 of proc_pid_stat(5): arg_start, arg_end, env_start, env_end. Field 3 is the
    // first after the name.
    let fields = stat.rsplit_once(") ").ok_or(Errno::EINVAL)?.1.split(' ').skip(48 - 3).take(4);
    let at: Vec<usize> = fields.map_while(|text| text.parse().ok()).collect();
    let [arg_start, arg_end, env_start, env_end] = at[..] else { return Err(Errno::EINVAL) };
    for (start, end, text) in [(arg_start, arg_end, name), (env_start, env_end, "")] {
        if start == 0 || end <= start {
            continue;
        }
        // One byte stays: the end of the text.
        let text = &text.as_bytes()[..text.len().min(end - start - 1)];
        // SAFETY: the kernel says that they lie there, in our writable stack. Whoever calls this
        // is about to wait for others for ever and reads neither any more.
        unsafe {
            std::ptr::write_bytes(start as *mut u8, 0, end - start);
            std::ptr::copy_nonoverlapping(text.as_ptr(), start as *mut u8, text.len());
        }
    }
    Ok(())
}

/// Closes every descriptor above 2 but those of `keep`: `close_range(2)`.
///
/// Only for a process that will touch no other owned descriptor again (a forwarder, a
/// supervisor).
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_all_but(keep: &mut [RawFd]) -> Result<(), Errno> {
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.iter().map(|fd| *fd as u32).filter(|fd| *fd > 2) {
        if fd > first {
            // SAFETY: the caller keeps no owned descriptor in this gap that it will use.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0u32) })?;
        }
        first = fd + 1;
    }
    close_from(first)
}
