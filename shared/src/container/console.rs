//! The two terminals of `-it`: ours, made raw, and the container's, which ours is copied to.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

use crate::error::{Error, Result};

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy)]
pub struct Window(Winsize);

impl Window {
    /// The size of a terminal; None when it is none.
    pub fn of(terminal: BorrowedFd) -> Option<Self> {
        tcgetwinsize(terminal).ok().map(Self)
    }

    /// Gives another terminal this size: its programs get `SIGWINCH`.
    pub fn apply_to(self, terminal: BorrowedFd) {
        // A terminal that has just closed needs no size.
        let _ = tcsetwinsize(terminal, self.0);
    }
}

/// Our terminal, passing every key on; as it was before when this is dropped.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Makes the terminal on standard input raw: `termios(3)`.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub fn enter() -> Result<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Err(Error::new("the input is not a terminal")
                .hint("leave out -t when the input is a pipe or a file"));
        }
        let failed = |e: nix::errno::Errno| {
            Error::new("cannot change the terminal's mode").because(e.desc())
        };
        let before = tcgetattr(input.as_fd()).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(input.as_fd(), SetArg::TCSADRAIN, &raw).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSADRAIN, &self.before);
    }
}
