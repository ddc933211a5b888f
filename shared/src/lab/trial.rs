//! Trying something for real, in a process of its own that leaves nothing behind.

use std::fmt;
use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid};
use serde::{Deserialize, Serialize};

use crate::error::{Call, Failed};
use crate::identity;
use crate::part::User;
use crate::sys;

/// Far more than any trial takes; an emulated kernel is slow. Milliseconds.
const PATIENCE: u16 = 10_000;

/// Why a trial failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Already the user namespace, in which a user may try the rest, cannot be had.
    UserNamespace(Failed),
    /// A call.
    Call(Failed),
    /// What we know already: why, and what to do.
    Known {
        /// The reason, as the end of "it fails: …".
        why: String,
        /// What to do about it.
        advice: String,
    },
}

impl Trouble {
    /// What we know already.
    pub fn known(why: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Known { why: why.into(), advice: advice.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserNamespace(failed) | Self::Call(failed) => failed.fmt(f),
            Self::Known { why, .. } => f.write_str(why),
        }
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        Self::Call(failed)
    }
}

/// What a trial answers.
pub type Tried = Result<(), Trouble>;

/// Tries `act` in a new process that is alone in `namespaces`; an ordinary user also gets a user
/// namespace, whose root he is. When it ends, so do the namespaces and all that is in them.
///
/// # Errors
/// The namespaces cannot be had, or what `act` answered.
pub fn alone_in(namespaces: CloneFlags, act: impl FnOnce() -> Tried) -> Tried {
    in_child(move || {
        if !User::current().is_root() {
            become_root_inside().map_err(Trouble::UserNamespace)?;
        }
        enter(namespaces, act)
    })
}

/// The same, but root gets a user namespace, too.
///
/// # Errors
/// As [`alone_in`].
pub fn alone_in_user_namespace(namespaces: CloneFlags, act: impl FnOnce() -> Tried) -> Tried {
    in_child(move || {
        become_root_inside().map_err(Trouble::UserNamespace)?;
        enter(namespaces, act)
    })
}

/// Tries `act` in a new process. The caller may have threads; `act` is alone.
///
/// # Errors
/// What `act` answered; `EIO` when the process was ended, `ETIMEDOUT` when it had to be.
pub fn in_child(act: impl FnOnce() -> Tried) -> Tried {
    let (mut result, writer) = pipe().call("pipe()")?;
    // `fork(3)` of the C library, not a bare `clone3`: a test that calls this may have threads,
    // and their locks must not stay locked in the child.
    let child = match sys::fork().call("fork()")? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop(result);
            let _ = set_pdeathsig(Signal::SIGKILL);
            let report = Report::of(&act());
            let sent = serde_json::to_writer(&writer, &report).is_ok() && (&writer).flush().is_ok();
            sys::exit_now(u8::from(!sent))
        }
    };
    drop(writer);
    let mut text = Vec::new();
    let mut fds = [PollFd::new(result.as_fd(), PollFlags::POLLIN)];
    let in_time = matches!(poll(&mut fds, PollTimeout::from(PATIENCE)), Ok(1..));
    if in_time {
        let _ = result.read_to_end(&mut text);
    } else {
        let _ = kill(child, Signal::SIGKILL);
    }
    let _ = waitpid(child, None);
    let lost = if in_time { Errno::EIO } else { Errno::ETIMEDOUT };
    let report = serde_json::from_slice::<Report>(&text);
    report.map_err(|_| Failed::new("the process that tried it", lost))?.into_tried()
}

fn become_root_inside() -> Result<(), Failed> {
    let User { uid, gid } = User::current();
    unshare(CloneFlags::CLONE_NEWUSER).call("unshare(CLONE_NEWUSER)")?;
    identity::map_self(uid.as_raw(), gid.as_raw())
}

fn enter(namespaces: CloneFlags, act: impl FnOnce() -> Tried) -> Tried {
    unshare(namespaces).call(format!("unshare({})", names(namespaces)))?;
    if namespaces.contains(CloneFlags::CLONE_NEWNS) {
        // Else what we mount here would be mounted on the host, too.
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .call("mount(\"/\", MS_REC | MS_PRIVATE)")?;
    }
    // A namespace of pids is not entered by who makes it but by their first child.
    if namespaces.contains(CloneFlags::CLONE_NEWPID) { in_child(act) } else { act() }
}

/// `CLONE_NEWTIME`, which `nix` lacks: Linux 5.6.
pub const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

fn names(namespaces: CloneFlags) -> String {
    let mut names: Vec<_> = (namespaces - CLONE_NEWTIME).iter_names().map(|(n, _)| n).collect();
    if namespaces.contains(CLONE_NEWTIME) {
        names.push("CLONE_NEWTIME");
    }
    names.join(" | ")
}

/// Waits for a child; answers whether it ended with 0.
pub(super) fn ended_well(pid: Pid) -> bool {
    matches!(waitpid(pid, None), Ok(nix::sys::wait::WaitStatus::Exited(_, 0)))
}

/// What the child sends.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Done,
    UserNamespace { call: String, errno: i32 },
    Call { call: String, errno: i32 },
    Known { why: String, advice: String },
}

impl Report {
    fn of(tried: &Tried) -> Self {
        let text = |failed: &Failed| (failed.call.to_string(), failed.errno as i32);
        match tried {
            Ok(()) => Self::Done,
            Err(Trouble::UserNamespace(failed)) => {
                let (call, errno) = text(failed);
                Self::UserNamespace { call, errno }
            }
            Err(Trouble::Call(failed)) => {
                let (call, errno) = text(failed);
                Self::Call { call, errno }
            }
            Err(Trouble::Known { why, advice }) => {
                Self::Known { why: why.clone(), advice: advice.clone() }
            }
        }
    }

    fn into_tried(self) -> Tried {
        let failed = |call: String, errno| Failed::new(call, Errno::from_raw(errno));
        Err(match self {
            Self::Done => return Ok(()),
            Self::UserNamespace { call, errno } => Trouble::UserNamespace(failed(call, errno)),
            Self::Call { call, errno } => Trouble::Call(failed(call, errno)),
            Self::Known { why, advice } => Trouble::Known { why, advice },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_found_arrives() {
        let call = Trouble::Call(Failed::new("mount(\"/\")", Errno::EBUSY));
        for tried in [Ok(()), Err(call), Err(Trouble::known("why", "advice"))] {
            let sent = tried.clone();
            assert_eq!(in_child(move || sent), tried);
        }
    }

    #[test]
    fn a_child_that_is_killed_is_noticed() {
        let tried = in_child(|| {
            let _ = nix::sys::signal::raise(Signal::SIGKILL);
            Ok(())
        });
        assert_eq!(tried, Err(Failed::new("the process that tried it", Errno::EIO).into()));
    }

    #[test]
    fn namespaces_have_names() {
        let flags = CloneFlags::CLONE_NEWNET | CLONE_NEWTIME;
        assert_eq!(names(flags), "CLONE_NEWNET | CLONE_NEWTIME");
    }
}
