//! A process above the tests that adopts what they leave.
//!
//! A detached container's supervisor would become a child of pid 1, and nothing would tell it
//! from the machine's other processes. Below a *child subreaper* it stays a descendant of ours,
//! and a process that has ended does not stay a zombie.

use std::env;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, getppid};

/// Set for the tests to the reaper's pid.
const REAPER: &str = "INSIDE_DOCKER_TEST_REAPER";

/// Whether this process already runs below its reaper.
pub fn runs_us() -> bool {
    env::var(REAPER).is_ok_and(|pid| pid == getppid().to_string())
}

/// The reaper's pid.
pub fn pid() -> Pid {
    getppid()
}

/// Runs this program again below us, reaps until it has ended, and answers as it did.
#[allow(clippy::zombie_processes)] // whoever ends is waited for, this child too
pub fn run_below_a_reaper() -> ExitCode {
    prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER is always allowed");
    // The loop below waits for it, and for all others.
    #[allow(clippy::zombie_processes)]
    let tests = Command::new("/proc/self/exe")
        .args(env::args_os().skip(1))
        .env(REAPER, std::process::id().to_string())
        .spawn()
        .expect("this program can be run");
    let tests = Pid::from_raw(i32::try_from(tests.id()).expect("a pid"));
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == tests => {
                return ExitCode::from(u8::try_from(code).unwrap_or(1));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == tests => {
                eprintln!("the tests were ended by {signal}");
                return ExitCode::from(128 + u8::try_from(signal as i32).unwrap_or(0));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                eprintln!("cannot wait for the tests: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}

/// Makes the tests end when the reaper ends: nobody would wait for them.
pub fn end_with_it() {
    // It fails for no signal that exists.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
}
