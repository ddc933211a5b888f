//! A process that cannot be confused with a later one of the same pid.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::error::{AsErrno, Error, Result};

/// A process of this machine, held by a pidfd.
#[derive(Debug)]
pub struct Process {
    /// Its pid as we see it.
    pub pid: Pid,
    pidfd: OwnedFd,
}

impl Process {
    /// Finds the process that had `pid` and started at `start_time` (see [`start_time`]).
    /// None when it has ended.
    pub fn find(pid: Pid, start_time: u64) -> Option<Self> {
        let raw = rustix::process::Pid::from_raw(pid.as_raw())?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        // Asked after the pidfd was opened: if it is the right one now, the pidfd is, too.
        (self::start_time(pid)? == start_time).then_some(Self { pid, pidfd })
    }

    /// Its oldest child, if it has one: `/proc/PID/task/PID/children` of `proc(5)`.
    pub fn oldest_child(&self) -> Option<Self> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = std::fs::read_to_string(path).ok()?;
        let pid = Pid::from_raw(children.split(' ').next()?.parse().ok()?);
        let child = Self::find(pid, start_time(pid)?)?;
        // Still its child now that the pidfd is open: then it was no other's in between.
        (parent(pid)? == self.pid).then_some(child)
    }

    /// Sends a signal: `pidfd_send_signal(2)`. To a process that has ended: nothing.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn signal(&self, signal: i32) -> Result<()> {
        send_signal(self.pidfd.as_fd(), signal).map_err(|e| {
            Error::new(format!("cannot send signal {signal} to process {}", self.pid))
                .because(e.desc())
        })
    }

    /// Waits until it has ended, at most `patience`; answers whether it did.
    pub fn wait(&self, patience: Duration) -> bool {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, timeout), Ok(1))
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// `EPERM`, or it did not go within `patience` (uninterruptible sleep).
    pub fn kill(&self, patience: Duration) -> Result<()> {
        self.signal(Signal::SIGKILL as i32)?;
        if self.wait(patience) {
            return Ok(());
        }
        Err(Error::new(format!("process {} does not end after SIGKILL", self.pid)))
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Sends any signal number, real-time ones too. To a process that has ended: nothing.
///
/// # Errors
/// `EINVAL` (no such signal), `EPERM`.
pub fn send_signal(pidfd: BorrowedFd, signal: i32) -> std::result::Result<(), nix::errno::Errno> {
    let signal =
        rustix::process::Signal::from_named_raw(signal).ok_or(nix::errno::Errno::EINVAL)?;
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.as_errno()),
    }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat`, `proc(5)`.
/// None when there is no such process.
pub fn start_time(pid: Pid) -> Option<u64> {
    field(pid, 22)
}

fn parent(pid: Pid) -> Option<Pid> {
    field(pid, 4).map(Pid::from_raw)
}

/// A field of `/proc/PID/stat` by its number in `proc(5)`, from 3 on.
fn field<T: std::str::FromStr>(pid: Pid, number: usize) -> Option<T> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may itself hold both.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(number - 3)?.parse().ok()
}
