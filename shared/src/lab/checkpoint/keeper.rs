//! The process that keeps a lab: it starts the shell, and cleans up, whatever happened.
//!
//! We hold one end of a pipe, its *leash*. When that closes, because we are done or because we
//! were killed, the keeper kills everything below it and removes the lab. It is the *subreaper*
//! of the session (`PR_SET_CHILD_SUBREAPER(2const)`): who loses his parent there becomes its
//! child, so nobody gets away.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, setsid};

use super::place::Place;
use super::{Namespace, inside};
use crate::error::{Call, Failed};
use crate::sys;

/// How often orphans of the session are reaped. Milliseconds.
const ROUND: u16 = 20;
/// Signals that end whoever holds the leash; the keeper cleans up then.
pub(super) const SPARED: [Signal; 4] =
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP];

/// What a session's shell is started with.
pub(super) struct Setting {
    /// Its directory.
    pub(super) place: Place,
    /// Whether it gets a mount namespace; that takes root.
    pub(super) mounts: bool,
    /// Whether it is to be root of a user namespace.
    pub(super) user_namespace: bool,
    /// What it gets for itself.
    pub(super) unshare: Vec<Namespace>,
    /// `NAME=value`, all of it.
    pub(super) environment: Vec<String>,
}

/// The shell's ends of our pipes.
pub(super) struct Ends {
    /// Its standard input.
    pub(super) input: OwnedFd,
    /// Its standard output and error.
    pub(super) output: OwnedFd,
    /// Whether they are a person's terminal. Its shell is for typing.
    pub(super) terminal: bool,
}

/// The running keeper.
pub(super) struct Keeper {
    pid: Pid,
    leash: PipeWriter,
    /// Closed when the shell ends; then says what is left.
    ended: PipeReader,
    report: PipeReader,
}

impl Keeper {
    /// Can be read when the shell has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Lets it clean up, and waits for it. Answers what is left.
    pub(super) fn end(mut self) -> Vec<String> {
        drop(self.leash);
        let mut text = String::new();
        let told = self.report.read_to_string(&mut text);
        let well = matches!(waitpid(self.pid, None), Ok(WaitStatus::Exited(_, 0)));
        if told.is_err() || !well {
            text += "the keeper of the lab was killed; the next checkpoint cleans up\n";
        }
        text.lines().map(String::from).collect()
    }
}

/// A shell at our own terminal, until the person leaves it. Answers what is left of its lab.
///
/// # Errors
/// As [`start`].
pub(super) fn hold(setting: &Setting) -> Result<Vec<String>, Failed> {
    let ours = |fd: BorrowedFd| fd.try_clone_to_owned().call("dup()");
    let (input, output) = (ours(io::stdin().as_fd())?, ours(io::stdout().as_fd())?);
    // Ctrl-C is for what runs in the shell.
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        sys::set_signal(signal, true).call("signal(SIG_IGN)")?;
    }
    let keeper = start(setting, Ends { input, output, terminal: true })?;
    let mut ended = [PollFd::new(keeper.ended(), PollFlags::POLLIN)];
    while poll(&mut ended, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
    Ok(keeper.end())
}

/// Starts a keeper and its shell.
///
/// # Errors
/// `pipe(2)` or `fork(2)` failed. What fails later is said on the shell's standard error.
pub(super) fn start(setting: &Setting, ends: Ends) -> Result<Keeper, Failed> {
    let (leash_end, leash) = io::pipe().call("pipe()")?;
    let (ended, ended_end) = io::pipe().call("pipe()")?;
    let (report, report_end) = io::pipe().call("pipe()")?;
    match sys::fork().call("fork()")? {
        ForkResult::Parent { child } => Ok(Keeper { pid: child, leash, ended, report }),
        ForkResult::Child => {
            drop((leash, ended, report));
            // Our ends of the shell's pipes, above all: while a copy is open there is no end.
            let pipes = [leash_end.as_raw_fd(), ended_end.as_raw_fd(), report_end.as_raw_fd()];
            let rest = [ends.input.as_raw_fd(), ends.output.as_raw_fd(), setting.place.lock()];
            let _ = sys::close_all_but(&mut [pipes, rest].concat());
            let left = keep(setting, ends, leash_end, ended_end);
            let told =
                left.is_empty() || (&report_end).write_all(left.join("\n").as_bytes()).is_ok();
            sys::exit_now(u8::from(!told))
        }
    }
}

/// The keeper's life.
fn keep(setting: &Setting, ends: Ends, leash: PipeReader, ended: PipeWriter) -> Vec<String> {
    if !ends.terminal {
        // A session of its own: a Ctrl-C at the terminal is for who holds the leash.
        let _ = setsid();
    }
    let _ = set_child_subreaper(true);
    for signal in SPARED {
        let _ = sys::set_signal(signal, true);
    }
    let namespaces = start_shell(setting, ends, &leash, ended);
    setting.place.kill_descendants();
    let ours = namespaces.as_ref().map_or(Ok(()), |inside| enter_and_remove(setting, inside));
    if ours.is_err() {
        setting.place.remove_containers();
    }
    setting.place.remove()
}

/// The shell's namespaces, in the order in which they are entered.
type Inside = Vec<(File, CloneFlags)>;

/// Starts the shell and waits until the leash is let go.
fn start_shell(
    setting: &Setting,
    ends: Ends,
    leash: &PipeReader,
    ended: PipeWriter,
) -> Option<Inside> {
    let (mut ready, ready_end) = io::pipe().ok()?;
    let shell = match sys::fork().ok()? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let failed = inside::become_shell(setting, &ends, ready_end);
            let text = format!("the lab's shell cannot be started: {failed}\n");
            let _ = nix::unistd::write(&ends.output, text.as_bytes());
            sys::exit_now(125)
        }
    };
    drop((ends, ready_end));
    let inside = ready.read_exact(&mut [0]).is_ok().then(|| namespaces_of(setting, shell));
    let mut ended = Some(ended);
    loop {
        let mut fds = [PollFd::new(leash.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(ROUND)) != Ok(0) {
            return inside;
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            match status.pid() {
                None => break,
                Some(pid) if pid == shell => drop(ended.take()),
                Some(_) => {}
            }
        }
    }
}

/// A session that had a network of its own may have run containers on it. What they did is undone
/// there: on the machine's own network things of the same name may be others'.
fn enter_and_remove(setting: &Setting, inside: &Inside) -> Result<(), Failed> {
    match sys::fork().call("fork()")? {
        ForkResult::Parent { child } => match waitpid(child, None).call("waitpid()")? {
            WaitStatus::Exited(_, 0) => Ok(()),
            _ => Err(Failed::new("setns()", nix::errno::Errno::EIO)),
        },
        ForkResult::Child => {
            let entered = inside.iter().all(|(file, kind)| setns(file, *kind).is_ok());
            if entered {
                setting.place.remove_containers();
            }
            sys::exit_now(u8::from(!entered))
        }
    }
}

fn namespaces_of(setting: &Setting, shell: Pid) -> Inside {
    let open =
        |name: &str, kind| Some((File::open(format!("/proc/{shell}/ns/{name}")).ok()?, kind));
    let user = setting.user_namespace.then(|| open("user", CloneFlags::CLONE_NEWUSER));
    let has_net = setting.unshare.contains(&Namespace::Net);
    let net = has_net.then(|| open("net", CloneFlags::CLONE_NEWNET));
    user.into_iter().chain(net).flatten().collect()
}
