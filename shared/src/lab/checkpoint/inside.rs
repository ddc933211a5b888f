//! What a new process does to become the shell of a session.

use std::ffi::CString;
use std::io::{PipeWriter, Write};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve};

use super::Namespace;
use super::keeper::{Ends, SPARED, Setting};
use crate::error::{Call, Failed};
use crate::lab::needs::find_program;
use crate::part::User;
use crate::{identity, netlink, sys};

/// Makes this process the session's shell. Ends only when something failed; says `ready` when the
/// namespaces are made.
pub(super) fn become_shell(setting: &Setting, ends: &Ends, ready: PipeWriter) -> Failed {
    let prepared = enter(setting).and_then(|()| {
        let _ = (&ready).write_all(b"r");
        drop(ready);
        if setting.unshare.contains(&Namespace::Pid) {
            become_init()?;
        }
        for signal in SPARED {
            sys::set_signal(signal, false).call("signal(SIG_DFL)")?;
        }
        chdir(&setting.place.lab()).call("chdir(lab)")?;
        dup2_stdin(&ends.input).call("dup2(0)")?;
        dup2_stdout(&ends.output).call("dup2(1)")?;
        dup2_stderr(&ends.output).call("dup2(2)")?;
        // Whatever whoever started us left open is not the session's.
        sys::close_on_exec_from(3).call("close_range(CLOEXEC)")
    });
    match prepared {
        Err(failed) => failed,
        Ok(()) => execute(setting, ends.terminal),
    }
}

fn execute(setting: &Setting, terminal: bool) -> Failed {
    let words = |words: &[&str]| -> Result<Vec<_>, _> {
        words.iter().map(|word| CString::new(*word)).collect()
    };
    let environment: Vec<&str> = setting.environment.iter().map(String::as_str).collect();
    let bash = find_program("bash").unwrap_or_else(|| "/bin/bash".into());
    let argv: &[_] = &["bash", "--noprofile", "--norc", "-i"];
    let argv = if terminal { argv } else { &argv[..3] };
    let prepared = words(argv)
        .and_then(|argv| Ok((sys::c_path(&bash).unwrap_or_default(), argv, words(&environment)?)));
    match prepared {
        Ok((path, argv, environment)) => match execve(&path, &argv, &environment) {
            Ok(never) => match never {},
            Err(errno) => Failed::new(format!("execve({})", bash.display()), errno),
        },
        Err(_) => Failed::new("execve(bash)", nix::errno::Errno::EINVAL),
    }
}

/// Makes the session's namespaces. A mount made in it is not seen outside, and goes with it.
fn enter(setting: &Setting) -> Result<(), Failed> {
    if setting.user_namespace {
        let User { uid, gid } = User::current();
        unshare(CloneFlags::CLONE_NEWUSER).call("unshare(CLONE_NEWUSER)")?;
        identity::map_self(uid.as_raw(), gid.as_raw())?;
    }
    if setting.mounts {
        unshare(CloneFlags::CLONE_NEWNS).call("unshare(CLONE_NEWNS)")?;
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .call("mount(\"/\", MS_REC | MS_PRIVATE)")?;
    }
    let flags = setting.unshare.iter().map(|namespace| match namespace {
        Namespace::Net => CloneFlags::CLONE_NEWNET,
        Namespace::Uts => CloneFlags::CLONE_NEWUTS,
        Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
        Namespace::Pid => CloneFlags::CLONE_NEWPID,
        Namespace::Cgroup => CloneFlags::CLONE_NEWCGROUP,
    });
    unshare(flags.collect()).call("unshare()")?;
    if setting.unshare.contains(&Namespace::Net) {
        netlink::loopback_up()?;
    }
    Ok(())
}

fn has_ended(process: Pid, status: WaitStatus) -> bool {
    matches!(status, WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == process)
}

/// The first process of a pid namespace must reap; a shell does not do that for others' children.
/// So a child of it becomes the shell, and this returns there.
fn become_init() -> Result<(), Failed> {
    let init = match sys::fork().call("fork()")? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
                .call("mount(proc)")?;
            match sys::fork().call("fork()")? {
                ForkResult::Child => return Ok(()),
                ForkResult::Parent { child } => {
                    let _ = sys::close_from(0);
                    // Its end is the namespace's, and of all that is in it.
                    while waitpid(None, None).is_ok_and(|ended| !has_ended(child, ended)) {}
                    sys::exit_now(0)
                }
            }
        }
    };
    // The keeper takes our end for the shell's.
    let _ = sys::close_from(0);
    let _ = waitpid(init, None);
    sys::exit_now(0)
}
