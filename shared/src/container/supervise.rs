//! What looks after a running container: forwards signals, copies its terminal, waits.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{read, write};

use super::console::{RawTerminal, Window};
use super::start::look_after;
use super::{Exit, Running};
use crate::error::{Call, Result};
use crate::process::send_signal;
use crate::recipe::Recipe;

/// What a container's standard streams are; None: ours.
#[derive(Debug, Default)]
pub struct Streams {
    /// Its standard input.
    pub input: Option<File>,
    /// Its standard output and error; with a terminal, where what it shows is copied to.
    pub output: Option<File>,
}

/// So many Ctrl-C in a row end a container that does not listen to them.
const INTERRUPTS_TO_KILL: u32 = 3;

/// The signals a supervisor passes on.
const FORWARDED: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Blocks the signals that [`supervise`] forwards, so that none is lost. Call it before
/// [`super::start`].
///
/// # Errors
/// What `sigprocmask(2)` or `signalfd(2)` answered.
pub fn catch_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    FORWARDED.iter().for_each(|signal| set.add(*signal));
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).call("sigprocmask(SIG_BLOCK)")?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .call("signalfd")?)
}

/// Waits for the container's first process to end; forwards signals and copies its terminal
/// meanwhile. Runs the recipe's `After` steps; does not play the journal back.
///
/// # Errors
/// What `poll(2)` or `waitid(2)` answered.
pub fn supervise(
    recipe: &Recipe,
    running: &Running,
    signals: &SignalFd,
    streams: &Streams,
) -> Result<Exit> {
    let pidfd = running.pidfd.as_fd();
    match &running.terminal {
        None => wait_forwarding(pidfd, signals)?,
        Some(terminal) => Session::open(terminal, streams)?.run(pidfd, signals)?,
    }
    let status = waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED).call("waitid(pidfd)")?;
    let mut exit = exit_of(&status);
    look_after(recipe, &mut exit);
    Ok(exit)
}

/// The exit status as shells and Docker say it.
pub(super) fn exit_of(status: &WaitStatus) -> Exit {
    match *status {
        WaitStatus::Exited(_, code) => Exit { code: code as u8, ..Exit::default() },
        WaitStatus::Signaled(_, signal, _) => {
            let signal = signal as i32;
            Exit { code: 128 + signal as u8, signal: Some(signal), out_of_memory: false }
        }
        _ => Exit::default(),
    }
}

fn wait_forwarding(pidfd: BorrowedFd, signals: &SignalFd) -> Result<()> {
    let mut forward = Forward::default();
    loop {
        let mut fds = [
            PollFd::new(pidfd, PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        wait_for(&mut fds)?;
        let (ended, signalled) = (is_ready(&fds[0]), is_ready(&fds[1]));
        if ended {
            return Ok(());
        }
        if signalled {
            forward.pass_on(signals, pidfd, None)?;
        }
    }
}

/// `poll` without a timeout, again when a signal interrupts it.
fn wait_for(fds: &mut [PollFd]) -> Result<()> {
    loop {
        match poll(fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            other => return Ok(other.call("poll").map(drop)?),
        }
    }
}

fn is_ready(fd: &PollFd) -> bool {
    fd.revents().is_some_and(|events| !events.is_empty())
}

/// Passes signals on.
#[derive(Default)]
struct Forward {
    interrupts: u32,
}

impl Forward {
    fn pass_on(
        &mut self,
        signals: &SignalFd,
        pidfd: BorrowedFd,
        terminal: Option<BorrowedFd>,
    ) -> Result<()> {
        while let Some(info) = signals.read_signal().call("read(signalfd)")? {
            let mut signal = info.ssi_signo as i32;
            if signal == Signal::SIGWINCH as i32 {
                if let (Some(terminal), Some(window)) =
                    (terminal, Window::of(std::io::stdin().as_fd()))
                {
                    window.apply_to(terminal);
                }
                continue;
            }
            if signal == Signal::SIGINT as i32 {
                self.interrupts += 1;
                if self.interrupts == INTERRUPTS_TO_KILL {
                    eprintln!("interrupted {INTERRUPTS_TO_KILL} times: killing the container");
                    signal = Signal::SIGKILL as i32;
                }
            }
            // It may have ended in between.
            let _ = send_signal(pidfd, signal);
        }
        Ok(())
    }
}

/// A terminal session: what is typed goes in, what is shown comes out.
struct Session<'a> {
    terminal: BorrowedFd<'a>,
    output: Option<&'a File>,
    /// None when nobody types: a detached container.
    raw: Option<RawTerminal>,
    /// False once every program has closed its side.
    open: bool,
}

impl<'a> Session<'a> {
    fn open(terminal: &'a OwnedFd, streams: &'a Streams) -> Result<Self> {
        let terminal = terminal.as_fd();
        let raw = match &streams.input {
            Some(_) => None,
            None => {
                if let Some(window) = Window::of(std::io::stdin().as_fd()) {
                    window.apply_to(terminal);
                }
                Some(RawTerminal::enter()?)
            }
        };
        Ok(Self { terminal, output: streams.output.as_ref(), raw, open: true })
    }

    /// Copies until the process has ended *and* all it wrote is shown.
    fn run(mut self, pidfd: BorrowedFd, signals: &SignalFd) -> Result<()> {
        let mut forward = Forward::default();
        let stdin = std::io::stdin();
        let mut typing = self.raw.is_some();
        loop {
            // Poll reports the end of a file even if nothing is asked of it, again and again. So
            // what is over is left out; the process stands in its place.
            let unless_over =
                |fd, on: bool| PollFd::new(if on { fd } else { pidfd }, PollFlags::POLLIN);
            let mut fds = [
                PollFd::new(pidfd, PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                unless_over(stdin.as_fd(), typing),
                unless_over(self.terminal, self.open),
            ];
            wait_for(&mut fds)?;
            let [ended, signalled, typed, shown] = [0, 1, 2, 3].map(|i| is_ready(&fds[i]));
            if shown && self.open {
                self.show()?;
            } else if ended {
                return Ok(());
            }
            if signalled {
                forward.pass_on(signals, pidfd, Some(self.terminal))?;
            }
            if typed && typing {
                typing = self.type_in(stdin.as_fd())?;
            }
        }
    }

    fn show(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        match read(self.terminal, &mut buffer) {
            // The last program has closed its side.
            Ok(0) | Err(Errno::EIO) => {
                self.open = false;
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Ok(length) => match self.output {
                Some(file) => write_all(file.as_fd(), &buffer[..length]),
                None => write_all(std::io::stdout().as_fd(), &buffer[..length]),
            },
            Err(e) => Ok(Err(e).call("read(terminal)")?),
        }
    }

    /// Answers whether there may be more input.
    fn type_in(&self, stdin: BorrowedFd) -> Result<bool> {
        let mut buffer = [0; 4096];
        match read(stdin, &mut buffer) {
            Ok(0) | Err(Errno::EIO) => Ok(false),
            Ok(length) => write_all(self.terminal, &buffer[..length]).map(|()| true),
            Err(Errno::EINTR) => Ok(true),
            Err(e) => Ok(Err(e).call("read(stdin)")?),
        }
    }
}

fn write_all(fd: BorrowedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => {}
            // Nobody reads any more: what is left is lost, as with a pipe.
            Err(Errno::EIO | Errno::EPIPE) => return Ok(()),
            Err(e) => return Ok(Err(e).call("write(terminal)")?),
        }
    }
    Ok(())
}
