//! A terminal of the container's own: `pty(7)`.

use std::os::fd::{AsFd, AsRawFd};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use shared::error::{Call, Failed};
use shared::part::Request;
use shared::recipe::{Context, Outcome, Place, Recipe, Step, no_tool};
use shared::sys;

use crate::PART;
use crate::mounts::{attach, detached_bind};

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    if !request.terminal {
        return;
    }
    recipe.terminal = true;
    // While the new root is the working directory and its /dev is certainly ours.
    recipe.insert_before("pivot_root", terminal());
}

fn terminal() -> Step {
    Step::new(PART, Place::Child, "terminal")
        .what("open a terminal in its own /dev/pts")
        .why("with ours, it could type commands for us once it has ended")
        .section("2.19")
        .shell(no_tool("handing its other side to the host; `script` inside comes near"))
        .does_with(|context| {
            let console = crate::dev::console()?;
            open(context, "dev/pts/ptmx", |shown| {
                let copy = detached_bind(shown, false).call("open_tree(the terminal)")?;
                attach(copy.as_fd(), console.as_fd()).call("move_mount(\"/dev/console\")")
            })
        })
}

// ANCHOR: open
/// Opens a terminal, sends its controlling side to the host, and makes its other side our
/// standard streams and controlling terminal. The caller leads a session.
pub(crate) fn open(
    context: &mut Context,
    ptmx: &str,
    also: impl FnOnce(std::os::fd::BorrowedFd) -> Outcome,
) -> Outcome {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let control = openat(CWD, ptmx, flags, Mode::empty()).call(format!("open({ptmx:?})"))?;
    // An image could put something else there (CVE-2025-52565): ptmx is device 5:2.
    let kind = rustix::fs::fstat(&control).call(format!("fstat({ptmx:?})"))?;
    if kind.st_rdev != rustix::fs::makedev(5, 2) {
        return Err(Failed::new(format!("{ptmx} is no ptmx device"), nix::errno::Errno::ENODEV));
    }
    unlockpt(&control).call("unlockpt()")?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let shown = ioctl_tiocgptpeer(&control, peer).call("ioctl(TIOCGPTPEER)")?;
    also(shown.as_fd())?;
    context.send_to_host(control.as_raw_fd())?;
    sys::set_controlling_terminal(shown.as_fd()).call("ioctl(TIOCSCTTY)")?;
    dup2_stdin(&shown).call("dup2(terminal, 0)")?;
    dup2_stdout(&shown).call("dup2(terminal, 1)")?;
    dup2_stderr(&shown).call("dup2(terminal, 2)")
}
// ANCHOR_END: open
