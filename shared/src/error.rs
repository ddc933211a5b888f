//! Errors a person can act on: what we wanted, what happened, what to try.

use std::borrow::Cow;
use std::fmt;

use nix::errno::Errno;

/// Exit status of our own failures, as Docker's (125).
pub const EXIT_OURS: u8 = 125;
/// Exit status when the program exists but cannot be executed.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Exit status when the program does not exist.
pub const EXIT_NOT_FOUND: u8 = 127;

/// The result of anything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure as the user reads it.
///
/// Displayed as up to three lines: what we wanted, why it failed, what to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    wanted: String,
    cause: Option<String>,
    hint: Option<String>,
    exit_code: u8,
}

impl Error {
    /// A failure of ours (exit status 125): `wanted` says what could not be done.
    pub fn new(wanted: impl Into<String>) -> Self {
        Self { wanted: wanted.into(), cause: None, hint: None, exit_code: EXIT_OURS }
    }

    /// Adds why it failed.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds what the user can try next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Replaces the exit status (125 unless told).
    #[must_use]
    pub fn exit_code(mut self, code: u8) -> Self {
        self.exit_code = code;
        self
    }

    /// The exit status the command ends with.
    pub fn code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wanted)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  try: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A system call that failed, small enough to be sent from the child to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The call as one would write it: `pivot_root(".", ".")`.
    pub call: Cow<'static, str>,
    /// What the kernel answered.
    pub errno: Errno,
}

impl Failed {
    /// `call` failed with `errno`.
    pub fn new(call: impl Into<Cow<'static, str>>, errno: Errno) -> Self {
        Self { call: call.into(), errno }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {:?} ({})", self.call, self.errno, self.errno.desc())
    }
}

impl std::error::Error for Failed {}

/// Names the call behind an errno: `chroot(".").call("chroot(\".\")")?`.
pub trait Call<T> {
    /// Turns the errno of a failed system call into a [`Failed`] that names the call.
    ///
    /// # Errors
    /// The same failure, named.
    fn call(self, call: impl Into<Cow<'static, str>>) -> Result<T, Failed>;
}

impl<T, E: AsErrno> Call<T> for Result<T, E> {
    fn call(self, call: impl Into<Cow<'static, str>>) -> Result<T, Failed> {
        self.map_err(|error| Failed::new(call, error.as_errno()))
    }
}

/// What the three libraries we make system calls with call an errno.
pub trait AsErrno {
    /// The error number, `EIO` where there was none.
    fn as_errno(&self) -> Errno;
}

impl AsErrno for Errno {
    fn as_errno(&self) -> Errno {
        *self
    }
}

impl AsErrno for rustix::io::Errno {
    fn as_errno(&self) -> Errno {
        Errno::from_raw(self.raw_os_error())
    }
}

impl AsErrno for std::io::Error {
    fn as_errno(&self) -> Errno {
        self.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        Self::new(failed.to_string())
    }
}
