//! An init: pid 1 that reaps and forwards signals, with the service as its child.
//!
//! Pid 1 is special: signals it does not handle do nothing to it, and orphans become its
//! children. A program that does not know this cannot be stopped and collects zombies.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use shared::error::Call;
use shared::part::Request;
use shared::recipe::{Outcome, Place, Recipe, Step, no_tool};
use shared::sys;

use crate::PART;

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    if request.service.init {
        recipe.insert_before("execve", init());
    }
}

fn init() -> Step {
    Step::new(PART, Place::Child, "init")
        .what("stay as pid 1 and start the program as pid 2")
        .why("pid 1 must reap orphans, and most programs do not know that")
        .section("2.5")
        .shell(no_tool("a small init; the program is pid 1 itself"))
        .does(become_init)
}

/// Comes back only in the child, which goes on to `execve`.
fn become_init() -> Outcome {
    let all = SigSet::all();
    // Blocked before the fork, so that no signal is lost between.
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None).call("sigprocmask(SIG_BLOCK)")?;
    // Pid 1 is still our own binary: nobody inside may look into it through /proc/1/exe
    // (CVE-2019-5736), nor hold a file of ours through it. Also before the fork, for the program
    // could be faster than we are; its own execve makes it an ordinary process again.
    prctl::set_dumpable(false).call("prctl(PR_SET_DUMPABLE, 0)")?;
    match sys::fork().call("fork()")? {
        ForkResult::Child => {
            sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&all), None).call("sigprocmask(SIG_UNBLOCK)")
        }
        ForkResult::Parent { child } => sys::exit_now(look_after(child, &all)),
    }
}

// ANCHOR: look_after
fn look_after(program: Pid, signals: &SigSet) -> u8 {
    // Nor may they read what we were called with.
    let _ = sys::rename_process("init");
    let _ = prctl::set_name(c"init");
    let _ = sys::close_from(3);
    give_terminal_to(program);
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(program) {
                    // The end of pid 1 is the end of everything else in the namespace.
                    return code;
                }
            }
            Ok(signal) => {
                let _ = kill(program, signal);
            }
            Err(_) => {}
        }
    }
}
// ANCHOR_END: look_after

/// Reaps all who have ended; the program's status if it was among them.
fn reap(program: Pid) -> Option<u8> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => return Some(code as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                return Some(128 + signal as u8);
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            _ => {}
        }
    }
}

/// The keys of a terminal (Ctrl-C) go to its foreground process group: let that be the program's.
fn give_terminal_to(program: Pid) {
    let stdin = std::io::stdin();
    if nix::unistd::setpgid(program, program).is_ok() {
        let _ = nix::unistd::tcsetpgrp(stdin.as_fd(), program);
    }
}
