//! A terminal with a program on it, to type at and read from.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::sandbox::Sandbox;

/// A program that has a terminal of its own, 80 columns by 24 rows.
#[derive(Debug)]
pub struct Pty {
    controlling: File,
    child: Child,
    /// All that the program has written so far.
    pub seen: String,
    read_to: usize,
}

impl Pty {
    /// Starts `command` (as [`Sandbox::run`] takes it) on a new terminal.
    ///
    /// # Errors
    /// No terminal could be made, or the program not be started.
    pub fn spawn(sandbox: &Sandbox, command: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let controlling = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&controlling)?;
        unlockpt(&controlling)?;
        let name = ptsname(&controlling, Vec::new())?.into_string()?;
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_NOCTTY)
            .open(name)?;
        // setsid(1) gives the program its own session and makes this its controlling terminal.
        let inner = sandbox.command(command.first().ok_or("a command has a program")?);
        let mut outer = Command::new("setsid");
        outer.args(["--ctty", "--wait"]).arg(inner.get_program()).args(&command[1..]);
        for (name, value) in inner.get_envs() {
            outer.env(name, value.unwrap_or_default());
        }
        outer
            .env("TERM", "xterm")
            .current_dir(sandbox.dir())
            .stdin(Stdio::from(terminal.try_clone()?))
            .stdout(Stdio::from(terminal.try_clone()?))
            .stderr(Stdio::from(terminal));
        // Before the program can ask for it.
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&controlling, size)?;
        let child = outer.spawn()?;
        let controlling = File::from(controlling);
        Ok(Self { controlling, child, seen: String::new(), read_to: 0 })
    }

    /// Types `text`; a line ends with `\r`, control-C is `\x03`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.controlling.write_all(text.as_bytes())
    }

    /// Reads until `text` appears after what was expected before; answers what came up to it.
    ///
    /// # Errors
    /// It does not come in time: the message shows what did.
    pub fn expect(&mut self, text: &str, patience: Duration) -> Result<String, String> {
        let end = Instant::now() + patience;
        loop {
            if let Some(at) = self.seen[self.read_to..].find(text) {
                let from = self.read_to;
                self.read_to += at + text.len();
                return Ok(self.seen[from..self.read_to].to_string());
            }
            if !self.read_some(end) {
                return Err(format!("expected {text:?}, got {:?}", &self.seen[self.read_to..]));
            }
        }
    }

    /// Changes its size; the program in the foreground gets `SIGWINCH`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&mut self, rows: u16, columns: u16) -> std::io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.controlling, size)?)
    }

    /// Goes away, as a window that is closed or a connection that breaks.
    ///
    /// # Errors
    /// `/dev/null`, which takes its place, cannot be opened.
    pub fn hang_up(&mut self) -> std::io::Result<()> {
        self.controlling = File::open("/dev/null")?;
        Ok(())
    }

    /// Reads until the program has ended.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                while self.read_some(Instant::now()) {}
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(format!("it did not end; it wrote {:?}", self.seen));
            }
            self.read_some(Instant::now() + Duration::from_millis(10));
        }
    }

    /// Reads what is there, waiting until `end` for something; answers whether there was any.
    fn read_some(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.controlling.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, timeout), Ok(1)) {
            return false;
        }
        let mut bytes = [0; 4096];
        // EIO: nobody has the terminal open any more.
        let Ok(count @ 1..) = self.controlling.read(&mut bytes) else { return false };
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        true
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // setsid(1) forwards nothing: hanging up does it, as closing a window would.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
