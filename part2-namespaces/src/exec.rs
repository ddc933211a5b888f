//! `exec`: one more process in a container that runs. See `setns(2)`.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use part1_chroot::Program;
use shared::error::{Call, Error, Result};
use shared::part::Joining;
use shared::process::Process;
use shared::recipe::{Place, Recipe, Step};

use crate::account::Account;
use crate::privileges::steps;
use crate::{PART, namespaces, terminal};
use shared::identity::Identity;

/// The recipe of a process that joins a running container: the same walls, none of them new.
///
/// # Errors
/// The container does not run, or was started without namespaces (part 1).
pub fn recipe(joining: &Joining) -> Result<Recipe> {
    let record = joining.record;
    if record.part < PART {
        return Err(Error::new(format!("{:?} has no namespaces to join", record.name))
            .because("it was started by part 1"));
    }
    let Some(process) = record.process() else {
        return Err(Error::new(format!("{:?} is not running", record.name))
            .hint("`ps -a` shows how it ended, `logs` what it said"));
    };
    let process = Rc::new(joinable(joining, process)?);
    let account = Account::of(joining.service, &record.rootfs)?;
    let identity = Identity::of_user(joining.user);

    let mut recipe = Recipe::new(PART, &record.name);
    recipe.terminal = joining.terminal;
    recipe.push(join_pid_namespace(joining, &process));
    recipe.push(
        Step::new(PART, Place::Clone, "clone")
            .what("make a new process, a child of this one")
            .why("only processes made after it are in the joined pid namespace")
            .section("2.24"),
    );
    add_cgroups(&mut recipe, &record.cgroups);
    recipe.push(join_namespaces(&process));
    recipe.push(namespaces::session());
    recipe.push(part1_chroot::working_directory(joining.service));
    if joining.terminal {
        recipe.push(own_terminal());
    }
    recipe.push(part1_chroot::close_fds());
    for step in steps(joining.service, &account, &identity)? {
        recipe.insert_before("close fds", step);
    }
    recipe.push(Program::joining(joining, &account.home)?.execve());
    Ok(recipe)
}

/// The process whose namespaces are joined. An init of ours hides itself from all but root (see
/// `init.rs`), so another user joins those of its child, which are the same.
fn joinable(joining: &Joining, first: Process) -> Result<Process> {
    if joining.user.is_root() || !joining.record.service.init {
        return Ok(first);
    }
    first.oldest_child().ok_or_else(|| {
        Error::new(format!("{:?} has no process to join", joining.record.name))
            .because("its program has just ended")
    })
}

fn join_pid_namespace(joining: &Joining, process: &Rc<Process>) -> Step {
    let mut namespaces = CloneFlags::CLONE_NEWPID;
    if !joining.user.is_root() {
        namespaces |= CloneFlags::CLONE_NEWUSER;
    }
    let process = Rc::clone(process);
    Step::new(PART, Place::Prepare, "join the pid namespace")
        .what(format!("let the next child be in the pid namespace of process {}", process.pid))
        .why("a process never changes its own pid namespace, only its children's")
        .section("2.24")
        .shell(format!("nsenter --target {} --pid", process.pid))
        .does(move || {
            // A process inside must not look into ours through /proc/PID/exe (CVE-2019-5736).
            prctl::set_dumpable(false).call("prctl(PR_SET_DUMPABLE, 0)")?;
            setns(process.as_fd(), namespaces).call("setns(pidfd, NEWPID)")
        })
}

/// On v2 the process is born in the cgroup. On v1 it moves itself there, before it does anything.
fn add_cgroups(recipe: &mut Recipe, cgroups: &[PathBuf]) {
    let (v1, v2): (Vec<_>, Vec<_>) =
        cgroups.iter().cloned().partition(|dir| dir.join("tasks").exists());
    recipe.clone.cgroup = v2.into_iter().next();
    if v1.is_empty() {
        return;
    }
    let shell = v1.iter().map(|dir| format!("echo $$ > {}/tasks", dir.display()));
    let step = Step::new(PART, Place::Child, "join the cgroups")
        .what("join the container's cgroups")
        .why("its limits hold for everything that runs in it")
        .section("2.24")
        .shell(shell.collect::<Vec<_>>().join("; "))
        .does(move || {
            v1.iter().try_for_each(|dir| {
                let tasks = dir.join("tasks");
                std::fs::write(&tasks, "0").call(format!("write({tasks:?}, 0)"))
            })
        });
    recipe.push(step);
}

// ANCHOR: join
fn join_namespaces(process: &Rc<Process>) -> Step {
    let process = Rc::clone(process);
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP;
    Step::new(PART, Place::Child, "join the namespaces")
        .what("join the other namespaces; the container's root becomes ours")
        .why("a process in some of them only could be used to reach out of the others")
        .section("2.24")
        .shell(format!("nsenter --target {} --mount --uts --ipc --net --cgroup", process.pid))
        .does(move || setns(process.as_fd(), namespaces).call("setns(pidfd, NEWNS | NEWUTS | …)"))
}
// ANCHOR_END: join

fn own_terminal() -> Step {
    Step::new(PART, Place::Child, "terminal")
        .what("open a terminal in the container's /dev/pts")
        .why("with ours, it could type commands for us once it has ended")
        .section("2.19")
        .does_with(|context| terminal::open(context, "/dev/pts/ptmx", |_| Ok(())))
}
