//! The container: how a recipe becomes a process, and what looks after that process.
//!
//! ```text
//! host (one thread)                              child
//!   prepare         host steps, journalled
//!   clone3(NEW*, PIDFD, INTO_CGROUP) ──────────▶ its steps run meanwhile
//!   attach          id maps, veth …    ────────▶ waits only for what it needs
//!   ◀──────── link: end = execve succeeded, or (step, errno)
//!   supervise       forward signals, pidfd, exit status 128+n
//!   release         journal, backwards
//! ```

mod console;
mod link;
mod start;
mod supervise;

pub use console::{RawTerminal, Window};
pub use link::{Link, Message};
pub use start::{EXECVE, Narrator, Running, start};
pub use supervise::{Streams, catch_signals, supervise};

use serde::{Deserialize, Serialize};

/// How a container's first process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit status, or 128 + the signal that ended it.
    pub code: u8,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed it for using more memory than its limit.
    pub out_of_memory: bool,
}
