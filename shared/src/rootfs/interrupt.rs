//! Ctrl-C while something is half made: clean up first, end then.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Call, Failed};
use crate::{Error, Result};

/// While this lives, SIGINT, SIGTERM and SIGHUP wait until somebody asks for them.
///
/// They are blocked for the calling thread only; see `signalfd(2)`.
pub struct Interrupt {
    waiting: SignalFd,
    before: SigSet,
}

impl Interrupt {
    /// Makes the signals wait.
    ///
    /// # Errors
    /// `pthread_sigmask(3)`, `signalfd(2)`.
    pub fn new() -> Result<Self, Failed> {
        let signals: SigSet =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let waiting = SignalFd::with_flags(&signals, flags).call("signalfd()")?;
        let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).call("pthread_sigmask()")?;
        Ok(Self { waiting, before })
    }

    /// Fails when one of the signals has come.
    ///
    /// # Errors
    /// "interrupted", with the exit status a shell gives: 128 and the signal's number.
    pub fn check(&self) -> Result<()> {
        match self.waiting.read_signal() {
            Ok(Some(info)) => {
                let number = u8::try_from(info.ssi_signo).unwrap_or(0);
                Err(Error::new("interrupted").exit_code(128 + number))
            }
            _ => Ok(()),
        }
    }
}

impl AsFd for Interrupt {
    /// Readable once a signal waits; for `poll(2)`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // What was not asked for arrives now.
        let _ = self.before.thread_set_mask();
    }
}
