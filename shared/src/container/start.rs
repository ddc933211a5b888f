//! From recipe to running program.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout};

use super::link::{Link, Message};
use super::supervise::exit_of;
use super::{Exit, Streams};
use crate::error::{Call, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Error, Failed, Result};
use crate::journal::{Due, Journal, Undo};
use crate::process;
use crate::recipe::{Context, Outcome, Place, Recipe, Step};
use crate::sys::{self, Cloned};

/// The name of the last step of every recipe: it never comes back.
pub const EXECVE: &str = "execve";

/// Told of each step when it is done: its number (from 1) and itself.
pub type Narrator<'a> = &'a mut dyn FnMut(usize, &Step);

/// A container whose program runs.
#[derive(Debug)]
pub struct Running {
    /// Its first process as the host sees it.
    pub pid: Pid,
    /// A pidfd of it.
    pub pidfd: OwnedFd,
    /// Field 22 of `/proc/PID/stat`: see [`process::start_time`].
    pub start_time: u64,
    /// The controlling side of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// Starts the container of `recipe`: runs its steps in order, each undo written to `journal`
/// before its step.
///
/// The caller has one thread. On an error nothing runs any more; the caller plays the journal
/// back.
///
/// # Errors
/// The step that failed, its call and errno in words, what to try. Exit code 127 when the
/// program does not exist, 126 when it cannot be executed, else 125.
pub fn start(
    recipe: &Recipe,
    journal: &mut Journal,
    streams: &Streams,
    mut narrator: Option<Narrator>,
) -> Result<Running> {
    for (number, step) in recipe.at(Place::Prepare) {
        run_on_host(number, step, journal, &mut Context::nowhere())?;
        tell(&mut narrator, number, step);
    }

    let (host, child) = Link::pair()?;
    let cgroup = match &recipe.clone.cgroup {
        Some(path) => Some(File::open(path).map_err(|e| {
            Error::new(format!("cannot open the cgroup {}", path.display())).because(e)
        })?),
        None => None,
    };
    let narrated = narrator.is_some();
    let cloned = sys::clone3(recipe.clone.namespaces, cgroup.as_ref().map(AsFd::as_fd));
    let (pid, pidfd) = match cloned {
        Ok(Cloned::Child) => {
            drop(host);
            child_main(recipe, &child, streams, narrated)
        }
        Ok(Cloned::Parent { pid, pidfd }) => (pid, pidfd),
        Err(errno) => return Err(clone_failed(recipe, errno)),
    };
    drop(child);
    let mut new = Running { pid, pidfd, start_time: 0, terminal: None };
    let started = write_down(&mut new, journal).and_then(|()| {
        for (number, step) in recipe.at(Place::Clone) {
            tell(&mut narrator, number, step);
        }
        attach(recipe, journal, &host, &mut new, &mut narrator)
    });
    match started {
        Ok(()) => Ok(new),
        Err(error) => {
            let _ = process::send_signal(new.pidfd.as_fd(), Signal::SIGKILL as i32);
            let _ = waitid(Id::PIDFd(new.pidfd.as_fd()), WaitPidFlag::WEXITED);
            Err(error)
        }
    }
}

/// Whatever ends us from now on: the next command ends the new process.
fn write_down(new: &mut Running, journal: &mut Journal) -> Result<()> {
    let Some(start_time) = process::start_time(new.pid) else {
        return Err(Error::new("cannot read /proc of the new process").hint("is /proc mounted?"));
    };
    new.start_time = start_time;
    journal.record(Due::Stop, &Undo::Kill { pid: new.pid.as_raw(), start_time })
}

/// The host's work while the child does its own, then the child's answer.
fn attach(
    recipe: &Recipe,
    journal: &mut Journal,
    host: &Link,
    new: &mut Running,
    narrator: &mut Option<Narrator>,
) -> Result<()> {
    for (number, step) in recipe.at(Place::Attach) {
        let mut context = Context::of(new.pid, new.pidfd.as_fd());
        if let Err(error) = run_on_host(number, step, journal, &mut context) {
            // The child may have failed first, and its reason is then the true one.
            let _ = process::send_signal(new.pidfd.as_fd(), Signal::SIGKILL as i32);
            return Err(listen(recipe, host, new, &mut None).err().unwrap_or(error));
        }
        host.announce(&step.name);
        tell(narrator, number, step);
    }
    listen(recipe, host, new, narrator)
}

/// Reads what the child says until its program runs.
fn listen(
    recipe: &Recipe,
    host: &Link,
    new: &mut Running,
    narrator: &mut Option<Narrator>,
) -> Result<()> {
    while let Some((message, file)) = host.receive()? {
        match message {
            Message::Terminal => new.terminal = file,
            Message::Done { step: number } => {
                let step = &recipe.steps[number - 1];
                tell(narrator, number, step);
                if step.name == EXECVE {
                    host.announce(EXECVE);
                }
            }
            Message::Failed { step, call, errno } => {
                let failed = Failed::new(call, Errno::from_raw(errno));
                return Err(step_failed(step, &recipe.steps[step - 1], &failed));
            }
        }
    }
    if recipe.terminal && new.terminal.is_none() {
        return Err(ended_early(new));
    }
    Ok(())
}

/// The link has ended, but the program cannot have been reached.
fn ended_early(new: &Running) -> Error {
    let how = waitid(Id::PIDFd(new.pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        .map(|status| exit_of(&status).code)
        .unwrap_or_default();
    Error::new(format!("the container ended while it was being set up (status {how})"))
}

fn run_on_host(
    number: usize,
    step: &Step,
    journal: &mut Journal,
    context: &mut Context,
) -> Result<()> {
    for undo in &step.undo_on_remove {
        journal.record(Due::Remove, undo)?;
    }
    for undo in &step.undo {
        journal.record(Due::Stop, undo)?;
    }
    run(step, context).map_err(|failed| step_failed(number, step, &failed))
}

fn run(step: &Step, context: &mut Context) -> Outcome {
    step.action.as_ref().map_or(Ok(()), |action| action(context))
}

fn tell(narrator: &mut Option<Narrator>, number: usize, step: &Step) {
    if let Some(narrator) = narrator {
        narrator(number, step);
    }
}

/// Runs the recipe's `After` steps: they look at what the ended container left.
pub(super) fn look_after(recipe: &Recipe, exit: &mut Exit) {
    for (_, step) in recipe.at(Place::After) {
        let mut context = Context { exit: Some(exit), ..Context::nowhere() };
        // What cannot be found out is not reported; the exit status stands on its own.
        let _ = run(step, &mut context);
    }
}

/// The child, from its first instruction to `execve`.
fn child_main(recipe: &Recipe, link: &Link, streams: &Streams, narrated: bool) -> ! {
    let mut current = 0;
    let result: Outcome = become_clean(link, streams).and_then(|()| {
        for (number, step) in recipe.at(Place::Child) {
            current = number;
            if narrated && step.name == EXECVE {
                link.send(&Message::Done { step: number });
                link.await_host(EXECVE)?;
            }
            run(step, &mut Context { link: Some(link), ..Context::nowhere() })?;
            if narrated {
                link.send(&Message::Done { step: number });
            }
        }
        Err(Failed::new("execve", Errno::ENOEXEC))
    });
    if let Err(failed) = result {
        let first = recipe.at(Place::Child).next().map_or(1, |(number, _)| number);
        link.send_failed(current.max(first), &failed);
    }
    sys::exit_now(crate::error::EXIT_OURS)
}

/// What every child needs before its own steps: to die with its supervisor, signals as a new
/// program expects them, and its standard streams.
fn become_clean(link: &Link, streams: &Streams) -> Outcome {
    prctl::set_pdeathsig(Signal::SIGKILL).call("prctl(PR_SET_PDEATHSIG)")?;
    if link.host_is_gone() {
        return Err(Failed::new("start", Errno::ECANCELED));
    }
    // What is ignored or blocked stays so over execve: Rust ignores SIGPIPE, `nohup` SIGHUP, and
    // the supervisor blocks what it forwards.
    for signal in Signal::iterator().filter(|s| ![Signal::SIGKILL, Signal::SIGSTOP].contains(s)) {
        sys::set_signal(signal, false).call("signal(SIG_DFL)")?;
    }
    SigSet::all().thread_unblock().call("sigprocmask(SIG_UNBLOCK)")?;
    if let Some(input) = &streams.input {
        dup2_stdin(input).call("dup2(input, 0)")?;
    }
    if let Some(output) = &streams.output {
        dup2_stdout(output).call("dup2(output, 1)")?;
        dup2_stderr(output).call("dup2(output, 2)")?;
    }
    Ok(())
}

fn clone_failed(recipe: &Recipe, errno: Errno) -> Error {
    let flags = recipe.clone.namespaces.iter_names().map(|(name, _)| name);
    let call = format!("clone3({})", flags.collect::<Vec<_>>().join(" | "));
    let (number, step) = match recipe.at(Place::Clone).next() {
        Some(found) => found,
        None => return Failed::new(call, errno).into(),
    };
    step_failed(number, step, &Failed::new(call, errno))
}

/// `pivot_root(".", ".") → EBUSY (…) (part 2, step 9: make the new tree /)`
fn step_failed(number: usize, step: &Step, failed: &Failed) -> Error {
    let error = Error::new(failed.to_string())
        .because(format!("part {}, step {number}, {}: {}", step.part, step.name, step.what))
        .exit_code(exit_code(step, failed.errno));
    match (&*step.hint, general_hint(failed.errno)) {
        ("", None) => error,
        ("", Some(hint)) => error.hint(hint),
        (hint, _) => error.hint(hint),
    }
}

/// A program that is not there is 127, one that is no program 126: as shells and Docker say.
fn exit_code(step: &Step, errno: Errno) -> u8 {
    match (&*step.name, errno) {
        (EXECVE, Errno::ENOENT | Errno::ENOTDIR) => EXIT_NOT_FOUND,
        (EXECVE, _) => EXIT_NOT_EXECUTABLE,
        _ => crate::error::EXIT_OURS,
    }
}

/// What helps with an errno whatever the step.
fn general_hint(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EPERM | Errno::EACCES => "run it as root, or see `doctor` for what this user may do",
        Errno::ENOSPC => "free some disk space (`df -h`), or raise the limit it names",
        Errno::ENOSYS => "this kernel is too old for it: Linux 5.12 or later is needed",
        Errno::ENOMEM => "stop something, or raise the memory limit",
        _ => return None,
    })
}

impl<'a> Context<'a> {
    /// On the host, with no process yet.
    fn nowhere() -> Self {
        Self { pid: None, pidfd: None, link: None, exit: None }
    }

    /// On the host, for a process.
    fn of(pid: Pid, pidfd: BorrowedFd<'a>) -> Self {
        Self { pid: Some(pid), pidfd: Some(pidfd), link: None, exit: None }
    }
}
