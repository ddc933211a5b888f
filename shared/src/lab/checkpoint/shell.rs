//! The shell of a session: one bash without a terminal, that is told one command after another.
//!
//! Its commands come through a file and its standard input, what they print through a pipe, how
//! they ended through a FIFO. No descriptor of ours is open in it: an experiment may look.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::keeper::{self, Ends, Keeper, Setting};
use crate::error::{Call, Failed};

const MOMENT: Duration = Duration::from_millis(2);

/// A running shell and its lab.
pub(super) struct Shell {
    control: PathBuf,
    input: PipeWriter,
    output: PipeReader,
    status: File,
    keeper: Keeper,
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Standard output and error, as they came.
    pub(super) output: String,
    /// How it ended.
    pub(super) end: End,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With this exit status.
    Status(i32),
    /// It did not, within our patience.
    NotYet,
    /// It ended the shell.
    WithShell,
}

impl Shell {
    /// Starts a shell in a lab.
    ///
    /// # Errors
    /// The lab cannot be prepared.
    pub(super) fn start(setting: &Setting) -> Result<Self, Failed> {
        let control = setting.place.control();
        let fifo = control.join("status");
        mkfifo(&fifo, Mode::from_bits_truncate(0o600)).call("mkfifo(status)")?;
        let (input_end, input) = io::pipe().call("pipe()")?;
        let (output, output_end) = io::pipe().call("pipe()")?;
        // Open for writing as well, it never ends, and nobody waits for us to open it.
        let status = OpenOptions::new().read(true).write(true).open(&fifo).call("open(status)")?;
        let ends = Ends { input: input_end.into(), output: output_end.into(), terminal: false };
        let keeper = keeper::start(setting, ends)?;
        Ok(Self { control, input, output, status, keeper })
    }

    /// Runs a command, and tells what it prints as it comes.
    ///
    /// # Errors
    /// The shell cannot be spoken to.
    pub(super) fn run(
        &mut self,
        command: &str,
        patience: Duration,
        mut show: impl FnMut(&[u8]),
    ) -> io::Result<Answer> {
        let file = self.control.join("command");
        fs::write(&file, command)?;
        let told = self.input.write_all(line(&file, &self.control.join("status")).as_bytes());
        let mut output = Vec::new();
        let end = match told {
            Ok(()) => self.await_end(Instant::now() + patience, &mut |bytes| {
                show(bytes);
                output.extend_from_slice(bytes);
            })?,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => End::WithShell,
            Err(error) => return Err(error),
        };
        Ok(Answer { output: String::from_utf8_lossy(&output).into_owned(), end })
    }

    fn await_end(&mut self, until: Instant, take: &mut dyn FnMut(&[u8])) -> io::Result<End> {
        let mut status = Vec::new();
        loop {
            let [output, ended, gone] = self.wait(until)?;
            if output {
                take(&self.read_some()?);
                continue;
            }
            if ended {
                let mut bytes = [0; 16];
                let count = self.status.read(&mut bytes)?;
                status.extend_from_slice(&bytes[..count]);
                if status.ends_with(b"\n") {
                    // What it printed was in the pipe before it ended.
                    while self.wait(Instant::now())?[0] {
                        take(&self.read_some()?);
                    }
                    let text = String::from_utf8_lossy(&status);
                    return Ok(text.trim().parse().map_or(End::WithShell, End::Status));
                }
                continue;
            }
            if gone {
                return Ok(End::WithShell);
            }
            if Instant::now() >= until {
                return Ok(End::NotYet);
            }
            // Nobody can print any more, and the keeper is about to see why.
            std::thread::sleep(MOMENT);
        }
    }

    /// Waits until there is output, a status, or the shell's end.
    fn wait(&self, until: Instant) -> io::Result<[bool; 3]> {
        let fds = [self.output.as_fd(), self.status.as_fd(), self.keeper.ended()];
        let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let left = until.saturating_duration_since(Instant::now());
        poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))?;
        Ok([0, 1, 2].map(|at| {
            polled[at].revents().is_some_and(|events| {
                // The end of all writers is the end of output, not output.
                events.intersects(if at == 2 { PollFlags::all() } else { PollFlags::POLLIN })
            })
        }))
    }

    fn read_some(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 16 << 10];
        let count = self.output.read(&mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Ends everything that the session started, and removes the lab. Answers what is left.
    pub(super) fn end(self) -> Vec<String> {
        drop((self.input, self.output));
        self.keeper.end()
    }
}

/// What the shell is told: to run the command in the file as if it had been typed.
fn line(command: &Path, status: &Path) -> String {
    let (command, status) = (command.display(), status.display());
    format!("eval \"$(<'{command}')\" </dev/null; printf '%s\\n' \"$?\" >'{status}'\n")
}
